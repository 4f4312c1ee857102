import hashlib
import json
import re
from datetime import datetime, timezone

from psycopg2.errors import SerializationFailure, UniqueViolation

from odoo import SUPERUSER_ID, api, fields, models

from .term_text import TermText

# What makes a push the same push: WeChat's own rule (FromUserName and CreateTime) takes two receipts of one second for
# one.
DEDUPE_FIELDS = ("ToUserName", "FromUserName", "CreateTime", "Event", "EventKey", "MsgID", "MsgId", "Status")
FOLLOW_EVENTS = ("subscribe", "unsubscribe", "scan")
OPENID = re.compile(r"[A-Za-z0-9_-]{1,128}")

# How long a push waits for whoever locks the inbox, and its handling for another scan of the same code or person and
# for whoever writes the merchant.
LOCK_TIMEOUT = "2500ms"
VACUUM_BATCH = 10000


class SignatureReusedError(Exception):
    """In plain mode a signature came a second time, with another body."""


class WechatEvent(models.Model):
    """The inbox: every authentic push is stored here before anything is done about it."""

    _name = "wechat.event"
    _inherit = ["wechat.openid.mixin"]
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
            event.reply_masked = event._mask_own_openid(event.reply)

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

    # === BUSINESS METHODS - INBOX === #

    def _mask_own_openid(self, text):
        """Return a text with the two ends of the sender's OpenID in the place of it.

        :rtype: str | bool
        """
        if not text or not self.openid:
            return text
        return text.replace(self.openid, self.env["wechat.operation"]._mask_openid(self.openid))

    @api.model
    def _receive(self, webhook, message, signature=None):
        """Store an authentic push. The caller commits.

        An INSERT that lets the unique index tell a redelivery: no look-up before could see what another worker has not
        committed yet.

        :param Webhook webhook: of the account that the push came for.
        :param dict message: the push's fields.
        :param str signature: in plain mode, the signature that must not come with another body.
        :return: the id of the new event, or None; and the reply: None for a new event that is yet to be handled, the
            stored one for a redelivery.
        :rtype: tuple[int | None, str | None]
        :raise SignatureReusedError: if the signature came before with another body.
        :raise psycopg2.Error: if the inbox can't be written.
        """
        values = self._prepare_event_values(webhook, message)
        values["signature"] = signature
        event_id, reply = self._insert_or_find(values)
        if not event_id and signature:
            self._spend_signature(values)
        return event_id, reply

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
    def _receive_check(self, webhook, signature):
        """Remember the signature of a check of the address in plain mode, where a push could come with it afterwards.

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
        """Store the refusal of a push that was signed with our token, once, so that the account's check can name it.

        :param str refusal: a value of the field ``refusal``.
        :param int skew: seconds by which the signed time is behind our clock.
        :param str signed: the verified signature; a repetition adds no row.
        :raise psycopg2.Error: if the inbox can't be written.
        """
        digest = hashlib.sha256(f"{webhook.id}:{refusal}:{signed}".encode("utf-8", "replace")).hexdigest()
        # In plain mode it must not vouch for another body either; one that was reused is remembered already.
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
        """Store what nobody handles, unless it is stored already: whoever comes first does."""
        try:
            self._insert({"state": "ignored", **values})
        except UniqueViolation:
            self.env.cr.rollback()

    @api.model
    def _insert_or_find(self, values):
        """Store a push, or find the one whose redelivery it is.

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
            # The first delivery was committed since this transaction took its snapshot, or it is another's signature.
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
        """Run a query that stores a row, and wait for whoever locks the inbox no longer than a push can wait.

        :param dict values: the row.
        :param str query: with ``{insert}`` in the place of what the row is.
        :param parameters: of the rest of the query.
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
        """Return the columns of a new event.

        :param Webhook webhook: of the account that the push came for.
        :param dict message: the push's fields.
        :rtype: dict
        """
        parts = [webhook.id, *(message.get(name) for name in DEDUPE_FIELDS)]
        openid = message.get("FromUserName", "")
        create_time = message.get("CreateTime", "")
        return {
            "account_id": webhook.id,
            "company_id": webhook.company_id,
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
