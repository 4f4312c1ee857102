import logging

from odoo import api, fields, models

from .wechat_call_mixin import CONCURRENCY_ERRORS

_logger = logging.getLogger(__name__)

# What somebody has canceled has no failure type. A disabled merchant is told nothing at all, and a card with errors is
# wrong in an e-mail too.
WITHOUT_FALLBACK = (False, "wechat_disabled", "wechat_value")
# Messages that are sent by other means in one transaction.
FALLBACK_BATCH = 50


class WechatMessage(models.Model):
    """What is done for somebody whom WeChat does not reach: nothing, or an e-mail or SMS, as the template asks."""

    _inherit = "wechat.message"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

    # === FIELDS === #

    fallback = fields.Selection([("email", "E-mail"), ("sms", "SMS")], "Sent instead by", readonly=True)
    # An e-mail costs dozens of queries and a third party's code: no order waits for it, or fails with it.
    fallback_due_at = fields.Datetime(readonly=True, index="btree_not_null", help="When it is to be sent instead.")

    # === BUSINESS METHODS === #

    def _apply_fallback(self):
        """See to it that these messages go by e-mail or SMS instead, where the template asks for it, each once.

        That is done by a cron, at once, or when they were to be sent.
        """
        fallen = self.filtered(lambda message: message._get_fallback() and not message.fallback_due_at)
        if not fallen:
            return
        now = fields.Datetime.now()
        for next_attempt_at, messages in fallen.grouped("next_attempt_at").items():
            messages.fallback_due_at = max(next_attempt_at, now)
        self.env.ref("wechat_merchant_bind.ir_cron_apply_fallbacks")._trigger_list(
            set(fallen.mapped("fallback_due_at"))
        )

    @api.model
    def _cron_apply_fallbacks(self):
        """Send by e-mail or SMS what is due and could not go by WeChat."""
        due = [("fallback_due_at", "<=", fields.Datetime.now())]
        remaining = self.search_count(due)
        while messages := self.search(due, order="fallback_due_at, id", limit=FALLBACK_BATCH):
            messages._send_otherwise()
            remaining -= len(messages)
            if not self.env["ir.cron"]._commit_progress(len(messages), remaining=max(remaining, 0)):
                break

    def _send_otherwise(self):
        """Send these messages by e-mail or SMS.

        Odoo has one notification of a message and a partner: the new one takes the place of WeChat's. Whoever has
        neither address nor number keeps WeChat's, which says why nothing arrived.
        """
        self.fallback_due_at = False
        fallen = self.filtered(lambda message: message._get_fallback())
        recipients_data = self.env["mail.followers"]._get_recipient_data(
            self.env["mail.thread"], "user_notification", False, fallen.partner_id.ids
        )
        # An SMS says what each recipient's own card says; an e-mail is the message of the chatter.
        for (mail_message, fallback, _body), messages in fallen.grouped(
            lambda message: (
                message.mail_message_id,
                message._get_fallback(),
                message.body if message._get_fallback() == "sms" else None,
            )
        ).items():
            record = self.env[mail_message.model].browse(mail_message.res_id).exists()
            if not record:
                continue
            data = [{**recipients_data[0][partner.id], "notif": fallback} for partner in messages.partner_id]
            try:
                with self.env.cr.savepoint():
                    messages._notify_otherwise(record, fallback, data)
            except CONCURRENCY_ERRORS:
                # The scheduled action is repeated with all of them.
                raise
            except Exception:  # pylint: disable=broad-except  # a third party's, who must not stop all the others
                _logger.exception("wechat.notices: fallback failed messages=%s by=%s", messages.ids, fallback)

    def _notify_otherwise(self, record, fallback, recipients_data):
        """Notify the recipients of one message by e-mail or SMS.

        :param mail.thread record: what the message is about.
        :param str fallback: how.
        :param list[dict] recipients_data: see ``_notify_get_recipients``.
        """
        mail_message = self.mail_message_id
        self.notification_id.unlink()
        self.fallback = fallback
        if fallback == "email":
            record._notify_thread_by_email(mail_message, recipients_data, force_send=False)
        else:
            record._notify_thread_by_sms(mail_message, recipients_data, sms_content=self[0].body, put_in_queue=True)
        mail_message._notify_message_notification_update()

    def _get_fallback(self):
        """Return how to reach the recipient instead, or False.

        :rtype: str | bool
        """
        self.ensure_one()
        if self.fallback or self.failure_type in WITHOUT_FALLBACK or self.state not in ("failed", "canceled"):
            return False
        fallback = self.template_id.fallback
        address = {"email": self.partner_id.email_normalized, "sms": self.partner_id.phone}
        return bool(address.get(fallback) and self.mail_message_id) and fallback
