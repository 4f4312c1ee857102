import logging

from odoo import models

from ..audit.term_text import encode_terms
from ..const import CONCURRENCY_ERRORS

_logger = logging.getLogger(__name__)


class WechatBinding(models.Model):
    """Changes of a binding reschedule or cancel its messages. A new binding gets a welcome message."""

    _inherit = "wechat.binding"  # pylint: disable=consider-merging-classes-inherited  # a file a package

    # === BUSINESS METHODS === #

    def _set_subscribed(self, subscribed, at):
        before = self.filtered("is_subscribed")
        result = super()._set_subscribed(subscribed, at)
        if returned := (self - before).filtered(lambda binding: binding.is_subscribed and binding.state == "bound"):
            waiting = [("partner_id", "in", returned.partner_id.ids), ("failure_type", "=", "wechat_unfollowed")]
            self.env["wechat.message"]._retry_now(waiting)
        return result

    def _unbind(self, reason):
        bindings = self.filtered(lambda binding: binding.state == "bound")
        partners = bindings.partner_id
        result = super()._unbind(reason)
        self.env["wechat.message"]._cancel_waiting([("partner_id", "in", partners.ids)], "wechat_unbound")
        return result

    def _erase(self, account, openid):
        result = super()._erase(account, openid)
        # The messages stay for the statistics, without content and recipient.
        self.env["wechat.message"].search([("account_id", "=", account.id), ("openid", "=", openid)])._erase_content()
        return result

    # === BUSINESS METHODS - WELCOME === #

    def _queue_welcome(self):
        """Queue the welcome message of a new binding, without a call to WeChat."""
        self.ensure_one()
        template = self.account_id.welcome_template_id
        if template._get_obstacle() or not self.is_subscribed:
            return
        try:
            # The savepoint keeps the binding if an expression of the template breaks the transaction.
            with self.env.cr.savepoint():
                self.env["wechat.message"]._queue([self._prepare_welcome(template)])
        except CONCURRENCY_ERRORS:
            # The handling of the scan is repeated.
            raise
        except Exception:
            _logger.exception("wechat.notices: welcome not queued binding=%s", self.id)

    def _prepare_welcome(self, template):
        """Return the values of the welcome message.

        :param wechat.template template: the account's welcome template.
        :rtype: dict
        """
        partner = self.partner_id
        card = template._prepare_cards(partner, {partner.id: partner})[partner.id]
        values = {
            "partner_id": partner.id,
            "template_id": template.id,
            "card": card.card,
            "body": card.body,
            "kind": "welcome",
            "res_model": partner._name,
            "res_id": partner.id,
        }
        if card.errors:
            values |= {
                "state": "failed",
                "failure_type": "wechat_value",
                "failure_reason": encode_terms(*card.errors),
            }
        return values
