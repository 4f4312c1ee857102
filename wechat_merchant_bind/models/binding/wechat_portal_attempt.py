from odoo import api, fields, models

ATTEMPTS_AN_HOUR = 5


class WechatPortalAttempt(models.TransientModel):  # pylint: disable=no-wizard-in-models  # see below
    """A merchant's own attempt to get a binding code, successful or not: each one is a call to WeChat.

    No dialog, but as short-lived: what is older than an hour counts no more and is cleaned up.
    """

    _name = "wechat.portal.attempt"
    _description = "Attempt to Get a WeChat Binding Code in the Portal"
    _rec_name = "partner_id"

    partner_id = fields.Many2one(
        "res.partner", "Merchant", required=True, readonly=True, ondelete="cascade", index=True
    )

    # === BUSINESS METHODS === #

    @api.model
    def _spend(self, partner):
        """Count an attempt of a merchant, unless it has had all of this hour.

        :param res.partner partner: the merchant.
        :return: whether the merchant may try now.
        :rtype: bool
        """
        since = fields.Datetime.subtract(fields.Datetime.now(), hours=1)
        if self.search_count([("partner_id", "=", partner.id), ("create_date", ">", since)]) >= ATTEMPTS_AN_HOUR:
            return False
        self.create({"partner_id": partner.id})
        return True
