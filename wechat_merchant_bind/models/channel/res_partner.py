from odoo import api, fields, models
from odoo.tools import LazyTranslate

_lt = LazyTranslate(__name__)
# Days after which a partner that refused messages is tried again: WeChat does not report that they are switched on.
BLOCKED_DAYS = 7


class ResPartner(models.Model):
    """Partners as recipients: whether WeChat reaches them, and which bound partners represent them."""

    _inherit = "res.partner"

    # === FIELDS === #

    # sudo: wechat.binding - a part of the state, which is shown with the partner
    wechat_refusal = fields.Selection(
        [("blocked", "Refuses Messages")],
        "Refuses WeChat Messages",
        compute="_compute_wechat_refusal",
        compute_sudo=True,
        groups="wechat_merchant_bind.group_user",
        help="Bound and following, but the person has switched our messages off.",
    )

    # === COMPUTE METHODS === #

    @api.depends("wechat_state")
    def _compute_wechat_refusal(self):
        blocked = self._origin._wechat_get_live_bindings().filtered(
            lambda binding: binding.is_blocked and binding.is_subscribed
        )
        for partner in self:
            partner.wechat_refusal = "blocked" if partner._origin in blocked.partner_id else False

    # === BUSINESS METHODS === #

    def _wechat_get_reachability(self, account=None):
        """Return why WeChat does not reach these partners.

        :param wechat.account account: the account of the template, which reaches only partners bound by this account.
        :return: the failure type by partner id, or None if the partner is reached.
        :rtype: dict[int, str | None]
        """
        # sudo: wechat.binding - only the reason is returned
        partners_sudo = self.sudo()
        bindings = {binding.partner_id: binding for binding in partners_sudo._wechat_get_live_bindings()}
        return {partner.id: partner._wechat_get_obstacle(bindings.get(partner), account) for partner in partners_sudo}

    def _wechat_get_obstacle(self, binding, account=None):
        """Return why WeChat does not reach a partner with this live binding.

        :param wechat.binding | None binding: the partner's live binding.
        :param wechat.account account: see _wechat_get_reachability.
        :return: a failure type, or None.
        :rtype: str | None
        """
        self.ensure_one()
        if not (self.active and self.commercial_partner_id.active):
            return "wechat_disabled"
        if not binding:
            return "wechat_unbound"
        if not binding.is_subscribed:
            return "wechat_unfollowed"
        if account and binding.account_id != account:
            return "wechat_template"
        retried_before = fields.Datetime.subtract(fields.Datetime.now(), days=BLOCKED_DAYS)
        if binding.is_blocked and not (binding.blocked_at and binding.blocked_at < retried_before):
            return "wechat_blocked"
        return None

    def _wechat_get_obstacle_words(self, failure_type):
        """Return the meaning and the remedy of an obstacle, in words.

        :param str failure_type: see _wechat_get_reachability.
        :rtype: str
        """
        return self.env._(self._wechat_get_obstacle_term(failure_type))

    def _wechat_get_obstacle_term(self, failure_type):
        """Return _wechat_get_obstacle_words as a term, translated when it is read."""
        name = self.display_name
        return {
            "wechat_disabled": _lt("%s is disabled and receives nothing. Enable the merchant first.", name),
            "wechat_unbound": _lt("%s is not bound to WeChat. Send the merchant a binding code.", name),
            "wechat_unfollowed": _lt(
                "%s has unfollowed the Official Account. WeChat delivers nothing until the merchant follows again.",
                name,
            ),
            "wechat_blocked": _lt(
                "%s has switched our messages off in WeChat. The merchant can switch them on in the Official Account's "
                "settings.",
                name,
            ),
            "wechat_template": _lt(
                "%s is bound by another Official Account than the template's. Send a template of that account.", name
            ),
        }[failure_type]

    def _wechat_get_addressees(self, notify_contacts=False):
        """Return the partners to notify by WeChat for each of these partners.

        :param bool notify_contacts: whether to notify all bound contacts of a partner's merchant.
        :return: by partner id; the partner itself if the merchant has no binding.
        :rtype: dict[int, res.partner]
        """
        if not notify_contacts:
            return {
                partner.id: partner
                if partner.is_wechat_bound or not partner.commercial_partner_id.is_wechat_bound
                else partner.commercial_partner_id
                for partner in self
            }
        bound = self.search(
            [("commercial_partner_id", "in", self.commercial_partner_id.ids), ("is_wechat_bound", "=", True)]
        ).grouped("commercial_partner_id")
        return {partner.id: bound.get(partner.commercial_partner_id, partner) for partner in self}
