from odoo import fields, models

from .res_partner import GROUP_USER


class ResPartner(models.Model):
    """The WeChat messages of a merchant."""

    _inherit = "res.partner"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

    # === FIELDS === #

    wechat_message_count = fields.Integer("WeChat Messages", compute="_compute_wechat_message_count", groups=GROUP_USER)

    # === COMPUTE METHODS === #

    def _compute_wechat_message_count(self):
        counts = dict(
            self.env["wechat.message"]._read_group([("partner_id", "in", self.ids)], ["partner_id"], ["__count"])
        )
        for partner in self:
            partner.wechat_message_count = counts.get(partner._origin, 0)

    # === ACTION METHODS === #

    def action_wechat_messages(self):
        """Open the messages that these partners were sent.

        :return: an act_window; whoever may not read messages is refused by its list.
        :rtype: dict
        """
        action = self.env["ir.actions.act_window"]._for_xml_id("wechat_merchant_bind.wechat_message_action")
        action["domain"] = [("partner_id", "in", self.ids)]
        return action
