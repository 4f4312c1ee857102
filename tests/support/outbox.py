"""The outbox of the system under test, and merchants with phones in the sandbox."""

import itertools
from dataclasses import dataclass

from support.system import System

SEND = "/cgi-bin/message/template/send"
TEMPLATES = "/cgi-bin/template/get_all_private_template"
USER_INFO = "/cgi-bin/user/info/batchget"
# The sandbox's template 新订单通知: keyword, label and expression.
KEYWORDS = [
    ("character_string1", "订单号", "SO{{ object.id }}"),
    ("amount2", "金额", "￥100.21"),
    ("thing3", "商家", "{{ object.name }}"),
    ("time4", "下单时间", "2026年11月24日 10:32"),
    ("phrase5", "订单状态", "已确认"),
]
_serial = itertools.count(1)


@dataclass
class Outbox:
    """An outbox with an archived sender, which a test runs by hand."""

    system: System
    template_id: int
    sender_id: int
    send_action_id: int

    @classmethod
    def open(cls, system: System) -> "Outbox":
        """Create a template of the sandbox's account, and archive the sender."""
        admin = system.admin
        templates = system.sandbox.account()["templates"]
        [uid] = [template["template_id"] for template in templates if template["title"] == "新订单通知"]
        [partner_model] = admin.find("ir.model", [("model", "=", "res.partner")], ["id"])
        lines = [(0, 0, {"key": key, "label": label, "value": value}) for key, label, value in KEYWORDS]
        template_id = admin.create(
            "wechat.template",
            {
                "name": "新订单通知",
                "account_id": system.account_id,
                "template_uid": uid,
                "model_id": partner_model["id"],
                "line_ids": lines,
            },
        )
        [sender] = admin.find("ir.cron", [("code", "=", "model._cron_send()")], ["id"])
        admin.call("ir.cron", "write", [sender["id"]], {"active": False})
        admin.call("wechat.account", "write", [system.account_id], {"send_rate": 1000})
        action_id = admin.create(
            "ir.actions.server",
            {
                "name": "Send",
                "model_id": partner_model["id"],
                "state": "code",
                "code": f"records._message_wechat_with_template(env['wechat.template'].browse({template_id}))",
            },
        )
        return cls(system, template_id, sender["id"], action_id)

    def close(self) -> None:
        """Activate the sender again."""
        self.system.admin.call("ir.cron", "write", [self.sender_id], {"active": True})

    def bind(self, name: str) -> int:
        """Create a merchant with a phone that has scanned its code long ago."""
        partner_id = self.system.merchant(name)
        self.system.sandbox.scan(name, self.system.code(partner_id)["qr_content"])
        self.system.database.execute(
            "UPDATE wechat_binding SET last_event_at = last_event_at - interval '1 hour' WHERE partner_id = %s",
            partner_id,
        )
        return partner_id

    def new_merchant(self) -> int:
        """Bind a merchant with a name of its own."""
        return self.bind(f"茶庄{next(_serial)}号")

    def queue(self, *partner_ids: int) -> list[int]:
        """Notify merchants; return the ids of the messages, in the same order."""
        context = {"active_model": "res.partner", "active_ids": list(partner_ids), "active_id": partner_ids[0]}
        self.system.admin.call("ir.actions.server", "run", [self.send_action_id], context=context)
        rows = self.system.admin.find("wechat.message", [("partner_id", "in", partner_ids)], ["partner_id"], order="id")
        newest = {row["partner_id"]: row["id"] for row in rows}
        return [newest[partner_id] for partner_id in partner_ids]

    def drain(self) -> None:
        """Run the sender until no message is due."""
        self.system.admin.call("ir.cron", "method_direct_trigger", [self.sender_id])

    def make_due(self, *message_ids: int) -> None:
        """Make waiting messages due."""
        self.system.database.execute(
            """
            UPDATE wechat_message
               SET next_attempt_at = now() AT TIME ZONE 'UTC' - interval '1 second'
             WHERE id = ANY(%s)
            """,
            list(message_ids),
        )

    def read(self, message_id: int) -> dict:
        """Return the row of a message."""
        return self.system.database.execute("SELECT * FROM wechat_message WHERE id = %s", message_id)[0]

    def notification(self, message_id: int) -> tuple[str, str | None]:
        """Return status and failure type of Odoo's notification of a message."""
        [row] = self.system.database.execute(
            """
            SELECT notification_status, notification.failure_type
              FROM mail_notification AS notification
              JOIN wechat_message AS message ON message.notification_id = notification.id
             WHERE message.id = %s
            """,
            message_id,
        )
        return row["notification_status"], row["failure_type"]

    def fail(self, path: str = SEND, **fault: object) -> None:
        """Plan a failure of the next call of a path; see the sandbox for the ways to fail."""
        self.system.sandbox.post("faults", path=path, **fault)

    def reset(self) -> None:
        """Remove planned failures, suspensions and waiting messages."""
        admin = self.system.admin
        self.system.sandbox.post("faults/release")
        waiting = admin.find("wechat.message", [("state", "=", "outgoing")], ["id"])
        admin.call("wechat.message", "action_cancel", [row["id"] for row in waiting])
        self.reset_stops()

    def reset_stops(self) -> None:
        """Resume the account and the template."""
        admin = self.system.admin
        admin.call("wechat.account", "action_resume_sending", [self.system.account_id])
        admin.call("wechat.template", "action_resume", [self.template_id])
