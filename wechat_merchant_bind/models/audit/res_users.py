from odoo import api, fields, models

from ..const import GROUP_USER

# Changes of these fields after a merchant was disabled are decisions of their own: enabling it leaves the user alone.
ENDS_DISABLING = frozenset({"active", "partner_id", "group_ids"})


class ResUsers(models.Model):
    """Users of the addon: their membership is recorded, and new bindings reach them as toasts.

    A merchant's portal users are archived with the merchant and restored with it.
    """

    _inherit = "res.users"

    # === FIELDS === #

    wechat_disabled_partner_id = fields.Many2one(
        "res.partner",
        "Archived with the Merchant",
        copy=False,
        ondelete="set null",
        index="btree_not_null",
        groups=fields.NO_ACCESS,
        help="This user was archived together with the merchant, and is restored together with it, unless the user's "
        "status, contact or groups are changed before.",
    )

    # === CRUD METHODS === #

    @api.model_create_multi
    def create(self, vals_list):
        before = self.env["res.groups"]._wechat_get_members()
        users = super().create(vals_list)
        self.env["res.groups"]._wechat_log_members(before)
        return users

    def write(self, vals):
        if ENDS_DISABLING.intersection(vals):
            # sudo: res.users - the mark is readable by the code only; Odoo itself checks the right to write
            self.sudo().filtered("wechat_disabled_partner_id").wechat_disabled_partner_id = False
        if "group_ids" not in vals:
            return super().write(vals)
        before = self.env["res.groups"]._wechat_get_members()
        result = super().write(vals)
        self.env["res.groups"]._wechat_log_members(before)
        return result

    # === BUSINESS METHODS === #

    def _wechat_notify(self, record):
        """Raise a toast about a new binding or request in the open browsers of these users.

        Only the id is sent; the client reads it with the user's own rights.

        :param record: a wechat.binding or a wechat.bind.request.
        """
        # sudo: res.users - also called by pushes, which run without a user, and independent of the right to read users
        for user in self.sudo():
            if user.has_group(GROUP_USER):
                user._bus_send("wechat_merchant_bind/toast", {"model": record._name, "id": record.id})
