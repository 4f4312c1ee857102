from odoo import api, models
from odoo.exceptions import UserError
from odoo.tools import SQL


class MergePartnerAutomatic(models.TransientModel):
    """Moves the binding of merged partners. Partners with two bindings can't be merged."""

    _inherit = "base.partner.merge.automatic.wizard"

    # === BUSINESS METHODS === #

    @api.model
    def _update_foreign_keys(self, src_partners, dst_partner):
        """Move the live binding through the ORM: Odoo's raw SQL would not recompute the stored fields.

        :raise UserError: if more than one of the partners is bound.
        """
        self._wechat_merge(src_partners, dst_partner)
        self._wechat_merge_notifications(src_partners, dst_partner)
        return super()._update_foreign_keys(src_partners, dst_partner)

    @api.model
    def _wechat_merge(self, src_partners, dst_partner):
        """Move the live binding, and revoke the open codes that the merged partner can't keep.

        :raise UserError: if more than one of the partners is bound.
        """
        partners = src_partners | dst_partner
        # If a partner was bound, disabled or given a code since this transaction began, the lock fails and Odoo repeats
        # the merge, instead of a failure by a unique index.
        self.env.cr.execute(
            SQL("SELECT id FROM res_partner WHERE id IN %s ORDER BY id FOR NO KEY UPDATE", tuple(partners.ids)),
            log_exceptions=False,
        )
        # sudo: wechat.binding, wechat.bind.code - the right to merge partners includes moving their records
        bindings = partners.sudo()._wechat_get_live_bindings()
        if len(bindings) > 1:
            names = ", ".join(bindings.partner_id.mapped("display_name"))
            raise UserError(
                self.env._(
                    "%s are bound to different WeChat accounts. Unbind all but one of them before you merge them.",
                    names,
                )
            )
        codes = (
            self.env["wechat.bind.code"].sudo().search([("partner_id", "in", partners.ids), ("state", "=", "active")])
        )
        self._wechat_log_merge(src_partners, dst_partner, bindings, codes)
        # A code of a source partner stays valid, unless the merchant is bound or has its own code.
        kept = codes.filtered(lambda code: code.partner_id == dst_partner) or codes[:1]
        (codes if bindings else codes - kept)._revoke(self.env._("The merchant was merged with another one."))
        bindings.partner_id = dst_partner
        self.env.flush_all()

    @api.model
    def _wechat_merge_notifications(self, src_partners, dst_partner):
        """Move the notifications of WeChat notices. Of two of one notice, a failure is kept, else the one by WeChat.

        Odoo deletes all notifications of a source if one is of a message that the target was notified of too. Here the
        messages of the outbox share the kept one, which shows their later results.
        """
        # sudo: mail.notification, wechat.message - as in _wechat_merge
        notifications_sudo = self.env["mail.notification"].sudo()
        sources = notifications_sudo.search(
            [("res_partner_id", "in", src_partners.ids), ("mail_message_id.message_type", "=", "wechat")]
        )
        notifications_sudo = notifications_sudo.search(
            [
                ("mail_message_id", "in", sources.mail_message_id.ids),
                ("res_partner_id", "in", (src_partners | dst_partner).ids),
            ],
            order="id",
        )
        kept = {}
        for notification in notifications_sudo.sorted(
            lambda one: (
                one.notification_status not in ("exception", "bounce"),
                one.notification_type != "wechat",
                one.res_partner_id != dst_partner,
            )
        ):
            kept.setdefault(notification.mail_message_id, notification)
        moved = notifications_sudo.browse().union(*kept.values())
        dropped = notifications_sudo - moved
        messages_sudo = self.env["wechat.message"].sudo().search([("notification_id", "in", dropped.ids)])
        for message in messages_sudo:
            message.notification_id = kept[message.notification_id.mail_message_id]
        dropped.unlink()
        moved.res_partner_id = dst_partner
        self.env.flush_all()
        messages_sudo._sync_notifications()

    @api.model
    def _wechat_log_merge(self, src_partners, dst_partner, bindings, codes):
        """Record the merge if a partner was involved with WeChat. Call it before the source partners are deleted.

        :param wechat.binding bindings: the live bindings of all of them.
        :param wechat.bind.code codes: the open codes of all of them.
        """
        # sudo: wechat.operation - only checks for earlier entries about the partners
        known = self.env["wechat.operation"].sudo().search_count([("partner_id", "in", src_partners.ids)], limit=1)
        if not (bindings or codes or known):
            return
        names = ", ".join(f"{partner.display_name} (ID {partner.id})" for partner in src_partners)
        note = self.env._("%s merged into this merchant.", names)
        if moved := bindings.filtered(lambda binding: binding.partner_id in src_partners):
            note += "\n" + self.env._(
                "The WeChat binding (OpenID %(openid)s) of %(merchant)s is now this merchant's.",
                openid=moved.openid_masked,
                merchant=moved.partner_id.display_name,
            )
        self.env["wechat.operation"]._log("merge", dst_partner, {dst_partner.id: note})
