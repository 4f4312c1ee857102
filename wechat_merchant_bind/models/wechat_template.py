from odoo import fields, models


class WechatTemplate(models.Model):
    """A template of an Official Account, and how its keywords are filled from a record of Odoo."""

    _name = "wechat.template"
    _inherit = ["mail.render.mixin"]
    _description = "WeChat Template"
    _order = "name, id"
    _check_company_auto = True

    # === FIELDS === #

    name = fields.Char(required=True, translate=True)
    active = fields.Boolean(default=True)
    account_id = fields.Many2one("wechat.account", required=True, ondelete="cascade", check_company=True, index=True)
    company_id = fields.Many2one(related="account_id.company_id", store=True, index="btree_not_null")
    template_uid = fields.Char("Template ID at WeChat", required=True, copy=True)
    title = fields.Char("Title at WeChat", readonly=True)
    content = fields.Text("Content at WeChat", readonly=True)
    example = fields.Text("Example at WeChat", readonly=True)
    is_vanished = fields.Boolean("No Longer at WeChat", readonly=True)
    stop_reason = fields.Text(
        "Stopped because",
        readonly=True,
        copy=False,
        help="WeChat refuses the template: its messages wait until a manager resumes it.",
    )
    model_id = fields.Many2one(
        "ir.model", "Applies to", ondelete="cascade", domain=[("is_mail_thread", "=", True), ("transient", "=", False)]
    )
    model = fields.Char("Model Name", related="model_id.model", store=True, index="btree_not_null")
    line_ids = fields.One2many("wechat.template.line", "template_id", "Keywords", copy=True)
    url = fields.Char("Link", help="Where a touch on the card leads; may hold expressions.")
    miniprogram_appid = fields.Char("Mini Program", help="App ID of the mini program that a touch on the card opens.")
    miniprogram_path = fields.Char("Page of the Mini Program", help="May hold expressions.")
    notify_contacts = fields.Boolean(
        "All Bound Contacts", help="Notify all bound contacts of the merchant, not only the one that is addressed."
    )
    fallback = fields.Selection(
        [("none", "Nothing"), ("email", "E-mail"), ("sms", "SMS")],
        "If not Reachable by WeChat",
        required=True,
        default="none",
    )
    valid_hours = fields.Integer(
        "Valid for", required=True, default=24, help="Hours after which a message that is still waiting is not sent."
    )
