from odoo import fields, models


class WechatBindingImportLine(models.Model):
    """One row of an imported file. It keeps the masked OpenID only."""

    _name = "wechat.binding.import.line"
    _description = "Row of an Import of WeChat Bindings"
    _order = "import_id desc, row, id"
    _rec_name = "merchant"

    # === FIELDS === #

    import_id = fields.Many2one("wechat.binding.import", required=True, readonly=True, ondelete="cascade", index=True)
    company_id = fields.Many2one(related="import_id.company_id", store=True)
    row = fields.Integer(readonly=True, help="Counted as in the file, without its line of titles.")
    merchant = fields.Char("Merchant in the File", readonly=True)
    partner_id = fields.Many2one("res.partner", "Merchant", readonly=True, ondelete="set null", index="btree_not_null")
    account_id = fields.Many2one("wechat.account", readonly=True, ondelete="set null")
    openid_masked = fields.Char("OpenID", readonly=True)
    result = fields.Selection(
        [
            ("imported", "Imported"),
            ("unfollowed", "Imported as unfollowed"),
            ("unchanged", "Already bound"),
            ("refused", "Refused"),
            ("left_out", "Left out"),
        ],
        required=True,
        readonly=True,
    )
    reason = fields.Text(readonly=True)
