from odoo import fields, models

from ..const import GROUP_USER, STATES

# States that the portal shows: whether a notice was sent, not why sending failed.
PORTAL_STATES = ("sending", "sent", "delivered", "unknown")
PORTAL_LIMIT = 10


class ResPartner(models.Model):
    """The WeChat messages of a partner."""

    _inherit = "res.partner"  # pylint: disable=consider-merging-classes-inherited  # a file a package

    # === FIELDS === #

    wechat_message_count = fields.Integer("WeChat Messages", compute="_compute_wechat_message_count", groups=GROUP_USER)
    wechat_last_message_id = fields.Many2one(
        "wechat.message", "Last WeChat Message", compute="_compute_wechat_message_count", groups=GROUP_USER
    )
    # Not related fields: Odoo would search the partners of each changed message by the field above, which it can't.
    wechat_last_message_state = fields.Selection(
        STATES, "State of the Last WeChat Message", compute="_compute_wechat_message_count", groups=GROUP_USER
    )
    wechat_last_message_at = fields.Datetime(
        "Last WeChat Message on", compute="_compute_wechat_message_count", groups=GROUP_USER
    )

    # === COMPUTE METHODS === #

    def _compute_wechat_message_count(self):
        messages = self.env["wechat.message"]
        groups = messages._read_group([("partner_id", "in", self.ids)], ["partner_id"], ["__count", "id:max"])
        values = {partner: (count, last_id) for partner, count, last_id in groups}
        last_ids = [last_id for _count, last_id in values.values()]
        for partner in self:
            partner.wechat_message_count, last_id = values.get(partner._origin, (0, False))
            message = messages.browse(last_id).with_prefetch(last_ids)
            partner.wechat_last_message_id = message
            partner.wechat_last_message_state = message.state
            partner.wechat_last_message_at = message.create_date

    # === ACTION METHODS === #

    def action_wechat_messages(self):
        """Open the messages of these partners.

        :return: an act_window; its list checks the user's right to read messages.
        :rtype: dict
        """
        action = self.env["ir.actions.act_window"]._for_xml_id("wechat_merchant_bind.wechat_message_action")
        action["domain"] = [("partner_id", "in", self.ids)]
        return action

    # === BUSINESS METHODS === #

    def _wechat_get_portal_notices(self):
        """Return the notices that the portal shows to the merchant, newest first.

        :rtype: wechat.message
        """
        self.ensure_one()
        return self.env["wechat.message"].search(
            [("partner_id", "=", self.id), ("kind", "!=", "test"), ("state", "in", PORTAL_STATES)],
            limit=PORTAL_LIMIT,
        )
