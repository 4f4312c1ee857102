import hashlib
import json
import logging
import re
import secrets
import time
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

import psycopg2
from psycopg2.errors import DeadlockDetected, SerializationFailure, UniqueViolation

from odoo import SUPERUSER_ID, api, fields, models
from odoo.exceptions import AccessError
from odoo.tools import LazyTranslate

from ...tools import bearer_links, wechat_commands, wechat_xml
from ...tools.pg_lock import LockTimeoutError, claim, session_locks
from ..audit.term_text import TermText, encode_terms
from ..const import FOLLOW_EVENTS, GROUP_MANAGER, LOCK_TIMEOUT, OPENID, SCENE_PREFIX
from .dispatcher import process_event

_logger = logging.getLogger(__name__)
_lt = LazyTranslate(__name__)

# Two pushes with the same values are one push. WeChat's own rule (FromUserName and CreateTime) would take two receipts
# of one second for one.
DEDUPE_FIELDS = ("ToUserName", "FromUserName", "CreateTime", "Event", "EventKey", "MsgID", "MsgId", "Status")
# The EventKey of a SCAN is the scene itself. That of a subscribe has this prefix.
QRSCENE_PREFIX = "qrscene_"
# The messages, as opposed to events, that WeChat can hand over to its customer service.
MESSAGE_TYPES = ("text", "image", "voice", "video", "shortvideo", "location", "link")
ORIGINAL_ID = re.compile(r"gh_[A-Za-z0-9_-]{1,64}")
# The columns read of an event before and after its locks, and of its account. Reading all columns, as Odoo does at the
# first use of any, takes longer than the handling.
LOCK_FIELDS = ("account_id", "msg_type", "event", "openid", "event_key", "payload")
HANDLE_FIELDS = (*LOCK_FIELDS, "create_time", "create_date", "state", "reply", "attempts", "next_attempt_at")
ACCOUNT_FIELDS = (
    "name",
    "company_id",
    "original_id",
    "clock_tolerance",
    "transfer_customer_service",
    "bind_confirmation",
    "bind_reply",
    "follow_reply",
    "welcome_template_id",
)
# Marks commands that were given on a page.
PAGE_SOURCE = "page"
RETRY_CRON = "wechat_merchant_bind.ir_cron_retry_events"
HANDLE_ATTEMPTS = 3
RETRY_BATCH = 100
RETRY_RECEIVED_AFTER = timedelta(seconds=60)
RETRY_LOCKED_AFTER = timedelta(minutes=2)
RETRY_WITHIN = timedelta(hours=24)
VACUUM_BATCH = 10000


def parse_timestamp(text):
    """Return the time of a field of a push, or None if it is missing or malformed.

    :param str | None text: seconds since 1970.
    :rtype: datetime | None
    """
    if not re.fullmatch(r"[0-9]{1,10}", text or ""):
        return None
    return datetime.fromtimestamp(int(text), timezone.utc).replace(tzinfo=None)


class SignatureReusedError(Exception):
    """A signature of plain mode came a second time, with another body."""


class Handler(NamedTuple):
    """The meaning of one kind of push: a row of WechatEvent._get_handlers."""

    # A method of wechat.event that handles one stored push. It returns the new state and the passive reply or None.
    method: str | None = None
    # Code of other addons may run: pushes of one person are handled one after the other, in a thread, and WeChat is
    # answered in time.
    is_slow: bool = False
    # Instead of method: one that wakes the scheduled action, which handles many pushes of this kind at once.
    queue: str | None = None


class Received(NamedTuple):
    """The result of storing a push."""

    # The wechat.event to dispatch, if any.
    event_id: int | None = None
    is_slow: bool = False
    # The stored reply, if the push is a redelivery.
    reply: str | None = None


class WechatEvent(models.Model):
    """A push from WeChat. It is stored once, handled by its row in the table of handlers, and retried if that fails.

    An addon adds a kind of push by a row of _get_handlers and a method:

        @api.model
        def _get_handlers(self):
            return {**super()._get_handlers(), "event/view": Handler("_handle_view")}

        def _handle_view(self):
            return "done", self._get_text_reply(self.env._("Thank you for your visit."))
    """

    _name = "wechat.event"
    _inherit = ["wechat.openid.mixin", "wechat.outcome.mixin"]
    _description = "WeChat Event"
    _order = "id desc"
    _rec_name = "event"

    _wechat_openid_fields = ("openid", "payload", "reply")

    # === FIELDS === #

    account_id = fields.Many2one("wechat.account", required=True, readonly=True, ondelete="cascade")
    company_id = fields.Many2one(related="account_id.company_id", store=True, index="btree_not_null")
    msg_type = fields.Char("Message Type", readonly=True)
    event = fields.Char(readonly=True)
    openid = fields.Char("OpenID", readonly=True, index="btree_not_null", exportable=False)
    openid_masked = fields.Char("OpenID (masked)", compute="_compute_openid_masked")
    event_key = fields.Char(readonly=True, exportable=False)
    create_time = fields.Datetime("Sent on", readonly=True, help="By WeChat's clock.")
    payload = fields.Text(readonly=True, exportable=False)
    dedupe_key = fields.Char(required=True, readonly=True, exportable=False)
    signature = fields.Char(
        readonly=True, exportable=False, help="Of pushes in plain mode, whose body it does not cover."
    )
    reply = fields.Text(readonly=True, exportable=False)
    reply_masked = fields.Text("Reply (masked)", compute="_compute_reply_masked")
    error = TermText(readonly=True)
    state = fields.Selection(
        [("received", "Received"), ("done", "Done"), ("ignored", "Ignored"), ("failed", "Handling failed")],
        required=True,
        readonly=True,
        default="received",
    )
    attempts = fields.Integer(readonly=True)
    next_attempt_at = fields.Datetime("Next Attempt on", readonly=True)
    refusal = fields.Selection(
        [
            ("clock_skew", "The signed time is too far from this server's clock"),
            ("not_encrypted", "Not encrypted, although the account is in compatible or safe mode"),
            ("encrypted", "Encrypted, although the account is in plain mode"),
            ("undecipherable", "The EncodingAESKey or the App ID differs from WeChat's console"),
            ("other_account", "Meant for another Official Account"),
            ("signature_reused", "A signature was used again with another content"),
            ("malformed", "Not a push of WeChat"),
        ],
        "Refused because",
        readonly=True,
    )
    skew = fields.Integer(
        "Clock Skew", readonly=True, help="Seconds by which the signed time is behind this server's clock."
    )

    # === INDEXES === #

    _dedupe_key_unique = models.UniqueIndex("(dedupe_key)", "This push was already received.")
    _signature_unique = models.UniqueIndex(
        "(account_id, signature) WHERE signature IS NOT NULL", "This signature was already used."
    )
    _retry_idx = models.Index("(create_date) WHERE state IN ('received', 'failed')")
    _create_date_idx = models.Index("(account_id, create_date)")

    # === COMPUTE METHODS === #

    @api.depends("openid")
    def _compute_openid_masked(self):
        for event in self:
            event.openid_masked = self.env["wechat.operation"]._mask_openid(event.openid)

    @api.depends("reply", "openid")
    def _compute_reply_masked(self):
        for event in self:
            text = event._mask_own_openid(event.reply)
            # Of a stored reply every link is secret, also one that has expired.
            event.reply_masked = text and bearer_links.hide(text, bearer_links.PAGE_TOKEN.findall(text))

    @api.depends("event", "msg_type")
    def _compute_display_name(self):
        names = self._get_kind_names()
        for event in self:
            name = event.event or event.msg_type
            unnamed = self.env._("Refused push") if event.refusal else self.env._("Remembered signature")
            event.display_name = names.get(name, name) or unnamed

    @api.model
    def _get_kind_names(self):
        """Return the names of the kinds of pushes, by event or by message type.

        :rtype: dict[str, str]
        """
        return {
            "subscribe": self.env._("Follow"),
            "unsubscribe": self.env._("Unfollow"),
            "scan": self.env._("Scan"),
            "click": self.env._("Menu click"),
            "view": self.env._("Menu link"),
            "location": self.env._("Location"),
            "text": self.env._("Text message"),
            "image": self.env._("Picture message"),
            "voice": self.env._("Voice message"),
            "video": self.env._("Video message"),
            "shortvideo": self.env._("Video message"),
            "link": self.env._("Link message"),
            "qualification_verify_success": self.env._("Qualification verified"),
            "qualification_verify_fail": self.env._("Qualification refused"),
            "naming_verify_success": self.env._("Name verified"),
            "naming_verify_fail": self.env._("Name refused"),
            "annual_renew": self.env._("Yearly review is due"),
            "verify_expired": self.env._("Verification has ended"),
        }

    # === ACTION METHODS === #

    def action_retry(self):
        """Handle failed or forgotten events again, also old ones.

        :return: the notification with the number of handled events.
        :rtype: dict
        :raise AccessError: if the user is not a WeChat manager.
        """
        if not self.env.user.has_group(GROUP_MANAGER):
            raise AccessError(self.env._("Only WeChat managers may retry events."))
        self.check_access("read")
        events = self.filtered(lambda event: event.state in ("received", "failed") and not event.refusal)
        for event in events:
            process_event(self.env.registry, event.id, is_late=True)
        # The events were handled by other transactions, which this one's snapshot does not see.
        with self.env.registry.cursor() as cr:
            done = self.with_env(self.env(cr=cr)).search_count(
                [("id", "in", events.ids), ("state", "in", ("done", "ignored"))]
            )
        return {
            "type": "ir.actions.client",
            "tag": "display_notification",
            "params": {
                "type": "success" if done == len(events) else "warning",
                "message": self.env._("%(done)s of %(all)s events were handled.", done=done, all=len(events)),
                "next": {"type": "ir.actions.client", "tag": "soft_reload"},
            },
        }

    # === BUSINESS METHODS - HANDLERS === #

    @api.model
    def _get_handlers(self):
        """Return the meaning of each kind of push. Kinds without a row are stored and ignored.

        An event's kind is "event/" and its name in lower case, a message's kind is its type. A typed command is the
        kind "text/command", a menu button with the key of a command the kind "event/command".

        :rtype: dict[str, Handler]
        """
        return {
            "event/subscribe": Handler("_handle_subscribe", is_slow=True),
            "event/unsubscribe": Handler("_handle_unsubscribe", is_slow=True),
            "event/scan": Handler("_handle_scan", is_slow=True),
            "text/command": Handler("_handle_command", is_slow=True),
            "event/command": Handler("_handle_command_button"),
            **dict.fromkeys(MESSAGE_TYPES, Handler("_handle_message")),
            "event/qualification_verify_success": Handler("_handle_qualification_success", is_slow=True),
            "event/qualification_verify_fail": Handler("_handle_qualification_fail", is_slow=True),
            "event/naming_verify_success": Handler("_handle_naming_success", is_slow=True),
            "event/naming_verify_fail": Handler("_handle_naming_fail", is_slow=True),
            "event/annual_renew": Handler("_handle_annual_renew", is_slow=True),
            "event/verify_expired": Handler("_handle_verify_expired", is_slow=True),
        }

    @api.model
    def _get_handler(self, msg_type, event, command):
        """Return the row of a push in the table of handlers.

        :param str | None msg_type: the push's MsgType.
        :param str | None event: its Event in lower case.
        :param str | None command: the command that it gives, see wechat_commands.
        :rtype: Handler | None
        """
        if command:
            kind = "event/command" if msg_type == "event" else "text/command"
        else:
            kind = f"event/{event}" if msg_type == "event" else msg_type
        return self._get_handlers().get(kind)

    @api.model
    def _get_queued_events(self):
        """Return the events that are handled many at once.

        :rtype: list[str]
        """
        return [kind.removeprefix("event/") for kind, handler in self._get_handlers().items() if handler.queue]

    # === BUSINESS METHODS - INBOX === #

    @api.model
    def _receive(self, webhook, message, signature=None):
        """Store an authentic push. The caller commits, then dispatches it.

        The unique index recognises a redelivery: a look-up would not see the uncommitted row of another worker.

        :param Webhook webhook: the account's webhook.
        :param dict message: the push's fields.
        :param str signature: in plain mode, the verified signature, which no other body may bear.
        :rtype: Received
        :raise SignatureReusedError: if the signature came before with another body.
        :raise psycopg2.Error: if the inbox can't be written.
        """
        values = self._prepare_event_values(webhook, message)
        handler = self._get_handler(values["msg_type"], values["event"], wechat_commands.parse(message))
        # Any push tells the original ID of an account that does not know its own yet.
        is_handled = handler or not webhook.original_id
        values = {"state": "received" if is_handled else "ignored", "signature": signature, **values}
        event_id, reply = self._insert_or_find(values)
        if not event_id:
            if signature:
                self._store_redelivery_signature(values)
            return Received(reply=reply)
        if values["state"] == "ignored":
            return Received()
        if handler and handler.queue:
            getattr(self, handler.queue)()
            return Received()
        return Received(event_id, is_slow=bool(handler and handler.is_slow))

    @api.model
    def _receive_from_page(self, record, command):
        """Store a command that was given on a page. It is dispatched like one that was typed in the chat.

        :param record: the record of the page, with an account and an OpenID.
        :param str command: a command of wechat_commands.
        :rtype: Received
        """
        message = {
            "ToUserName": record.account_id.original_id or "",
            "FromUserName": record.openid,
            "CreateTime": str(int(time.time())),
            "MsgType": "text",
            "Content": command,
            # WeChat's own are numbers.
            "MsgId": secrets.token_hex(16),
            "Source": PAGE_SOURCE,
        }
        return self._receive(record.account_id._get_webhook(), message, signature=None)

    @api.model
    def _store_redelivery_signature(self, values):
        """Store the signature of a redelivery. WeChat signs each delivery anew.

        :param dict values: the columns of the redelivered event.
        :raise SignatureReusedError: if the signature came before with another body.
        """
        account_id, signature = values["account_id"], values["signature"]
        self.env.cr.execute(
            "SELECT dedupe_key FROM wechat_event WHERE account_id = %s AND signature = %s", [account_id, signature]
        )
        row = self.env.cr.fetchone()
        dedupe_key = f"redelivery:{signature}:{values['dedupe_key']}"
        if row:
            if row[0] not in (dedupe_key, values["dedupe_key"]):
                raise SignatureReusedError
            return
        self._insert_once(
            {
                "account_id": account_id,
                "company_id": values["company_id"],
                "dedupe_key": dedupe_key,
                "signature": signature,
            }
        )

    @api.model
    def _receive_check(self, webhook, signature):
        """Store the signature of the check of the address in plain mode, so that no push can reuse it.

        :param Webhook webhook: the account's webhook.
        :param str signature: the verified signature; a repetition adds no row.
        :raise psycopg2.Error: if the inbox can't be written.
        """
        self._insert_once(
            {
                "account_id": webhook.id,
                "company_id": webhook.company_id,
                "dedupe_key": f"check:{webhook.id}:{signature}",
                "signature": signature,
            }
        )

    @api.model
    def _receive_refused(self, webhook, refusal, skew, signed):
        """Store the refusal of a push that bears a valid signature, so that the connection check can name it.

        :param Webhook webhook: the account's webhook.
        :param str refusal: a value of the field refusal.
        :param int skew: seconds by which the signed time is behind our clock.
        :param str signed: the verified signature; a repetition adds no row.
        :raise psycopg2.Error: if the inbox can't be written.
        """
        digest = hashlib.sha256(f"{webhook.id}:{refusal}:{signed}".encode("utf-8", "replace")).hexdigest()
        # In plain mode no other body may bear the signature. That of a reused one is stored already.
        is_new = webhook.encryption_mode == "plain" and refusal != "signature_reused"
        self._insert_once(
            {
                "account_id": webhook.id,
                "company_id": webhook.company_id,
                "dedupe_key": f"refused:{digest}",
                "signature": signed if is_new else None,
                "refusal": refusal,
                "skew": skew,
            }
        )

    @api.model
    def _insert_once(self, values):
        """Store a row that is not to be handled, unless it is stored already."""
        try:
            self._insert({"state": "ignored", **values})
        except UniqueViolation:
            self.env.cr.rollback()

    @api.model
    def _insert_or_find(self, values):
        """Store a push, or find the reply to its first delivery.

        :return: the new row's id and None, or None and the stored reply.
        :rtype: tuple[int | None, str | None]
        :raise SignatureReusedError: if the signature came before with another body.
        """
        try:
            self._execute_insert(
                values,
                """
                WITH event AS (INSERT {insert} ON CONFLICT (dedupe_key) DO NOTHING RETURNING id)
                SELECT id, NULL FROM event
                 UNION ALL
                SELECT NULL, reply FROM wechat_event WHERE dedupe_key = %s
                """,
                values["dedupe_key"],
            )
            return self.env.cr.fetchone()
        except (SerializationFailure, UniqueViolation):
            # The first delivery was committed after this transaction's snapshot, or the signature is in use.
            self.env.cr.rollback()
        self.env.cr.execute("SELECT reply FROM wechat_event WHERE dedupe_key = %s", [values["dedupe_key"]])
        row = self.env.cr.fetchone()
        if row is None:
            raise SignatureReusedError
        return None, row[0]

    @api.model
    def _insert(self, values):
        self._execute_insert(values, "INSERT {insert} RETURNING id")
        return self.env.cr.fetchone()[0]

    @api.model
    def _execute_insert(self, values, query, *parameters):
        """Run a query that stores a row. It waits for a lock on the inbox no longer than WeChat waits for the answer.

        :param dict values: the columns of the row.
        :param str query: the query, with {insert} in the place of the row.
        :param parameters: the parameters of the rest of the query.
        """
        values = {"state": "received", "attempts": 0, "create_uid": SUPERUSER_ID, "write_uid": SUPERUSER_ID, **values}
        columns = ", ".join(f'"{name}"' for name in values)
        places = ", ".join(["%s"] * len(values))
        moment = "clock_timestamp() AT TIME ZONE 'UTC'"
        insert = f"INTO wechat_event ({columns}, create_date, write_date) VALUES ({places}, {moment}, {moment})"
        self.env.cr.execute(
            f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; {query.format(insert=insert)}",
            [*values.values(), *parameters],
            log_exceptions=False,
        )

    @api.model
    def _prepare_event_values(self, webhook, message):
        """Return the columns of a new event. A state among them prevails over that of the event's kind.

        :param Webhook webhook: the account's webhook.
        :param dict message: the push's fields.
        :rtype: dict
        """
        parts = [webhook.id, *(message.get(name) for name in DEDUPE_FIELDS)]
        openid = message.get("FromUserName", "")
        return {
            "account_id": webhook.id,
            "company_id": webhook.company_id,
            "msg_type": message.get("MsgType"),
            "event": message.get("Event", "").lower() or None,
            "openid": openid if OPENID.fullmatch(openid) else None,
            "event_key": message.get("EventKey"),
            "create_time": parse_timestamp(message.get("CreateTime")),
            "payload": json.dumps(message, ensure_ascii=False),
            "dedupe_key": hashlib.sha256(json.dumps(parts).encode()).hexdigest(),
        }

    # === BUSINESS METHODS - PROCESSING === #

    def _process(self):
        """Handle one event as the only user of this cursor, which is committed or rolled back.

        An error, also one of another addon's automation, leaves the event failed with its text.

        :return: the passive reply in the clear, or None.
        :rtype: str | None
        """
        self.ensure_one()
        cr = self.env.cr
        # Read before the locks: the first statement after them is the claim.
        self.fetch(LOCK_FIELDS)
        command, request = self._find_command()
        handler = self._get_handler(self.msg_type, self.event, command)
        scene = request.code_id.scene_str or self._get_scene() or None
        claimed = (scene, self.account_id.id, self.openid)
        lock_names = self._get_lock_names(*claimed) if handler and handler.is_slow else []
        try:
            with session_locks(cr, lock_names, LOCK_TIMEOUT):
                for attempt in range(1, HANDLE_ATTEMPTS + 1):
                    try:
                        if lock_names:
                            self._claim_partners(*claimed)
                        reply = self._process_once(handler)
                        # The commit empties the cache.
                        values = self._get_logged_values()
                        cr.commit()  # pylint: disable=invalid-commit  # own cursor, see process_event
                        _logger.info("wechat.inbox: handled account=%s event=%s kind=%s state=%s attempts=%s", *values)
                        return reply
                    except (SerializationFailure, DeadlockDetected, UniqueViolation):
                        # Another transaction has just changed the merchant: look again.
                        cr.rollback()
                        if attempt == HANDLE_ATTEMPTS:
                            raise
        except LockTimeoutError:
            # Another scan, or a writer of the merchant, takes long: the scheduled action handles the event later.
            cr.rollback()
            if self.env.context.get("wechat_is_late"):
                self.next_attempt_at = fields.Datetime.now() + RETRY_LOCKED_AFTER
            else:
                self._retry_soon()
            cr.commit()  # pylint: disable=invalid-commit  # own cursor, see process_event
            return self._get_provisional_reply()
        except Exception as error:  # code of other addons runs here, and may raise anything
            cr.rollback()
            # The text of a database error may hold a full OpenID.
            _logger.error(
                "wechat.inbox: could not be handled event=%s error=%s",
                self.id,
                type(error).__name__,
                exc_info=not isinstance(error, psycopg2.Error),
            )
            self._store_failure(error)
            return self._get_provisional_reply()

    def _get_lock_names(self, scene, account_id, openid):
        """Return the locks under which the pushes of one person, and those about one code, are handled one by one.

        :param str | None scene: the scene of the code that the event is about.
        :param int account_id: the account of the push.
        :param str | bool openid: the sender.
        :rtype: list[str]
        """
        if not openid:
            return []
        return [f"openid:{account_id}:{openid}", *([f"scene:{scene}"] if scene else [])]

    def _claim_partners(self, scene, account_id, openid):
        """Lock the merchants that the event may change, as the transaction's first statement.

        A concurrent write makes this statement fail, which is then repeated. Otherwise a later statement of the ORM
        would fail, and be logged with the full OpenID.

        :param str | None scene: the scene of the code that the event is about.
        :param int account_id: the account of the push.
        :param str openid: the sender.
        """
        claim(
            self.env.cr,
            """
            SELECT id
              FROM res_partner
             WHERE id IN (SELECT partner_id FROM wechat_bind_code WHERE scene_str = %s
                          UNION
                          SELECT partner_id FROM wechat_binding
                           WHERE account_id = %s AND openid = %s AND state = 'bound')
             ORDER BY id
               FOR NO KEY UPDATE
            """,
            [scene, account_id, openid],
            LOCK_TIMEOUT,
        )

    def _process_once(self, handler):
        self.fetch(HANDLE_FIELDS)
        if self.state not in ("received", "failed"):
            return self.reply
        self.account_id.fetch(ACCOUNT_FIELDS)
        state, reply = self._handle(handler)
        self.write(
            {
                "state": state,
                "reply": reply,
                "error": False,
                "attempts": self.attempts + 1,
                "next_attempt_at": False,
            }
        )
        if self.env.context.get("wechat_is_late"):
            self._tell_if_handled()
        self.env.cr.flush()
        return reply

    def _get_logged_values(self):
        # The sender of a push must not be able to forge a line of the log by the name of its event.
        kind = re.sub(r"\W", "?", self.event or self.msg_type or "")[:40]
        return self.account_id.id, self.id, kind, self.state, self.attempts

    def _store_failure(self, error):
        """Store the error and the time of the next attempt: after 2, 4, 8 … minutes."""
        attempts = self.attempts + 1
        self.write(
            {
                "state": "failed",
                # PostgreSQL stores no NUL. The text of a database error may hold a full OpenID.
                "error": self._mask_own_openid(f"{type(error).__name__}: {error}".replace("\x00", "")),
                "attempts": attempts,
                "next_attempt_at": fields.Datetime.now() + timedelta(minutes=2 ** min(attempts, 10)),
            }
        )
        self.env.cr.commit()  # pylint: disable=invalid-commit  # own cursor, see process_event

    def _retry_soon(self):
        """Have the scheduled action handle the event at once: WeChat lets us tell the outcome for a minute only."""
        self.next_attempt_at = fields.Datetime.now()
        self.env.ref(RETRY_CRON)._trigger()

    def _get_provisional_reply(self):
        """Return the reply to a scan or a command that is handled later. It is not stored.

        :return: the passive reply in the clear, or None if the sender expects none.
        :rtype: str | None
        """
        env = self.with_context(lang=self.env["wechat.account"]._get_lang()).env
        if self._is_scan():
            content = env._("We have received your scan. The binding will be completed in a few minutes.")
        elif self._find_command()[0]:
            content = env._("We have received your message. It will be handled in a few minutes.")
        else:
            return None
        return self._get_text_reply(content)

    # === BUSINESS METHODS - OUTCOME === #

    @api.model
    def _cron_tell_outcomes(self):
        """Tell the outcomes of scans and messages that got a provisional reply."""
        if self._tell_outcomes() and self.env["wechat.bind.request"]._tell_outcomes():
            self.env["ir.cron"]._commit_progress(remaining=0)

    def _tell_if_handled(self):
        """Have the outcome told after a provisional reply, once it is known."""
        if self.state == "done" and (self._is_scan() or self._is_command()):
            self._tell_later()

    def _give_up(self, obstacle):
        """Handle the event no more, and tell that to a sender who was promised something else.

        :param LazyGettext obstacle: the reason.
        """
        self.write({"state": "failed", "next_attempt_at": False, "error": encode_terms(obstacle)})
        if self._is_scan() or self._is_command():
            self._tell_later()

    def _get_outcome_text(self):
        if self.state == "failed":
            partner = self._get_outcome_subject().partner_id
            env = self.with_context(lang=self.env["wechat.account"]._get_lang(partner.lang)).env
            if not self._is_scan():
                return env._("We could not handle your message. Please send it again, or contact us.")
            if self._find_outcome_binding(partner):
                # A later scan has bound the sender.
                return None
            return env._("We could not complete your binding. Please scan the code again, or contact us.")
        return self._get_reply_text(self.reply)

    def _get_outcome_since(self):
        return self.create_time or self.create_date

    def _get_outcome_subject(self):
        if self._is_scan():
            return self.env["wechat.bind.code"].search(
                [("scene_str", "=", self._get_scene()), ("account_id", "=", self.account_id.id)], limit=1
            )
        return self._find_bindings()[:1]

    # === BUSINESS METHODS - HANDLING === #

    def _handle(self, handler):
        """Handle the event by its row of the table.

        :param Handler | None handler: the row.
        :return: the event's new state, and the passive reply in the clear or None.
        :rtype: tuple[str, str | None]
        """
        self._learn_original_id()
        if not handler or not self.openid or not self.create_time:
            return "ignored", None
        return getattr(self, handler.method)()

    def _handle_subscribe(self):
        self._find_bindings()._set_subscribed(True, self._get_moment())
        if self._get_scene() is not None:
            return self._handle_scan()
        content = self.account_id.with_context(lang=self.env["wechat.account"]._get_lang()).follow_reply
        return "done", self._get_text_reply(content) if content else None

    def _handle_scan(self):
        scene = self._get_scene()
        if not scene or not scene.startswith(SCENE_PREFIX):
            # The code of another system that uses the same account.
            return "ignored", None
        # CreateTime can be wrong: a scan revives no code that had expired a day before the push came.
        expired_before = max(self._get_moment(), self.create_date - RETRY_WITHIN)
        content = self.env["wechat.binding"]._bind_by_scan(
            self.account_id, self.openid, scene, self._get_moment(), expired_before
        )
        return "done", self._get_text_reply(content)

    def _handle_unsubscribe(self):
        bindings = self._find_bindings()
        bindings._set_subscribed(False, self._get_moment())
        return "done" if bindings else "ignored", None

    def _handle_message(self):
        if not self.account_id.transfer_customer_service:
            return "ignored", None
        reply = wechat_xml.transfer_customer_service(self.openid, self._get_original_id(), int(time.time()))
        return "done", reply.decode()

    def _handle_command(self):
        command, request = self._find_command()
        if command == wechat_commands.UNBIND:
            return self._handle_unbind()
        if not request:
            # It was decided while this event waited for its locks.
            return self._handle_message()
        return "done", self._get_text_reply(request._answer_digits(command))

    def _handle_unbind(self):
        bindings = self._find_bindings()
        live = bindings.filtered(lambda binding: binding.state == "bound")
        if not bindings and self.account_id.transfer_customer_service:
            # Unknown sender: hand over to customer service.
            return self._handle_message()
        for binding in live:
            binding = binding.with_context(lang=self.env["wechat.account"]._get_lang(binding.code_id.user_id.lang))
            if self._is_from_page():
                reason = binding.env._("The merchant confirmed it on the page that the chat links to.")
            else:
                reason = binding.env._("The merchant typed %s in the chat.", wechat_commands.UNBIND)
            binding._unbind(reason)
        outcome = "unbound" if live else "not_bound"
        return "done", self._get_text_reply(bindings._get_reply(bindings[:1].partner_id, outcome))

    def _handle_command_button(self):
        """Answer a click on a menu button for unbinding by a link to the page that asks for the confirmation.

        WeChat pushes clicks also while a customer-service agent gets all that the person types.
        """
        bindings = self._find_bindings()
        live = bindings.filtered(lambda binding: binding.state == "bound")
        if not live:
            return "done", self._get_text_reply(bindings._get_reply(bindings[:1].partner_id, "not_bound"))
        env = self.with_context(lang=self.env["wechat.account"]._get_lang(live.partner_id.lang)).env
        content = env._("To unbind your WeChat, open this page and confirm: %s", live._get_page_url())
        return "done", self._get_text_reply(content)

    def _find_command(self):
        """Return the command that the sender gives by a text or a menu button.

        Digits are an ordinary message unless a pending request asks the sender for them.

        :return: a command of wechat_commands or None, and the request that it answers, if any.
        :rtype: tuple[str | None, wechat.bind.request]
        """
        requests = self.env["wechat.bind.request"]
        if not self.openid:
            return None, requests
        command = wechat_commands.parse(json.loads(self.payload))
        if not wechat_commands.is_digits(command):
            return command, requests
        request = requests._find_asked(self.account_id, self.openid)
        return (command if request else None), request

    def _is_command(self):
        """Return whether the event is a command, or digits that may be one."""
        return bool(self.openid and wechat_commands.parse(json.loads(self.payload)))

    def _is_from_page(self):
        """Return whether the command was given on a page instead of in the chat."""
        return json.loads(self.payload).get("Source") == PAGE_SOURCE

    def _is_scan(self):
        """Return whether the event is a scan of one of this module's codes."""
        return bool(self.openid) and (self._get_scene() or "").startswith(SCENE_PREFIX)

    def _get_scene(self):
        """Return the scene that was scanned, or None."""
        if self.event == "scan":
            return self.event_key
        if self.event == "subscribe" and (self.event_key or "").startswith(QRSCENE_PREFIX):
            return self.event_key.removeprefix(QRSCENE_PREFIX)
        return None

    def _find_bindings(self):
        """Return the live and the ended bindings of the sender: data of leavers includes the latter."""
        return self.env["wechat.binding"]._find(self.account_id, self.openid)

    def _get_moment(self):
        """Return the time of the event: CreateTime, but not in the future, which would outdate later events."""
        return min(self.create_time, self.create_date + timedelta(minutes=self.account_id.clock_tolerance))

    def _learn_original_id(self):
        """Store the account's original ID (gh_…) from its first authentic push."""
        if not self.account_id.original_id and ORIGINAL_ID.fullmatch(self._get_original_id()):
            self.account_id.original_id = self._get_original_id()

    def _get_original_id(self):
        return json.loads(self.payload).get("ToUserName") or ""

    def _get_text_reply(self, content):
        return wechat_xml.text_reply(self.openid, self._get_original_id(), content, int(time.time())).decode()

    @api.model
    def _get_reply_text(self, reply):
        """Return the text of a passive reply, or None if it is none or hands over to customer service.

        :param str | bool | None reply: the reply in the clear.
        :rtype: str | None
        """
        return wechat_xml.parse(reply.encode()).get("Content") if reply else None

    def _mask_own_openid(self, text):
        """Return a text in which the sender's OpenID is masked.

        :rtype: str | bool
        """
        if not text or not self.openid:
            return text
        return text.replace(self.openid, self.env["wechat.operation"]._mask_openid(self.openid))

    # === BUSINESS METHODS - VERIFICATION === #

    # WeChat verifies an account for a year: first its company's qualification, which gives the rights on the API, then
    # its name, which gives the mark in WeChat. The sender of these events is WeChat's own account. Source:
    # https://developers.weixin.qq.com/doc/service/guide/product/Accreditation.html

    def _handle_qualification_success(self):
        return self._record_verification(
            verification_expires_at=self._get_timestamp("ExpiredTime"), verification_failure=False
        )

    def _handle_qualification_fail(self):
        refusal = _lt("WeChat has refused the qualification of the company. WeChat's reason:")
        return self._record_verification(verification_failure=self._encode_refusal(refusal))

    def _handle_naming_success(self):
        return self._handle_qualification_success()

    def _handle_naming_fail(self):
        refusal = _lt("WeChat has refused the name of the account, which keeps its rights. WeChat's reason:")
        return self._record_verification(verification_failure=self._encode_refusal(refusal))

    def _handle_annual_renew(self):
        ends_at = self._get_timestamp("ExpiredTime")
        return self._record_verification(**({"verification_expires_at": ends_at} if ends_at else {}))

    def _handle_verify_expired(self):
        now = self._get_moment()
        return self._record_verification(verification_expires_at=min(self._get_timestamp("ExpiredTime") or now, now))

    def _record_verification(self, **values):
        is_recorded = self.account_id._record_verification(self._get_moment(), values)
        return "done" if is_recorded else "ignored", None

    def _encode_refusal(self, refusal):
        return encode_terms(refusal, json.loads(self.payload).get("FailReason") or _lt("WeChat gives no reason."))

    def _get_timestamp(self, name):
        """Return a time among the event's fields, or None."""
        return parse_timestamp(json.loads(self.payload).get(name))

    # === BUSINESS METHODS - RETRY === #

    @api.model
    def _cron_retry(self):
        """Handle events again that failed, or that were received and not handled since."""
        now = fields.Datetime.now()
        due = [
            ("refusal", "=", False),
            ("event", "not in", self._get_queued_events()),
            "|",
            "&",
            "&",
            ("state", "=", "received"),
            ("next_attempt_at", "=", False),
            ("create_date", "<", now - RETRY_RECEIVED_AFTER),
            "&",
            ("state", "in", ("received", "failed")),
            ("next_attempt_at", "<=", now),
        ]
        remaining = self.search_count(due)
        for event in self.search(due, order="id", limit=RETRY_BATCH):
            if obstacle := event._get_retry_obstacle(now):
                event._give_up(obstacle)
            else:
                process_event(self.env.registry, event.id, is_late=True)
            remaining -= 1
            if not self.env["ir.cron"]._commit_progress(1, remaining=remaining):
                break

    def _get_retry_obstacle(self, now):
        """Return the reason why the scheduled action no longer handles the event, or None.

        :param datetime now: the time of the run.
        :rtype: LazyGettext | None
        """
        if self.create_date < now - RETRY_WITHIN:
            return _lt("Not retried: the event is older than 24 hours.")
        later = self.search(
            [
                ("account_id", "=", self.account_id.id),
                ("openid", "=", self.openid or ""),
                ("id", ">", self.id),
                "|",
                ("event", "in", FOLLOW_EVENTS),
                ("msg_type", "=", "text"),
            ]
        )
        if any(event.event in FOLLOW_EVENTS or event._find_command()[0] for event in later):
            return _lt("Not retried: the same person has scanned, followed, unfollowed or unbound since.")
        return None

    # === BUSINESS METHODS - VACUUM === #

    @api.autovacuum
    def _gc_events(self):
        """Delete the events whose retention is over.

        :return: the number of deleted events, and whether more remain.
        :rtype: tuple[int, bool]
        """
        done, remaining = 0, False
        # pylint: disable-next=no-search-all  # an installation has a handful of accounts
        for account in self.env["wechat.account"].with_context(active_test=False).search([]):
            before = fields.Datetime.subtract(fields.Datetime.now(), days=account.event_retention_days)
            events = self.search(
                [("account_id", "=", account.id), ("create_date", "<", before)], limit=VACUUM_BATCH, order="id"
            )
            events.unlink()
            done += len(events)
            remaining |= len(events) == VACUUM_BATCH
        return done, remaining
