from odoo import api, fields, models
from odoo.exceptions import AccessError, UserError

from .res_partner import GROUP_USER


class ResPartner(models.Model):
    """The guard against the wrong scanner, as a merchant's form shows it."""

    _inherit = "res.partner"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

    # === FIELDS === #

    wechat_request_ids = fields.One2many(
        "wechat.bind.request",
        "partner_id",
        "WeChat Binding Requests",
        domain=[("state", "=", "pending")],
        groups=GROUP_USER,
    )
    wechat_can_undo = fields.Boolean("Can Be Undone", compute="_compute_wechat_can_undo", groups=GROUP_USER)

    # === COMPUTE METHODS === #

    @api.depends("wechat_binding_ids.state")
    @api.depends_context("uid")
    def _compute_wechat_can_undo(self):
        undoable = self._wechat_get_live_bindings().filtered("can_undo").partner_id
        for partner in self:
            partner.wechat_can_undo = partner._origin in undoable

    # === ACTION METHODS === #

    def action_wechat_undo_bind(self):
        """Undo a fresh binding, which turned out to be the wrong person's.

        :return: True
        :raise AccessError: if the user has neither generated the code nor is a WeChat manager.
        :raise UserError: if the merchant is not bound, or was bound too long ago.
        """
        self.ensure_one()
        self._wechat_check_may_generate()
        binding = self._wechat_get_live_bindings()
        if not binding:
            raise UserError(self.env._("%s is no longer bound to WeChat.", self.display_name))
        if not binding._is_fresh():
            raise UserError(
                self.env._(
                    "A binding can only be undone within 72 hours. Ask a WeChat manager to unbind %s.",
                    self.display_name,
                )
            )
        if not binding.can_undo and not self.env.su:
            raise AccessError(
                self.env._("Only who generated the binding code, or a WeChat manager, may undo the binding.")
            )
        # sudo: wechat.binding - nobody writes bindings directly; the user may see this one, and the right was checked
        binding.sudo()._unbind(self.env._("The fresh binding was undone by %s.", self.env.user.name))
        return True
