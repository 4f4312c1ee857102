from datetime import timedelta

from odoo import Command, api, fields, models
from odoo.fields import Domain
from odoo.tools import SQL

from ..const import GROUP_MANAGER
from .wechat_account_health import HEALTH_STATES

# Days of the funnel on the start page, as in its graph.
FUNNEL_DAYS = 30
# Alerts that the start page shows at most.
ALERTS_SHOWN = 5
DIGEST_HOURS = 24


class WechatAccount(models.Model):
    """The app's start page, the health of accounts, and the daily e-mail about failures.

    The start page shows the steps to the first binding, then numbers and alerts.
    """

    _inherit = "wechat.account"  # pylint: disable=consider-merging-classes-inherited  # a file a package

    # === FIELDS === #

    health_ids = fields.One2many(
        "wechat.account.health", "account_id", readonly=True, groups="wechat_merchant_bind.group_manager"
    )
    health_state = fields.Selection(
        HEALTH_STATES, "Worst Finding", compute="_compute_health_state", groups="wechat_merchant_bind.group_manager"
    )
    failure_digest = fields.Boolean(
        "Daily E-mail about Failures",
        help="To the managers, on days on which messages failed or their result is unknown.",
    )
    failure_digest_at = fields.Datetime("Last E-mail about Failures", readonly=True, copy=False)

    # === COMPUTE METHODS === #

    @api.depends("health_ids.state")
    def _compute_health_state(self):
        order = [state for state, _label in HEALTH_STATES]
        for account in self:
            states = account.health_ids.mapped("state")
            account.health_state = max(states, key=order.index, default=False) if account.active else False

    # === CRUD METHODS === #

    @api.model_create_multi
    def create(self, vals_list):
        accounts = super().create(vals_list)
        self.env["wechat.account.health"]._get_for(accounts)
        return accounts

    # === BUSINESS METHODS - OVERVIEW === #

    @api.model
    def get_overview(self):
        """Return the content of the start page. Reads the database only.

        :return: is_live: whether all steps are done; steps: in the order in which they fail, each with key, title,
            reason, is_done, problem, button, and for the button either action, or method and res_id, or ask, which
            names the person to ask; tiles: each with key, label, value, and action and filters of the list behind it;
            funnel: each with label and value; alerts: each with text and action.
        :rtype: dict
        :raise AccessError: if the user may not use the addon.
        """
        self.check_access("read")
        steps = self._get_overview_steps()
        is_live = all(step["is_done"] for step in steps)
        return {
            "is_live": is_live,
            "steps": steps,
            "tiles": self._get_overview_tiles() if is_live else [],
            "funnel": self._get_overview_funnel() if is_live else [],
            "alerts": self._get_overview_alerts()[:ALERTS_SHOWN] if is_live else [],
        }

    # === BUSINESS METHODS - STEPS === #

    @api.model
    def _get_overview_steps(self):
        """Return the steps to the first binding, in the order in which they fail.

        A later step proves earlier ones: an account with bindings by scans can be reached, even if its address looks
        local.

        :rtype: list[dict]
        """
        account = self.search([], limit=1)
        is_bound = bool(self.env["wechat.binding"].search_count([], limit=1))
        is_generated = bool(self.env["wechat.bind.code"].search_count([], limit=1))
        is_reached = self._is_reached()
        return [
            self._prepare_account_step(account),
            self._prepare_address_step(account, is_reached),
            self._prepare_connection_step(account, is_generated),
            self._prepare_webhook_step(account, is_reached),
            self._prepare_code_step(is_generated),
            self._prepare_binding_step(is_bound),
        ]

    @api.model
    def _prepare_step(self, key, title, reason, button, is_done, **values):
        return {
            "key": key,
            "title": title,
            "reason": reason,
            "button": button,
            "is_done": bool(is_done),
            "problem": False,
            "ask": False,
            **values,
        }

    @api.model
    def _prepare_account_step(self, account):
        # sudo: wechat.account - tells only whether there is a secret
        is_done = account.app_id and account.sudo().app_secret
        return self._prepare_step(
            "account",
            self.env._("Add your Official Account"),
            self.env._("Binding codes belong to a WeChat Official Account: Odoo needs its App ID and App Secret."),
            self.env._("Open Official Account") if account else self.env._("Add Official Account"),
            is_done,
            **self._prepare_account_action(account),
        )

    @api.model
    def _prepare_address_step(self, account, is_reached):
        # sudo: wechat.account.check - a record in memory for managers only; tells the line about the address
        line = self.env["wechat.account.check"].sudo().new({"account_id": account.id})._check_own_address()
        is_done = is_reached or line["result"] == "ok"
        return self._prepare_step(
            "address",
            self.env._("Give Odoo a public https address"),
            self.env._("WeChat reports each scan to this address, and merchants open their code there."),
            self.env._("Open System Parameters"),
            is_done,
            problem=not is_done and line["message"],
            **self._prepare_address_action(),
        )

    @api.model
    def _prepare_connection_step(self, account, is_generated):
        # sudo: wechat.account - the error is for managers; all users are told whether there is one
        error = account.sudo().last_check_error
        is_done = not error and (account.last_check_at or is_generated)
        is_manager = self.env.user.has_group(GROUP_MANAGER)
        return self._prepare_step(
            "connection",
            self.env._("Have WeChat accept the account"),
            self.env._("WeChat only answers a server that knows the App Secret and stands on the IP allow-list."),
            self.env._("Test Connection"),
            is_done,
            problem=is_manager and error,
            **(
                {"method": "action_test_connection", "res_id": account.id}
                if is_manager and account
                else self._prepare_account_action(account)
            ),
        )

    @api.model
    def _prepare_webhook_step(self, account, is_reached):
        return self._prepare_step(
            "webhook",
            self.env._("Let WeChat reach Odoo"),
            self.env._(
                "Enter the webhook address, Token and EncodingAESKey in WeChat's console, enable the server "
                "configuration, then follow the account with your phone."
            ),
            self.env._("Open Official Account") if account else self.env._("Add Official Account"),
            is_reached,
            **self._prepare_account_action(account),
        )

    @api.model
    def _prepare_code_step(self, is_generated):
        return self._prepare_step(
            "code",
            self.env._("Generate the first binding code"),
            self.env._("Every merchant gets a code of its own, which binds whoever scans it first."),
            self.env._("Open Merchants"),
            is_generated,
            action="wechat_merchant_bind.wechat_merchant_action",
        )

    @api.model
    def _prepare_binding_step(self, is_bound):
        return self._prepare_step(
            "binding",
            self.env._("Bind the first merchant"),
            self.env._("Send the code to the merchant. It is bound as soon as it has scanned the code with WeChat."),
            self.env._("Open Binding Codes"),
            is_bound,
            action="wechat_merchant_bind.wechat_bind_code_action",
        )

    @api.model
    def _prepare_account_action(self, account):
        if not self.env.user.has_group(GROUP_MANAGER):
            return {"ask": self.env._("Please ask a WeChat manager.")}
        return {
            "action": {
                "type": "ir.actions.act_window",
                "name": self.env._("Official Account"),
                "res_model": self._name,
                "res_id": account.id,
                "views": [(False, "form")],
            }
        }

    @api.model
    def _prepare_address_action(self):
        if not self.env.user.has_group("base.group_system"):
            return {"ask": self.env._("Please ask the administrator of Odoo.")}
        return {
            "action": {
                "type": "ir.actions.act_window",
                "name": self.env._("System Parameters"),
                "res_model": "ir.config_parameter",
                "views": [(False, "list"), (False, "form")],
                "domain": [("key", "=", "web.base.url")],
            }
        }

    @api.model
    def _is_reached(self):
        """Return whether WeChat has ever reached the webhook: there is a push, or a binding by a scan."""
        if self.env["wechat.binding"].search_count([("source", "=", "scan")], limit=1):
            return True
        # pylint: disable-next=no-search-all  # an installation has a handful of accounts
        accounts = self.search([])
        # sudo: wechat.event - the inbox is for managers; tells only whether there is a push
        events_sudo = self.env["wechat.event"].sudo()
        return bool(events_sudo.search_count([("account_id", "in", accounts.ids), ("payload", "!=", False)], limit=1))

    # === BUSINESS METHODS - NUMBERS === #

    @api.model
    def _get_overview_tiles(self):
        """Return the tiles of the start page, each with the number of records and the list of them.

        :rtype: list[dict]
        """
        merchants = self._count_merchants()
        total = sum(merchants.values())
        bound = merchants.get("bound", 0) + merchants.get("unfollowed", 0)
        action = "wechat_merchant_bind.wechat_merchant_action"
        messages = self.env["wechat.message"]
        message_action = "wechat_merchant_bind.wechat_message_action"
        failed_today = [("state", "=", "failed"), ("create_date", ">=", "today")]
        return [
            self._prepare_tile("merchants", self.env._("Merchants"), total, action, "wechat_enabled"),
            self._prepare_tile(
                "bound", self.env._("Bound"), bound, action, "wechat_enabled", "wechat_bound", "wechat_unfollowed"
            ),
            self._prepare_tile(
                "rate",
                self.env._("Bound Rate"),
                self.env._("%s%%", round(100 * bound / total, 1) if total else 0),
                "wechat_merchant_bind.wechat_bound_rate_action",
            ),
            self._prepare_tile(
                "unfollowed",
                self.env._("Unfollowed"),
                merchants.get("unfollowed", 0),
                action,
                "wechat_enabled",
                "wechat_unfollowed",
            ),
            self._prepare_tile(
                "open_codes",
                self.env._("Codes to be Scanned"),
                self._count_merchants_with_codes("open"),
                action,
                "wechat_enabled",
                "wechat_code_open",
            ),
            self._prepare_tile(
                "expired_codes",
                self.env._("Codes Expired Unscanned"),
                self._count_merchants_with_codes("expired"),
                action,
                "wechat_enabled",
                "wechat_code_expired",
            ),
            self._prepare_tile(
                "requests",
                self.env._("To Confirm"),
                self.env["wechat.bind.request"].search_count([("state", "=", "pending")]),
                "wechat_merchant_bind.wechat_bind_request_action",
                "pending",
            ),
            self._prepare_tile(
                "outbox",
                self.env._("Messages Waiting"),
                messages.search_count([("state", "in", ("outgoing", "sending"))]),
                message_action,
                "waiting",
            ),
            self._prepare_tile(
                "failed",
                self.env._("Failed Today"),
                messages.search_count(failed_today),
                message_action,
                "failed",
                "today",
            ),
            self._prepare_tile(
                "unknown",
                self.env._("Results Unknown"),
                messages.search_count([("state", "=", "unknown")]),
                "wechat_merchant_bind.wechat_message_action_unknown",
            ),
        ]

    @api.model
    def _prepare_tile(self, key, label, value, action, *filters):
        return {"key": key, "label": label, "value": value, "action": action, "filters": filters}

    @api.model
    def _count_merchants(self):
        """Return the number of merchants by state.

        :rtype: dict[str, int]
        """
        partners = self.env["res.partner"]
        return dict(partners._read_group(partners._wechat_get_merchant_domain(), ["wechat_state"], ["__count"]))

    @api.model
    def _count_merchants_with_codes(self, kind):
        """Return the number of merchants with a code to be scanned, or with an expired code and no other.

        :param str kind: open or expired.
        :rtype: int
        """
        now = fields.Datetime.now()
        has_open = [("state", "=", "active"), ("expires_at", ">", now)]
        domain = Domain("wechat_bind_code_ids", "any", has_open)
        if kind == "expired":
            has_expired = [("state", "in", ("active", "expired")), ("expires_at", "<=", now)]
            domain = (
                ~domain & Domain("wechat_bind_code_ids", "any", has_expired) & Domain("is_wechat_bound", "=", False)
            )
        partners = self.env["res.partner"]
        return partners.search_count(domain & partners._wechat_get_merchant_domain())

    @api.model
    def _get_overview_funnel(self):
        funnel = self.env["wechat.bind.funnel"]
        since = fields.Datetime.subtract(fields.Datetime.now(), days=FUNNEL_DAYS)
        counts = dict(funnel._read_group([("date", ">=", since)], ["step"], ["__count"]))
        return [
            {"label": label, "value": counts.get(step, 0)}
            for step, label in funnel._fields["step"]._description_selection(self.env)
        ]

    # === BUSINESS METHODS - ALERTS === #

    def _record_verification(self, at, values):
        """Have the check of health alert a manager, outside of the push."""
        is_recorded = super()._record_verification(at, values)
        if is_recorded:
            self.env.ref("wechat_merchant_bind.ir_cron_check_health")._trigger()
        return is_recorded

    @api.model
    def _get_overview_alerts(self):
        """Return the troubles of accounts and templates, problems before warnings.

        :return: dicts with text, is_problem, and action or False.
        :rtype: list[dict]
        """
        accounts = self.search([])  # pylint: disable=no-search-all  # an installation has a handful of accounts
        # sudo: wechat.account.health - one line about each account that the user may read
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
        """Return the text of an alert. It names the accounts unless it is about all of them.

        :param wechat.account.health lines: the checks with the same trouble.
        :param int account_count: the number of all accounts.
        :rtype: str
        """
        if len(lines) == account_count:
            return lines[0].summary
        return self.env._(
            "%(account)s: %(problem)s",
            account=", ".join(lines.account_id.mapped("name")),
            problem=lines[0].summary,
        )

    # === BUSINESS METHODS - DIGEST === #

    @api.model
    def _cron_send_failure_digests(self):
        """Queue the e-mails about messages that have failed since the last e-mails."""
        for account in self.search([("failure_digest", "=", True)]):
            account._send_failure_digest()
            self.env["ir.cron"]._commit_progress(1)

    def _send_failure_digest(self):
        """Queue an e-mail to each manager of the account, in the manager's language, if messages have failed."""
        self.ensure_one()
        since = self._get_digest_since()
        template = self.env.ref("wechat_merchant_bind.mail_template_failure_digest", raise_if_not_found=False)
        if template and self._get_failure_counts(since):
            for manager in self._get_managers().filtered("partner_id.email"):
                lang = self._get_lang(manager.lang)
                template.with_context(lang=lang, wechat_digest_since=since).send_mail(
                    self.id, email_values={"recipient_ids": [Command.link(manager.partner_id.id)]}
                )
        # In SQL: the ORM would log it as a change of settings.
        self.env.cr.execute(
            "UPDATE wechat_account SET failure_digest_at = %s WHERE id = %s", [self.env.cr.now(), self.id]
        )
        self.invalidate_recordset(["failure_digest_at"], flush=False)

    def _get_digest_since(self):
        before = self.env.cr.now() - timedelta(hours=DIGEST_HOURS)
        return max(self.failure_digest_at or before, before - timedelta(days=6))

    def _get_failure_counts(self, since=None):
        """Return the reasons of failed and unknown messages, the most frequent first. The mail template shows them.

        :param datetime since: the time after which they failed; by default the time of the last e-mail.
        :return: the label of the reason, and the number of messages.
        :rtype: list[tuple[str, int]]
        """
        self.ensure_one()
        messages = self.env["wechat.message"]
        since = since or self.env.context.get("wechat_digest_since") or self._get_digest_since()
        labels = dict(messages._fields["failure_type"]._description_selection(self.env))
        messages.flush_model(["account_id", "state", "failure_type", "write_date"])
        # In SQL: a domain compares whole seconds, so a failure in the second of an e-mail would be told twice.
        groups = self.env.execute_query(
            SQL(
                """
                SELECT failure_type, count(*)
                  FROM wechat_message
                 WHERE account_id = %(account_id)s
                   AND state IN ('failed', 'unknown')
                   AND write_date > %(since)s
                   AND write_date <= %(until)s
              GROUP BY failure_type
              ORDER BY count(*) DESC
                """,
                account_id=self.id,
                since=since,
                until=self.env.cr.now(),
            )
        )
        return [(labels.get(failure_type) or self.env._("Another reason"), count) for failure_type, count in groups]
