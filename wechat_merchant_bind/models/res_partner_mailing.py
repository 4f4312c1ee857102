from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.tools import format_list, plaintext2html

from .res_partner import GROUP_USER
from .wechat_bind_code import MAILED_LINK_DAYS

CODE_TEMPLATE = "wechat_merchant_bind.mail_template_wechat_bind_code"
REMINDER_TEMPLATE = "wechat_merchant_bind.mail_template_wechat_bind_reminder"
# What sending a mail of ours is called in the operations log.
TEMPLATE_OPERATIONS = {CODE_TEMPLATE: "send", REMINDER_TEMPLATE: "remind"}
# A notification with more names is not read.
MAX_NAMES_SHOWN = 5


class ResPartner(models.Model):
    """How a merchant gets its binding code: by e-mail, or on paper."""

    _inherit = "res.partner"  # pylint: disable=consider-merging-classes-inherited  # a topic of its own

    # === FIELDS === #

    wechat_open_code_id = fields.Many2one(
        "wechat.bind.code", "Open WeChat Binding Code", compute="_compute_wechat_open_code_id", groups=GROUP_USER
    )

    # === COMPUTE METHODS === #

    @api.depends("wechat_bind_code_ids.state", "wechat_bind_code_ids.expires_at")
    def _compute_wechat_open_code_id(self):
        codes = self.env["wechat.bind.code"].search(
            [("partner_id", "in", self.ids), ("state", "=", "active"), ("expires_at", ">", fields.Datetime.now())]
        )
        open_codes = {code.partner_id: code for code in codes}
        for partner in self:
            partner.wechat_open_code_id = open_codes.get(partner._origin)

    # === ACTION METHODS === #

    def action_wechat_send_code(self):
        """Mail binding codes: for one merchant open Odoo's composer, for several queue the mails and say who gets none.

        One merchant gets a new code if it has none; several are mailed the codes that were generated for them.

        :return: an act_window on ``mail.compose.message``, or a notification.
        :rtype: dict
        :raise AccessError: if the user may not generate codes.
        :raise UserError: if the single merchant is bound or disabled, or WeChat refuses; in words.
        """
        self._wechat_check_may_generate()
        if len(self) == 1:
            return self._wechat_get_composer_action()
        return self._wechat_get_mailed_action(self._wechat_email_bind_codes())

    def action_wechat_print_posters(self):
        """Print an A4 poster for each merchant that has an open code; see :meth:`_wechat_print`."""
        return self._wechat_print("poster")

    def action_wechat_print_cards(self):
        """Print a table card for each merchant that has an open code; see :meth:`_wechat_print`."""
        return self._wechat_print("card")

    # === BUSINESS METHODS === #

    def _wechat_print(self, layout):
        """Print the open codes of merchants, one page each, and say which merchants have none.

        :param str layout: see :meth:`WechatBindCode._get_poster_report_action`.
        :return: an ``ir.actions.report``, behind a notification if merchants are left out.
        :rtype: dict
        :raise AccessError: if the user may not generate codes.
        :raise UserError: if none of the merchants has an open code.
        """
        self._wechat_check_may_generate()
        action = self.wechat_open_code_id._get_poster_report_action(layout)
        left_out = self.filtered(lambda partner: not partner.wechat_open_code_id)
        if not left_out:
            return action
        reason = self.env._("Not printed, since they have no valid binding code")
        return self._wechat_notify_left_out({reason: left_out}, next=action)

    def _wechat_email_bind_codes(self):
        """Queue an e-mail with its open binding code for each merchant. Neither WeChat nor a mail server is called.

        Generate the codes first: a merchant without one gets no mail. That a mail was sent, to whom and by whom, is in
        the merchant's chatter and in the operations log; that a merchant with a code can't be mailed is in its chatter.

        :return: why a merchant gets no mail, in words, by its id.
        :rtype: dict[int, str]
        :raise UserError: if the mail template was deleted.
        """
        # sudo: res.partner - the caller has decided that these merchants get their own codes
        return self.sudo()._wechat_queue_mails(self._wechat_get_template(CODE_TEMPLATE))

    def _wechat_queue_mails(self, template):
        """Queue a mail from a template for each merchant that can be mailed its code.

        :return: see :meth:`_wechat_email_bind_codes`.
        :rtype: dict[int, str]
        """
        obstacles = self._wechat_get_mail_obstacles()
        mailable = self.filtered(lambda partner: partner.id not in obstacles)
        if mailable:
            mailable.wechat_open_code_id._renew_share_links(MAILED_LINK_DAYS)
            mailable.message_mail_with_source(template, auto_delete_keep_log=True, force_send=False)
            # sudo: ir.cron - by itself Odoo sends its queue once an hour
            self.env.ref("mail.ir_cron_mail_scheduler_action").sudo()._trigger()
        undelivered = self.filtered(lambda partner: partner.id in obstacles and partner.wechat_open_code_id)
        undelivered._message_log_batch(
            {
                partner.id: plaintext2html(self.env._("WeChat binding code not e-mailed: %s", obstacles[partner.id]))
                for partner in undelivered
            }
        )
        return obstacles

    def _wechat_get_mail_obstacles(self):
        """Return why merchants can't be mailed their codes, in words, by their ids.

        :rtype: dict[int, str]
        """
        obstacles = {}
        for partner in self:
            obstacle = partner._wechat_get_bind_obstacle()
            if obstacle == "disabled":
                obstacles[partner.id] = self.env._("Disabled")
            elif obstacle == "bound":
                obstacles[partner.id] = self.env._("Already bound to WeChat")
            elif not partner.wechat_open_code_id:
                obstacles[partner.id] = self.env._("No valid binding code: generate it first")
            elif not partner.email_normalized:
                obstacles[partner.id] = self.env._("No valid e-mail address")
            elif partner.is_blacklisted:
                obstacles[partner.id] = self.env._("Does not want e-mails (blacklist)")
        return obstacles

    @api.model
    def _wechat_get_template(self, xmlid):
        """Return a mail template of ours.

        :rtype: mail.template
        :raise UserError: if somebody has deleted it.
        """
        template = self.env.ref(xmlid, raise_if_not_found=False)
        if not template:
            raise UserError(self.env._("The mail template was deleted. Upgrade the WeChat app to get it back."))
        return template

    @api.model
    def _wechat_get_mail_operation(self, template):
        """Return what mailing a template is in the operations log: ``send``, ``remind``, or None if it isn't ours.

        :rtype: str | None
        """
        for xmlid, operation in TEMPLATE_OPERATIONS.items():
            if template and template == self.env.ref(xmlid, raise_if_not_found=False):
                return operation
        return None

    def _wechat_get_composer_action(self):
        """Return the act_window of Odoo's composer with the code of one merchant.

        :rtype: dict
        :raise UserError: see :meth:`_wechat_get_bind_code`.
        """
        self._wechat_get_bind_code()._renew_share_links(MAILED_LINK_DAYS)
        return {
            "type": "ir.actions.act_window",
            "name": self.env._("Send Binding Code by E-mail"),
            "res_model": "mail.compose.message",
            "view_mode": "form",
            "views": [(False, "form")],
            "target": "new",
            "context": {
                "default_composition_mode": "comment",
                "default_model": self._name,
                "default_res_ids": self.ids,
                "default_template_id": self._wechat_get_template(CODE_TEMPLATE).id,
                # The code is a bearer's right to bind: it goes to those it is addressed to, and to no follower.
                "default_notify_skip_followers": True,
                "force_email": True,
            },
        }

    def _wechat_get_mailed_action(self, obstacles):
        """Return the notification that says how many merchants are mailed, and who is not and why.

        :param dict obstacles: what :meth:`_wechat_email_bind_codes` has returned.
        :rtype: dict
        """
        title = self.env._("Binding codes on their way by e-mail: %s", len(self) - len(obstacles))
        left_out = self.filtered(lambda partner: partner.id in obstacles)
        return self._wechat_notify_left_out(
            left_out.grouped(lambda partner: obstacles[partner.id]),
            title=title,
            type="warning" if obstacles else "success",
        )

    @api.model
    def _wechat_notify_left_out(self, merchants, **params):
        """Return a notification that names merchants with which nothing was done; it then stays until it is closed.

        :param dict[str, res.partner] merchants: by the reason, in words.
        :param params: of the client action, such as ``title`` and ``next``.
        :rtype: dict
        """
        lines = []
        for reason, same in merchants.items():
            names = same[:MAX_NAMES_SHOWN].mapped("display_name")
            lines.append(
                self.env._(
                    "%(reason)s (%(count)s): %(names)s",
                    reason=reason,
                    count=len(same),
                    names=format_list(self.env, names if len(names) == len(same) else [*names, "…"], "unit-short"),
                )
            )
        return {
            "type": "ir.actions.client",
            "tag": "display_notification",
            "params": {
                "type": "warning",
                # The web client shows it as one paragraph.
                "message": self.env._("; ").join(lines),
                "sticky": bool(lines),
                **params,
            },
        }

    def _wechat_check_mailed_tokens(self, tokens):
        """Raise UserError if a mail about to be sent has another link than that of the merchant's open code.

        :param list[str] tokens: of the links in the mail.
        """
        self.ensure_one()
        if set(tokens) - {self.wechat_open_code_id.share_token}:
            raise UserError(
                self.env._(
                    "The binding code in this e-mail is no longer valid: it was used, revoked or generated again. "
                    "Close this window and send the present code."
                )
            )

    @api.model
    def _wechat_mask_email(self, address):
        """Return an address as the operations log keeps it: boss@example.com becomes b***@example.com."""
        name, _at, domain = address.rpartition("@")
        return f"{name[:1]}***@{domain}"
