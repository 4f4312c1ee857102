from odoo import models
from odoo.tools import LazyTranslate

_lt = LazyTranslate(__name__)


class MailMail(models.Model):
    """Tells bulk generations what has become of their e-mails: Odoo deletes the e-mails that were sent."""

    _inherit = "mail.mail"

    # === ACTION METHODS === #

    def mark_outgoing(self):
        res = super().mark_outgoing()
        self._wechat_get_batch_lines()._set_email_result("queued")
        return res

    def cancel(self):
        res = super().cancel()
        for line in self._wechat_get_batch_lines():
            line._set_email_result("failed", *line.mail_id._wechat_get_failure_terms())
        return res

    # === BUSINESS METHODS === #

    def _postprocess_sent_message(self, success_pids, success_emails, failure_reason=False, failure_type=None):
        for line in self._wechat_get_batch_lines():
            if failure_type:
                line._set_email_result("failed", *line.mail_id._wechat_get_failure_terms(failure_reason))
            else:
                line._set_email_result("sent")
        return super()._postprocess_sent_message(
            success_pids, success_emails, failure_reason=failure_reason, failure_type=failure_type
        )

    def _wechat_get_batch_lines(self):
        """Return the lines of bulk generations that these e-mails were queued for.

        :rtype: wechat.bind.batch.line
        """
        # sudo: wechat.bind.batch.line - users never write lines, and only what becomes of an e-mail is recorded
        return self.env["wechat.bind.batch.line"].sudo().search([("mail_id", "in", self.ids)])

    def _wechat_get_failure_terms(self, reason=False):
        """Return why an e-mail was not sent, see :func:`~.term_text.encode_terms`.

        :param str reason: what the mail server said, if it was not recorded yet.
        :rtype: list
        """
        self.ensure_one()
        if self.state == "cancel":
            return [_lt("The e-mail was cancelled before it was sent.")]
        reason = reason or self.failure_reason
        return [_lt("The mail server did not take the e-mail."), *([reason] if reason else [])]
