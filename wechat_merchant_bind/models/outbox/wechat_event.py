import logging
import time
from datetime import timedelta

from psycopg2.errors import DeadlockDetected, SerializationFailure, UniqueViolation

from odoo import api, fields, models
from odoo.tools import SQL

from ...tools.pg_lock import NAMESPACE
from ...tools.wechat_api import parse_msgid
from ..const import RECEIPT_EVENT

_logger = logging.getLogger(__name__)
CRON = "wechat_merchant_bind.ir_cron_apply_receipts"
APPLY_BATCH = 1000
APPLY_ATTEMPTS = 5
# How long a receipt waits for its message: for the commit of its sender, or for whoever finds that the sender died.
KEEP_DAYS = 3
# Seconds until a receipt without a message is looked at again: 1, 6, 36, … up to a day, ten times in all. Another
# system that sends by the same account may cause a lot of them.
RETRY_FACTOR, RETRY_MAX = 6, 86400
# A process wakes the scheduled action once in so many seconds, however many receipts it gets. The run stays for longer,
# and so finds those that came without waking it.
WAKE_SECONDS = 1
LINGER_SECONDS = 3
LINGER_STEP = 0.25
# A run gives way to other scheduled actions after so long.
RUN_SECONDS = 20
# When this process last woke it, by database.
_woken_at = {}


class WechatEvent(models.Model):
    """The receipts of template messages: as many as messages are sent, so a push only stores its receipt.

    They are applied many at a time, by whoever comes first: the lanes that send, as long as they run, and a scheduled
    action that the first receipt of a second wakes.
    """

    _inherit = "wechat.event"

    # === FIELDS === #

    msgid = fields.Char("Message ID at WeChat", readonly=True, help="Of the message that a receipt is about.")
    receipt_status = fields.Char("Receipt", readonly=True, help="The status of WeChat's receipt, verbatim.")

    # === INDEXES === #

    _receipt_due_idx = models.Index(
        f"(COALESCE(next_attempt_at, create_date)) WHERE state = 'received' AND event = '{RECEIPT_EVENT}'"
    )

    # Receipts that were looked at in vain. Those that come are not in it: they are to cost their INSERT alone.
    _receipt_waiting_idx = models.Index(
        f"(account_id, msgid) WHERE state = 'received' AND event = '{RECEIPT_EVENT}' AND next_attempt_at IS NOT NULL"
    )

    # === BUSINESS METHODS - INBOX === #

    @api.model
    def _prepare_event_values(self, webhook, message):
        values = super()._prepare_event_values(webhook, message)
        if values["event"] == RECEIPT_EVENT:
            values["msgid"] = parse_msgid(message.get("MsgID"))
            values["receipt_status"] = message.get("Status")
            if not values["msgid"]:
                values["state"] = "ignored"
        return values

    @api.model
    def _wake_receipts(self):
        """Have the receipts applied within a second or two. Most receipts cost nothing here: see WAKE_SECONDS."""
        now, database = time.monotonic(), self.env.cr.dbname
        if now - _woken_at.get(database, -WAKE_SECONDS) < WAKE_SECONDS:
            return
        _woken_at[database] = now
        if cron := self.env.ref(CRON, raise_if_not_found=False):
            # sudo: ir.cron - to wake it is all that is done to it
            cron.sudo()._trigger()

    # === BUSINESS METHODS - APPLYING === #

    @api.model
    def _cron_apply_receipts(self):
        """Apply what receipts there are, and those that come within the next seconds."""
        deadline = time.monotonic() + RUN_SECONDS
        idle_at = time.monotonic() + LINGER_SECONDS
        done = 0
        while time.monotonic() < deadline:
            if taken := self._apply_receipts():
                done += taken
                idle_at = time.monotonic() + LINGER_SECONDS
            elif time.monotonic() >= idle_at:
                break
            elif self._is_lane_running():
                # It applies receipts too, and the other lanes need the thread. For those that come after its end:
                again_at = fields.Datetime.now() + timedelta(seconds=LINGER_SECONDS)
                # sudo: ir.cron - to wake it is all that is done to it
                self.env.ref(CRON).sudo()._trigger(again_at)
                break
            else:
                time.sleep(LINGER_STEP)
        else:
            self._wake_receipts()
        if done:
            _logger.info("wechat.receipts: applied receipts=%s", done)
        self.env["wechat.message"]._mark_unsent()
        self.env["ir.cron"]._commit_progress(done, remaining=0)

    @api.model
    def _is_lane_running(self):
        """Return whether messages are being sent.

        :rtype: bool
        """
        self.env.cr.execute("SELECT EXISTS (SELECT FROM wechat_message WHERE state = 'sending')")
        return self.env.cr.fetchone()[0]

    @api.model
    def _apply_receipts(self, batches=None):
        """Apply the receipts that are due, as the only user of this cursor, which it commits and rolls back.

        If somebody else is at it, nothing is done.

        :param int batches: how many batches at most; by default as many as there are.
        :return: how many receipts were looked at.
        :rtype: int
        """
        total = 0
        while True:
            taken, changed = self._apply_receipt_batch()
            changed._follow_up_receipts()
            total += taken
            batches = batches and batches - 1
            if taken < APPLY_BATCH or batches == 0:
                return total

    @api.model
    def _apply_receipt_batch(self):
        """Apply a batch in a transaction of its own, again if a sender has just written one of its messages.

        :return: how many receipts were looked at, and the messages whose state has changed.
        :rtype: tuple[int, wechat.message]
        """
        cr = self.env.cr
        cr.commit()  # pylint: disable=invalid-commit  # what follows begins with its claim
        attempt = 1
        while True:
            try:
                receipts = self._claim_receipts()
                changed = self.env["wechat.message"]._apply_receipts(receipts)
                self._close_receipts(receipts)
                cr.commit()  # pylint: disable=invalid-commit  # the caller's own cursor
                return len(receipts), changed
            except (SerializationFailure, DeadlockDetected, UniqueViolation):
                cr.rollback()
                if attempt == APPLY_ATTEMPTS:
                    raise
            attempt += 1

    @api.model
    def _claim_receipts(self):
        """Lock the next receipts, as the first statement of a transaction.

        :rtype: wechat.event
        """
        rows = self.env.execute_query(
            SQL(
                """
                SELECT id
                  FROM wechat_event
                 WHERE event = %(event)s
                   AND state = 'received'
                   AND COALESCE(next_attempt_at, create_date) <= clock_timestamp() AT TIME ZONE 'UTC'
                   -- Asked once: a lock that is held already is granted to its holder again.
                   AND (SELECT pg_try_advisory_xact_lock(%(namespace)s, hashtext('receipts')))
                 ORDER BY COALESCE(next_attempt_at, create_date)
                 LIMIT %(limit)s
                   FOR NO KEY UPDATE SKIP LOCKED
                """,
                event=RECEIPT_EVENT,
                namespace=NAMESPACE,
                limit=APPLY_BATCH,
            )
        )
        return self.browse([event_id for [event_id] in rows])

    @api.model
    def _close_receipts(self, receipts):
        """Let receipts whose message is known rest, and the others wait for it.

        :param wechat.event receipts: claimed and applied.
        """
        if not receipts:
            return
        self.env.cr.execute(
            SQL(
                """
                WITH receipt AS (
                    SELECT event.id,
                           EXISTS (SELECT FROM wechat_message AS message
                                    WHERE message.account_id = event.account_id
                                      AND message.msgid = event.msgid
                                      AND message.openid = event.openid)
                           AS is_known,
                           event.msgid IS NULL
                           OR event.create_date + %(keep)s * interval '1 day' < statement_timestamp() AT TIME ZONE 'UTC'
                           AS is_over
                      FROM wechat_event AS event
                     WHERE event.id IN %(ids)s
                )
                UPDATE wechat_event AS event
                   SET state = CASE WHEN is_known THEN 'done' WHEN is_over THEN 'ignored' ELSE 'received' END,
                       attempts = attempts + 1,
                       next_attempt_at = CASE WHEN NOT is_known AND NOT is_over
                           THEN statement_timestamp() AT TIME ZONE 'UTC'
                                + LEAST(POWER(%(factor)s, LEAST(attempts, 10)), %(max)s) * interval '1 second'
                           END,
                       write_date = statement_timestamp() AT TIME ZONE 'UTC'
                  FROM receipt
                 WHERE receipt.id = event.id
                """,
                ids=tuple(receipts.ids),
                keep=KEEP_DAYS,
                factor=RETRY_FACTOR,
                max=RETRY_MAX,
            )
        )
        self.invalidate_model(flush=False)

    @api.model
    def _hurry_receipts(self, numbers):
        """Let receipts that have waited for their messages be looked at at once.

        :param list[tuple] numbers: account id and msgid of messages whose number has become known only now.
        """
        self.env.cr.execute(
            SQL(
                """
                UPDATE wechat_event
                   SET next_attempt_at = statement_timestamp() AT TIME ZONE 'UTC'
                 WHERE (account_id, msgid) IN %s
                   AND state = 'received'
                   AND event = %s
                   AND next_attempt_at IS NOT NULL
                """,
                tuple(numbers),
                RECEIPT_EVENT,
            )
        )
        if self.env.cr.rowcount:
            self.invalidate_model(["next_attempt_at"], flush=False)
            self._wake_receipts()
