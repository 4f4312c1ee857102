import logging
import time
from datetime import timedelta

import psycopg2
from psycopg2.errors import DeadlockDetected, SerializationFailure, UniqueViolation

from odoo import api, fields, models
from odoo.tools import SQL

from ...tools.pg_lock import NAMESPACE
from ...tools.wechat_api import parse_msgid
from ..const import RECEIPT_EVENT
from ..inbox.dispatcher import describe_error
from ..inbox.wechat_event import Handler

_logger = logging.getLogger(__name__)

CRON = "wechat_merchant_bind.ir_cron_apply_receipts"
APPLY_BATCH = 1000
APPLY_ATTEMPTS = 5
# Days that a receipt waits for its message: until its sender commits, or is found to have died.
KEEP_DAYS = 3
# Seconds until a receipt without a message is matched again: 1, 6, 36, … up to a day, ten times in all. Another system
# that sends by the same account may cause many of them.
RETRY_FACTOR, RETRY_MAX = 6, 86400
# A process wakes the scheduled action at most once in so many seconds. The run stays for longer, and so finds the
# receipts that came without waking it.
WAKE_SECONDS = 1
LINGER_SECONDS = 3
LINGER_STEP = 0.25
# A run ends after so many seconds, so that other scheduled actions get their turn.
RUN_SECONDS = 20

# The time at which this process last woke the scheduled action, by database.
_woken_at = {}


class WechatEvent(models.Model):
    """Receipts of template messages. A push only stores its receipt: as many come as messages are sent.

    They are applied many at a time, by the processes that send, while they run, or by a scheduled action that the first
    receipt of a second wakes.
    """

    _inherit = "wechat.event"

    # === FIELDS === #

    msgid = fields.Char("Message ID at WeChat", readonly=True, help="Of the message that a receipt is about.")
    receipt_status = fields.Char("Receipt", readonly=True, help="The status of WeChat's receipt, verbatim.")

    # === CONSTRAINTS AND INDEXES === #

    _receipt_due_idx = models.Index(
        f"(COALESCE(next_attempt_at, create_date)) WHERE state = 'received' AND event = '{RECEIPT_EVENT}'"
    )

    # Receipts that found no message. New ones are not in this index, so that they cost one INSERT alone.
    _receipt_waiting_idx = models.Index(
        f"(account_id, msgid) WHERE state = 'received' AND event = '{RECEIPT_EVENT}' AND next_attempt_at IS NOT NULL"
    )

    # === BUSINESS METHODS - INBOX === #

    @api.model
    def _get_handlers(self):
        return {**super()._get_handlers(), f"event/{RECEIPT_EVENT}": Handler(queue="_wake_receipts")}

    @api.model
    def _get_kind_names(self):
        return {**super()._get_kind_names(), RECEIPT_EVENT: self.env._("Receipt of a template message")}

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
        """Have the receipts applied within a second or two.

        A failure to wake the scheduled action is logged and delays them by a minute, until its next run.
        """
        now, database = time.monotonic(), self.env.cr.dbname
        if now - _woken_at.get(database, -WAKE_SECONDS) < WAKE_SECONDS:
            return
        _woken_at[database] = now
        cron = self.env.ref(CRON, raise_if_not_found=False)
        if not cron:
            return
        try:
            # The caller flushes its own records: an error of theirs must not end here.
            with self.env.cr.savepoint(flush=False):
                # sudo: ir.cron - woken and nothing else
                cron.sudo()._trigger()
        except psycopg2.Error as error:
            _logger.error("wechat.receipts: left to the cron error=%s", describe_error(error))

    def _process(self):
        if self.event != RECEIPT_EVENT:
            return super()._process()
        # A manager handles a receipt again: apply it now, among those that are due.
        self.next_attempt_at = False
        self._apply_receipts()
        return None

    # === BUSINESS METHODS - RECEIPTS === #

    @api.model
    def _cron_apply_receipts(self):
        """Apply the receipts that are due, and those that come within the next seconds."""
        deadline = time.monotonic() + RUN_SECONDS
        idle_at = time.monotonic() + LINGER_SECONDS
        done = 0
        while time.monotonic() < deadline:
            if taken := self._apply_receipts():
                done += taken
                idle_at = time.monotonic() + LINGER_SECONDS
            elif time.monotonic() >= idle_at:
                break
            elif self._is_sender_running():
                # The sender applies receipts too. Return for those that come after it ends.
                again_at = fields.Datetime.now() + timedelta(seconds=LINGER_SECONDS)
                # sudo: ir.cron - woken and nothing else
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
    def _is_sender_running(self):
        """Return whether messages are being sent.

        :rtype: bool
        """
        self.env.cr.execute("SELECT EXISTS (SELECT FROM wechat_message WHERE state = 'sending')")
        return self.env.cr.fetchone()[0]

    @api.model
    def _apply_receipts(self, batches=None):
        """Apply the receipts that are due, as the only user of this cursor, which is committed or rolled back.

        Nothing is done while another process applies receipts.

        :param int batches: the maximum number of batches; by default all.
        :return: the number of receipts that were due.
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
        """Apply a batch in a transaction of its own, which is repeated if a sender has just written a message of it.

        :return: the number of receipts in the batch, and the messages that have changed their state.
        :rtype: tuple[int, wechat.message]
        """
        cr = self.env.cr
        cr.commit()  # pylint: disable=invalid-commit  # the claim begins a transaction
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
        """Lock the next receipts that are due, as the first statement of a transaction.

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
                   -- A subquery runs once: the lock is not taken again for each row.
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
        """Close the receipts with a known message, postpone the others, and ignore those that have waited too long.

        :param wechat.event receipts: claimed and applied receipts.
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
    def _retry_receipts_now(self, numbers):
        """Make the receipts due that wait for these messages.

        :param list[tuple] numbers: account id and msgid of the messages that have just got their msgid.
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
