"""Uninstalling the addon leaves no broken or orphaned record, and it can be installed again."""

import os
from collections.abc import Iterator

import pytest
from support.database import Database
from support.odoo import OdooError, OdooServer, wait_for
from support.running_outbox import RunningOutbox
from support.sandbox import Sandbox
from support.system import LOGS, System, connect, running_sandbox

MODULE = "wechat_merchant_bind"


@pytest.fixture
def own_database() -> Iterator[Database]:
    """A copy of the template for this test."""
    template = os.environ["WECHAT_TEST_TEMPLATE_DB"]
    database = Database.copied(f"wechat_test_run_{template.split('_')[2]}_uninstall_{os.getpid()}", template)
    yield database
    database.drop()


@pytest.fixture
def own_sandbox() -> Iterator[Sandbox]:
    with running_sandbox(LOGS / "uninstall-sandbox.log") as sandbox:
        yield sandbox


def live(system: System) -> None:
    """Create rows of every kind, and users' own records about the addon's models."""
    bound, unbound, coded, imported = (
        system.merchant(name) for name in ("杭州西湖茶庄", "绍兴黄酒行", "苏州评弹馆", "扬州早茶楼")
    )
    # It is told by mail that it was bound.
    system.admin.call("res.partner", "write", [bound], {"email": "tea@example.com"})
    system.sandbox.scan("陈老板", system.code(bound)["qr_content"])
    system.admin.call("wechat.account", "write", [system.account_id], {"bind_confirmation": "approval"})
    system.sandbox.scan("钱老板", system.code(coded)["qr_content"])
    system.admin.call("wechat.account", "write", [system.account_id], {"bind_confirmation": "none"})
    system.sandbox.scan("孔先生", system.code(unbound)["qr_content"])
    system.admin.call("res.partner", "action_wechat_unbind", [unbound], "换了负责人")
    system.code(coded)
    action = system.admin.call("res.partner", "action_wechat_bind_code", [bound, unbound, coded])
    pending = [("batch_id", "=", action["res_id"]), ("state", "=", "pending")]
    wait_for(lambda: not system.admin.find("wechat.bind.batch.line", pending, ["id"]), "the cron drains the batch")
    openid = system.sandbox.post("follow", user="扬州-周老板")["openid"]
    result = system.admin.call("wechat.binding", "load", ["partner_id/.id", "openid"], [[str(imported), openid]])
    assert result["ids"], result["messages"]
    [binding] = system.bindings(imported)
    system.admin.call("wechat.binding", "export_data", [binding["id"]], ["id", "partner_id"])
    system.admin.create(
        "base_import.mapping", {"res_model": "wechat.binding", "column_name": "x", "field_name": "openid"}
    )
    system.admin.create(
        "ir.filters",
        {
            "name": "未绑定",
            "model_id": "res.partner",
            "domain": "[('is_wechat_bound', '=', False)]",
            "is_default": True,
        },
    )
    system.admin.create("ir.filters", {"name": "日志", "model_id": "wechat.operation", "domain": "[]"})
    system.admin.create(
        "ir.exports",
        {
            "name": "商家",
            "resource": "res.partner",
            "export_fields": [(0, 0, {"name": "name"}), (0, 0, {"name": "wechat_state"})],
        },
    )
    system.admin.create(
        "ir.attachment",
        {"name": "x.txt", "raw": "x", "res_model": "wechat.account", "res_id": system.account_id},
    )
    [model] = system.admin.find("ir.model", [("model", "=", "res.partner")], ["id"])
    action = {"name": "Code", "model_id": model["id"], "state": "code", "code": "record.write({'comment': 'x'})"}
    automate(system, model["id"], "[('is_wechat_bound', '=', True)]", action)
    send(system, bound, model["id"])


def automate(system: System, model_id: int, domain: str, action: dict) -> None:
    """Create an automation with one action."""
    values = {
        "name": "第三方",
        "model_id": model_id,
        "trigger": "on_create_or_write",
        "filter_domain": domain,
        "action_server_ids": [(0, 0, action)],
    }
    system.admin.create("base.automation", values)


def send(system: System, partner: int, model_id: int) -> None:
    """Send a message that arrives and one that fails, and let an automation send more."""
    outbox = RunningOutbox(system)
    outbox.send_one_and_fail_one(partner)
    action = {"name": "微信", "model_id": model_id, "state": "wechat", "wechat_template_id": outbox.template_id}
    automate(system, model_id, "[('ref', '=', 'notify')]", action)


def uninstall(system: System, module_id: int) -> bool:
    """Uninstall the addon; return False if a running scheduled action prevents it."""
    try:
        system.admin.call("ir.module.module", "button_immediate_uninstall", [module_id])
    except OdooError as error:
        if "预定操作" not in error.message:
            raise
        return False
    return True


def find_leftovers(database: Database) -> dict[str, list[dict]]:
    """Return all remains of the addon, except in the merchants' chatter, which is their history."""
    queries = {
        "tables": "SELECT tablename FROM pg_tables WHERE tablename LIKE 'wechat%%'",
        "views": "SELECT viewname FROM pg_views WHERE viewname LIKE 'wechat%%'",
        "columns": "SELECT table_name, column_name FROM information_schema.columns WHERE column_name LIKE '%%wechat%%'",
        "indexes": "SELECT indexname FROM pg_indexes WHERE indexname LIKE '%%wechat%%'",
        "functions": "SELECT proname FROM pg_proc WHERE proname LIKE '%%wechat%%'",
        "models": "SELECT model FROM ir_model WHERE model LIKE 'wechat.%%'",
        "fields": "SELECT model, name FROM ir_model_fields WHERE name LIKE '%%wechat%%' OR relation LIKE 'wechat.%%'",
        "selections": "SELECT value FROM ir_model_fields_selection WHERE value LIKE '%%wechat%%'",
        "constraints": "SELECT name FROM ir_model_constraint WHERE name LIKE '%%wechat%%'",
        "foreign keys": "SELECT conname FROM pg_constraint WHERE conname LIKE '%%wechat%%'",
        "external ids": f"SELECT module, name FROM ir_model_data WHERE module = '{MODULE}' OR model LIKE 'wechat.%%'",
        "parameters": "SELECT key FROM ir_config_parameter WHERE key LIKE '%%wechat%%'",
        "attachments": "SELECT name FROM ir_attachment WHERE res_model LIKE 'wechat.%%' OR url LIKE '/wechat%%'",
        "menus": "SELECT id FROM ir_ui_menu WHERE name::text ILIKE '%%wechat%%'",
        "views of Odoo": "SELECT name FROM ir_ui_view WHERE arch_db::text LIKE '%%wechat_%%' OR model LIKE 'wechat.%%'",
        "actions": "SELECT name FROM ir_act_window WHERE res_model LIKE 'wechat.%%'",
        "client actions": "SELECT tag FROM ir_act_client WHERE tag LIKE '%%wechat%%' OR name::text LIKE '%%Bindings%%'",
        "server actions": "SELECT name FROM ir_act_server WHERE code LIKE '%%wechat%%' OR state = 'wechat'",
        "crons": "SELECT cron_name FROM ir_cron WHERE cron_name LIKE 'WeChat%%'",
        "reports": "SELECT report_name FROM ir_act_report_xml WHERE report_name LIKE '%%wechat%%'",
        "groups": "SELECT name FROM res_groups WHERE name::text LIKE '%%WeChat%%'",
        "privileges": "SELECT name FROM res_groups_privilege WHERE name::text LIKE '%%WeChat%%'",
        "mail templates": "SELECT name FROM mail_template WHERE body_html::text LIKE '%%wechat%%'",
        "subtypes": "SELECT name FROM mail_message_subtype WHERE res_model LIKE 'wechat.%%'",
        "messages": "SELECT id FROM mail_message WHERE model LIKE 'wechat.%%'",
        "message types": "SELECT id FROM mail_message WHERE message_type = 'wechat'",
        "notifications": "SELECT id FROM mail_notification"
        " WHERE notification_type = 'wechat' OR failure_type LIKE 'wechat%%'",
        "followers": "SELECT id FROM mail_followers WHERE res_model LIKE 'wechat.%%'",
        "activities": "SELECT id FROM mail_activity WHERE res_model LIKE 'wechat.%%'",
        "favourites": "SELECT name FROM ir_filters WHERE model_id LIKE 'wechat.%%' OR domain LIKE '%%wechat_%%'",
        "exports": "SELECT name FROM ir_exports_line WHERE name LIKE '%%wechat_%%'",
        "mappings": "SELECT column_name FROM base_import_mapping WHERE res_model LIKE 'wechat.%%'",
        "automations": "SELECT name FROM base_automation WHERE active AND filter_domain LIKE '%%wechat_%%'",
        "assets": "SELECT name FROM ir_asset WHERE path LIKE '%%wechat%%'",
    }
    return {name: rows for name, query in queries.items() if (rows := database.execute(query))}


def check_odoo_works(system: System) -> None:
    """Open the contacts and the chatter as the web client does, and change a contact."""
    views = system.admin.call(
        "res.partner", "get_views", [[False, "list"], [False, "form"], [False, "kanban"], [False, "search"]]
    )
    assert "wechat" not in str(views["views"])
    fields = {"message_type": {}, "notification_ids": {"fields": {"notification_type": {}}}}
    assert system.admin.call("mail.message", "web_search_read", [["model", "=", "res.partner"]], fields)["records"]
    # An automation without its action must not fail.
    partner = system.admin.create("res.partner", {"name": "无锡泥人张", "ref": "notify"})
    system.admin.call("res.partner", "write", [partner], {"name": "无锡泥人李"})
    assert system.admin.call("res.partner", "web_search_read", [["id", "=", partner]], {"name": {}})["records"]
    assert system.admin.call("res.partner", "web_read", [partner], {"name": {}, "message_ids": {}})
    system.admin.call("res.partner", "unlink", [partner])


def test_uninstalled_addon_leaves_nothing_and_returns(own_database: Database, own_sandbox: Sandbox) -> None:
    """Nothing is left or logged, Odoo works, and the addon can be installed again."""
    server = OdooServer(own_database.name, LOGS / "uninstall-odoo.log", cron_threads=1)
    try:
        server.wait()
        system = connect(own_database, [server], own_sandbox)
        live(system)
        [module] = system.admin.find("ir.module.module", [("name", "=", MODULE)], ["id"])
        wait_for(lambda: uninstall(system, module["id"]), "no scheduled action is in the way")
        assert find_leftovers(own_database) == {}
        check_odoo_works(system)
        with pytest.raises(OdooError):
            system.admin.find("wechat.binding", [], ["id"])
        system.admin.call("ir.module.module", "button_immediate_install", [module["id"]])
        again = connect(own_database, [server], own_sandbox)
        partner = again.merchant("南京盐水鸭")
        again.sandbox.scan("陈老板", again.code(partner)["qr_content"])
        assert again.state(partner) == "bound"
        errors = [line for line in server.read_log().splitlines() if " ERROR " in line or " CRITICAL " in line]
        assert not errors, errors[:3]
    finally:
        server.stop()
