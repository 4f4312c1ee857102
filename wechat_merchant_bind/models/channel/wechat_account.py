import logging

from odoo import api, fields, models
from odoo.exceptions import UserError, ValidationError

from ...tools.wechat_errors import WechatError

_logger = logging.getLogger(__name__)


class WechatAccount(models.Model):
    """The templates of an account at WeChat. Reading them keeps the expressions that were filled in here."""

    _inherit = "wechat.account"

    # === FIELDS === #

    welcome_template_id = fields.Many2one(
        "wechat.template",
        ondelete="set null",
        copy=False,
        domain="[('account_id', '=', id), ('model', '=', 'res.partner')]",
        help="Sent to a merchant after the binding, besides the reply, which costs no quota.",
    )

    # === CONSTRAINTS AND INDEXES === #

    @api.constrains("welcome_template_id")
    def _check_welcome_template(self):
        for account in self:
            template = account.welcome_template_id
            if template and (template.account_id != account or template.model != "res.partner"):
                raise ValidationError(
                    self.env._("The welcome template must be one of this account's, and made for contacts.")
                )

    # === ACTION METHODS === #

    def action_sync_templates(self):
        """Read the accounts' templates from WeChat. If WeChat refuses one account, the others are still read.

        :return: a notification with the changes, and with the reasons for accounts that could not be read.
        :rtype: dict
        :raise UserError: if no account could be read.
        """
        self.check_access("write")
        totals, refusals = {"new": 0, "vanished": 0, "all": 0}, []
        for account in self:
            try:
                with self.env.cr.savepoint():
                    result = account._sync_templates()
            except (WechatError, UserError) as error:
                reason = account._get_error_message(error) if isinstance(error, WechatError) else str(error)
                refusals.append(
                    self.env._(
                        "The templates of %(account)s could not be read.\n%(reason)s",
                        account=account.name,
                        reason=reason,
                    )
                )
            else:
                totals = {name: totals[name] + result[name] for name in totals}
        if refusals and len(refusals) == len(self):
            raise UserError("\n\n".join(refusals))
        message = self.env._(
            "WeChat has %(all)s templates: %(new)s are new here, %(vanished)s of those here are gone.", **totals
        )
        return {
            "type": "ir.actions.client",
            "tag": "display_notification",
            "params": {
                "type": "warning" if refusals else "success",
                # The web client shows no line breaks.
                "message": " ".join([message, *refusals]).replace("\n", " "),
                "sticky": bool(refusals),
                "next": {"type": "ir.actions.client", "tag": "soft_reload"},
            },
        }

    # === BUSINESS METHODS === #

    @api.model
    def _cron_sync_templates(self):
        """Read the templates of all accounts. If WeChat refuses one account, the others are still read."""
        accounts = self.search([("active", "=", True)])
        self.env["ir.cron"]._commit_progress(remaining=len(accounts))
        for account in accounts:
            try:
                account._sync_templates()
            except WechatError as error:
                _logger.warning("wechat.templates: not read account=%s error=%s", account.id, error)
            if not self.env["ir.cron"]._commit_progress(1):
                break

    def _sync_templates(self):
        """Read the account's templates from WeChat: create new ones, and mark those that WeChat no longer has.

        Several templates here may stand for one at WeChat, for different models.

        :return: the numbers of templates at WeChat (all), created here (new) and marked as gone (vanished).
        :rtype: dict[str, int]
        :raise WechatError: if WeChat refuses.
        """
        self.ensure_one()
        found = {template["template_id"]: template for template in self._call_api("get_all_private_template")}
        known = self.env["wechat.template"].with_context(active_test=False).search([("account_id", "=", self.id)])
        uids = set(known.mapped("template_uid"))
        new = self.env["wechat.template"].create(
            [
                {"name": template.get("title") or uid, "account_id": self.id, "template_uid": uid}
                for uid, template in found.items()
                if uid not in uids
            ]
        )
        present = known.filtered(lambda template: template.template_uid in found)
        for template in present + new:
            template._update_from_wechat(found[template.template_uid])
        vanished = (known - present).filtered(lambda template: not template.is_vanished)
        vanished.is_vanished = True
        return {"all": len(found), "new": len(new), "vanished": len(vanished)}
