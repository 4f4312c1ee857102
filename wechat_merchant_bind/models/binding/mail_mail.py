from odoo import models
from odoo.tools import LazyTranslate

_lt = LazyTranslate(__name__)


class MailMail(models.Model):
    """Records the result of an e-mail on the line of its bulk generation: Odoo deletes sent e-mails."""

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
        """Return the lines of bulk generations that queued these e-mails.

        :rtype: wechat.bind.batch.line
        """
        # sudo: wechat.bind.batch.line - users have no right to write lines; only the e-mail's result is recorded
        return self.env["wechat.bind.batch.line"].sudo().search([("mail_id", "in", self.ids)])

    def _wechat_get_failure_terms(self, reason=False):
        """Return the reason why an e-mail was not sent, as terms for encode_terms().

        :param str reason: the mail server's answer, if it is not recorded yet.
        :rtype: list
        """
        self.ensure_one()
        if self.state == "cancel":
            return [_lt("The e-mail was cancelled before it was sent.")]
        reason = reason or self.failure_reason
        return [_lt("The mail server did not take the e-mail."), *([reason] if reason else [])]
