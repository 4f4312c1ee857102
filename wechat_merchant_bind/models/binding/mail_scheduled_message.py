from odoo import api, models


class MailScheduledMessage(models.Model):
    """Refuses to schedule messages with a binding code: every user with access to the document can read them."""

    _inherit = "mail.scheduled.message"

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
        """Raise UserError if a message to be scheduled holds a link that grants a right."""
        texts = [vals.get(name) or "" for vals in vals_list for name in ("body", "notification_parameters")]
        self.env["mail.message"]._wechat_refuse_secrets(
            texts,
            self.env._(
                "This message has the link of a WeChat binding code. It can't be sent later: until then, colleagues "
                "without the right to the code could read the link. Send it now, or schedule it without the link."
            ),
        )
