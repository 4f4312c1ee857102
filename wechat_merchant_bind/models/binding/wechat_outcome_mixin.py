import logging
from datetime import timedelta

from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.tools import plaintext2html

from ...tools.wechat_errors import WechatError, WechatPaused, WechatRetry

_logger = logging.getLogger(__name__)

CRON = "wechat_merchant_bind.ir_cron_tell_outcomes"
TELL_BATCH = 100
# The longest time for which WeChat lets an account answer: after a message. After a scan it is a minute.
TELL_WITHIN = timedelta(hours=48)


class WechatOutcomeMixin(models.AbstractModel):
    """Scans and messages that got a provisional reply. The sender is told the outcome once it is known.

    A scheduled action tells it by a customer-service message after the outcome is committed. Each outcome is called for
    once; only a call that WeChat certainly did not serve is repeated.
    """

    _name = "wechat.outcome.mixin"
    _description = "Outcomes to Tell"

    # === FIELDS === #

    outcome_state = fields.Selection(
        [("due", "To tell"), ("told", "Told"), ("untold", "Could not be told")],
        "Outcome",
        readonly=True,
        copy=False,
        help="Whether the person who got a provisional reply was told the outcome by a customer-service message.",
    )

    # === INDEXES === #

    _outcome_due_idx = models.Index("(id) WHERE outcome_state = 'due'")

    # === BUSINESS METHODS - HOOKS === #

    def _get_outcome_text(self):
        """Return the outcome in the merchant's language, or None if there is nothing to tell.

        :rtype: str | None
        """
        raise NotImplementedError

    def _get_outcome_since(self):
        """Return the time of the scan or message.

        :rtype: datetime
        """
        raise NotImplementedError

    def _get_outcome_subject(self):
        """Return the record of the merchant that the scan or message is about, or an empty one.

        :rtype: wechat.bind.code | wechat.bind.request | wechat.binding
        """
        raise NotImplementedError

    # === BUSINESS METHODS === #

    def _tell_later(self):
        """Have the outcomes told after the commit of this transaction."""
        if self:
            self.outcome_state = "due"
            # sudo: ir.cron - woken and nothing else
            self.env.ref(CRON).sudo()._trigger()

    @api.model
    def _tell_outcomes(self):
        """Tell the outcomes that are due, each in a transaction of its own.

        :return: whether there is time left.
        :rtype: bool
        """
        busy = self.env["wechat.account"]
        while due := self.search(
            [("outcome_state", "=", "due"), ("account_id", "not in", busy.ids)], order="id", limit=TELL_BATCH
        ):
            for record in due:
                if record.account_id in busy:
                    continue
                if not record._tell_outcome():
                    busy |= record.account_id
                if not self.env["ir.cron"]._commit_progress(1, remaining=1):
                    return False
        return True

    def _tell_outcome(self):
        """Tell an outcome, or note for the admin that it could not be told.

        :return: whether the account can be called. If not, the outcome stays due.
        :rtype: bool
        """
        self.ensure_one()
        text = self._get_outcome_text()
        if not text:
            self.outcome_state = False
            return True
        is_told = False
        try:
            if self._get_outcome_since() > fields.Datetime.now() - TELL_WITHIN:
                self.account_id._call_api("send_custom_text", self.openid, text)
                is_told = True
        except (WechatRetry, WechatPaused) as error:
            _logger.warning("wechat.outcomes: postponed account=%s error=%s", self.account_id.id, error)
            return False
        except (WechatError, UserError) as error:
            _logger.info("wechat.outcomes: not told model=%s id=%s error=%s", self._name, self.id, error)
        self.outcome_state = "told" if is_told else "untold"
        if not is_told:
            self._note_untold(text)
        return True

    def _note_untold(self, text):
        """Note in the merchant's chatter that the outcome could not be told, unless a welcome message tells it."""
        subject = self._get_outcome_subject()
        partner = subject.partner_id
        if not partner or self._is_welcomed(partner):
            return
        code = self.env["wechat.operation"]._get_code(subject)
        env = self.with_context(lang=self.env["wechat.account"]._get_lang(code.user_id.lang)).env
        note = env._(
            "WeChat did not let us tell the outcome to the person who had scanned or written (OpenID %(openid)s). "
            "Please tell it yourself: %(outcome)s",
            openid=self.env["wechat.operation"]._mask_openid(self.openid),
            outcome=text,
        )
        partner._message_log(body=plaintext2html(note))

    def _is_welcomed(self, partner):
        """Return whether the person was bound and is told so by the account's welcome message."""
        binding = self._find_outcome_binding(partner)
        if not binding:
            return False
        domain = [
            ("partner_id", "=", partner.id),
            ("kind", "=", "welcome"),
            ("state", "not in", ("failed", "canceled")),
            ("create_date", ">=", binding.create_date),
        ]
        return bool(self.env["wechat.message"].search_count(domain, limit=1))

    def _find_outcome_binding(self, partner):
        """Return the live binding of the person to a merchant, or an empty one.

        :rtype: wechat.binding
        """
        return self.env["wechat.binding"].search(
            [
                ("account_id", "=", self.account_id.id),
                ("openid", "=", self.openid),
                ("partner_id", "=", partner.id),
                ("state", "=", "bound"),
            ]
        )
