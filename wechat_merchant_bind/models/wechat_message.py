import uuid

from odoo import api, fields, models

from .term_text import TermText

KINDS = [("notice", "Notice"), ("mass", "To many"), ("test", "Test"), ("welcome", "Welcome")]
STATES = [
    ("outgoing", "To send"),
    ("sending", "Sending"),
    ("sent", "Sent"),
    ("delivered", "Delivered"),
    ("unknown", "Result unknown"),
    ("failed", "Failed"),
    ("canceled", "Canceled"),
]
# What Odoo's notification says of each state of a message.
NOTIFICATION_STATUS = {
    "outgoing": "ready",
    "sending": "process",
    "sent": "pending",
    "delivered": "sent",
    "failed": "exception",
    "unknown": "exception",
    "canceled": "canceled",
}
# Why a message did not arrive, for ``wechat.message`` and for Odoo's notification alike.
FAILURE_TYPES = [
    ("wechat_unbound", "Not bound to WeChat"),
    ("wechat_disabled", "Merchant disabled"),
    ("wechat_unfollowed", "Unfollowed"),
    ("wechat_blocked", "Refused by the recipient"),
    ("wechat_recipient", "Unknown recipient"),
    ("wechat_frequency", "Too many messages to this recipient"),
    ("wechat_template", "Template not usable"),
    ("wechat_value", "Value not allowed"),
    ("wechat_content", "Content refused"),
    ("wechat_account", "Official Account not usable"),
    ("wechat_system", "WeChat could not deliver"),
    ("wechat_receipt", "Undelivered for another reason"),
    ("wechat_refused", "Refused by WeChat"),
    ("wechat_request", "Malformed request"),
    ("wechat_expired", "No longer valid"),
    ("wechat_unknown", "Result unknown"),
    ("wechat_unsent", "Probably not sent"),
]
# State and failure type of what was called for as often as it may be, and was certainly not taken.
EXHAUSTED = ("failed", "wechat_system")
# The lower goes first: a test and a welcome overtake the notices, which overtake what goes to many. What WeChat may
# have taken is repeated before any of the notices: soon WeChat will not know it any more.
PRIORITY_URGENT = 0
PRIORITY_REPEAT = 5
PRIORITY_NOTICE = 10
PRIORITY_MASS = 20


class WechatMessage(models.Model):
    """The outbox: one template message to one merchant, and what has become of it.

    A row says all that is needed to send and to explain it, so that it outlives its template, its Odoo message and a
    merge of its merchant.
    """

    _name = "wechat.message"
    _inherit = ["wechat.openid.mixin"]
    _description = "WeChat Message"
    _order = "id desc"
    _rec_name = "template_name"
    _check_company_auto = True

    # === FIELDS === #

    partner_id = fields.Many2one("res.partner", "Merchant", readonly=True, ondelete="set null", index="btree_not_null")
    partner_name = fields.Char("Merchant Name", readonly=True, help="As it was when the message was queued.")
    account_id = fields.Many2one(
        "wechat.account",
        readonly=True,
        ondelete="restrict",
        check_company=True,
        help="Of the merchant's binding at the time of sending.",
    )
    company_id = fields.Many2one("res.company", readonly=True, index="btree_not_null")
    openid = fields.Char(
        "OpenID", readonly=True, exportable=False, groups="wechat_merchant_bind.group_manager", index="btree_not_null"
    )
    openid_masked = fields.Char("OpenID (masked)", compute="_compute_openid_masked", compute_sudo=True)
    user_id = fields.Many2one("res.users", "Sent by", readonly=True, ondelete="set null")

    template_id = fields.Many2one("wechat.template", readonly=True, ondelete="set null", index="btree_not_null")
    template_name = fields.Char(readonly=True, help="As it was when the message was queued.")
    template_uid = fields.Char("Template ID at WeChat", readonly=True)
    # What tells of the document is read by its readers only, see wechat_message_presentation.
    card = fields.Json(
        readonly=True,
        groups=fields.NO_ACCESS,
        help="What WeChat is given: data (by keyword), url and miniprogram; and for the eye lines of label and value.",
    )
    body = fields.Text("Content", readonly=True, groups=fields.NO_ACCESS, help="The card as plain text.")
    kind = fields.Selection(KINDS, required=True, readonly=True, default="notice")

    state = fields.Selection(STATES, required=True, readonly=True, default="outgoing")
    failure_type = fields.Selection(FAILURE_TYPES, readonly=True)
    failure_reason = TermText(
        readonly=True, groups=fields.NO_ACCESS, help="What happened, what it means and what to do."
    )
    errcode = fields.Integer("WeChat's Code", readonly=True, aggregator=False)
    errmsg = fields.Char("WeChat's Text", readonly=True)
    rid = fields.Char("WeChat's Request ID", readonly=True, help="WeChat's support asks for it.")
    receipt_status = fields.Char("Receipt", readonly=True, help="The status of WeChat's receipt, verbatim.")
    msgid = fields.Char("Message ID at WeChat", readonly=True)
    client_msg_id = fields.Char(
        "Own Message ID",
        required=True,
        readonly=True,
        copy=False,
        default=lambda self: uuid.uuid4().hex,
        help="WeChat sends only one of several calls with the same number within 10 minutes.",
    )
    attempts = fields.Integer(readonly=True, aggregator=False)
    priority = fields.Integer(
        required=True, readonly=True, default=PRIORITY_NOTICE, aggregator=False, help="The lower goes first."
    )
    next_attempt_at = fields.Datetime("Next Attempt on", required=True, readonly=True, default=fields.Datetime.now)
    lease_until = fields.Datetime(readonly=True, help="Until when a worker may send it.")
    first_call_at = fields.Datetime("First Called on", readonly=True)
    valid_until = fields.Datetime(readonly=True, help="After that it is not sent any more.")
    sent_at = fields.Datetime("Sent on", readonly=True)
    delivered_at = fields.Datetime("Delivered on", readonly=True)

    mail_message_id = fields.Many2one(
        "mail.message", "Message", readonly=True, ondelete="set null", index="btree_not_null"
    )
    notification_id = fields.Many2one("mail.notification", readonly=True, ondelete="set null", index="btree_not_null")
    # Of the state that the notification tells. It is written after the message, in a transaction of its own: what
    # differs is still to be told, whoever was killed in between.
    notified_state = fields.Char(readonly=True)
    res_model = fields.Char("Document Model", readonly=True)
    res_id = fields.Many2oneReference("Document", model_field="res_model", readonly=True, aggregator=False)
    resent_from_id = fields.Many2one(
        "wechat.message", "Sent Again from", readonly=True, ondelete="set null", index="btree_not_null"
    )

    # === CONSTRAINTS AND INDEXES === #

    _client_msg_id_unique = models.UniqueIndex("(client_msg_id)", "Two messages can't have the same number.")
    _msgid_unique = models.UniqueIndex(
        "(account_id, msgid) WHERE msgid IS NOT NULL", "WeChat gives every message its own number."
    )

    # === COMPUTE METHODS === #

    @api.depends("openid")
    def _compute_openid_masked(self):
        for message in self:
            message.openid_masked = self.env["wechat.operation"]._mask_openid(message.openid)
