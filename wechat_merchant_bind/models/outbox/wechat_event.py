import logging
import time
from datetime import timedelta

import psycopg2

from odoo import api, fields, models
from odoo.fields import Domain
from odoo.tools import SQL

from ...tools.pg_lock import NAMESPACE
from ...tools.wechat_api import parse_msgid
from ..const import RECEIPT_EVENT
from ..inbox.dispatcher import describe_error
from ..inbox.wechat_event import Handler

_logger = logging.getLogger(__name__)

CRON = "wechat_merchant_bind.ir_cron_apply_receipts"
APPLY_BATCH = 500
VACUUM_BATCH = 10000
# Days that a receipt is kept. It waits for its message for as long: until its sender commits, or is found to have died.
KEEP_DAYS = 3
# Seconds until a receipt without a message is matched again: 1, 6, 36, … up to a day, ten times in all. Another system
# that sends by the same account may cause many of them.
RETRY_FACTOR, RETRY_MAX = 6, 86400
# A process wakes the scheduled action at most once in so many seconds. Before its end, a run looks once more after this
# time, and so finds the receipts that came without waking it.
WAKE_SECONDS = 1
LAST_LOOK_SECONDS = WAKE_SECONDS
# A run ends after so many seconds, so that other scheduled actions get their turn.
RUN_SECONDS = 20

# The time at which this process last woke the scheduled action, by database.
_woken_at = {}


class WechatEvent(models.Model):
    """Receipts of template messages. A push only stores its receipt: as many come as messages are sent.

    A scheduled action, which the first receipt of a second wakes, applies them many at a time.
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
        # A manager handles a receipt again.
        known, changed = self.env["wechat.message"]._apply_receipts(self)
        changed._mark_recipients()
        self._close_receipts(known)
        return None

    # === BUSINESS METHODS - RECEIPTS === #

    @api.model
    def _cron_apply_receipts(self):
        """Apply the receipts that are due, and those that come within the next second."""
        deadline = time.monotonic() + RUN_SECONDS
        total, is_last = 0, False
        while time.monotonic() < deadline:
            done = self._apply_receipts()
            total += done
            self.env["ir.cron"]._commit_progress(done)
            if done:
                is_last = False
            elif is_last:
                break
            else:
                time.sleep(LAST_LOOK_SECONDS)
                is_last = True
        else:
            self._wake_receipts()
        if total:
            _logger.info("wechat.receipts: applied receipts=%s", total)
        self.env["ir.cron"]._commit_progress(remaining=0)

    @api.model
    def _apply_receipts(self):
        """Apply a batch of receipts that are due, in a transaction of its own on the caller's cursor.

        :return: the number of receipts in the batch.
        :rtype: int
        """
        messages = self.env["wechat.message"]
        self.env.cr.commit()  # pylint: disable=invalid-commit  # the claim begins a transaction
        done, changed = messages._run_in_transaction(self._apply_batch)
        try:
            messages._run_in_transaction(changed._mark_recipients)
        except Exception:
            _logger.exception("wechat.receipts: recipients not marked messages=%s", changed.ids)
        return done

    @api.model
    def _apply_batch(self):
        """Apply a batch of receipts.

        :return: the number of receipts in the batch, and the messages that have changed their state.
        :rtype: tuple[int, wechat.message]
        """
        receipts = self._claim_receipts()
        known, changed = self.env["wechat.message"]._apply_receipts(receipts)
        receipts._close_receipts(known)
        return len(receipts), changed

    def _close_receipts(self, known):
        """Close these receipts, postpone those without a message, and ignore those that have waited too long.

        :param wechat.event known: those with a message.
        """
        known.write({"state": "done", "next_attempt_at": False})
        now = fields.Datetime.now()
        for receipt in self:
            receipt.attempts += 1
        for receipt in self - known:
            if not receipt.msgid or receipt.create_date + timedelta(days=KEEP_DAYS) < now:
                receipt.write({"state": "ignored", "next_attempt_at": False})
            else:
                delay = min(RETRY_FACTOR ** min(receipt.attempts - 1, 10), RETRY_MAX)
                receipt.next_attempt_at = now + timedelta(seconds=delay)

    @api.model
    def _claim_receipts(self):
        """Lock the next receipts that are due, as the first statement of a transaction.

        Nothing is locked while another process applies receipts: those of one message keep their order.

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
                 ORDER BY COALESCE(next_attempt_at, create_date), id
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
    def _retry_receipts_now(self, messages):
        """Make the receipts due that have waited for these messages.

        :param wechat.message messages: messages that have just got their number.
        """
        waiting = self.search(
            Domain("account_id", "in", messages.account_id.ids)
            & Domain("msgid", "in", messages.mapped("msgid"))
            & Domain("event", "=", RECEIPT_EVENT)
            & Domain("state", "=", "received")
            & Domain("next_attempt_at", "!=", False)
        )
        if waiting:
            waiting.next_attempt_at = fields.Datetime.now()
            self._wake_receipts()

    @api.autovacuum
    def _gc_receipts(self):
        """Delete the receipts that were applied or have waited too long: one comes for each message.

        :return: the number of deleted receipts, and whether more may remain.
        :rtype: tuple[int, bool]
        """
        receipts = self.search(
            Domain("event", "=", RECEIPT_EVENT)
            & Domain("state", "in", ("done", "ignored"))
            & Domain("create_date", "<", fields.Datetime.subtract(fields.Datetime.now(), days=KEEP_DAYS)),
            limit=VACUUM_BATCH,
            order="id",
        )
        receipts.unlink()
        return len(receipts), len(receipts) == VACUUM_BATCH
