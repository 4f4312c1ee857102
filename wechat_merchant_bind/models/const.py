"""Constants of several packages: groups, states, prefixes and limits."""

import re

from psycopg2.errors import DeadlockDetected, SerializationFailure

from odoo.exceptions import ConcurrencyError

CONCURRENCY_ERRORS = (SerializationFailure, DeadlockDetected, ConcurrencyError)
GROUP_USER = "wechat_merchant_bind.group_user"
GROUP_MANAGER = "wechat_merchant_bind.group_manager"
SCENE_PREFIX = "mb_"
# Columns of an import; the other values come from these.
IMPORT_FIELDS = ("partner_id", "openid", "account_id")
REQUIRED_FIELDS = ("partner_id", "openid")
FOLLOW_EVENTS = ("subscribe", "unsubscribe", "scan")
OPENID = re.compile(r"[A-Za-z0-9_-]{1,128}")
# The time that a push waits for a lock of the inbox, and its handling for another scan of the same code or user and for
# another transaction that writes the merchant.
LOCK_TIMEOUT = "2500ms"
# Context key: rendering for a form must not clear the cache, which holds the new records of the form.
PREVIEW = "wechat_preview"
# Used where no time zone is set: all of China has this time.
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
# Failure types of wechat.message and of Odoo's notification.
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
]
# Of messages without an account, because the merchant was not bound.
RETENTION_DAYS = 180
