from odoo import api, models


class WechatMessage(models.Model):
    """How messages get into the outbox."""

    _inherit = "wechat.message"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

    @api.model
    def _queue(self, vals_list):
        """Put messages into the outbox.

        :param list[dict] vals_list: the values of each.
        :rtype: wechat.message
        """
        return self.sudo().create(vals_list)
