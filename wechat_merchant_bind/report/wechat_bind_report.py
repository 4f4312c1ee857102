from odoo import fields, models
from odoo.tools import SQL

# The counters, by operation of the log. Scans are counted by the codes that they used.
COUNTED = {
    "generate": "generated_count",
    "send": "sent_count",
    "remind": "reminded_count",
    "scan": "scanned_count",
    "bind": "bound_count",
    "refuse": "refused_count",
    "unbind": "unbound_count",
    "unfollow": "unfollowed_count",
    "follow": "followed_count",
}


class WechatBindReport(models.Model):
    """Statistics of bindings and codes: the operations log without its details."""

    _name = "wechat.bind.report"
    _description = "WeChat Binding Statistics"
    _auto = False
    _order = "date desc"
    _rec_name = "kind"
    _depends = {
        "wechat.bind.code": ["partner_id", "account_id", "company_id", "user_id", "used_at"],
        "wechat.operation": [
            "operation", "partner_id", "account_id", "company_id", "code_id", "user_id", "create_date"
        ],
    }  # fmt: skip

    # === FIELDS === #

    date = fields.Datetime("Time", readonly=True)
    kind = fields.Selection(
        [
            ("generate", "Code generated"),
            ("send", "Code sent"),
            ("remind", "Reminded"),
            ("scan", "Code used"),
            ("bind", "Bound"),
            ("refuse", "Binding refused"),
            ("unbind", "Unbound"),
            ("unfollow", "Unfollowed"),
            ("follow", "Followed again"),
        ],
        "What Happened",
        readonly=True,
    )
    partner_id = fields.Many2one("res.partner", "Merchant", readonly=True)
    account_id = fields.Many2one("wechat.account", "Official Account", readonly=True)
    company_id = fields.Many2one("res.company", readonly=True)
    user_id = fields.Many2one(
        "res.users", "Done by", readonly=True, help="For results of a scan, the user that generated the code."
    )
    generated_count = fields.Integer("Codes Generated", readonly=True)
    sent_count = fields.Integer("Codes Sent", readonly=True)
    reminded_count = fields.Integer("Reminders", readonly=True)
    scanned_count = fields.Integer("Codes Used", readonly=True)
    bound_count = fields.Integer("Bindings Made", readonly=True)
    refused_count = fields.Integer("Refusals", readonly=True)
    unbound_count = fields.Integer("Unbindings", readonly=True)
    unfollowed_count = fields.Integer("Unfollow Count", readonly=True)
    followed_count = fields.Integer("Follow Count", readonly=True)

    # === BUSINESS METHODS === #

    @property
    def _table_query(self):
        return SQL(
            """
            SELECT happened.*, %(counts)s
              FROM (%(log)s UNION ALL %(scans)s) AS happened
            """,
            counts=SQL(", ").join(
                SQL("CASE WHEN kind = %s THEN 1 ELSE 0 END AS %s", kind, SQL.identifier(name))
                for kind, name in COUNTED.items()
            ),
            log=self._get_log_query(),
            scans=self._get_scan_query(),
        )

    def _get_log_query(self):
        # OdooBot handles scans; their operations count for the user that generated the code.
        return SQL(
            """
            SELECT operation.id * 2 AS id,
                   operation.create_date AS date,
                   operation.operation AS kind,
                   operation.partner_id,
                   operation.account_id,
                   operation.company_id,
                   CASE WHEN operation.operation IN ('bind', 'refuse') THEN COALESCE(code.user_id, operation.user_id)
                        ELSE operation.user_id
                   END AS user_id
              FROM wechat_operation AS operation
         LEFT JOIN wechat_bind_code AS code ON code.id = operation.code_id
             WHERE operation.operation IN %s
            """,
            tuple(COUNTED),
        )

    def _get_scan_query(self):
        return SQL(
            """
            SELECT id * 2 + 1, used_at, 'scan', partner_id, account_id, company_id, user_id
              FROM wechat_bind_code
             WHERE used_at IS NOT NULL
            """
        )
