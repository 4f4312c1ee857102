import logging

from odoo import models

from .term_text import encode_terms
from .wechat_call_mixin import CONCURRENCY_ERRORS

_logger = logging.getLogger(__name__)


class WechatBinding(models.Model):
    """The template message that welcomes a merchant after the binding, if its account has one."""

    _inherit = "wechat.binding"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

    # === BUSINESS METHODS === #

    def _queue_welcome(self):
        """Queue the welcome of a new binding. It leaves by the outbox: no call to WeChat is made here."""
        self.ensure_one()
        template = self.account_id.welcome_template_id
        if not template.active or template.is_vanished or not self.is_subscribed:
            return
        try:
            # The savepoint keeps the binding, whatever the template's expressions do to the transaction.
            with self.env.cr.savepoint():
                self.env["wechat.message"]._queue([self._prepare_welcome(template)])
        except CONCURRENCY_ERRORS:
            # The handling of the scan is repeated as a whole.
            raise
        except Exception:
            _logger.exception("wechat.notices: welcome not queued binding=%s", self.id)

    def _prepare_welcome(self, template):
        """Return the values of the message.

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
