from odoo import api, models


class MailTemplate(models.Model):
    """Refuses templates with the code of one merchant: every employee can read mail templates."""

    _inherit = "mail.template"

    # === CRUD METHODS === #

    @api.model_create_multi
    def create(self, vals_list):
        self._wechat_check_secrets(vals_list)
        return super().create(vals_list)

    def write(self, vals):
        self._wechat_check_secrets([vals])
        return super().write(vals)

    # === BUSINESS METHODS === #

    @api.model
    def _wechat_check_secrets(self, vals_list):
        """Raise UserError if values of a template contain a link that grants a right."""
        self.env["mail.message"]._wechat_refuse_secrets(
            [vals.get("body_html") or "" for vals in vals_list],
            self.env._(
                "This text has the link of one merchant's WeChat binding code, which every employee could read in the "
                "template. Take the link out, or change the template “WeChat: Binding Code” instead."
            ),
        )
