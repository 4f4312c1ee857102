"""Every released version's database is updated to the present one without losing a row."""

import os
from pathlib import Path

import pytest
from support.database import Database
from support.system import LOGS

DUMPS = sorted(Path(__file__).parent.glob("*.sql.xz"))


def test_there_are_dumps():
    """Without a dump the test below would check nothing."""
    assert DUMPS


@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.name)
def test_update_keeps_every_row(dump):
    """All rows of all tables are there after the update, with the values that they had."""
    clone = os.environ["WECHAT_TEST_TEMPLATE_DB"].split("_")[2]
    database = Database(f"wechat_test_run_{clone}_upgrade_{os.getpid()}")
    try:
        Database.restored(database.name, dump)
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
    finally:
        database.drop()
    assert not undated, "the merchants know when they were bound"
    for table, rows in before.items():
        updated = {row["id"]: row for row in after[table]}
        for row in rows:
            kept = {name: value for name, value in updated[row["id"]].items() if name in row}
            assert kept == {name: row[name] for name in kept}, f"{table} {row['id']}"
