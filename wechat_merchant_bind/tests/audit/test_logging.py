import ast
import logging
import re
from pathlib import Path
from unittest.mock import patch

from odoo.tests import tagged

from ... import models
from ...models.outbox import wechat_event as outbox_event
from ..common import QUOTA_PATH, TEMPLATES_PATH, USERS_PATH
from ..common_outbox import SENDER, SENDER_MODULE, OutboxCase
from ..common_push import WechatPushCase

# The number, because Odoo also gives the name INFO to a level of its own.
INFO = logging.INFO
MODELS = "odoo.addons.wechat_merchant_bind.models"
ADDON = Path(models.__file__).parent.parent
# The form documented in docs/monitoring.md: the area, the event, then names and values.
FORM = re.compile(r"wechat\.[a-z]+: [A-Za-z][A-Za-z ,]*[a-z]( [a-z_]+=%(s|\.1f))*")
AREAS = {
    *("wechat.webhook", "wechat.inbox", "wechat.receipts", "wechat.outbox", "wechat.notices", "wechat.templates"),
    *("wechat.api", "wechat.quota", "wechat.codes", "wechat.bindings", "wechat.outcomes", "wechat.health"),
}
LEVELS = ("debug", "info", "warning", "error", "exception")


def find_lines():
    """Yield the place and the text of every log line of the addon."""
    for path in sorted(ADDON.rglob("*.py")):
        if "tests" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS
            if is_call and getattr(node.func.value, "id", "") == "_logger":
                yield f"{path.name}:{node.lineno}", node.args[0]


@tagged("post_install", "-at_install", "wechat")
class TestForm(OutboxCase):
    """All log lines have one form, for monitoring."""

    def test_every_line_has_the_documented_form(self):
        areas = set()
        for place, text in find_lines():
            with self.subTest(place):
                self.assertIsInstance(text, ast.Constant, "The text must be a constant, followed by the values")
                self.assertRegex(text.value, rf"\A{FORM.pattern}\Z")
                areas.add(text.value.partition(":")[0])
        self.assertEqual(areas, AREAS)

    def test_a_run_that_sent_is_logged(self):
        self._queue(count=2)
        self.env.flush_all()
        with self.assertLogs(SENDER_MODULE, INFO) as logs:
            self.env.ref(SENDER).method_direct_trigger()
        ended = [line for line in logs.output if "run ended" in line]
        self.assertRegex("".join(ended), r"INFO:.*wechat\.outbox: run ended calls=2 seconds=\d+\.\d has_time=True")
        with self.assertNoLogs(SENDER_MODULE, INFO):
            self.env.ref(SENDER).method_direct_trigger()

    def test_pauses_and_suspensions_are_logged(self):
        outbox = SENDER_MODULE
        self._queue()
        self.wechat.answer("/cgi-bin/message/template/send", {"errcode": 45011, "errmsg": "freq limit rid: 1-2-3"})
        with self.assertLogs(outbox, "WARNING") as logs:
            self._process_queue()
        [line] = logs.output
        self.assertIn(f"WARNING:{outbox}:wechat.outbox: paused account={self.account.id} seconds=", line)
        self.assertIn("45011 freq limit rid: 1-2-3", line)
        self.account.action_resume_sending()
        self._queue(self.other_merchant)
        self._bind(self.other_merchant)
        self._queue(self.other_merchant)
        self.wechat.answer("/cgi-bin/message/template/send", {"errcode": 48001, "errmsg": "api unauthorized rid: 4"})
        with self.assertLogs(outbox, "ERROR") as logs:
            self._process_queue()
        self.assertIn(f"account={self.account.id} model=wechat.account id={self.account.id} error=", logs.output[0])
        self.assertNotIn(self.openid, "".join(logs.output))

    def test_the_quota_is_logged(self):
        quota = f"{MODELS}.account.wechat_account"
        self.wechat.answer(
            QUOTA_PATH, {"errcode": 0, "errmsg": "ok", "quota": {"daily_limit": 100, "used": 7, "remain": 93}}, 502
        )
        with self.assertLogs(quota, INFO) as logs:
            self.account._check_quota()
            self.account._check_quota()
        known, unknown = logs.output
        self.assertEqual(known, f"INFO:{quota}:wechat.quota: known account={self.account.id} used=7 limit=100")
        self.assertIn(f"wechat.quota: not known account={self.account.id} error=", unknown)

    def test_reconciliations_are_logged(self):
        reconciliation = f"{MODELS}.inbox.wechat_binding"
        self.wechat.answer(USERS_PATH, {"user_info_list": [{"subscribe": 1, "openid": self.openid}]})
        with self.assertLogs(reconciliation, INFO) as logs:
            self.env.ref("wechat_merchant_bind.ir_cron_reconcile").method_direct_trigger()
        self.assertIn(f"wechat.bindings: compared account={self.account.id} bindings=1", logs.output[0])

    def test_unreadable_templates_are_logged(self):
        templates = f"{MODELS}.channel.wechat_account"
        self.wechat.answer(TEMPLATES_PATH, 502)
        with self.assertLogs(templates, "WARNING") as logs:
            self.env.ref("wechat_merchant_bind.ir_cron_sync_templates").method_direct_trigger()
        self.assertIn(f"wechat.templates: not read account={self.account.id} error=", logs.output[0])


class TestPushes(WechatPushCase):
    def test_handled_pushes_are_logged(self):
        handling = f"{MODELS}.inbox.wechat_event"
        code, openid = self._make_code(), self._make_openid()
        with self.assertLogs(handling, INFO) as logs:
            self._push_scan(code, openid)
        values = f"account={self.account.id} event={self._get_events().id} kind=scan state=done attempts=1"
        self.assertEqual(logs.output, [f"INFO:{handling}:wechat.inbox: handled {values}"])
        self.assertNotIn(openid, "".join(logs.output))

    def test_applied_receipts_are_logged(self):
        receipts = f"{MODELS}.outbox.wechat_event"
        for number in range(2):
            self._push_event("TEMPLATESENDJOBFINISH", self._make_openid(), MsgID=number + 1, Status="success")
        self.startPatcher(patch.object(outbox_event, "LAST_LOOK_SECONDS", 0))
        with self.assertLogs(receipts, INFO) as logs:
            self.env.ref("wechat_merchant_bind.ir_cron_apply_receipts").method_direct_trigger()
        self.assertEqual(logs.output, [f"INFO:{receipts}:wechat.receipts: applied receipts=2"])

    def test_refused_pushes_are_logged(self):
        webhook = "odoo.addons.wechat_merchant_bind.controllers.webhook"
        with self.assertLogs(webhook, "WARNING") as logs:
            self._push_event("VIEW", self._make_openid(), EventKey="x", push_options={"key": "B" * 42 + "A"})
        expected = f"WARNING:{webhook}:wechat.webhook: push refused account={self.account.id} reason=undecipherable"
        self.assertIn(expected, logs.output[0])
