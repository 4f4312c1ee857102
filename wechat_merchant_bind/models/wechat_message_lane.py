"""How a lane finds what to send.

A lane is a scheduled action that calls ``_cron_send``: copying one adds a lane, archiving one removes it. Of ``n``
lanes, each drains every ``n``-th bucket of merchants.
"""

from odoo import api, fields, models
from odoo.tools import SQL

from ..tools.call_pool import MAX_CALLS, REPEAT_SECONDS
from .wechat_message import EXHAUSTED, PRIORITY_URGENT
from .wechat_message_queue import BUCKETS

LANE_CODE = "model._cron_send()"
IDENTITY_PARAMETER = "wechat_merchant_bind.outbox_identity"
# How long a claimed message is its lane's. A call takes 3 seconds to connect, to each of two hosts, and 15 for the
# answer; it may have to wait for two others to end.
LEASE_SECONDS = 75
# A message that is due within this time keeps later ones of the same merchant waiting, so that they arrive in order.
ORDER_SECONDS = 5 * 60
# Who has unfollowed is looked at again so often, besides at once when following again.
UNFOLLOWED_SECONDS = 30 * 60

# Not clock_timestamp(), by which no index can be searched: it may change within the statement.
NOW = SQL("(statement_timestamp() AT TIME ZONE 'UTC')")
# Where many messages wait, PostgreSQL may underrate how many of one merchant, template or account there are, and read
# and sort them all for the first few of an index. What it then takes for expensive is not worth compiling.
PLANNER = SQL("SET LOCAL enable_bitmapscan = off; SET LOCAL enable_seqscan = off; SET LOCAL jit = off")
DUE = SQL("state = 'outgoing' AND is_parked IS NOT TRUE")
BUCKET = SQL("(COALESCE(partner_id, 0) %% %s)", SQL(str(BUCKETS)))
TEMPLATE = SQL("COALESCE(template_id, 0)")


class WechatMessage(models.Model):
    _inherit = "wechat.message"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

    # === BUSINESS METHODS - LANES === #

    @api.model
    def _get_lanes(self):
        """Return the scheduled actions that send, in the order of their shares.

        :rtype: ir.cron
        """
        # sudo: ir.cron - which of them there are is no secret to who queues a message
        return (
            self.env["ir.cron"]
            .sudo()
            .search([("model_id.model", "=", self._name), ("code", "=", LANE_CODE)], order="id")
        )

    @api.model
    def _get_buckets(self):
        """Return the buckets of the lane that is running; all of them outside of a lane.

        :rtype: list[int]
        """
        lanes = self._get_lanes().ids
        lane_id = self.env.context.get("cron_id")
        if lane_id not in lanes:
            return list(range(BUCKETS))
        return list(range(lanes.index(lane_id), BUCKETS, len(lanes)))

    @api.model
    def _trigger_lanes(self, partner_ids=None, at=None):
        """Wake the lanes that send to these merchants.

        :param list[int] partner_ids: the merchants; by default all.
        :param datetime at: when; by default now.
        """
        lanes = self._get_lanes()
        if not lanes or partner_ids == []:
            return
        if partner_ids is None:
            wanted = range(len(lanes))
        else:
            wanted = {partner_id % BUCKETS % len(lanes) for partner_id in partner_ids}
        now = fields.Datetime.now()
        for index in wanted:
            lanes[index]._trigger(at if at and at > now else None)

    # === BUSINESS METHODS - IDENTITY === #

    @api.model
    def _get_outbox_identity(self):
        """Return what tells this database from its copies: its number.

        Not its address, which Odoo rewrites when an administrator logs in by another one.

        :rtype: str
        """
        # sudo: ir.config_parameter - compared, and shown to nobody
        return self.env["ir.config_parameter"].sudo().get_param("database.uuid")

    @api.model
    def _remember_outbox_identity(self):
        """Keep who sends, at the first message."""
        # sudo: see _get_outbox_identity
        if not self.env["ir.config_parameter"].sudo().get_param(IDENTITY_PARAMETER):
            self._confirm_outbox()

    @api.model
    def _confirm_outbox(self):
        """Let this database send."""
        # sudo: see _get_outbox_identity; it is a manager who has confirmed it, or the first message
        self.env["ir.config_parameter"].sudo().set_param(IDENTITY_PARAMETER, self._get_outbox_identity())

    @api.model
    def _is_outbox_confirmed(self):
        """Return whether this database may send: a copy would send everything twice.

        :rtype: bool
        """
        # sudo: see _get_outbox_identity
        known = self.env["ir.config_parameter"].sudo().get_param(IDENTITY_PARAMETER)
        return not known or known == self._get_outbox_identity()

    # === BUSINESS METHODS - CLAIM === #

    @api.model
    def _get_lines_query(self, buckets, budgets):
        """Return the beginning of a query that finds out what waits: ``budget`` has the accounts that may send,
        ``line`` each combination of bucket, account, template and priority, at the cost of one probe of the index each.

        Urgent messages are every lane's: the one whose share they are may wait for its next run.

        :param list[int] buckets: see :meth:`_claim`.
        :param list[dict] budgets: see :meth:`_claim`.
        :rtype: SQL
        """
        names = ("account_id", "calls", "is_quiet", "daily_limit", "day_start", "day_end")
        return SQL(
            """
WITH RECURSIVE budget AS (
    SELECT given.*
      FROM unnest(%(account_id)s::int[], %(calls)s::int[], %(is_quiet)s::bool[], %(daily_limit)s::int[],
                  %(day_start)s::timestamp[], %(day_end)s::timestamp[])
           AS given (account_id, calls, is_quiet, daily_limit, day_start, day_end)
      JOIN wechat_account AS account ON account.id = given.account_id
     WHERE account.active
       AND account.send_stop_reason IS NULL
       AND (account.send_paused_until IS NULL OR account.send_paused_until <= %(now)s)
), anywhere AS (
    SELECT first.*
      FROM generate_series(0, %(last_bucket)s) AS bucket (id)
CROSS JOIN budget
CROSS JOIN LATERAL (
           SELECT %(bucket)s AS bucket, account_id, %(template)s AS template_id, priority
             FROM wechat_message
            WHERE %(due)s AND %(bucket)s = bucket.id AND account_id = budget.account_id
         ORDER BY %(bucket)s, account_id, %(template)s, priority
            LIMIT 1
           ) AS first
 UNION ALL
    SELECT next.*
      FROM anywhere
CROSS JOIN LATERAL (
           SELECT %(bucket)s AS bucket, account_id, %(template)s AS template_id, priority
             FROM wechat_message
            WHERE %(due)s
              AND %(bucket)s = anywhere.bucket
              AND account_id = anywhere.account_id
              AND (%(template)s, priority) > (anywhere.template_id, anywhere.priority)
         ORDER BY %(bucket)s, account_id, %(template)s, priority
            LIMIT 1
           ) AS next
), line AS (
    SELECT * FROM anywhere WHERE bucket = ANY(%(buckets)s) OR priority <= %(urgent)s
)
            """,
            **{name: [budget[name] for budget in budgets] for name in names},
            buckets=buckets,
            last_bucket=BUCKETS - 1,
            urgent=PRIORITY_URGENT,
            bucket=BUCKET,
            template=TEMPLATE,
            due=DUE,
            now=NOW,
        )

    @api.model
    def _get_seconds_to_next(self, buckets, budgets):
        """Return in how many seconds the next message is due that none must wait for, or None.

        :param list[int] buckets: see :meth:`_claim`.
        :param list[dict] budgets: see :meth:`_claim`.
        :rtype: float | None
        """
        if not budgets:
            return None
        self.env.cr.execute(
            SQL(
                """
%(lines)s
    SELECT EXTRACT(EPOCH FROM min(found.next_attempt_at) - %(now)s)::float
      FROM line
      JOIN budget USING (account_id)
 LEFT JOIN wechat_template AS template ON template.id = line.template_id
CROSS JOIN LATERAL (
           SELECT next_attempt_at
             FROM wechat_message
            WHERE %(due)s
              AND %(bucket)s = line.bucket
              AND account_id = line.account_id
              AND %(template)s = line.template_id
              AND priority = line.priority
         ORDER BY next_attempt_at
            LIMIT 1
           ) AS found
     WHERE template.stop_reason IS NULL
       AND (line.priority <= %(urgent)s OR NOT budget.is_quiet)
                """,
                lines=self._get_lines_query(buckets, budgets),
                bucket=BUCKET,
                template=TEMPLATE,
                due=DUE,
                now=NOW,
                urgent=PRIORITY_URGENT,
            )
        )
        return self.env.cr.fetchone()[0]

    @api.model
    def _claim(self, buckets, budgets, limit):
        """Claim the messages that are to be sent next, by the first statement of a transaction.

        What cannot be sent is dealt with by the same statement, so that it is looked at only once: it is canceled if
        its time, its template or its binding has ended, failed if it was called for often enough, unknown if a
        repetition would come too late, and otherwise postponed, or parked behind the message that it must wait for.

        :param list[int] buckets: of the lane.
        :param list[dict] budgets: by account that may send now: ``account_id``, ``calls`` (how many may begin),
            ``is_quiet``, ``daily_limit``, ``day_start`` and ``day_end`` (in UTC).
        :param int limit: how many at most.
        :return: the rows that were written to, with their ``verdict``: ``send`` for those that were claimed.
        :rtype: list[dict]
        """
        budgets = [budget for budget in budgets if budget["calls"] > 0]
        if not budgets or limit < 1:
            return []
        self.env.cr.execute(SQL("%s; %s", PLANNER, self._get_claim_query(buckets, budgets, limit)))
        rows = self.env.cr.dictfetchall()
        rows.sort(key=lambda row: (row["priority"], row["id"]))
        return rows

    @api.model
    def _get_claim_query(self, buckets, budgets, limit):
        """Return the statement of :meth:`_claim`.

        :rtype: SQL
        """
        return SQL(
            """
%(lines)s, stopped AS MATERIALIZED (
    SELECT ARRAY(SELECT id FROM wechat_template WHERE stop_reason IS NOT NULL AND active) AS ids
), candidate AS MATERIALIZED (
    SELECT found.*, budget.calls, budget.daily_limit, budget.day_start, budget.day_end
      FROM line
      JOIN budget USING (account_id)
CROSS JOIN LATERAL (
           SELECT id, partner_id, account_id, template_id, priority, next_attempt_at, valid_until, first_call_at,
                  attempts
             FROM wechat_message
            WHERE %(due)s
              AND %(bucket)s = line.bucket
              AND account_id = line.account_id
              AND %(template)s = line.template_id
              AND priority = line.priority
              AND next_attempt_at <= %(now)s
         ORDER BY next_attempt_at, id
            LIMIT %(limit)s
           ) AS found
     WHERE line.template_id != ALL((SELECT ids FROM stopped)::int[])
       AND (line.priority <= %(urgent)s OR NOT budget.is_quiet)
  ORDER BY found.priority, found.next_attempt_at, found.id
     LIMIT %(limit)s
), judged AS MATERIALIZED (
    SELECT candidate.*, binding.openid, binding.last_event_at,
           CASE
               WHEN candidate.first_call_at <= %(now)s - %(repeat)s * interval '1 second' THEN 'unknown'
               WHEN candidate.attempts >= %(max_calls)s THEN 'exhausted'
               WHEN candidate.valid_until <= %(now)s THEN 'wechat_expired'
               WHEN template.active IS NOT TRUE THEN 'wechat_template'
               WHEN binding.id IS NULL THEN 'wechat_unbound'
               WHEN NOT (partner.active AND merchant.active) THEN 'wechat_disabled'
               WHEN NOT binding.is_subscribed THEN 'unfollowed'
               WHEN candidate.daily_limit > 0
                AND candidate.priority > %(urgent)s
                AND candidate.first_call_at IS NULL
                AND candidate.daily_limit <= (
                        SELECT count(*)
                          FROM (SELECT FROM wechat_message AS today
                                 WHERE today.partner_id = candidate.partner_id
                                   AND today.first_call_at >= candidate.day_start
                                   AND today.state != 'failed'
                              ORDER BY today.first_call_at
                                 LIMIT candidate.daily_limit) AS called
                    )
               THEN 'limited'
               -- Neither is an EXISTS, for which PostgreSQL may read all that waits for a merchant, or, with each
               -- message that has left it and is not yet vacuumed away, all that is being sent.
               WHEN (
                        SELECT TRUE
                          FROM wechat_message AS flying
                         WHERE flying.state = 'sending'
                           AND flying.account_id = binding.account_id
                           AND flying.openid = binding.openid
                         LIMIT 1
                    )
                 OR (
                        SELECT TRUE
                          FROM wechat_message AS earlier
                         WHERE earlier.state = 'outgoing'
                           AND earlier.partner_id = candidate.partner_id
                           AND (earlier.priority, earlier.id) < (candidate.priority, candidate.id)
                           AND earlier.next_attempt_at <= %(now)s + %(order)s * interval '1 second'
                           AND COALESCE(earlier.template_id, 0) != ALL((SELECT ids FROM stopped)::int[])
                      ORDER BY earlier.priority, earlier.id
                         LIMIT 1
                    )
               THEN 'parked'
               ELSE 'send'
           END AS verdict
      FROM candidate
 LEFT JOIN res_partner AS partner ON partner.id = candidate.partner_id
 LEFT JOIN res_partner AS merchant ON merchant.id = COALESCE(partner.commercial_partner_id, partner.id)
 LEFT JOIN wechat_template AS template ON template.id = candidate.template_id
 LEFT JOIN wechat_binding AS binding
        ON binding.partner_id = candidate.partner_id
       AND binding.account_id = candidate.account_id
       AND binding.state = 'bound'
), chosen AS (
    SELECT judged.*,
           row_number() OVER (PARTITION BY account_id, verdict ORDER BY priority, next_attempt_at, id) AS place
      FROM judged
), locked AS (
    SELECT message.id, message.first_call_at, message.errcode, message.next_attempt_at,
           chosen.verdict, chosen.openid, chosen.last_event_at, chosen.day_end, author.lang,
           chosen.verdict = 'send' AS is_sent,
           chosen.verdict IN ('parked', 'limited', 'unfollowed') AS is_waiting,
           chosen.verdict = 'unknown' OR message.first_call_at IS NOT NULL AS is_unknown
      FROM chosen
      JOIN wechat_message AS message ON message.id = chosen.id
 LEFT JOIN res_users AS sender ON sender.id = message.user_id
 LEFT JOIN res_partner AS author ON author.id = sender.partner_id
     WHERE chosen.verdict != 'send' OR chosen.place <= chosen.calls
       FOR UPDATE OF message SKIP LOCKED
)
UPDATE wechat_message AS message
   SET state = CASE
           WHEN is_sent THEN 'sending'
           WHEN is_waiting THEN 'outgoing'
           WHEN is_unknown THEN 'unknown'
           WHEN verdict = 'exhausted' THEN %(exhausted_state)s
           ELSE 'canceled'
       END,
       failure_type = CASE
           -- By that it is known what is to be woken when its recipient follows again.
           WHEN verdict = 'unfollowed' THEN 'wechat_unfollowed'
           WHEN is_sent OR is_waiting THEN NULL
           WHEN is_unknown THEN 'wechat_unknown'
           WHEN verdict = 'exhausted' THEN %(exhausted_type)s
           ELSE verdict
       END,
       openid = CASE WHEN is_sent THEN locked.openid ELSE message.openid END,
       is_parked = verdict = 'parked',
       next_attempt_at = CASE verdict
           WHEN 'limited' THEN day_end + random() * interval '10 minutes'
           WHEN 'unfollowed' THEN %(now)s + %(unfollowed)s * interval '1 second'
           ELSE locked.next_attempt_at
       END,
       lease_until = CASE WHEN is_sent THEN %(now)s + %(lease)s * interval '1 second' END,
       first_call_at = CASE WHEN is_sent THEN COALESCE(locked.first_call_at, %(now)s) ELSE locked.first_call_at END,
       attempts = COALESCE(message.attempts, 0) + is_sent::int,
       write_date = %(now)s
  FROM locked
 WHERE message.id = locked.id
RETURNING message.id, message.account_id, message.template_id, message.partner_id, message.priority, message.openid,
          message.template_uid, message.client_msg_id, message.card, message.res_model, message.res_id,
          message.attempts, message.lease_until, message.first_call_at, locked.first_call_at IS NOT NULL AS is_repeat,
          locked.errcode AS former_errcode,
          locked.last_event_at, locked.lang, locked.verdict
            """,
            lines=self._get_lines_query(buckets, budgets),
            bucket=BUCKET,
            template=TEMPLATE,
            due=DUE,
            now=NOW,
            limit=limit,
            urgent=PRIORITY_URGENT,
            repeat=REPEAT_SECONDS,
            max_calls=MAX_CALLS,
            exhausted_state=EXHAUSTED[0],
            exhausted_type=EXHAUSTED[1],
            order=ORDER_SECONDS,
            unfollowed=UNFOLLOWED_SECONDS,
            lease=LEASE_SECONDS,
        )
