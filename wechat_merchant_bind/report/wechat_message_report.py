from odoo import fields, models
from odoo.tools import SQL

from ..models.const import FAILURE_TYPES, KINDS, STATES


class WechatMessageReport(models.Model):
    """Statistics of messages: delivered and failed ones, time to delivery, failure types."""

    _name = "wechat.message.report"
    _description = "WeChat Message Statistics"
    _auto = False
    _order = "date desc"
    _rec_name = "template_name"
    _depends = {
        "wechat.message": [
            "account_id", "company_id", "create_date", "delivered_at", "failure_type", "kind",
            "partner_id", "state", "template_id", "template_name", "user_id",
        ],
    }  # fmt: skip

    # === FIELDS === #

    date = fields.Datetime("Queued on", readonly=True)
    partner_id = fields.Many2one("res.partner", "Merchant", readonly=True)
    account_id = fields.Many2one("wechat.account", "Official Account", readonly=True)
    company_id = fields.Many2one("res.company", readonly=True)
    template_id = fields.Many2one("wechat.template", "WeChat Template", readonly=True)
    template_name = fields.Char("Template", readonly=True)
    user_id = fields.Many2one("res.users", "Sent by", readonly=True)
    kind = fields.Selection(KINDS, readonly=True)
    state = fields.Selection(STATES, "Status", readonly=True)
    failure_type = fields.Selection(FAILURE_TYPES, "Problem", readonly=True)
    delivered_count = fields.Integer("Delivered", readonly=True)
    failed_count = fields.Integer("Failed", readonly=True)
    unknown_count = fields.Integer("Results Unknown", readonly=True)
    delivered_rate = fields.Float(
        "Delivered (%)",
        readonly=True,
        aggregator="avg",
        digits=(5, 1),
        help="Share of all messages with a result, without waiting and canceled ones.",
    )
    delivery_seconds = fields.Float(
        "Median Time to Delivery (s)",
        readonly=True,
        aggregator="avg",
        digits=(12, 1),
        help="From when a message was queued until its receipt came: half of the messages took longer.",
    )

    # === BUSINESS METHODS === #

    @property
    def _table_query(self):
        return SQL(
            """
            SELECT id,
                   create_date AS date,
                   partner_id,
                   account_id,
                   company_id,
                   template_id,
                   template_name,
                   user_id,
                   kind,
                   state,
                   CASE WHEN state IN ('failed', 'unknown', 'canceled') THEN failure_type END AS failure_type,
                   (state = 'delivered')::int AS delivered_count,
                   (state = 'failed')::int AS failed_count,
                   (state = 'unknown')::int AS unknown_count,
                   CASE WHEN state NOT IN ('outgoing', 'sending', 'canceled')
                       THEN CASE WHEN state = 'delivered' THEN 100.0 ELSE 0.0 END
                   END AS delivered_rate,
                   CASE WHEN state = 'delivered' THEN EXTRACT(EPOCH FROM delivered_at - create_date) END
                   AS delivery_seconds
              FROM wechat_message
             WHERE kind != 'test'
            """
        )

    def _read_group_select(self, aggregate_spec, query):
        """Aggregate the time to delivery as the median: a few late messages would dominate the average."""
        if aggregate_spec == "delivery_seconds:avg":
            column = self._field_to_sql(self._table, "delivery_seconds", query)
            return SQL("PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY %s)", column)
        return super()._read_group_select(aggregate_spec, query)
