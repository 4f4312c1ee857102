import logging

from markupsafe import Markup

from odoo import api, models
from odoo.fields import Domain

from ..const import GROUP_USER

_logger = logging.getLogger(__name__)


class MailThread(models.AbstractModel):
    """Documents with a chatter: they notify merchants by WeChat."""

    _inherit = "mail.thread"  # pylint: disable=consider-merging-classes-inherited  # a file a package

    # === SEARCH METHODS === #

    @api.model
    def _search_message_partner_ids(self, operator, operand):
        if isinstance(operand, Domain) and not self.env.su:
            # Odoo searches these followers as the superuser. A search with the user's own rights refuses conditions on
            # fields that the user may not read, such as an OpenID or an account's secret.
            self.env["res.partner"]._search(operand)
        return super()._search_message_partner_ids(operator, operand)

    # === BUSINESS METHODS - SENDING === #

    def _message_wechat_with_template(self, template, partner_ids=None, scheduled_at=None, kind="notice"):
        """Notify by WeChat about each of these records, with the card that a template makes of it.

        The caller must have checked that the user may send. A notice that can't be sent raises nothing, so that no
        order fails because a merchant has unfollowed or an expression fails: its message in the chatter shows the
        failure.

        :param wechat.template | str template: the template, or its XML ID; nothing is sent if the ID does not exist. A
            deleted or archived template, or one of another model, makes failed notices.
        :param list[int] partner_ids: the recipients; default: those of _wechat_get_recipients_info.
        :param datetime scheduled_at: the earliest time of sending, in UTC.
        :param str kind: a value of the field kind of wechat.message, which decides the priority.
        :return: one message for each record.
        :rtype: mail.message
        """
        if isinstance(template, str):
            xml_id, template = template, self.env.ref(template, raise_if_not_found=False)
            if not template:
                _logger.warning("wechat.notices: not sent, no such template xml_id=%s records=%s", xml_id, self)
                return self.env["mail.message"]
        # sudo: wechat.template - the caller has chosen it; the records are read with the user's own rights
        template = template.sudo().exists()
        cards = template._prepare_notices(self, self._wechat_get_recipients(template, partner_ids))
        return self._wechat_post(template, cards, scheduled_at=scheduled_at, kind=kind)

    def _message_wechat(self, template, cards, partner_ids=None, scheduled_at=None, kind="notice"):
        """Notify by WeChat about each of these records, with cards that the caller has prepared.

        :param wechat.template template: the template of the cards.
        :param dict cards: by record id, as wechat.template._prepare_cards returns them.
        :return: see _message_wechat_with_template, also for the other parameters.
        :rtype: mail.message
        """
        # sudo: wechat.template - as in _message_wechat_with_template
        template = template.sudo()
        recipients = self._wechat_get_recipients(template, partner_ids)
        cards = {record.id: [(cards[record.id], recipients[record.id])] for record in self}
        return self._wechat_post(template, cards, scheduled_at=scheduled_at, kind=kind)

    def _wechat_get_recipients(self, template, partner_ids=None):
        """Return the recipients of a template's notices, by record id."""
        if partner_ids is not None:
            return dict.fromkeys(self.ids, self.env["res.partner"].browse(partner_ids))
        recipients = self._wechat_get_recipients_info(notify_contacts=template.notify_contacts)
        return {record_id: info["partners"] for record_id, info in recipients.items()}

    def _wechat_post(self, template, cards, scheduled_at=None, kind="notice"):
        """Post one message for each record and queue its cards, in a constant number of queries.

        :param dict cards: cards with their recipients by record id, as wechat.template._prepare_notices returns them.
        :return: see _message_wechat_with_template, also for the other parameters.
        :rtype: mail.message
        """
        messages = self._message_create_wechat(cards)
        notices = [
            (message, card, partners)
            for record, message in zip(self, messages, strict=True)
            for card, partners in cards[record.id]
        ]
        self.env["wechat.message"]._queue_notices(template, notices, scheduled_at=scheduled_at, kind=kind)
        self._wechat_notify_followers(messages)
        return messages

    def _message_create_wechat(self, cards):
        """Create the messages of the chatter, as _message_log_batch does. They show the first recipient's card.

        :param dict cards: see _wechat_post.
        :rtype: mail.message
        """
        author_id, email_from = self._message_compute_author(self._wechat_get_author().id)
        reply_to = self._notify_get_reply_to(default=email_from, author_id=author_id)
        companies = self._mail_get_companies(default=self.env.company)
        # sudo: mail.alias.domain - as for every posted message
        alias_domains = self.sudo()._mail_get_alias_domains(default_company=self.env.company)
        note_id = self.env["ir.model.data"]._xmlid_to_res_id("mail.mt_note")
        # sudo: mail.message - a notice needs no right to write to the document
        return self.sudo()._message_create(
            [
                {
                    "author_id": author_id,
                    "email_from": email_from,
                    "model": self._name,
                    "res_id": record.id,
                    "message_type": "wechat",
                    "is_internal": True,
                    "subtype_id": note_id,
                    "email_add_signature": False,
                    "body": self._wechat_get_message_body(cards[record.id][0][0]),
                    "partner_ids": [partner.id for _card, partners in cards[record.id] for partner in partners],
                    "record_alias_domain_id": alias_domains[record.id].id,
                    "record_company_id": companies[record.id].id,
                    "reply_to": reply_to[record.id],
                }
                for record in self
            ]
        )

    @api.model
    def _wechat_get_author(self):
        """Return the author of a notice: the internal user, else OdooBot, since portal users start automations too."""
        user = self.env.user
        return user.partner_id if user._is_internal() else self.env.ref("base.partner_root")

    @api.model
    def _wechat_get_message_body(self, card):
        """Return the body of the chatter's message for a card."""
        line = Markup('<span class="text-muted">%s</span> %s')
        lines = [line % (line_values["label"], line_values["value"]) for line_values in card.card["lines"]]
        return Markup("<p><b>%s</b><br>%s</p>") % (card.card["title"], Markup("<br>").join(lines))

    def _wechat_notify_followers(self, messages):
        """Notify the followers of notes on these documents, as of any note. Few documents have such followers."""
        note_id = self.env["ir.model.data"]._xmlid_to_res_id("mail.mt_note")
        followers = self.env["mail.followers"]._get_recipient_data(self, "wechat", note_id)
        for record, message in zip(self, messages, strict=True):
            if followers.get(record.id):
                record._notify_thread(message, skip_existing=True)

    # === BUSINESS METHODS - NOTIFYING === #

    def _notify_thread(self, message, msg_vals=False, **kwargs):
        is_scheduled = self._is_notification_scheduled(kwargs.get("scheduled_date"))
        recipients_data = super()._notify_thread(message, msg_vals=msg_vals, **kwargs)
        if not is_scheduled:
            self._notify_thread_by_wechat(message, recipients_data, msg_vals=msg_vals, **kwargs)
        return recipients_data

    def _notify_thread_by_wechat(
        self, message, recipients_data, msg_vals=False, wechat_template_id=None, wechat_kind="notice", **kwargs
    ):
        """Notify by WeChat the recipients of a posted message of type wechat.

        The parameters of ours are ids and strings, which a scheduled post can store.

        :param int wechat_template_id: the template of the card; without one nothing is sent.
        :param str wechat_kind: a value of the field kind of wechat.message.
        :return: True
        """
        partner_ids = [data["id"] for data in recipients_data if data["notif"] == "wechat"]
        if partner_ids and wechat_template_id:
            partners = self.env["res.partner"].browse(partner_ids)
            # sudo: wechat.template - only users that may send can pass one, see _get_notify_valid_parameters
            template = self.env["wechat.template"].sudo().browse(wechat_template_id).exists()
            cards = template._prepare_notices(self, {self.id: partners})[self.id]
            notices = [(message, card, recipients) for card, recipients in cards]
            self.env["wechat.message"]._queue_notices(template, notices, kind=wechat_kind)
        return True

    def _get_notify_valid_parameters(self):
        valid = super()._get_notify_valid_parameters()
        # Users without the right to send must not send by posting.
        if self.env.su or self.env.user.has_group(GROUP_USER):
            valid |= {"wechat_template_id", "wechat_kind"}
        return valid

    @api.model
    def notify_cancel_by_type(self, notification_type):
        """Remove the user's failures on documents of this model from the failure menu.

        :param str notification_type: the channel; ours is wechat.
        :return: True
        """
        super().notify_cancel_by_type(notification_type)
        if notification_type == "wechat":
            self._notify_cancel_by_type_generic("wechat")
        return True
