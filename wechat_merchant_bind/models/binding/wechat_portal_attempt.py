from odoo import api, fields, models

ATTEMPTS_AN_HOUR = 5


class WechatPortalAttempt(models.TransientModel):  # pylint: disable=no-wizard-in-models  # see below
    """An attempt of a merchant to get a binding code in the portal. Each attempt may call WeChat, so they are limited.

    The model is transient because attempts count for an hour only, and Odoo then deletes them.
    """

    _name = "wechat.portal.attempt"
    _description = "Attempt to Get a WeChat Binding Code in the Portal"
    _rec_name = "partner_id"

    # === FIELDS === #

    partner_id = fields.Many2one(
        "res.partner", "Merchant", required=True, readonly=True, ondelete="cascade", index=True
    )

    # === BUSINESS METHODS === #

    @api.model
    def _count_attempt(self, partner):
        """Count an attempt of a merchant, unless the limit of this hour is reached.

        :param res.partner partner: the merchant.
        :return: whether the attempt is allowed.
        :rtype: bool
        """
        since = fields.Datetime.subtract(fields.Datetime.now(), hours=1)
        if self.search_count([("partner_id", "=", partner.id), ("create_date", ">", since)]) >= ATTEMPTS_AN_HOUR:
            return False
        self.create({"partner_id": partner.id})
        return True
