"""What no claim sees."""

from odoo import api, models
from odoo.tools import SQL

from ..tools.call_pool import REPEAT_SECONDS
from .wechat_message import PRIORITY_REPEAT
from .wechat_message_lane import BUCKET, NOW
from .wechat_message_queue import BUCKETS

# Messages that a sweep deals with in one transaction; the next one follows soon.
SWEEP_ROWS = 1000


class WechatMessage(models.Model):
    _inherit = "wechat.message"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

    # === BUSINESS METHODS === #

    @api.model
    def _sweep(self, buckets):
        """Catch up with what no claim sees: messages whose lane was killed, whose time has passed, that were parked
        behind one that is gone, or whose notification was not told.

        :param list[int] buckets: of the lane.
        """
        for step in (self._sweep_leases, self._sweep_expired, self._sweep_parked):
            self._attempt(step, buckets)
        self._attempt(self._sync_due_notifications)

    @api.model
    def _sweep_leases(self, buckets):
        """Take back messages whose lease is over: whoever claimed them was killed, perhaps in the middle of a call."""
        self._update_swept(
            SQL(
                """
                UPDATE wechat_message
                   SET state = CASE WHEN first_call_at > %(now)s - %(repeat)s * interval '1 second'
                                    THEN 'outgoing' ELSE 'unknown' END,
                       failure_type = CASE WHEN first_call_at > %(now)s - %(repeat)s * interval '1 second'
                                           THEN failure_type ELSE 'wechat_unknown' END,
                       priority = LEAST(priority, %(priority)s),
                       next_attempt_at = %(now)s,
                       lease_until = NULL,
                       write_date = %(now)s
                 WHERE id IN (
                     SELECT id
                       FROM wechat_message
                      WHERE state = 'sending' AND lease_until <= %(now)s AND %(bucket)s = ANY(%(buckets)s)
                      LIMIT %(limit)s
                        FOR UPDATE SKIP LOCKED
                 )
             RETURNING id, partner_id, state
                """,
                now=NOW,
                repeat=REPEAT_SECONDS,
                priority=PRIORITY_REPEAT,
                bucket=BUCKET,
                buckets=buckets,
                limit=SWEEP_ROWS,
            )
        )

    @api.model
    def _sweep_expired(self, buckets):
        """Cancel what has waited until its time was over, also for an account or template that is stopped."""
        self._update_swept(
            SQL(
                """
                UPDATE wechat_message
                   SET state = CASE WHEN first_call_at IS NULL THEN 'canceled' ELSE 'unknown' END,
                       failure_type = CASE WHEN first_call_at IS NULL THEN 'wechat_expired' ELSE 'wechat_unknown' END,
                       is_parked = FALSE,
                       write_date = %(now)s
                 WHERE id IN (
                     SELECT id
                       FROM wechat_message
                      WHERE state = 'outgoing' AND valid_until <= %(now)s AND %(bucket)s = ANY(%(buckets)s)
                      LIMIT %(limit)s
                        FOR UPDATE SKIP LOCKED
                 )
             RETURNING id, partner_id, state
                """,
                now=NOW,
                bucket=BUCKET,
                buckets=buckets,
                limit=SWEEP_ROWS,
            )
        )

    def _update_swept(self, query):
        """Run an update of a sweep, and let what waited behind its messages be looked at."""
        self.env.cr.execute(query)
        rows = self.env.cr.dictfetchall()
        if rows:
            self.invalidate_model(flush=False)
            self._wake_next([row["partner_id"] for row in rows if row["partner_id"]])
            messages = self.browse([row["id"] for row in rows])
            messages._sync_notifications()
            messages._apply_fallback()

    @api.model
    def _sweep_parked(self, buckets):
        """Let the first parked message of each merchant be looked at, in case nobody is left who would."""
        self.env.cr.execute(
            SQL(
                """
                UPDATE wechat_message
                   SET is_parked = FALSE
                 WHERE id IN (
                     SELECT DISTINCT ON (message.partner_id) message.id
                       FROM wechat_message AS message
                  LEFT JOIN wechat_template AS template ON template.id = message.template_id
                      WHERE message.state = 'outgoing'
                        AND message.is_parked
                        AND %(bucket)s = ANY(%(buckets)s)
                        AND template.stop_reason IS NULL
                   ORDER BY message.partner_id, message.priority, message.id
                 )
                """,
                bucket=SQL("(COALESCE(message.partner_id, 0) %% %s)", SQL(str(BUCKETS))),
                buckets=buckets,
            )
        )
