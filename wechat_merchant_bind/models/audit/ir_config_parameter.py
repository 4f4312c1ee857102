from odoo import api, models

PREFIX = "wechat_merchant_bind."


class IrConfigParameter(models.Model):
    """Records changes of this addon's system parameters, with their values: none of them is a secret."""

    _inherit = "ir.config_parameter"

    # === CRUD METHODS === #

    @api.model_create_multi
    def create(self, vals_list):
        parameters = super().create(vals_list)
        parameters._wechat_log_changes({})
        return parameters

    def write(self, vals):
        before = self._wechat_get_values()
        result = super().write(vals)
        self._wechat_log_changes(before)
        return result

    @api.ondelete(at_uninstall=False)
    def _unlink_log_wechat(self):
        for key, value in self._wechat_get_values().values():
            note = self.env._("System parameter %(key)s (%(value)s) removed.", key=key, value=value)
            self.env["wechat.operation"]._log_note("settings", note)

    # === BUSINESS METHODS === #

    def _wechat_get_values(self):
        """Return key and value of those parameters that belong to the addon, by id."""
        return {
            parameter.id: (parameter.key, parameter.value)
            for parameter in self
            if (parameter.key or "").startswith(PREFIX)
        }

    def _wechat_log_changes(self, before):
        """Record the changed parameters in the operations log.

        :param dict before: the result of _wechat_get_values() before the change.
        """
        for parameter_id, (key, value) in self._wechat_get_values().items():
            old_key, old_value = before.get(parameter_id, (key, self.env._("empty")))
            if (old_key, old_value) != (key, value):
                note = self.env._("System parameter %(key)s: %(old)s → %(new)s", key=key, old=old_value, new=value)
                self.env["wechat.operation"]._log_note("settings", note)
