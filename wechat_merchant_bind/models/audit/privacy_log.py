from odoo import models


class PrivacyLog(models.Model):
    """A look-up by OpenID has no e-mail address to anonymise."""

    _inherit = "privacy.log"

    # === BUSINESS METHODS === #

    def _anonymize_email(self, label):
        return super()._anonymize_email(label) if label else ""
