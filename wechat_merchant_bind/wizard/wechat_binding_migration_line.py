from odoo import fields, models


class WechatBindingMigrationLine(models.Model):
    """A merchant that could not be migrated, with the reason. It keeps the masked OpenID only."""

    _name = "wechat.binding.migration.line"
    _inherit = ["wechat.merchant.mixin"]
    _description = "Merchant Not Migrated"
    _rec_name = "merchant"

    # === FIELDS === #

    migration_id = fields.Many2one(
        "wechat.binding.migration", required=True, readonly=True, ondelete="cascade", index=True
    )
    company_id = fields.Many2one(related="migration_id.company_id", store=True, index="btree_not_null")
    partner_id = fields.Many2one("res.partner", "Merchant", readonly=True, ondelete="set null", index="btree_not_null")
    merchant = fields.Char("Merchant Name", readonly=True, help="As it was at that time.")
    openid_masked = fields.Char("OpenID", readonly=True)
    reason = fields.Text(readonly=True)
