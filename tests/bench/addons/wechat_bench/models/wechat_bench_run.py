from odoo import fields, models


class WechatBenchRun(models.Model):
    """That the automation of the bench has run: one row for each merchant and run."""

    _name = "wechat.bench.run"
    _description = "Run of the Bench's Automation"

    partner_id = fields.Many2one("res.partner", required=True, readonly=True, ondelete="cascade")
