"""Databases of all released versions are updated without losing a row, and keep working.

By default only the oldest, which runs every migration; all of them with ./setup/test --all.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.database import Database
from support.odoo import OdooServer, WebClient, wait_for
from support.running_outbox import RunningOutbox
from support.system import LOGS, System, attach, running_sandbox

DUMPS = sorted(Path(__file__).parent.glob("*.sql.xz"))
CHECKED = DUMPS if os.environ.get("WECHAT_TEST_ALL") == "1" else DUMPS[:1]


def test_dumps_exist():
    """Without dumps the test of updates would be empty."""
    assert len(DUMPS) > 1


@pytest.fixture
def database(dump: Path) -> Iterator[Database]:
    """A database of an earlier version."""
    clone = os.environ["WECHAT_TEST_TEMPLATE_DB"].split("_")[2]
    database = Database(f"wechat_test_run_{clone}_upgrade_{os.getpid()}")
    try:
        yield Database.restored(database.name, dump)
    finally:
        database.drop()


@contextmanager
def running(database: Database) -> Iterator[System]:
    """Start a server, and connect the account that the database has to a sandbox."""
    server = OdooServer(database.name, LOGS / f"{database.name}.log", cron_threads=1)
    try:
        server.wait()
        with running_sandbox(LOGS / "upgrade-sandbox.log") as sandbox:
            admin = WebClient(server.url, database.name, "admin", "admin")
            [account] = admin.find("wechat.account", [], ["id"])
            # The address has changed since the dump, the database is the same.
            [sending] = admin.read("wechat.account", [account["id"]], ["is_outbox_unconfirmed"])
            assert not sending["is_outbox_unconfirmed"], "the update asks whether this database sends"
            yield attach(database, [server], sandbox, admin, account["id"])
    finally:
        server.stop()


@pytest.mark.parametrize("dump", CHECKED, ids=lambda dump: dump.name)
def test_update_keeps_every_row(dump, database):
    """After the update all rows have their former values, and a scan binds."""
    before = database.read_addon_tables()
    assert all(before.values()), "the dump has rows in every table"
    database.run_odoo(LOGS / f"upgrade-{dump.name}.log", "-u", "wechat_merchant_bind")
    after = database.read_addon_tables()
    undated = database.execute(
        """
        SELECT partner.id
          FROM res_partner partner
          JOIN wechat_binding binding ON binding.partner_id = partner.id AND binding.state = 'bound'
         WHERE partner.wechat_bound_at IS DISTINCT FROM binding.bound_at
        """
    )
    assert not undated, "the merchants know when they were bound"
    labels = database.execute(
        """
        SELECT DISTINCT selection.name ->> 'zh_CN' AS label
          FROM ir_model_fields_selection AS selection
          JOIN ir_model_fields AS field ON field.id = selection.field_id
         WHERE field.model IN ('wechat.bind.batch.line', 'wechat.event')
           AND field.name = 'state'
           AND selection.value = 'failed'
        """
    )
    assert {row["label"] for row in labels} == {"生成失败", "处理失败"}, "a code that failed was never sent"
    told = database.execute(
        "SELECT id FROM mail_notification WHERE notification_type = 'wechat' AND failure_reason IS NOT NULL"
    )
    assert not told, "every user may read notifications, but not every document"
    senders = database.execute(
        """
        SELECT cron.id
          FROM ir_cron AS cron
          JOIN ir_act_server AS action ON action.id = cron.ir_actions_server_id
         WHERE action.code = 'model._cron_send()' AND cron.active
        """
    )
    assert len(senders) == 1, "earlier versions had two lanes"
    for table, rows in before.items():
        updated = {row["id"]: row for row in after[table]}
        for row in rows:
            kept = {name: value for name, value in updated[row["id"]].items() if name in row}
            assert kept == {name: row[name] for name in kept}, f"{table} {row['id']}"
    with running(database) as system:
        partner = system.merchant("南京盐水鸭")
        assert "绑定成功" in system.sandbox.scan("刘老板", system.code(partner)["qr_content"])["reply"]
        outbox = RunningOutbox(system)
        sent = outbox.states()["delivered"]
        outbox.queue([partner])
        wait_for(lambda: outbox.states()["delivered"] == sent + 1, "the message is delivered")
