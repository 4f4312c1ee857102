from odoo import fields, models


class WechatAccountCheckLine(models.TransientModel):
    """The result of one step of a connection check."""

    _name = "wechat.account.check.line"
    _description = "Result of a WeChat Connection Check"
    _order = "id"
    _rec_name = "subject"

    check_id = fields.Many2one("wechat.account.check", required=True, readonly=True, ondelete="cascade")
    subject = fields.Char("Checked", required=True, readonly=True)
    result = fields.Selection(
        [("ok", "OK"), ("warning", "Attention"), ("error", "Wrong"), ("skipped", "Not checked")],
        required=True,
        readonly=True,
    )
    message = fields.Text("What it means and what to do", readonly=True)
