"""What several packages name: groups, states, prefixes and limits."""

import re

from psycopg2.errors import DeadlockDetected, SerializationFailure

from odoo.exceptions import ConcurrencyError

CONCURRENCY_ERRORS = (SerializationFailure, DeadlockDetected, ConcurrencyError)
GROUP_USER = "wechat_merchant_bind.group_user"
GROUP_MANAGER = "wechat_merchant_bind.group_manager"
SCENE_PREFIX = "mb_"
# The columns that an import may have. All else follows from them.
IMPORT_FIELDS = ("partner_id", "openid", "account_id")
REQUIRED_FIELDS = ("partner_id", "openid")
FOLLOW_EVENTS = ("subscribe", "unsubscribe", "scan")
OPENID = re.compile(r"[A-Za-z0-9_-]{1,128}")
# How long a push waits for whoever locks the inbox, and its handling for another scan of the same code or person and
# for whoever writes the merchant.
LOCK_TIMEOUT = "2500ms"
# Keys of the context. Rendering for a form must not forget the new records that the form is made of.
PREVIEW = "wechat_preview"
# Where nobody has set one: all of China has this time.
DEFAULT_TZ = "Asia/Shanghai"
RECEIPT_EVENT = "templatesendjobfinish"
KINDS = [("notice", "Notice"), ("mass", "To many"), ("test", "Test"), ("welcome", "Welcome")]
STATES = [
    ("outgoing", "To send"),
    ("sending", "Sending"),
    ("sent", "Sent"),
    ("delivered", "Delivered"),
    ("unknown", "Result unknown"),
    ("failed", "Failed"),
    ("canceled", "Canceled"),
]
# Why a message did not arrive, for ``wechat.message`` and for Odoo's notification alike.
FAILURE_TYPES = [
    ("wechat_unbound", "Not bound to WeChat"),
    ("wechat_disabled", "Merchant disabled"),
    ("wechat_unfollowed", "Unfollowed"),
    ("wechat_blocked", "Refused by the recipient"),
    ("wechat_recipient", "Unknown recipient"),
    ("wechat_frequency", "Too many messages to this recipient"),
    ("wechat_template", "Template not usable"),
    ("wechat_value", "Value not allowed"),
    ("wechat_content", "Content refused"),
    ("wechat_account", "Official Account not usable"),
    ("wechat_system", "WeChat could not deliver"),
    ("wechat_receipt", "Undelivered for another reason"),
    ("wechat_refused", "Refused by WeChat"),
    ("wechat_request", "Malformed request"),
    ("wechat_expired", "No longer valid"),
    ("wechat_unknown", "Result unknown"),
    ("wechat_unsent", "Probably not sent"),
]
# Of a message that belongs to no account, because its merchant was not bound.
RETENTION_DAYS = 180
