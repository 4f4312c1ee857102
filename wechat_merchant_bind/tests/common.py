"""What the tests of this addon, and of addons that build on it, have in common.

WeChat is stood in for at its HTTP edge only: everything from the first line of the addon to the bytes that leave this
machine is the real code.
"""

import email
import io
import itertools
import json
from collections import defaultdict, deque
from contextlib import contextmanager
from email.policy import default as default_policy
from unittest.mock import patch
from urllib.parse import parse_qsl, urlsplit

import requests
import zxingcpp
from PIL import Image

from odoo import Command
from odoo.tests import HttpCase, TransactionCase, new_test_user, tagged

from ..controllers import webhook
from ..models.wechat_message import NOTIFICATION_STATUS

API_HOST = "api.weixin.qq.com"
BACKUP_HOST = "api2.weixin.qq.com"
TOKEN_PATH = "/cgi-bin/stable_token"
QR_PATH = "/cgi-bin/qrcode/create"
USER_PATH = "/cgi-bin/user/info"
USERS_PATH = "/cgi-bin/user/info/batchget"
TEMPLATES_PATH = "/cgi-bin/template/get_all_private_template"
ADD_TEMPLATE_PATH = "/cgi-bin/template/api_add_template"
SEND_PATH = "/cgi-bin/message/template/send"
FOLLOWERS_PATH = "/cgi-bin/user/get"
QUOTA_PATH = "/cgi-bin/openapi/quota/get"
CALLBACK_IPS_PATH = "/cgi-bin/getcallbackip"

# As large as WeChat's: neither a float nor a 32-bit column holds it.
FIRST_MSGID = 3717005636572528642

SECRET = "5ecret5ecret5ecret5ecret5ecret32"


class WechatCall:
    """One request that the addon made to WeChat."""

    def __init__(self, request):
        url = urlsplit(request.url)
        self.host = url.hostname
        self.path = url.path
        self.query = dict(parse_qsl(url.query))
        self.payload = json.loads(request.body) if request.body else None

    def __repr__(self):
        return f"<{self.path} {self.payload}>"


class WechatApiMock:
    """Answers as WeChat's API does where all goes well, and otherwise as a test has asked for.

    It knows nothing but the calls that the addon makes: any other fails the test.
    """

    def __init__(self):
        self.calls = []
        self.token = "access-token-1"
        self._answers = defaultdict(deque)
        self._serial = itertools.count(1)

    def answer(self, path, *answers):
        """Give the next calls of a path these answers, one each.

        :param answers: a dict (WeChat's JSON), an int (an HTTP status), an exception of ``requests`` to raise, or a
            function that takes the :class:`WechatCall` and returns one of these
        """
        self._answers[path].extend(answers)

    def count(self, path):
        """Return how often a path was called."""
        return sum(call.path == path for call in self.calls)

    def renew_token(self):
        """Let WeChat give out another access token from now on, and refuse the former."""
        self.token = f"access-token-{next(self._serial) + 1}"

    def handle(self, request):
        """Record a request and return its response."""
        call = WechatCall(request)
        self.calls.append(call)
        if self._answers[call.path]:
            answer = self._answers[call.path].popleft()
        else:
            answer = self._get_answer(call)
        if callable(answer):
            answer = answer(call)
        if isinstance(answer, Exception):
            raise answer
        return self._make_response(request, answer)

    def _get_answer(self, call):
        if call.path == TOKEN_PATH:
            assert call.payload["force_refresh"] is False, "A forced refresh kills the token of every other worker"
            return {"access_token": self.token, "expires_in": 7200}
        if call.query.get("access_token") != self.token:
            return {"errcode": 40001, "errmsg": "invalid credential, access_token is invalid or not latest rid: 1-2-3"}
        if call.path == QR_PATH:
            serial = next(self._serial)
            return {
                "ticket": f"gQH47joAAAAAAAAA+{serial}/==",
                "url": f"http://weixin.qq.com/q/02test{serial:06}",
                "expire_seconds": call.payload["expire_seconds"],
            }
        if call.path == USER_PATH:
            return {"subscribe": 1, "openid": call.query["openid"]}
        if call.path == USERS_PATH:
            return {"user_info_list": [{"subscribe": 1, **user} for user in call.payload["user_list"]]}
        if call.path == TEMPLATES_PATH:
            return {"template_list": [{"template_id": "t1", "title": "订单通知"}]}
        if call.path == ADD_TEMPLATE_PATH:
            return {"template_id": f"library-{call.payload['template_id_short']}"}
        if call.path == SEND_PATH:
            return {"errcode": 0, "errmsg": "ok", "msgid": FIRST_MSGID + next(self._serial)}
        if call.path == FOLLOWERS_PATH:
            return {"total": 0, "count": 0, "next_openid": ""}
        if call.path == QUOTA_PATH:
            return {"errcode": 0, "errmsg": "ok", "quota": {"daily_limit": 100_000, "used": 0, "remain": 100_000}}
        if call.path == CALLBACK_IPS_PATH:
            return {"ip_list": ["101.226.103.0/25"]}
        raise AssertionError(f"The addon made a call that no test knows: {call}")

    def _make_response(self, request, answer):
        response = requests.Response()
        response.request = request
        response.url = request.url
        response.status_code = answer if isinstance(answer, int) else 200
        body = b"<html>error</html>" if isinstance(answer, int) else json.dumps(answer).encode()
        response.raw = io.BytesIO(body)
        return response


@tagged("post_install", "-at_install", "wechat")
class WechatCase(TransactionCase):
    """Accounts, merchants and users, and a stand-in for WeChat's API.

    ``self.wechat`` is the stand-in of the running test; ``self.account`` is in safe mode.
    """

    wechat: WechatApiMock

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not cls._registry_patched:
            # The access token has a cursor of its own, which must see what the test has made.
            cls.registry_enter_test_mode_cls()
        cls._serial = itertools.count(1)
        for code in ("zh_CN", "en_US"):
            cls.env["res.lang"]._activate_lang(code)
        cls.env.company.partner_id.tz = "Asia/Shanghai"
        cls.env["wechat.account"].with_context(active_test=False).search([]).active = False
        cls.account = cls._create_account()
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
        type(self).wechat = WechatApiMock()
        self.startPatcher(patch.object(webhook, "_failures", webhook.FailureLimiter()))

    @classmethod
    def _request_handler(cls, session, request, /, **kwargs):
        if urlsplit(request.url).hostname in (API_HOST, BACKUP_HOST):
            return cls.wechat.handle(request)
        return super()._request_handler(session, request, **kwargs)

    # === RECORDS === #

    @classmethod
    def _create_account(cls, **values):
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
    def _create_test_account(cls, **values):
        """Create an account in plain mode, as WeChat's test accounts are."""
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
    def _make_openid(cls):
        """Return an OpenID that nobody has."""
        return f"oTest-{next(cls._serial):022}"

    @classmethod
    def _create_template(cls, **values):
        """Create a template with two keywords, for partners unless told otherwise."""
        serial = next(cls._serial)
        return cls.env["wechat.template"].create(
            {
                "name": f"Template {serial}",
                "title": "新订单通知",
                "account_id": cls.account.id,
                "template_uid": f"template-{serial:035}",
                "model_id": cls.env["ir.model"]._get_id("res.partner"),
                "line_ids": [
                    Command.create({"key": "thing1", "label": "商家", "value": "{{ object.name }}"}),
                    Command.create({"key": "character_string2", "label": "编号", "value": "SO{{ object.id }}"}),
                ],
                **values,
            }
        )

    def _make_code(self, partner=None, user=None):
        """Generate a binding code as a user does and return it sudoed."""
        code = (partner or self.merchant).with_user(user or self.user)._wechat_get_bind_code().sudo()
        self.env.flush_all()
        return code

    def _bind(self, partner=None, openid=None, account=None, **values):
        """Bind a merchant without a scan, as an earlier scan has left it."""
        self.env.flush_all()
        binding = self.env["wechat.binding"].create(
            {
                "partner_id": (partner or self.merchant).id,
                "account_id": (account or self.account).id,
                "openid": openid or self._make_openid(),
                "last_event_at": "2026-01-01 00:00:00",
                **values,
            }
        )
        self.env.flush_all()
        return binding

    def _get_live_binding(self, partner=None):
        return self.env["wechat.binding"].search(
            [("partner_id", "=", (partner or self.merchant).id), ("state", "=", "bound")]
        )

    def _get_operations(self, partner=None):
        return self.env["wechat.operation"].search([("partner_id", "=", (partner or self.merchant).id)], order="id")

    @contextmanager
    def _outbox(self):
        """Collect the e-mails that would leave for a mail server, read back from their bytes as a mail client does."""
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

    @contextmanager
    def mock_wechat_outbox(self):
        """Collect the messages that are put into the outbox, in their order. No lane is woken to send them."""
        messages = []
        outbox = type(self.env["wechat.message"])
        queue = outbox._queue

        def collect(model, vals_list):
            queued = queue(model, vals_list)
            messages.extend(queued.sudo())
            return queued

        with (
            patch.object(outbox, "_queue", collect),
            patch.object(outbox, "_trigger_lanes", lambda *_args, **_kwargs: None),
        ):
            yield messages

    def _read_picture(self, content):
        """Return the text of the one QR code in a picture."""
        [code] = zxingcpp.read_barcodes(Image.open(io.BytesIO(content)).convert("L"))
        return code.text

    # === ASSERTIONS === #

    def assertBound(self, partner, openid, account=None):
        """Check that a merchant has exactly this live binding, in all places that show it."""
        partner.invalidate_recordset()
        binding = self._get_live_binding(partner)
        self.assertEqual(
            (len(binding), binding.openid, binding.account_id),
            (1, openid, account or self.account),
            f"{partner.name} should be bound to {openid}; bindings: {partner.wechat_binding_ids.mapped('openid')}",
        )
        self.assertRecordValues(partner, [{"wechat_openid": openid, "is_wechat_bound": True, "wechat_state": "bound"}])

    def assertNotBound(self, partner):
        """Check that a merchant has no live binding, in all places that would show it."""
        partner.invalidate_recordset()
        binding = self._get_live_binding(partner)
        self.assertFalse(binding, f"{partner.name} should not be bound, but is to {binding.mapped('openid')}")
        self.assertRecordValues(
            partner, [{"wechat_openid": False, "is_wechat_bound": False, "wechat_state": "unbound"}]
        )

    def assertChatter(self, partner, *texts, author=None):
        """Check that the newest note in a merchant's chatter has these texts, and who signed it."""
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

    def assertWechatNotification(self, mail_message, partner, state, failure_type=False):
        """Check what has become of a WeChat message to one partner: in the outbox, and in Odoo's notification.

        :param mail.message mail_message: the message in the chatter.
        :param res.partner partner: the recipient.
        :param str state: the state of the newest message of the outbox.
        :param str failure_type: of both.
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
                    "notification_status": NOTIFICATION_STATUS[state],
                    "failure_type": failure_type,
                    "author_id": mail_message.author_id.id,
                    "is_read": True,
                }
            ],
        )
        return rows[:1]


class WechatHttpBase(WechatCase, HttpCase):
    """The same with Odoo's web server; see :class:`.common_push.WechatPushCase` for pushes."""
