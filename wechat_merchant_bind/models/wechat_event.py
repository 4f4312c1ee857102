import hashlib
import json
import logging
import re
import threading
import time
from datetime import datetime, timedelta, timezone

import psycopg2
from psycopg2.errors import DeadlockDetected, LockNotAvailable, SerializationFailure, UniqueViolation

from odoo import SUPERUSER_ID, api, fields, models
from odoo.exceptions import AccessError

from ..tools import wechat_xml
from ..tools.pg_lock import session_locks
from .wechat_bind_code import SCENE_PREFIX

_logger = logging.getLogger(__name__)

# What makes a push the same push: WeChat's own rule (FromUserName and CreateTime) takes two receipts of one second for
# one.
DEDUPE_FIELDS = ("ToUserName", "FromUserName", "CreateTime", "Event", "EventKey", "MsgID", "MsgId", "Status")
FOLLOW_EVENTS = ("subscribe", "unsubscribe", "scan")
# A subscribe that came from a scan carries the scene behind this prefix, a SCAN carries the bare scene.
QRSCENE_PREFIX = "qrscene_"
# The messages, as opposed to events, that WeChat lets us hand over to its customer service.
MESSAGE_TYPES = ("text", "image", "voice", "video", "shortvideo", "location", "link")
OPENID = re.compile(r"[A-Za-z0-9_-]{1,128}")

# How long the handling of a scan waits for another one of the same code or person, and for whoever writes the merchant.
LOCK_TIMEOUT = "2500ms"
HANDLE_ATTEMPTS = 3

RETRY_BATCH = 100
RETRY_RECEIVED_AFTER = timedelta(seconds=60)
RETRY_WITHIN = timedelta(hours=24)
VACUUM_BATCH = 10000


class SignatureReusedError(Exception):
    """In plain mode a signature came a second time, with another body."""


def process_event(registry, event_id):
    """Handle a stored push in a transaction of its own, which sees nothing of the caller's.

    It runs as the superuser, so that the chatter is signed by OdooBot and not by the public user.

    :param Registry registry: the database's registry.
    :param int event_id: the ``wechat.event``.
    :return: the passive reply in the clear, or None if there is none (yet).
    :rtype: str | None
    """
    # What the log lines of this thread name as their database.
    threading.current_thread().dbname = registry.db_name
    try:
        with registry.cursor() as cr:
            env = api.Environment(cr, SUPERUSER_ID, {})
            # Nobody is logged in whose language errors and notes could take.
            env = env(context={"lang": env["wechat.account"]._get_lang()})
            reply = env["wechat.event"].browse(event_id)._process()
        registry.signal_changes()
    except Exception:
        registry.reset_changes()
        raise
    return reply


class WechatEvent(models.Model):
    """The inbox: every authentic push is stored here before anything is done about it."""

    _name = "wechat.event"
    _description = "WeChat Event"
    _order = "id desc"
    _rec_name = "event"

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
    error = fields.Text(readonly=True)
    state = fields.Selection(
        [("received", "Received"), ("done", "Done"), ("ignored", "Ignored"), ("failed", "Failed")],
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

    @api.depends("event", "msg_type")
    def _compute_display_name(self):
        names = {
            "subscribe": self.env._("Follow"),
            "unsubscribe": self.env._("Unfollow"),
            "scan": self.env._("Scan"),
            "click": self.env._("Menu click"),
            "view": self.env._("Menu link"),
            "location": self.env._("Location"),
            "templatesendjobfinish": self.env._("Receipt of a template message"),
            "text": self.env._("Text message"),
            "image": self.env._("Picture message"),
            "voice": self.env._("Voice message"),
            "video": self.env._("Video message"),
            "shortvideo": self.env._("Video message"),
            "link": self.env._("Link message"),
        }
        for event in self:
            name = event.event or event.msg_type
            unnamed = self.env._("Refused push") if event.refusal else self.env._("Remembered signature")
            event.display_name = names.get(name, name) or unnamed

    # === ACTION METHODS === #

    def action_retry(self):
        """Handle failed or forgotten events again, whatever their age.

        :return: the notification that tells how many could be handled.
        :rtype: dict
        :raise AccessError: if the user is not a WeChat manager.
        """
        if not self.env.user.has_group("wechat_merchant_bind.group_manager"):
            raise AccessError(self.env._("Only WeChat managers may retry events."))
        self.check_access("read")
        events = self.filtered(lambda event: event.state in ("received", "failed") and not event.refusal)
        for event in events:
            process_event(self.env.registry, event.id)
        # This request's snapshot is older than what was just done: count in a new one.
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

    # === BUSINESS METHODS - INBOX === #

    @api.model
    def _receive(self, account_sudo, message, signature=None):
        """Store an authentic push. The caller commits.

        A plain INSERT: a redelivery is told by the unique index, for no look-up before could see what another worker
        has not committed yet, and the ORM would log each as an error.

        :param wechat.account account_sudo: the account that the push came for.
        :param dict message: the push's fields.
        :param str signature: in plain mode, the signature that must not come with another body.
        :return: the id of the new event and None, or None and the stored reply to the push's first delivery.
        :rtype: tuple[int | None, str | None]
        :raise SignatureReusedError: if the signature came before with another body.
        :raise psycopg2.Error: if the inbox can't be written.
        """
        values = self._prepare_event_values(account_sudo, message)
        values["signature"] = signature
        try:
            return self._insert(values), None
        except UniqueViolation:
            self.env.cr.rollback()
        self.env.cr.execute("SELECT reply FROM wechat_event WHERE dedupe_key = %s", [values["dedupe_key"]])
        row = self.env.cr.fetchone()
        if row is None:
            raise SignatureReusedError
        if signature:
            self._spend_signature(values)
        return None, row[0]

    @api.model
    def _spend_signature(self, values):
        """Remember the signature of a redelivery, which WeChat signs anew, as that of the first delivery is remembered.

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
    def _receive_check(self, account_sudo, signature):
        """Remember the signature of a check of the address in plain mode, where a push could come with it afterwards.

        :param str signature: the verified signature; a repetition adds no row.
        :raise psycopg2.Error: if the inbox can't be written.
        """
        self._insert_once(
            {
                "account_id": account_sudo.id,
                "company_id": account_sudo.company_id.id or None,
                "dedupe_key": f"check:{account_sudo.id}:{signature}",
                "signature": signature,
            }
        )

    @api.model
    def _receive_refused(self, account_sudo, refusal, skew, signed):
        """Store the refusal of a push that was signed with our token, once, so that the account's check can name it.

        :param str refusal: a value of the field ``refusal``.
        :param int skew: seconds by which the signed time is behind our clock.
        :param str signed: the verified signature; a repetition adds no row.
        :raise psycopg2.Error: if the inbox can't be written.
        """
        digest = hashlib.sha256(f"{account_sudo.id}:{refusal}:{signed}".encode("utf-8", "replace")).hexdigest()
        # In plain mode it must not vouch for another body either; one that was reused is remembered already.
        is_new = account_sudo.encryption_mode == "plain" and refusal != "signature_reused"
        self._insert_once(
            {
                "account_id": account_sudo.id,
                "company_id": account_sudo.company_id.id or None,
                "dedupe_key": f"refused:{digest}",
                "signature": signed if is_new else None,
                "refusal": refusal,
                "skew": skew,
            }
        )

    @api.model
    def _insert_once(self, values):
        """Store what nobody handles, unless it is stored already: whoever comes first does."""
        try:
            self._insert({"state": "ignored", **values})
        except UniqueViolation:
            self.env.cr.rollback()

    @api.model
    def _insert(self, values):
        values = {"state": "received", "attempts": 0, "create_uid": SUPERUSER_ID, "write_uid": SUPERUSER_ID, **values}
        columns = ", ".join(f'"{name}"' for name in values)
        places = ", ".join(["%s"] * len(values))
        self.env.cr.execute(
            f"""
            SET LOCAL lock_timeout = '{LOCK_TIMEOUT}';
            INSERT INTO wechat_event ({columns}, create_date, write_date)
                 VALUES ({places}, clock_timestamp() AT TIME ZONE 'UTC', clock_timestamp() AT TIME ZONE 'UTC')
              RETURNING id
            """,
            list(values.values()),
            log_exceptions=False,
        )
        return self.env.cr.fetchone()[0]

    @api.model
    def _prepare_event_values(self, account_sudo, message):
        """Return the columns of a new event.

        :param dict message: the push's fields.
        :rtype: dict
        """
        parts = [account_sudo.id, *(message.get(name) for name in DEDUPE_FIELDS)]
        openid = message.get("FromUserName", "")
        create_time = message.get("CreateTime", "")
        return {
            "account_id": account_sudo.id,
            "company_id": account_sudo.company_id.id or None,
            "msg_type": message.get("MsgType"),
            "event": message.get("Event", "").lower() or None,
            "openid": openid if OPENID.fullmatch(openid) else None,
            "event_key": message.get("EventKey"),
            "create_time": (
                datetime.fromtimestamp(int(create_time), timezone.utc).replace(tzinfo=None)
                if re.fullmatch(r"[0-9]{1,10}", create_time)
                else None
            ),
            "payload": json.dumps(message, ensure_ascii=False),
            "dedupe_key": hashlib.sha256(json.dumps(parts).encode()).hexdigest(),
        }

    # === BUSINESS METHODS - HANDLING === #

    def _process(self):
        """Handle one event as the only user of this cursor, which it commits and rolls back.

        Whatever fails, be it a third party's automation, leaves the event ``failed`` with its error.

        :return: the passive reply in the clear, or None.
        :rtype: str | None
        """
        self.ensure_one()
        cr = self.env.cr
        try:
            with session_locks(cr, self._get_lock_names(), LOCK_TIMEOUT):
                for attempt in range(1, HANDLE_ATTEMPTS + 1):
                    try:
                        self._claim_partners()
                        reply = self._process_once()
                        cr.commit()  # pylint: disable=invalid-commit  # own cursor, see process_event
                        return reply
                    except (SerializationFailure, DeadlockDetected, UniqueViolation):
                        # Somebody else has just changed the merchant: look again.
                        cr.rollback()
                        if attempt == HANDLE_ATTEMPTS:
                            raise
        except LockNotAvailable:
            # Another scan, or whoever writes the merchant, takes long. The event is stored: the cron comes back to it.
            cr.rollback()
            return self._get_pending_reply()
        except Exception as error:  # code of other addons runs here, and may raise anything
            cr.rollback()
            # The text of a database error may hold a full OpenID.
            _logger.error(
                "WeChat event %s could not be handled: %s",
                self.id,
                type(error).__name__,
                exc_info=not isinstance(error, psycopg2.Error),
            )
            self._process_failure(error)
            return self._get_pending_reply()

    def _get_lock_names(self):
        """Return what must be handled one after the other: the events of one person, and the scans of one code."""
        if self.event not in FOLLOW_EVENTS or not self.openid:
            return []
        scene = self._get_scene()
        return [f"openid:{self.account_id.id}:{self.openid}", *([f"scene:{scene}"] if scene else [])]

    def _claim_partners(self):
        """Lock the merchants that this event may change, as the transaction's first statement.

        Whoever has written them since makes this statement fail, which is repeated, instead of a later one of the ORM,
        which would be logged with the full OpenID.
        """
        if not self._get_lock_names():
            return
        # Unlike set_config in a SELECT, SET takes no snapshot.
        self.env.cr.execute("SET LOCAL lock_timeout = %s", [LOCK_TIMEOUT])
        self.env.cr.execute(
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
            [self._get_scene() or None, self.account_id.id, self.openid],
            log_exceptions=False,
        )

    def _process_once(self):
        if self.state not in ("received", "failed"):
            return self.reply
        state, reply = self._handle()
        self.write(
            {
                "state": state,
                "reply": reply,
                "error": False,
                "attempts": self.attempts + 1,
                "next_attempt_at": False,
            }
        )
        self.env.cr.flush()
        return reply

    def _process_failure(self, error):
        """Keep the error, and when to try again: after 2, 4, 8 … minutes."""
        attempts = self.attempts + 1
        self.write(
            {
                "state": "failed",
                # A text with a NUL can't be stored.
                "error": f"{type(error).__name__}: {error}".replace("\x00", ""),
                "attempts": attempts,
                "next_attempt_at": fields.Datetime.now() + timedelta(minutes=2 ** min(attempts, 10)),
            }
        )
        self.env.cr.commit()  # pylint: disable=invalid-commit  # own cursor, see process_event

    def _get_pending_reply(self):
        """Return what a merchant reads whose scan could not be handled in time. It is not stored: a better one follows.

        :return: the passive reply in the clear, or None if nobody waits for one.
        :rtype: str | None
        """
        if not self.openid or not (self._get_scene() or "").startswith(SCENE_PREFIX):
            return None
        env = self.with_context(lang=self.env["wechat.account"]._get_lang()).env
        return self._get_text_reply(
            env._("We have received your scan. The binding will be completed in a few minutes.")
        )

    def _get_scene(self):
        """Return the scene that was scanned, if any."""
        if self.event == "scan":
            return self.event_key
        if self.event == "subscribe" and (self.event_key or "").startswith(QRSCENE_PREFIX):
            return self.event_key.removeprefix(QRSCENE_PREFIX)
        return None

    def _handle(self):
        """Do what an event asks for.

        :return: the event's new state and the passive reply in the clear, or None.
        :rtype: tuple[str, str | None]
        """
        self._learn_original_id()
        if not self.openid or not self.create_time:
            return "ignored", None
        if self.msg_type == "event":
            handler = {
                "subscribe": self._handle_subscribe,
                "scan": self._handle_scan,
                "unsubscribe": self._handle_unsubscribe,
            }.get(self.event)
        else:
            handler = self._handle_message if self.msg_type in MESSAGE_TYPES else None
        return handler() if handler else ("ignored", None)

    def _handle_subscribe(self):
        self._find_bindings()._set_subscribed(True, self._get_moment())
        if self._get_scene() is not None:
            return self._handle_scan()
        content = self.account_id.with_context(lang=self.env["wechat.account"]._get_lang()).follow_reply
        return "done", self._get_text_reply(content) if content else None

    def _handle_scan(self):
        scene = self._get_scene()
        if not scene or not scene.startswith(SCENE_PREFIX):
            # Somebody else's code on the same account.
            return "ignored", None
        # However old the scan says it is, it revives no code that had expired a day before it came.
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

    def _find_bindings(self):
        """Return what binds or once bound the sender: also the OpenID of an ended binding is a leaver's data."""
        return self.env["wechat.binding"]._find(self.account_id, self.openid)

    def _get_moment(self):
        """Return when it happened: CreateTime, but not in the future, which would outdate this person's real events."""
        return min(self.create_time, self.create_date + timedelta(minutes=self.account_id.clock_tolerance))

    def _learn_original_id(self):
        """Take the account's gh_ ID from its first authentic push."""
        if not self.account_id.original_id and (original_id := self._get_original_id()):
            self.account_id.original_id = original_id

    def _get_original_id(self):
        return json.loads(self.payload).get("ToUserName") or ""

    def _get_text_reply(self, content):
        return wechat_xml.text_reply(self.openid, self._get_original_id(), content, int(time.time())).decode()

    # === BUSINESS METHODS - RETRY AND VACUUM === #

    @api.model
    def _cron_retry(self):
        """Handle what was received and forgotten, or failed, once more."""
        now = fields.Datetime.now()
        events = self.with_context(lang=self.env["wechat.account"]._get_lang()).search(
            [
                ("refusal", "=", False),
                "|",
                "&",
                ("state", "=", "received"),
                ("create_date", "<", now - RETRY_RECEIVED_AFTER),
                "&",
                ("state", "=", "failed"),
                ("next_attempt_at", "<=", now),
            ],
            order="id",
            limit=RETRY_BATCH,
        )
        for event in events:
            if obstacle := event._get_retry_obstacle(now):
                event.write({"state": "failed", "next_attempt_at": False, "error": obstacle})
            else:
                process_event(self.env.registry, event.id)
            if not self.env["ir.cron"]._commit_progress(1):
                break

    def _get_retry_obstacle(self, now):
        """Return why the event must not be handled any more by the cron, or None."""
        if self.create_date < now - RETRY_WITHIN:
            return self.env._("Not retried: the event is older than 24 hours.")
        if self.openid and self.search_count(
            [
                ("account_id", "=", self.account_id.id),
                ("openid", "=", self.openid),
                ("event", "in", FOLLOW_EVENTS),
                ("id", ">", self.id),
            ],
            limit=1,
        ):
            return self.env._("Not retried: the same person has scanned, followed or unfollowed since.")
        return None

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
