from odoo import api, fields, models

# A message or a receipt that has been due for longer shows that no scheduled action runs.
OVERDUE_MINUTES = 15
# What a person has a look at, and no more of them.
ALERTS_SHOWN = 5


class WechatAccount(models.Model):
    """What the start page tells of the messages: how many wait, fail or are unknown, and what keeps them from going."""

    _inherit = "wechat.account"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

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
        """Return what keeps messages from going or hides what becomes of them.

        :return: dicts with ``text``, and ``action`` or False.
        :rtype: list[dict]
        """
        alerts = []
        # pylint: disable-next=no-search-all  # an installation has a handful of accounts
        for account in self.search([]):
            alerts += [
                {"text": text, "action": self._prepare_account_action(account).get("action", False)}
                for text in account._get_alert_texts()
            ]
        for template in self.env["wechat.template"].search([("stop_reason", "!=", False)], limit=ALERTS_SHOWN):
            alerts.append(
                {
                    "text": self.env._("WeChat refuses the template %s: its messages wait.", template.name),
                    "action": {
                        "type": "ir.actions.act_window",
                        "res_model": "wechat.template",
                        "res_id": template.id,
                        "views": [(False, "form")],
                    },
                }
            )
        if self._is_overdue():
            text = self.env._(
                "Messages or receipts have been waiting for more than %s minutes: Odoo's scheduled actions don't seem "
                "to run. Ask the administrator.",
                OVERDUE_MINUTES,
            )
            alerts.append({"text": text, "action": False})
        return alerts

    def _get_alert_texts(self):
        self.ensure_one()
        if self.is_outbox_unconfirmed:
            return [self.env._("All messages wait until a manager confirms that this database sends them.")]
        if self.send_stop_reason:
            return [self.env._("WeChat refuses the account %s: its messages wait.", self.name)]
        texts = []
        if self.is_send_paused:
            texts.append(self.env._("The account %s sends nothing for a while, as WeChat has asked.", self.name))
        if self.is_quota_short:
            texts.append(
                self.env._(
                    "%(percent)s%% of the messages that WeChat allows %(account)s today are used.",
                    percent=round(self.quota_percent),
                    account=self.name,
                )
            )
        return texts

    @api.model
    def _is_overdue(self):
        before = fields.Datetime.subtract(fields.Datetime.now(), minutes=OVERDUE_MINUTES)
        # sudo: wechat.event, wechat.message - only whether anything is stuck is told
        receipts_sudo = self.env["wechat.event"].sudo()
        messages_sudo = self.env["wechat.message"].sudo()
        is_receipt_stuck = receipts_sudo.search_count(
            [
                ("event", "=", "templatesendjobfinish"),
                ("state", "=", "received"),
                ("attempts", "=", 0),
                ("create_date", "<", before),
            ],
            limit=1,
        )
        is_lease_stuck = messages_sudo.search_count([("state", "=", "sending"), ("lease_until", "<", before)], limit=1)
        return bool(is_receipt_stuck or is_lease_stuck)
