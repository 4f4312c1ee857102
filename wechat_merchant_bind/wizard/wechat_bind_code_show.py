from datetime import timedelta
from urllib.parse import urlencode

from odoo import api, fields, models
from odoo.tools import format_datetime


class WechatBindCodeShow(models.TransientModel):
    """The dialog that shows a binding code and the state of its scan."""

    _name = "wechat.bind.code.show"
    _description = "Binding Code"
    _rec_name = "partner_id"

    # === FIELDS === #

    partner_id = fields.Many2one("res.partner", "Merchant", required=True, readonly=True)
    code_id = fields.Many2one("wechat.bind.code", readonly=True)
    merchant = fields.Char("Merchant and ID", compute="_compute_merchant")
    qr_image = fields.Binary(related="code_id.qr_image", related_sudo=False)
    share_url = fields.Char(related="code_id.share_url", related_sudo=False)
    expiry = fields.Char("Valid until", compute="_compute_expiry")
    state = fields.Selection(
        [
            ("waiting", "Waiting for the scan"),
            ("confirming", "To confirm"),
            ("bound", "Bound"),
            ("expired", "Expired"),
            ("revoked", "Revoked"),
        ],
        "Status",
        compute="_compute_state",
    )
    request_ids = fields.Many2many("wechat.bind.request", "Requests", compute="_compute_request_ids")
    bound_on = fields.Char("Bound on", compute="_compute_bound_on")
    openid_masked = fields.Char("OpenID", compute="_compute_bound_on")

    # === COMPUTE METHODS === #

    @api.depends("partner_id")
    def _compute_merchant(self):
        for show in self:
            show.merchant = self.env._("%(name)s (ID %(id)s)", name=show.partner_id.display_name, id=show.partner_id.id)

    @api.depends("code_id.expires_at")
    def _compute_expiry(self):
        now = fields.Datetime.now()
        for show in self:
            expires_at = show.code_id.expires_at
            if not expires_at:
                show.expiry = False
                continue
            moment = format_datetime(self.env, expires_at, dt_format="yyyy-MM-dd HH:mm")
            left = expires_at - now
            # Rounded: a code of 30 days is a few seconds short of that when its dialog opens.
            days = round(left / timedelta(days=1))
            if expires_at <= now:
                show.expiry = self.env._("%s (expired)", moment)
            elif left >= timedelta(days=1):
                show.expiry = self.env._("%(moment)s (%(days)s days left)", moment=moment, days=days)
            else:
                show.expiry = self.env._("%s (less than a day left)", moment)

    @api.depends("code_id.request_ids.state")
    def _compute_request_ids(self):
        for show in self:
            show.request_ids = show.code_id._get_pending_requests()

    @api.depends("code_id.state", "code_id.expires_at", "partner_id.is_wechat_bound", "request_ids")
    def _compute_state(self):
        for show in self:
            if show.partner_id.is_wechat_bound:
                show.state = "bound"
            elif show.code_id and show.code_id._is_open():
                show.state = "confirming" if show.request_ids else "waiting"
            else:
                show.state = "revoked" if show.code_id.state == "revoked" else "expired"

    @api.depends("partner_id.wechat_binding_ids.state")
    def _compute_bound_on(self):
        for show in self:
            binding = show.partner_id.wechat_binding_ids.filtered(lambda binding: binding.state == "bound")
            show.bound_on = binding.bound_at and format_datetime(
                self.env, binding.bound_at, dt_format="yyyy-MM-dd HH:mm"
            )
            show.openid_masked = binding.openid_masked

    # === ACTION METHODS === #

    def action_regenerate(self):
        """Replace the shown code by a new one.

        :rtype: dict
        :raise AccessError: if the user may not generate codes.
        :raise UserError: if WeChat refuses. The shown code then stays valid.
        """
        self.ensure_one()
        self.code_id = self.partner_id._wechat_regenerate_bind_code()
        return self._get_action()

    def action_download(self):
        """Download the picture of the code.

        :rtype: dict
        """
        self.ensure_one()
        self.code_id._check_may_handle()
        return {
            "type": "ir.actions.act_url",
            "url": f"/web/content/wechat.bind.code/{self.code_id.id}/qr_image?"
            + urlencode({"download": "true", "filename": self.code_id._get_file_name()}),
            "target": "download",
        }

    def action_send(self):
        """Open Odoo's composer with an e-mail that carries the code.

        :rtype: dict
        :raise AccessError: if the user may not generate codes.
        :raise UserError: see action_wechat_send_code() of the merchant.
        """
        self.ensure_one()
        self.code_id._check_may_handle()
        return self.partner_id.action_wechat_send_code()

    def action_print_poster(self):
        """Print the code on an A4 poster.

        :rtype: dict
        """
        self.ensure_one()
        self.code_id._check_may_handle()
        return self.code_id._get_poster_report_action("poster")

    def action_print_card(self):
        """Print the code on a table card.

        :rtype: dict
        """
        self.ensure_one()
        self.code_id._check_may_handle()
        return self.code_id._get_poster_report_action("card")

    # === BUSINESS METHODS === #

    def _get_action(self):
        """Return the act_window that opens this dialog.

        :rtype: dict
        """
        self.ensure_one()
        return {
            "type": "ir.actions.act_window",
            "name": self.env._("WeChat Binding Code - %s", self.partner_id.display_name),
            "res_model": self._name,
            "res_id": self.id,
            "view_mode": "form",
            "views": [(False, "form")],
            "target": "new",
            "context": {"dialog_size": "medium"},
        }
