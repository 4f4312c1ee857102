from odoo import api, fields, models

from .wechat_account_health import STATES

# What a person has a look at, and no more of them.
ALERTS_SHOWN = 5


class WechatAccount(models.Model):
    """What the start page tells of the messages: how many wait, fail or are unknown, and what keeps them from going.

    The account tells more of that, as its health.
    """

    _inherit = "wechat.account"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

    # === FIELDS === #

    health_ids = fields.One2many(
        "wechat.account.health", "account_id", readonly=True, groups="wechat_merchant_bind.group_manager"
    )
    health_state = fields.Selection(
        STATES, "Worst Finding", compute="_compute_health_state", groups="wechat_merchant_bind.group_manager"
    )

    # === COMPUTE METHODS === #

    @api.depends("health_ids.state")
    def _compute_health_state(self):
        order = [state for state, _label in STATES]
        for account in self:
            states = account.health_ids.mapped("state")
            account.health_state = max(states, key=order.index, default=False) if account.active else False

    # === CRUD METHODS === #

    @api.model_create_multi
    def create(self, vals_list):
        accounts = super().create(vals_list)
        self.env["wechat.account.health"]._get_for(accounts)
        return accounts

    # === BUSINESS METHODS === #

    @api.model
    def get_overview(self):
        """Return what the start page shows, and in ``alerts`` what is wrong: each with ``text`` and ``action``.

        :rtype: dict
        :raise AccessError: if the user may not use the addon.
        """
        overview = super().get_overview()
        return {**overview, "alerts": self._get_overview_alerts()[:ALERTS_SHOWN] if overview["is_live"] else []}

    @api.model
    def _get_overview_tiles(self):
        messages = self.env["wechat.message"]
        action = "wechat_merchant_bind.wechat_message_action"
        failed_today = [("state", "=", "failed"), ("create_date", ">=", "today")]
        return [
            *super()._get_overview_tiles(),
            self._prepare_tile(
                "outbox",
                self.env._("Messages Waiting"),
                messages.search_count([("state", "in", ("outgoing", "sending"))]),
                action,
                "waiting",
            ),
            self._prepare_tile(
                "failed", self.env._("Failed Today"), messages.search_count(failed_today), action, "failed", "today"
            ),
            self._prepare_tile(
                "unknown",
                self.env._("Results Unknown"),
                messages.search_count([("state", "=", "unknown")]),
                "wechat_merchant_bind.wechat_message_action_unknown",
            ),
        ]

    @api.model
    def _get_overview_alerts(self):
        """Return what keeps messages from going or hides what becomes of them, the worst first.

        :return: dicts with ``text``, ``is_problem``, and ``action`` or False.
        :rtype: list[dict]
        """
        accounts = self.search([])  # pylint: disable=no-search-all  # an installation has a handful of accounts
        # sudo: wechat.account.health - of accounts that the user may read, what has happened in one line
        lines_sudo = self.env["wechat.account.health"].sudo().search([("account_id", "in", accounts.ids)])
        wrong = lines_sudo.filtered(lambda line: line.state != "ok" and line.kind != "templates")
        alerts = [
            {
                "text": self._get_alert_text(lines, len(accounts)),
                "is_problem": lines[0].state == "problem",
                "action": self._prepare_account_action(lines[0].account_id.sudo(False)).get("action", False),
            }
            for lines in wrong.grouped("summary").values()
        ]
        for template in self.env["wechat.template"].search([("stop_reason", "!=", False)], limit=ALERTS_SHOWN):
            alerts.append(
                {
                    "text": self.env._("WeChat refuses the template %s: its messages wait.", template.name),
                    "is_problem": True,
                    "action": {
                        "type": "ir.actions.act_window",
                        "res_model": "wechat.template",
                        "res_id": template.id,
                        "views": [(False, "form")],
                    },
                }
            )
        return sorted(alerts, key=lambda alert: not alert["is_problem"])

    @api.model
    def _get_alert_text(self, lines, account_count):
        """Return what has happened to one or several accounts, which are named where there are others.

        :param wechat.account.health lines: with the same trouble.
        :param int account_count: how many accounts there are.
        :rtype: str
        """
        if len(lines) == account_count:
            return lines[0].summary
        return self.env._(
            "%(account)s: %(problem)s",
            account=", ".join(lines.account_id.mapped("name")),
            problem=lines[0].summary,
        )
