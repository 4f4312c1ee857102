"""What the stand-in platform knows: Official Accounts, their followers and chats, codes and tokens.

All of it lives in memory in one process; nothing here does I/O (see `storage.py`).
"""

import base64
import hashlib
import re
import secrets
import time
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field, fields

from crypto import CryptoError, aes_key
from templates import default_templates

# The account that exists at start, so that a demo works without any configuration. Public on purpose: it opens nothing
# but this stand-in.
DEFAULT_SECRET = "5a9db0c0ffee00015a9db0c0ffee0001"  # nosec B105
DEFAULT_TOKEN = "sandboxtoken0001"  # nosec B105
DEFAULT_ACCOUNT = {
    "app_id": "wx5a9db0c0ffee0001",
    "secret": DEFAULT_SECRET,
    "original_id": "gh_5a9db0c0ffee",
    "name": "茗山供应链",
    "kind": "service",
    "token": DEFAULT_TOKEN,
    "encoding_aes_key": "c2FuZGJveGtleXNhbmRib3hrZXlzYW5kYm94a2V5MDA",
    "mode": "safe",
}

OPENID = re.compile(r"o[A-Za-z0-9_-]{27}")
APP_ID = re.compile(r"wx[0-9a-f]{16}")
ORIGINAL_ID = re.compile(r"gh_[0-9a-z]{6,20}")
# Settings that are numbers, none of them below zero.
NUMBERS = [
    "token_ttl",
    "push_timeout",
    "push_retries",
    "retry_delay",
    "mark_fail_threshold",
    "mark_fail_seconds",
    "receipt_delay",
]
CHAT_LENGTH = 100
TEST_ACCOUNT_FOLLOWERS = 100
# WeChat counts a message with the same client_msg_id to the same follower once within 10 minutes.
CLIENT_MSG_ID_SECONDS = 600
DEDUPE_ENTRIES = 200_000
CODES_KEPT = 200_000


class SandboxError(Exception):
    """A mistake of the sandbox's user (not of the API caller). `status` is the HTTP status of the answer."""

    def __init__(self, message: str, status: int = 400):
        self.status = status
        super().__init__(message)


@dataclass
class Code:
    """A parametric QR code. `expires_at` is None for a permanent one; `scene` is what WeChat pushes as EventKey."""

    app_id: str
    ticket: str
    url: str
    action_name: str
    scene: str
    created_at: float
    expires_at: float | None

    def expired(self) -> bool:
        """Whether the code's time has passed; a permanent one never expires."""
        return self.expires_at is not None and time.time() >= self.expires_at


@dataclass
class Follower:
    """One WeChat user as one account sees him, with his chat.

    `windows` are the chances to write to him as customer service, side by side: [[until, messages left]].
    """

    openid: str
    name: str
    subscribed: bool = False
    subscribe_time: int = 0
    subscribe_scene: str = "ADD_SCENE_OTHERS"
    qr_scene: str = ""
    blocked: bool = False
    blacklisted: bool = False
    messages: deque = field(default_factory=lambda: deque(maxlen=CHAT_LENGTH))
    windows: list = field(default_factory=list)

    def open_window(self, seconds: float, count: int):
        """Allow `count` customer service messages within `seconds`, beside what is allowed already.

        A former chance goes only when the new one lasts as long and gives as many messages.
        """
        until = time.time() + seconds
        self.windows = [window for window in self.windows if window[0] > until or window[1] > count]
        self.windows.append([until, count])

    def use_window(self) -> bool | None:
        """Use up one customer service message of the best chance: True if one was left, None if no chance is open.

        Chances do not add up: WeChat gives the greatest number and the longest time of them (可发送客服消息条数不累加,
        as the mini program's page 客服消息下发条件说明 has it), so that one message counts in all of them.
        """
        now = time.time()
        self.windows = [window for window in self.windows if window[0] > now]
        if not self.windows:
            return None
        allowed = any(left for _until, left in self.windows)
        for window in self.windows:
            window[1] = max(0, window[1] - 1)
        return allowed

    def summary(self) -> dict:
        """The follower as JSON, with the time and text of his last message instead of the whole chat."""
        last = self.messages[-1] if self.messages else None
        return {
            "openid": self.openid,
            "name": self.name,
            "subscribed": self.subscribed,
            "blocked": self.blocked,
            "blacklisted": self.blacklisted,
            "last_time": last and last["time"],
            "last_text": last and last["text"],
        }


@dataclass
class TokenSlot:
    """The tokens of one kind (plain or stable): the current one, and when forced refreshes happened."""

    current: str = ""
    expires_at: float = 0.0
    forced: list = field(default_factory=list)


@dataclass
class Settings:
    """What the console of an Official Account sets (`POST /sandbox/accounts`), and how the platform treats it."""

    app_id: str
    secret: str = ""
    original_id: str = ""
    name: str = ""
    kind: str = "service"
    token: str = ""
    encoding_aes_key: str = ""
    mode: str = "plain"
    webhook_url: str | None = None
    ip_allow: list | None = None
    verified: bool = True
    # App ID of the account whose followers this one has taken over (账号迁移), see State.move
    moved_from: str | None = None
    # {API path: calls a day}, over the defaults in quotas.py
    quotas: dict = field(default_factory=dict)
    token_ttl: float = 7200
    redelivery: bool = True
    # How pushes go: seconds for one try, tries after the first, seconds between tries, failed tries a minute until
    # WeChat gives up (MarkFail) and for how many seconds.
    push_timeout: float = 5.0
    push_retries: int = 3
    retry_delay: float = 0.1
    mark_fail_threshold: int = 100
    mark_fail_seconds: float = 60
    # Receipts of template messages: "after" the send's answer, "before" it, or "off"; their delay in seconds; and a
    # Status that replaces the true one (such as "failed:freq limit").
    receipts: str = "after"
    receipt_delay: float = 0.0
    receipt_status: str | None = None
    # The answer to a repeated client_msg_id: 0 for "ok" and the first msgid, else an errcode, such as 45065, and
    # the first msgid as msg_id. WeChat documents neither.
    duplicate_answer: int = 0


@dataclass
class Account(Settings):
    """An Official Account: its settings, and its state."""

    templates: dict = field(default_factory=dict)
    followers: dict = field(default_factory=dict)
    openids: dict = field(default_factory=dict)
    recent: OrderedDict = field(default_factory=OrderedDict)
    slots: dict = field(default_factory=lambda: {"plain": TokenSlot(), "stable": TokenSlot()})
    used: Counter = field(default_factory=Counter)
    used_day: int = 0
    clears: list = field(default_factory=list)
    sent: OrderedDict = field(default_factory=OrderedDict)
    pushes: deque = field(default_factory=lambda: deque(maxlen=50))
    failures: int = 0
    failures_since: float = 0.0
    suspended_until: float = 0.0

    def settings(self) -> dict:
        """The settings alone, {name: value}, without the account's state."""
        return {item.name: getattr(self, item.name) for item in fields(Settings)}

    def configure(self, data: dict):
        """Take over settings, or none of them.

        :raises SandboxError: an unknown setting or a value that the real console would refuse
        """
        unknown = set(data) - set(self.settings())
        if unknown:
            raise SandboxError(f"unknown settings: {', '.join(sorted(unknown))}")
        new = {**self.settings(), **data}
        checks = {
            "app_id": APP_ID.fullmatch(new["app_id"]),
            "secret": re.fullmatch(r"[0-9a-f]{32}", new["secret"]),
            "original_id": ORIGINAL_ID.fullmatch(new["original_id"]),
            "kind": new["kind"] in ("service", "test"),
            "token": re.fullmatch(r"[A-Za-z0-9]{3,32}", new["token"]),
            "mode": new["mode"] in ("plain", "compatible", "safe"),
            "receipts": new["receipts"] in ("after", "before", "off"),
            "webhook_url": new["webhook_url"] is None or re.match(r"https?://[^/]", new["webhook_url"]),
            "ip_allow": new["ip_allow"] is None or isinstance(new["ip_allow"], list),
            "quotas": isinstance(new["quotas"], dict) and all(isinstance(n, int) for n in new["quotas"].values()),
            **{name: isinstance(new[name], (int, float)) and new[name] >= 0 for name in NUMBERS},
        }
        for name, valid in checks.items():
            if not valid:
                raise SandboxError(f"{name}: not a valid value")
        if new["kind"] == "test" and new["mode"] != "plain":
            raise SandboxError("mode: a test account (测试号) knows only plain")
        if new["mode"] != "plain" or new["encoding_aes_key"]:
            try:
                aes_key(new["encoding_aes_key"])
            except CryptoError as error:
                raise SandboxError(f"encoding_aes_key: {error}") from error
        for name, value in data.items():
            setattr(self, name, value)
        if any(name.startswith("mark_fail") or name == "webhook_url" for name in data):
            self.failures, self.suspended_until = 0, 0.0

    def follower(self, user: str, create: bool = False) -> Follower:
        """Return the follower with this OpenID or name.

        :param create: make one that does not follow yet; its OpenID is derived from app id and name, so that the same
            name gets the same OpenID again after a reset
        :raises SandboxError: unknown and not to be created
        """
        user = str(user or "").strip()
        found = self.followers.get(user) or self.followers.get(self.openids.get(user, ""))
        if found:
            return found
        if not create or not user:
            raise SandboxError(f"unknown user {user!r}", 404)
        if OPENID.fullmatch(user):
            return self.add_follower(Follower(user, f"微信用户{user[-4:]}"))
        digest = hashlib.sha256(f"{self.app_id}:{user}".encode()).digest()
        return self.add_follower(Follower("o" + base64.urlsafe_b64encode(digest).decode()[:27], user))

    def add_follower(self, follower: Follower) -> Follower:
        """Enter a follower under his OpenID and his name, and return him."""
        self.followers[follower.openid] = follower
        self.openids[follower.name] = follower.openid
        self.recent[follower.openid] = None
        return follower

    def chat(self, follower: Follower, sender: str, kind: str, text: str, **more) -> dict:
        """Append to a follower's chat. `sender`: "user", "account", "system"; `kind`: text, template, event, notice."""
        message = {"time": round(time.time(), 3), "from": sender, "type": kind, "text": text, **more}
        follower.messages.append(message)
        self.recent[follower.openid] = None
        self.recent.move_to_end(follower.openid)
        return message

    def remember_sent(self, openid: str, client_msg_id: str, msgid: int):
        """Keep the msgid of a sent message for `already_sent`; forget those older than 10 minutes."""
        now = time.time()
        self.sent[openid, client_msg_id] = (now, msgid)
        while self.sent and (
            len(self.sent) > DEDUPE_ENTRIES or now - next(iter(self.sent.values()))[0] > CLIENT_MSG_ID_SECONDS
        ):
            self.sent.popitem(last=False)

    def already_sent(self, openid: str, client_msg_id: str) -> int | None:
        """Return the msgid that this client_msg_id got within the last 10 minutes."""
        entry = self.sent.get((openid, client_msg_id))
        return entry[1] if entry and time.time() - entry[0] <= CLIENT_MSG_ID_SECONDS else None


class State:
    """The whole platform. `version` grows with every change that a page could show; `changed` tells the listeners."""

    def __init__(self):
        self.accounts: dict[str, Account] = {}
        self.codes: OrderedDict[str, Code] = OrderedDict()
        self.codes_by_url: dict[str, Code] = {}
        self.permanent_codes: Counter[str] = Counter()
        self.tokens: OrderedDict[str, dict] = OrderedDict()
        self.version = 0
        self.listeners = []
        self.last_msgid = 0
        self.ensure_default()

    def ensure_default(self):
        """Create the default account when there is none at all."""
        if not self.accounts:
            self.configure_account(DEFAULT_ACCOUNT)

    def changed(self):
        """Raise the version and call the listeners: after every change that a page could show."""
        self.version += 1
        for listener in self.listeners:
            listener()

    def configure_account(self, data: dict) -> Account:
        """Create or update the account `data["app_id"]`. What a new account lacks (secret, ids, keys) is made up."""
        app_id = data.get("app_id")
        account = self.accounts.get(app_id)
        if account is None:
            account = Account(
                app_id=str(app_id),
                secret=secrets.token_hex(16),
                original_id=f"gh_{secrets.token_hex(6)}",
                name=str(app_id),
                token=secrets.token_hex(8),
                encoding_aes_key=base64.b64encode(secrets.token_bytes(32)).decode().rstrip("="),
            )
            account.configure(data)
            account.templates = default_templates(account.app_id)
            self.accounts[account.app_id] = account
        else:
            account.configure(data)
        self.changed()
        return account

    def account(self, app_id: str | None = None) -> Account:
        """Return an account; without app id the one that was configured first.

        :raises SandboxError: no account with this app id
        """
        if app_id:
            if app_id not in self.accounts:
                raise SandboxError(f"unknown app_id {app_id!r}", 404)
            return self.accounts[app_id]
        return next(iter(self.accounts.values()))

    def move(self, former: Account, account: Account) -> int:
        """Move the followers of an account to another, as 账号迁移 does: each gets a new OpenID.

        :return: their number
        :raises SandboxError: both are the same account
        """
        if former is account:
            raise SandboxError("an account cannot move to itself")
        movers = [follower for follower in former.followers.values() if follower.subscribed]
        for follower in movers:
            new = account.follower(follower.name, create=True)
            new.subscribed, new.subscribe_time = True, int(time.time())
            new.subscribe_scene = "ADD_SCENE_ACCOUNT_MIGRATION"
            follower.subscribed = False
        account.moved_from = former.app_id
        self.changed()
        return len(movers)

    def add_code(self, code: Code):
        """Enter a code; the oldest ones beyond CODES_KEPT are forgotten."""
        self.codes[code.ticket] = code
        self.codes_by_url[code.url] = code
        self.permanent_codes[code.app_id] += code.expires_at is None
        while len(self.codes) > CODES_KEPT:
            _ticket, old = self.codes.popitem(last=False)
            del self.codes_by_url[old.url]
            self.permanent_codes[old.app_id] -= old.expires_at is None
        self.changed()

    def next_msgid(self) -> int:
        """A growing 63-bit number like WeChat's (3717005636572528642): too large for a float or a 32-bit column."""
        self.last_msgid = max(self.last_msgid + 1, int(time.time() * 1000) << 21)
        return self.last_msgid

    def reset(self, keep: list):
        """Forget everything but the default account.

        :param keep: "accounts" (settings and templates), "followers" (with their chats), "codes", "tokens"
        """
        unknown = set(keep) - {"accounts", "followers", "codes", "tokens"}
        if unknown:
            raise SandboxError(f"cannot keep: {', '.join(sorted(unknown))}")
        old = self.accounts
        self.accounts = {}
        for account in old.values() if "accounts" in keep else ():
            self.accounts[account.app_id] = Account(**account.settings(), templates=account.templates)
        self.ensure_default()
        for app_id, account in self.accounts.items():
            if app_id in old and "followers" in keep:
                for name in ("followers", "openids", "recent"):
                    setattr(account, name, getattr(old[app_id], name))
            if app_id in old and "tokens" in keep:
                account.slots = old[app_id].slots
        if "tokens" not in keep:
            self.tokens.clear()
        if "codes" not in keep:
            self.codes.clear()
            self.codes_by_url.clear()
            self.permanent_codes.clear()
        self.changed()
