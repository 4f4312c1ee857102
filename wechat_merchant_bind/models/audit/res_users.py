from odoo import api, fields, models

from ..const import GROUP_USER

# A later decision about a user than that of disabling its merchant: enabling the merchant does not undo it.
ENDS_DISABLING = frozenset({"active", "partner_id", "group_ids"})


class ResUsers(models.Model):
    """Who becomes a WeChat user or manager is recorded, who generated a code is told what became of it, and a
    merchant's portal users are archived with it.
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
        help="The merchant whose disabling archived this user, and whose enabling restores it. Any other decision "
        "about the user ends it.",
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
            # sudo: res.users - nobody may read the mark; the write itself is Odoo's to allow or refuse
            self.sudo().filtered("wechat_disabled_partner_id").wechat_disabled_partner_id = False
        if "group_ids" not in vals:
            return super().write(vals)
        before = self.env["res.groups"]._wechat_get_members()
        result = super().write(vals)
        self.env["res.groups"]._wechat_log_members(before)
        return result

    # === BUSINESS METHODS === #

    def _wechat_notify(self, record):
        """Let the open browsers of a user raise a toast about a new binding or request.

        Only the id is sent; the client reads it with the user's own rights.

        :param record: a ``wechat.binding`` or a ``wechat.bind.request``.
        """
        # sudo: res.users - a push runs without a user, and an admin's right to read others decides nothing here
        for user in self.sudo():
            if user.has_group(GROUP_USER):
                user._bus_send("wechat_merchant_bind/toast", {"model": record._name, "id": record.id})
