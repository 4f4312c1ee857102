"""Makes the dump that the upgrade test restores: a small database with rows in every table of the addon.

    ./setup/test tests/upgrade        checks the dumps that are there
    ./setup/run python tests/upgrade/make_dump.py        adds the one of the addon's present version

What it holds: Odoo in English and Chinese with the addon and what it depends on, no demo data. An account connected to
a sandbox; codes that are open, used, revoked and expired; bindings that are live, unfollowed, ended and imported; scans
that wait for an approval; events that were handled, ignored, failed and refused, and receipts; a bulk generation with
lines of every outcome; templates, and messages that were delivered, have failed, were canceled and wait; the operations
log of all that. The secrets in it belong to a sandbox that is gone. Rows of attachments are left out, because their
files are.
"""

import ast
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from support import pushes  # noqa: E402
from support.database import Database  # noqa: E402
from support.odoo import OdooServer, wait_for  # noqa: E402
from support.running_outbox import RunningOutbox  # noqa: E402
from support.system import LOGS, REPOSITORY, System, connect, running_sandbox  # noqa: E402

QR_PATH = "/cgi-bin/qrcode/create"
TOMORROW = str(datetime.now(UTC).replace(tzinfo=None, microsecond=0) + timedelta(days=1))


def addon_version() -> str:
    """Return the version in the addon's manifest."""
    manifest = REPOSITORY / "wechat_merchant_bind" / "__manifest__.py"
    return ast.literal_eval(manifest.read_text(encoding="utf-8"))["version"]


def live_through_everything(system: System) -> None:
    """Cause rows of every kind."""
    bound, unfollowed, unbound, revoked, expired, disabled = (
        system.merchant(name)
        for name in (
            "杭州西湖茶庄",
            "绍兴咸亨酒业",
            "北京前门糕点铺",
            "长沙坡子街",
            "昆明翠湖",
            "天津画社",
        )
    )
    for partner, user in ((bound, "陈老板"), (unfollowed, "孔先生"), (unbound, "赵师傅")):
        system.sandbox.scan(user, system.code(partner)["qr_content"])
    system.sandbox.post("unfollow", user="孔先生")
    system.admin.call("res.partner", "action_wechat_unbind", [unbound], "换了负责人")
    system.code(revoked)
    system.admin.call("res.partner", "write", [revoked, disabled], {"active": False})
    system.code(expired)
    system.database.execute(
        "UPDATE wechat_bind_code SET state = 'expired', expires_at = now() AT TIME ZONE 'UTC' WHERE partner_id = %s",
        expired,
    )
    ask_for_approval(system)
    import_an_openid(system)
    fail_an_event(system)
    fill_a_batch(system, [bound, disabled])
    send_messages(system, bound)


def ask_for_approval(system: System) -> None:
    """Leave a scan that a colleague has to approve."""
    partner = system.merchant("苏州评弹馆")
    content = system.code(partner)["qr_content"]
    system.admin.call("wechat.account", "write", [system.account_id], {"bind_confirmation": "approval"})
    system.sandbox.scan("钱老板", content)
    system.admin.call("wechat.account", "write", [system.account_id], {"bind_confirmation": "none"})


def import_an_openid(system: System) -> None:
    """Bind a merchant by its OpenID, and leave the report of that."""
    partner = system.merchant("扬州早茶楼")
    openid = system.sandbox.post("follow", user="扬州-周老板")["openid"]
    result = system.admin.call("wechat.binding", "load", ["partner_id/.id", "openid"], [[str(partner), openid]])
    assert result["ids"], result["messages"]


def send_messages(system: System, partner: int) -> None:
    """Leave messages in every state that lasts, and a server action that sends more."""
    outbox = RunningOutbox(system)
    outbox.send_one_and_fail_one(partner)
    for _message in range(2):
        outbox.queue([partner], scheduled_at=TOMORROW)
    [_waiting, canceled] = system.admin.find("wechat.message", [("state", "=", "outgoing")], ["id"], order="id")
    system.admin.call("wechat.message", "action_cancel", [canceled["id"]])
    [model] = system.admin.find("ir.model", [("model", "=", "res.partner")], ["id"])
    values = {"name": "到货通知", "state": "wechat", "model_id": model["id"], "wechat_template_id": outbox.template_id}
    system.admin.create("ir.actions.server", values)


def fail_an_event(system: System) -> None:
    """Leave a failed, an ignored and a refused event in the inbox."""
    partner = system.merchant("西安回民街干货铺")
    push = pushes.scan(system.channel, pushes.new_openid(), system.code(partner)["scene_str"])
    with system.automation(partner, "raise UserError('boom')"):
        push.send(system.channel)
    for event in ("VIEW", "subscribe"):
        pushes.seal(system.channel, pushes.event_xml(system.channel, pushes.new_openid(), event, "x")).send(
            system.channel
        )
    pushes.seal(system.channel, "<xml>not a push").send(system.channel)


def fill_a_batch(system: System, skipped: list[int]) -> None:
    """Run a bulk generation: the first merchant gets a code, the last one meets an error of WeChat."""
    done, failed = system.merchant("青岛栈桥啤酒"), system.merchant("福州三坊茉莉花茶")
    system.code(done)
    system.sandbox.post("faults", path=QR_PATH, errcode=48001, times=1)
    action = system.admin.call("res.partner", "action_wechat_bind_code", [done, *skipped, failed])
    domain = [("batch_id", "=", action["res_id"]), ("state", "=", "pending")]
    wait_for(lambda: not system.admin.find("wechat.bind.batch.line", domain, ["id"]), "the cron drains the batch")


def main() -> None:
    """Install, live, dump."""
    database = Database(f"wechat_test_dump_{os.getpid()}")
    try:
        database.run_odoo(LOGS / "dump-install.log", "-i", "wechat_merchant_bind", "--load-language", "zh_CN")
        server = OdooServer(database.name, LOGS / "dump-odoo.log", cron_threads=1)
        try:
            server.wait()
            with running_sandbox(LOGS / "dump-sandbox.log") as sandbox:
                live_through_everything(connect(database, [server], sandbox))
        finally:
            server.stop()
        empty = [table for table, rows in database.read_addon_tables().items() if not rows]
        assert not empty, f"no rows in {empty}"
        database.execute("DELETE FROM ir_attachment WHERE store_fname IS NOT NULL")
        file = HERE / f"{addon_version()}.sql.xz"
        database.dump(file)
        sys.stdout.write(f"{file}: {file.stat().st_size} bytes\n")
    finally:
        database.drop()


if __name__ == "__main__":
    main()
