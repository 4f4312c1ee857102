"""Base classes for the tests of this addon and of addons that build on it.

Only WeChat's HTTP interface is mocked: all code of the addon up to the request runs as in production. An addon that
sends by WeChat tests that with WechatCommon; docs/for-developers.md has an example.
"""

import email
import itertools
import time
from contextlib import contextmanager
from email.policy import default as default_policy
from unittest.mock import patch
from urllib.parse import urlsplit

from odoo import Command
from odoo.tests import HttpCase, TransactionCase, new_test_user, tagged

from ..controllers import webhook
from ..models.outbox import sender
from ..models.outbox import wechat_event as wechat_event_receipt
from ..models.outbox.wechat_message import NOTIFICATION_STATUS
from .common_api import (
    ADD_TEMPLATE_PATH,
    API_HOST,
    BACKUP_HOST,
    CALLBACK_IPS_PATH,
    CUSTOM_SEND_PATH,
    FIRST_MSGID,
    FOLLOWERS_PATH,
    QR_PATH,
    QUOTA_PATH,
    SEND_PATH,
    TEMPLATES_PATH,
    TOKEN_PATH,
    USER_PATH,
    USERS_PATH,
    WechatApiMock,
    WechatCall,
)

__all__ = [
    "ADD_TEMPLATE_PATH",
    "API_HOST",
    "BACKUP_HOST",
    "CALLBACK_IPS_PATH",
    "CUSTOM_SEND_PATH",
    "FIRST_MSGID",
    "FOLLOWERS_PATH",
    "QR_PATH",
    "QUOTA_PATH",
    "SECRET",
    "SEND_PATH",
    "TEMPLATES_PATH",
    "TOKEN_PATH",
    "USERS_PATH",
    "USER_PATH",
    "MockWechat",
    "WechatApiMock",
    "WechatCall",
    "WechatCase",
    "WechatCommon",
    "WechatHttpBase",
]

SECRET = "5ecret5ecret5ecret5ecret5ecret32"
RECEIPTS_CRON = "wechat_merchant_bind.ir_cron_apply_receipts"


class MockWechat(TransactionCase):
    """Mock WeChat's API: tests with this class need no network.

    self.wechat is the WechatApiMock of the running test. By default each call succeeds;
    self.wechat.answer(SEND_PATH, {"errcode": 43004, "errmsg": "…"}) lets the next call fail.
    """

    wechat: WechatApiMock

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not cls._registry_patched:
            # The access token and the senders use cursors of their own, which must see the records of the test.
            cls.registry_enter_test_mode_cls()
        cls._serial = itertools.count(1)

    def setUp(self):
        super().setUp()
        self._forget_wechat()

    @classmethod
    def _request_handler(cls, session, request, /, **kwargs):
        if urlsplit(request.url).hostname in (API_HOST, BACKUP_HOST):
            return cls.wechat.handle(request)
        return super()._request_handler(session, request, **kwargs)

    def _forget_wechat(self):
        type(self).wechat = WechatApiMock()
        last = self.env["wechat.message"].sudo().search([], limit=1)
        self._last_wechat_id = last.id or 0

    @contextmanager
    def mock_wechat(self):
        """Replace the mock by a new one, so that the assertions ignore earlier calls and messages.

        Use it as "with self.mock_wechat() as wechat:" around the code that sends, and call assertWechat() inside.

        :return: the new mock, also self.wechat from then on.
        """
        self._forget_wechat()
        yield self.wechat
        self.env.flush_all()

    @contextmanager
    def mock_wechat_outbox(self):
        """Collect the messages that are queued, in their order. No sender is triggered."""
        messages = []
        outbox = type(self.env["wechat.message"])
        queue = outbox._queue

        def collect(model, vals_list):
            queued = queue(model, vals_list)
            messages.extend(queued.sudo())
            return queued

        with (
            patch.object(outbox, "_queue", collect),
            patch.object(outbox, "_trigger_sender", lambda *_args, **_kwargs: None),
        ):
            yield messages

    def send_wechat_outbox(self):
        """Send the due messages as the scheduled actions do, one call after the other in the order of the outbox."""
        self.env.flush_all()
        with patch.object(sender, "THREADS", 1):
            self.env["wechat.message"]._get_sender().method_direct_trigger()
        self.env.invalidate_all()

    def receive_wechat_receipt(self, messages, status="success"):
        """Receive and apply WeChat's receipts of sent messages.

        :param wechat.message messages: the sent messages.
        :param str status: WeChat's status: "success", "failed:user block", "failed:system failed", ….
        """
        for message in messages.sudo():
            self.env["wechat.event"].sudo()._receive(
                message.account_id._get_webhook(),
                {
                    "ToUserName": message.account_id.original_id or "",
                    "FromUserName": message.openid,
                    "CreateTime": str(int(time.time())),
                    "MsgType": "event",
                    "Event": "TEMPLATESENDJOBFINISH",
                    "MsgID": message.msgid,
                    "Status": status,
                },
            )
        with patch.object(wechat_event_receipt, "LAST_LOOK_SECONDS", 0):
            self.env.ref(RECEIPTS_CRON).method_direct_trigger()
        self.env.invalidate_all()


class WechatCommon(MockWechat):
    """Provide an account, bound merchants, templates and assertions for tests of WeChat notices.

    It combines with Odoo's own classes: class OrderCase(WechatCommon, SaleCommon). cls.wechat_account is the only
    active account.
    """

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.env["wechat.account"].with_context(active_test=False).search([]).active = False
        cls.wechat_account = cls._create_wechat_account()

    # === RECORDS === #

    @classmethod
    def _create_wechat_account(cls, **values):
        """Create a service account in safe mode."""
        serial = next(cls._serial)
        return cls.env["wechat.account"].create(
            {
                "name": f"Account {serial}",
                "app_id": f"wx{serial:016x}",
                "app_secret": SECRET,
                "original_id": f"gh_{serial:012x}",
                "account_kind": "service",
                "encryption_mode": "safe",
                "bind_reply": "您好！{merchant}，公众号绑定成功！",
                **values,
            }
        )

    @classmethod
    def _make_openid(cls):
        """Return an unused OpenID."""
        return f"oTest-{next(cls._serial):022}"

    @classmethod
    def _bind_wechat(cls, partner, openid=None, account=None, **values):
        """Create the binding of a merchant or a contact without a scan.

        :param res.partner partner: the merchant or contact.
        :param str openid: an unused one by default.
        :param wechat.account account: wechat_account by default.
        :param values: other fields, such as is_subscribed=False for a follower that has left.
        :rtype: wechat.binding
        """
        cls.env.flush_all()
        binding = cls.env["wechat.binding"].create(
            {
                "partner_id": partner.id,
                "account_id": (account or cls.wechat_account).id,
                "openid": openid or cls._make_openid(),
                "last_event_at": "2026-01-01 00:00:00",
                **values,
            }
        )
        cls.env.flush_all()
        return binding

    @classmethod
    def _create_wechat_merchant(cls, name="杭州西湖茶庄", **values):
        """Create a merchant that is bound to wechat_account.

        :rtype: res.partner
        """
        merchant = cls.env["res.partner"].create({"name": name, "is_company": True, "lang": "zh_CN", **values})
        cls._bind_wechat(merchant)
        return merchant

    @classmethod
    def _create_wechat_template(cls, model, keywords, **values):
        """Create a template of wechat_account.

        :param str model: the model of its documents, such as "sale.order".
        :param dict keywords: by WeChat's key ("thing1", "amount2"), the expression of its value, such as
            "{{ object.name }}".
        :rtype: wechat.template
        """
        serial = next(cls._serial)
        return cls.env["wechat.template"].create(
            {
                "name": f"Template {serial}",
                "title": "新订单通知",
                "account_id": cls.wechat_account.id,
                "template_uid": f"template-{serial:035}",
                "model_id": cls.env["ir.model"]._get_id(model),
                "line_ids": [
                    Command.create({"key": key, "label": key, "value": value}) for key, value in keywords.items()
                ],
                **values,
            }
        )

    # === ASSERTIONS === #

    def _get_new_wechat(self, partner=None):
        """Return the messages since the begin of the test or of mock_wechat(), oldest first.

        :rtype: wechat.message
        """
        self.env.flush_all()
        domain = [("id", ">", self._last_wechat_id)]
        if partner is not None:
            domain.append(("partner_id", "=", partner.id))
        return self.env["wechat.message"].sudo().search(domain, order="id")

    def assertWechat(self, partner, state="outgoing", values=None, template=None, failure_type=False):
        """Check that a partner has exactly one message since the begin of the test or of mock_wechat().

        :param res.partner partner: the recipient.
        :param str state: the message's state: "outgoing" until send_wechat_outbox(), then "sent", and "delivered" after
            receive_wechat_receipt(); or "failed", "canceled", "unknown".
        :param dict values: the text of each keyword, as queued and, for a sent message, as WeChat received it.
        :param wechat.template template: the message's template.
        :param str failure_type: the reason of a failure, such as "wechat_unfollowed".
        :return: the message.
        :rtype: wechat.message
        """
        messages = self._get_new_wechat(partner)
        found = [(message.partner_id.display_name, message.state) for message in self._get_new_wechat()]
        self.assertEqual(len(messages), 1, f"{partner.display_name} should get one WeChat message; all: {found}")
        reason = messages.failure_reason or messages.errmsg
        self.assertEqual((messages.state, messages.failure_type), (state, failure_type), reason)
        if template:
            self.assertEqual(messages.template_id, template)
        if values is not None:
            self.assertEqual({key: datum["value"] for key, datum in messages.card["data"].items()}, values)
        if state in ("sent", "delivered"):
            calls = [call for call in self.wechat.calls if self._is_wechat_call(call, messages)]
            self.assertEqual(len(calls), 1, f"WeChat was called for it {len(calls)} times")
            self.assertEqual(calls[0].payload["data"], messages.card["data"])
        return messages

    def _is_wechat_call(self, call, message):
        return call.path == SEND_PATH and call.payload["client_msg_id"] == message.client_msg_id

    def assertNoWechat(self, partner=None):
        """Check that no message was queued or sent since the begin of the test or of mock_wechat().

        :param res.partner partner: the recipient; all recipients by default.
        """
        found = [(message.partner_id.display_name, message.state) for message in self._get_new_wechat(partner)]
        self.assertFalse(found, "There should be no WeChat message")
        if partner is None:
            self.assertFalse(self.wechat.count(SEND_PATH), "WeChat was called to send")

    def assertWechatNotification(self, mail_message, partner, state, failure_type=False):
        """Check the state of a WeChat message to a partner, in the outbox and in Odoo's notification.

        :param mail.message mail_message: the message in the chatter.
        :param res.partner partner: the recipient.
        :param str state: the state of the newest message of the outbox.
        :param str failure_type: the reason of a failure, in both.
        :return: the newest message of the outbox.
        :rtype: wechat.message
        """
        self.env.flush_all()
        self.env.invalidate_all()
        rows = self.env["wechat.message"].search(
            [("mail_message_id", "=", mail_message.id), ("partner_id", "=", partner.id)]
        )
        notifications = self.env["mail.notification"].search([("mail_message_id", "=", mail_message.id)])
        context = f"Outbox: {rows.mapped('state')}, notifications: {notifications.mapped('notification_status')}"
        self.assertEqual((rows[:1].state, rows[:1].failure_type), (state, failure_type), context)
        notification = notifications.filtered(lambda notification: notification.res_partner_id == partner)
        self.assertRecordValues(
            notification,
            [
                {
                    "notification_type": "wechat",
                    "notification_status": "exception"
                    if state == "canceled" and failure_type not in (False, "wechat_disabled")
                    else NOTIFICATION_STATUS[state],
                    "failure_type": failure_type,
                    "author_id": mail_message.author_id.id,
                    "is_read": True,
                }
            ],
        )
        return rows[:1]


@tagged("post_install", "-at_install", "wechat")
class WechatCase(WechatCommon):
    """Add users of each kind and unbound merchants, for this addon's own tests.

    self.account is in safe mode.
    """

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for code in ("zh_CN", "en_US"):
            cls.env["res.lang"]._activate_lang(code)
        cls.env.company.partner_id.tz = "Asia/Shanghai"
        cls.account = cls.wechat_account
        cls.merchant = cls._create_merchant("杭州西湖茶庄")
        cls.other_merchant = cls._create_merchant("绍兴黄酒行")
        cls.user = cls._create_user("wechat_user", "wechat_merchant_bind.group_user,base.group_partner_manager")
        cls.manager = cls._create_user(
            "wechat_manager", "wechat_merchant_bind.group_manager,base.group_partner_manager"
        )
        cls.employee = cls._create_user("wechat_employee", "base.group_user,base.group_partner_manager")
        cls.portal = cls._create_user("wechat_portal", "base.group_portal")
        cls.public = cls.env.ref("base.public_user")
        cls.env.flush_all()

    def setUp(self):
        super().setUp()
        self.startPatcher(patch.object(webhook, "_failures", webhook.FailureLimiter()))

    # === RECORDS === #

    @classmethod
    def _create_account(cls, **values):
        return cls._create_wechat_account(**values)

    @classmethod
    def _create_test_account(cls, **values):
        """Create a test account. WeChat's test accounts know only plain mode."""
        return cls._create_account(**{"account_kind": "test", "encryption_mode": "plain", **values})

    @classmethod
    def _create_merchant(cls, name, **values):
        return cls.env["res.partner"].create({"name": name, "is_company": True, "lang": "zh_CN", **values})

    @classmethod
    def _create_user(cls, login, groups, **values):
        return new_test_user(
            cls.env, login, groups=groups, **{"name": login, "lang": "en_US", "tz": "Asia/Shanghai", **values}
        )

    @classmethod
    def _create_template(cls, **values):
        """Create a template with two keywords, by default for partners."""
        lines = [
            Command.create({"key": "thing1", "label": "商家", "value": "{{ object.name }}"}),
            Command.create({"key": "character_string2", "label": "编号", "value": "SO{{ object.id }}"}),
        ]
        return cls._create_wechat_template("res.partner", {}, **{"line_ids": lines, **values})

    def _make_code(self, partner=None, user=None):
        """Generate a binding code as a user and return it with sudo."""
        code = (partner or self.merchant).with_user(user or self.user)._wechat_get_bind_code().sudo()
        self.env.flush_all()
        return code

    def _bind(self, partner=None, openid=None, account=None, **values):
        """Create the binding of a merchant without a scan."""
        return self._bind_wechat(partner or self.merchant, openid, account or self.account, **values)

    def _keep_schedule(self):
        """Postpone all scheduled actions, so that none is late or runs during a test."""
        self.env.flush_all()
        self.env.cr.execute("UPDATE ir_cron SET nextcall = now() AT TIME ZONE 'UTC' + interval '1 hour'")
        self.env.invalidate_all()

    def _get_live_binding(self, partner=None):
        return self.env["wechat.binding"].search(
            [("partner_id", "=", (partner or self.merchant).id), ("state", "=", "bound")]
        )

    def _get_operations(self, partner=None):
        return self.env["wechat.operation"].search([("partner_id", "=", (partner or self.merchant).id)], order="id")

    @contextmanager
    def _outbox(self):
        """Collect the e-mails that would be sent to a mail server, parsed from their bytes as a mail client does."""
        messages = []
        server = type(self.env["ir.mail_server"])

        def send_email(_server, message, *_args, **_kwargs):
            messages.append(email.message_from_bytes(message.as_bytes(), policy=default_policy))
            return message["Message-Id"]

        with (
            patch.object(server, "_disable_send", lambda *_args: False),
            patch.object(server, "_connect__", lambda *_args, **_kwargs: None),
            patch.object(server, "send_email", send_email),
        ):
            yield messages

    # === ASSERTIONS === #

    def assertBound(self, partner, openid, account=None):
        """Check that a merchant has exactly this live binding, and that its partner fields agree."""
        partner.invalidate_recordset()
        binding = self._get_live_binding(partner)
        self.assertEqual(
            (len(binding), binding.openid, binding.account_id),
            (1, openid, account or self.account),
            f"{partner.name} should be bound to {openid}; bindings: {partner.wechat_binding_ids.mapped('openid')}",
        )
        self.assertRecordValues(partner, [{"wechat_openid": openid, "is_wechat_bound": True, "wechat_state": "bound"}])

    def assertNotBound(self, partner):
        """Check that a merchant has no live binding, and that its partner fields agree."""
        partner.invalidate_recordset()
        binding = self._get_live_binding(partner)
        self.assertFalse(binding, f"{partner.name} should not be bound, but is to {binding.mapped('openid')}")
        self.assertRecordValues(
            partner, [{"wechat_openid": False, "is_wechat_bound": False, "wechat_state": "unbound"}]
        )

    def assertChatter(self, partner, *texts, author=None):
        """Check the texts and the author of the newest note in a merchant's chatter."""
        note = partner.message_ids.sorted("id")[-1:]
        for text in texts:
            self.assertIn(text, str(note.body), f"Chatter of {partner.name}: {partner.message_ids.mapped('body')}")
        if author:
            self.assertEqual(note.author_id, author, f"The note was signed by {note.author_id.name}")

    def assertOperations(self, partner, expected):
        """Check the operations log of a merchant.

        :param list expected: the operations, oldest first
        """
        log = self._get_operations(partner)
        self.assertEqual(log.mapped("operation"), expected, f"Log of {partner.name}: {log.mapped('note')}")


class WechatHttpBase(WechatCase, HttpCase):
    """Add Odoo's web server. WechatPushCase of common_push.py adds pushes."""
