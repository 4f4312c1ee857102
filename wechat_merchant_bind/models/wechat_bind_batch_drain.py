"""How the waiting lines of bulk generations get their codes.

Calls to WeChat are made side by side, by threads that know nothing of Odoo, while this process writes what the calls
before them have brought. Every transaction is short, and none is open while an answer is waited for. The scene of a
line is committed before its call, and its code together with its outcome: whoever comes after a process that was killed
asks WeChat for the same scene again, and stores one code.
"""

import logging
import time
from datetime import timedelta

from odoo import api, fields, models

from ..tools.call_pool import CallPool
from ..tools.pg_lock import LockTimeoutError, session_locks
from .wechat_call_mixin import CONCURRENCY_ERRORS

_logger = logging.getLogger(__name__)

# Calls in flight at once, for all accounts together.
THREADS = 16
# Calls that are queued or in flight: enough for the threads while what has ended is written.
WINDOW = 128
REFILL = 64
# What has ended is written as soon as it is so many, or after so long.
WRITE_AT_LEAST = 16
WRITE_SECONDS = 0.25
# Emails of one transaction: each has a picture to draw.
EMAILS = 20
# Open forms are told of their batch's progress this often at most: each time costs a connection to PostgreSQL.
NOTIFY_SECONDS = 0.5
# Held by one process at a time. It goes with the connection of that process, and with it the power to write.
LOCK_NAME = "bind_batch_drain"
LOCK_TIMEOUT = "500ms"
LOCKED_AGAIN_AFTER = timedelta(minutes=1)


class WechatBindBatch(models.Model):
    _name = "wechat.bind.batch"
    _inherit = ["wechat.bind.batch", "wechat.call.mixin"]

    # === BUSINESS METHODS - DRAIN === #

    @api.model
    def _cron_drain(self):
        """Generate the codes of the waiting lines, oldest first, except those of accounts that are to be left alone."""
        try:
            with session_locks(self.env.cr, [LOCK_NAME], LOCK_TIMEOUT):
                if self._drain():
                    self._drain_emails()
        except LockTimeoutError:
            # Another process is at it; lines that came too late for it are looked for later.
            self._trigger_drain(fields.Datetime.now() + LOCKED_AGAIN_AFTER)

    def _drain(self):
        """Generate codes until none is due or the time is up.

        :return: whether there is time for more.
        :rtype: bool
        """
        lines = self.env["wechat.bind.batch.line"]
        cron = self.env["ir.cron"]
        has_time = cron._commit_progress(remaining=lines._count_due() + lines._count_emails())
        access, starters, locked, last_id, has_more = {}, {}, [], 0, True
        changed, notify_at = set(), time.monotonic()
        done, began_at = 0, time.monotonic()
        with CallPool(THREADS) as pool:
            while has_more or pool.pending:
                processed = 0
                while has_more and pool.pending <= WINDOW - REFILL:
                    # The first calls are on their way while the others are prepared.
                    limit = REFILL if pool.pending else THREADS
                    last_id, calls, closed = self._write(lines._begin, starters, last_id, limit)
                    has_more = bool(last_id)
                    processed += len(closed)
                    changed.update(closed)
                    for call in calls:
                        self._submit(pool, access, call)
                    self.env.cr.commit()  # pylint: disable=invalid-commit  # nothing is open while answers are awaited
                ended = self._take(pool, access, WRITE_AT_LEAST, WRITE_SECONDS)
                locked, written = self._settle(starters, locked + ended)
                changed.update(written)
                if time.monotonic() >= notify_at:
                    self.browse(changed)._notify_changed()
                    changed, notify_at = set(), time.monotonic() + NOTIFY_SECONDS
                done += processed + len(ended)
                has_time = cron._commit_progress(processed + len(ended))
                if not has_time:
                    # The scheduler calls again. What has not begun stays waiting.
                    has_more = False
                    pool.stop()
        if locked:
            self._write(lines._postpone, locked)
        self.browse(changed)._notify_changed()
        if done:
            seconds = time.monotonic() - began_at
            _logger.info("wechat.codes: batch run ended lines=%s postponed=%s seconds=%.1f", done, len(locked), seconds)
        has_time = cron._commit_progress(remaining=lines._count_due() + lines._count_emails())
        return bool(has_time)

    def _drain_emails(self):
        """Send the emails of batches until there are none or the time is up."""
        lines = self.env["wechat.bind.batch.line"]
        starters, has_time = {}, True
        while has_time and (batch_ids := self._write(lines._email_next, starters, EMAILS)):
            self.browse(set(batch_ids))._notify_changed()
            remaining = lines._count_due() + lines._count_emails()
            has_time = self.env["ir.cron"]._commit_progress(len(batch_ids), remaining=remaining)

    def _settle(self, starters, calls):
        """Write what calls have brought.

        :param dict starters: see :meth:`~.WechatBindBatchLine._get_env`.
        :param list[Call] calls: those that have ended.
        :return: the calls of those merchants whom somebody else is writing at this moment; the batches written to.
        :rtype: tuple[list[Call], list[int]]
        """
        if not calls:
            return [], []
        lines = self.env["wechat.bind.batch.line"]
        try:
            return self._write(lines._finish, starters, calls)
        except CONCURRENCY_ERRORS:
            # One of them fails whatever its turn: the others must not wait for it.
            if len(calls) == 1:
                _logger.warning("wechat.codes: code postponed line=%s", calls[0].key, exc_info=True)
                self._write(lines._postpone, calls)
                return [], []
            locked, written = [], []
            for call in calls:
                for target, more in zip((locked, written), self._settle(starters, [call]), strict=True):
                    target += more
            return locked, written
