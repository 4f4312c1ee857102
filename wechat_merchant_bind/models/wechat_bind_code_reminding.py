import logging
from datetime import timedelta

from psycopg2.errors import DeadlockDetected, SerializationFailure

from odoo import api, fields, models
from odoo.exceptions import ConcurrencyError, UserError
from odoo.fields import Domain

from .res_partner_mailing import REMINDER_TEMPLATE

_logger = logging.getLogger(__name__)

# Few, since a scan waits for the transaction that mails its merchant, and WeChat waits 5 seconds for the scan.
REMIND_BATCH = 10
# A daily job does not begin at the same second every day: without this, every day would become every second day.
SCHEDULE_TOLERANCE = timedelta(hours=6)
# A merchant that never scans gets no new codes for ever.
MAX_REISSUES = 3


class WechatBindCode(models.Model):
    """How merchants are reminded of codes that they have not scanned, by schedule and by e-mail."""

    _inherit = "wechat.bind.code"

    # === FIELDS === #

    reminder_count = fields.Integer("Reminders", readonly=True, copy=False, help="Including those of former codes.")
    last_reminded_at = fields.Datetime("Last Reminded on", readonly=True, copy=False)
    reissue_count = fields.Integer("Reissues", readonly=True, copy=False)

    # === BUSINESS METHODS === #

    @api.model
    def _cron_remind(self):
        """Reissue the codes that soon expire, then remind of those that wait for their scan, where the accounts ask."""
        # OdooBot's language is nobody's.
        codes = self.with_context(lang=self.env["wechat.account"]._get_lang())
        accounts = self.env["wechat.account"]
        reissuing = accounts.search([("reissue_days_before", ">", 0)])
        reminding = accounts.search([("remind_interval_days", ">", 0)])
        expiring = codes.union(*(codes._get_expiring(account) for account in reissuing))
        due = {account: codes._get_due(account) for account in reminding}
        self.env["ir.cron"]._commit_progress(remaining=len(expiring) + sum(map(len, due.values())))
        if not expiring._reissue_all():
            return
        for account, account_codes in due.items():
            if not account_codes._remind_all(account):
                return

    @api.model
    def _get_waiting_domain(self, account):
        """Return what makes a code of an account worth a mail: it can be scanned, was not, and its merchant can be
        mailed. A scan that waits for its confirmation is all that a merchant can do.
        """
        return Domain(
            [
                ("account_id", "=", account.id),
                ("state", "=", "active"),
                ("expires_at", ">", fields.Datetime.now()),
                ("request_ids", "not any", [("state", "=", "pending")]),
                ("partner_id.active", "=", True),
                ("partner_id.commercial_partner_id.active", "=", True),
                ("partner_id.is_wechat_bound", "!=", True),
                ("partner_id.email_normalized", "!=", False),
            ]
        )

    @api.model
    def _get_due(self, account):
        """Return the codes of an account whose merchants are to be reminded.

        :param wechat.account account: with an interval in days.
        :rtype: wechat.bind.code
        """
        since = fields.Datetime.now() - timedelta(days=account.remind_interval_days)
        return self.search(
            self._get_waiting_domain(account)
            & Domain("create_date", "<=", since)
            & Domain("reminder_count", "<", account.remind_max)
            & (Domain("last_reminded_at", "=", False) | Domain("last_reminded_at", "<=", since + SCHEDULE_TOLERANCE)),
            order="id",
        )

    @api.model
    def _get_expiring(self, account):
        """Return the codes of an account that are to be replaced because they soon expire.

        :param wechat.account account: with a number of days before the expiry.
        :rtype: wechat.bind.code
        """
        until = fields.Datetime.now() + timedelta(days=account.reissue_days_before)
        return self.search(
            self._get_waiting_domain(account)
            & Domain("expires_at", "<=", until)
            & Domain("reissue_count", "<", MAX_REISSUES),
            order="expires_at, id",
        )

    def _remind_all(self, account):
        """Remind of these codes of an account, a few at a time.

        :return: whether there is time for more.
        :rtype: bool
        """
        codes = self.with_company(account.company_id)
        for start in range(0, len(codes), REMIND_BATCH):
            batch = codes[start : start + REMIND_BATCH]
            try:
                # The last statement writes the codes: if one was used or revoked meanwhile, nobody of these is mailed.
                with self.env.cr.savepoint():
                    batch._remind()
            except (SerializationFailure, DeadlockDetected):
                _logger.info("wechat.codes: changed while mailed, next time codes=%s", batch.ids)
            if not self.env["ir.cron"]._commit_progress(len(batch)):
                return False
        return True

    def _remind(self):
        """Queue a reminder for the merchants of codes, and count it."""
        # The batches before have committed: what is known of these may be old.
        codes = self._filter_waiting()
        merchants = codes.partner_id
        obstacles = merchants._wechat_queue_mails(merchants._wechat_get_template(REMINDER_TEMPLATE))
        now = fields.Datetime.now()
        for code in codes.filtered(lambda code: code.partner_id.id not in obstacles):
            code.write({"reminder_count": code.reminder_count + 1, "last_reminded_at": now})

    def _filter_waiting(self):
        """Return those of these codes that still wait for their first scan."""
        scanned = self._get_pending_requests().code_id
        return self.filtered(lambda code: code._is_open() and code not in scanned)

    def _reissue_all(self):
        """Replace these codes one by one. An account that can't grant one is asked for no other.

        :return: whether there is time for more.
        :rtype: bool
        """
        unavailable = self.env["wechat.account"]
        for code in self:
            code = code.with_company(code.company_id)
            account = code.env["wechat.account"]._get_for_partner(code.partner_id)
            try:
                if account not in unavailable:
                    with self.env.cr.savepoint():
                        code._reissue()
            except UserError as error:
                # It is no fault of this code. The next run tries again.
                _logger.warning("wechat.codes: not reissued account=%s error=%s", account.id, error)
                unavailable += account
            except (ConcurrencyError, SerializationFailure, DeadlockDetected):
                _logger.info("wechat.codes: changed while reissued, next time code=%s", code.id)
            if not self.env["ir.cron"]._commit_progress(1):
                return False
        return True

    def _reissue(self):
        """Replace an open code by a new one, and mail that to the merchant.

        :raise UserError: if WeChat refuses or cannot be reached. The code then stays valid.
        """
        self.ensure_one()
        if not self._filter_waiting() or self.partner_id._wechat_get_bind_obstacle():
            return
        # WeChat is called first; the former code's row is locked afterwards and until the next commit only.
        code = self._create_for(self.partner_id)
        # The toast about the scan is for the admin who wanted this merchant bound.
        code.write({"reissue_count": self.reissue_count + 1, "user_id": self.user_id.id})
        self.partner_id._wechat_email_bind_codes()

    def _get_carried_values(self):
        """Return what the code that takes this one's place inherits: nobody is reminded more often for a new code."""
        return {"reminder_count": self.reminder_count, "last_reminded_at": self.last_reminded_at}
