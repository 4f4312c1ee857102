import logging
from datetime import timedelta

import psycopg2

from odoo import api, fields, models
from odoo.tools import hash_sign, verify_hash_signed

_logger = logging.getLogger(__name__)

UNDO_HOURS = 72
UNDO_SCOPE = "wechat_merchant_bind.undo"


class WechatBinding(models.Model):
    """Who is told about a binding, and may undo it while it is fresh: it might be the wrong person's."""

    _inherit = "wechat.binding"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

    # === FIELDS === #

    can_undo = fields.Boolean("Can Be Undone", compute="_compute_can_undo")
    undo_until = fields.Datetime("Can Be Undone until", compute="_compute_undo_until")
    undo_url = fields.Char(
        "Link to Undo", compute="_compute_undo_url", exportable=False, groups="wechat_merchant_bind.group_manager"
    )

    # === COMPUTE METHODS === #

    @api.depends("state", "bound_at", "code_id.user_id")
    @api.depends_context("uid")
    def _compute_can_undo(self):
        is_manager = self.env.user.has_group("wechat_merchant_bind.group_manager")
        for binding in self:
            is_own = binding.code_id.user_id == self.env.user
            binding.can_undo = binding._is_fresh() and (is_manager or is_own)

    @api.depends("bound_at")
    def _compute_undo_until(self):
        for binding in self:
            binding.undo_until = binding.bound_at and binding.bound_at + timedelta(hours=UNDO_HOURS)

    def _compute_undo_url(self):
        for binding in self:
            # sudo: ir.config_parameter - the database's secret signs the link
            token = hash_sign(binding.sudo().env, UNDO_SCOPE, binding.id)
            binding.undo_url = f"{binding.get_base_url()}/wechat/undo/{token}"

    # === BUSINESS METHODS === #

    def _is_fresh(self):
        """Tell whether the binding lives and is so young that it may be undone."""
        self.ensure_one()
        return self.state == "bound" and bool(self.bound_at) and fields.Datetime.now() < self.undo_until

    @api.model
    def _find_by_undo_token(self, token):
        """Return the sudoed binding behind the link of an e-mail, in whatever state, or none.

        :param str token: from the link.
        :rtype: wechat.binding
        """
        # sudo: wechat.binding - the token is signed by the database's secret and grants the access
        return self.sudo().browse(self._read_undo_token(token)).exists()

    @api.model
    def _read_undo_token(self, token):
        """Return the id in the link of an e-mail, or None if the link was cut off or is not signed by us."""
        try:
            # sudo: ir.config_parameter - the database's secret verifies the signature
            return verify_hash_signed(self.sudo().env, UNDO_SCOPE, token)
        except ValueError:
            return None

    def _get_undo_state(self):
        """Return what the public page shows: ``bound``, ``unbound``, ``expired``, or ``unknown`` for no binding at all.

        :rtype: str
        """
        if not self:
            return "unknown"
        if self.state == "unbound":
            return "unbound"
        return "bound" if self._is_fresh() else "expired"

    def _undo_by_link(self):
        """Undo a binding for whoever got the e-mail about it."""
        self.ensure_one()
        lang = self.env["wechat.account"]._get_lang(self.code_id.user_id.lang)
        # The log tells from where: whoever has the mail may have done it.
        binding = self.with_context(lang=lang, wechat_by_visitor=True)
        binding._unbind(binding.env._("Undone by the link in the e-mail to the merchant."))

    def _tell_bound(self):
        """Tell the merchant and who generated the code about a new binding. It must not fail because of that."""
        self.ensure_one()
        self.code_id.user_id._wechat_notify(self)
        email = self.partner_id.email or self.partner_id.commercial_partner_id.email
        if not email:
            return
        template = self.env.ref("wechat_merchant_bind.mail_template_wechat_bound", raise_if_not_found=False)
        if not template:
            return
        try:
            with self.env.cr.savepoint():
                self._queue_bound_mail(template, email)
        except psycopg2.Error:
            raise
        except Exception:  # the template is the admin's, and its expressions may raise anything
            _logger.exception("wechat.bindings: no email binding=%s", self.id)

    def _queue_bound_mail(self, template, email):
        """Put the e-mail into Odoo's queue, which sends it outside of this transaction."""
        lang = self.env["wechat.account"]._get_lang(self.partner_id.lang)
        mail_id = template.with_context(lang=lang).send_mail(
            self.id, email_values={"email_to": email, "recipient_ids": []}
        )
        mail = self.env["mail.mail"].browse(mail_id)
        # A merchant's name may have several lines; a mail whose subject has would not leave.
        if len(lines := (mail.subject or "").splitlines()) > 1:
            mail.subject = " ".join(lines)
        self.env.ref("mail.ir_cron_mail_scheduler_action")._trigger()
