import logging
from datetime import timedelta

from psycopg2 import OperationalError

from odoo import api, fields, models
from odoo.exceptions import ConcurrencyError, UserError
from odoo.tools import SQL, LazyTranslate

from ...tools.call_pool import Call
from ...tools.wechat_errors import (
    DAILY_QUOTA,
    WechatAccountError,
    WechatAmbiguous,
    WechatError,
    WechatPaused,
    WechatRetry,
)
from ..audit.term_text import TermText, encode_terms

_logger = logging.getLogger(__name__)
_lt = LazyTranslate(__name__)
# Pauses after WeChat's limits or failed connections. 45011 limits calls per minute, 45009 per day; the end of the day
# is not documented.
PAUSE = timedelta(minutes=2)
PAUSE_A_DAY = timedelta(hours=1)
MAX_ATTEMPTS = 30


class WechatBindBatchLine(models.Model):
    """One merchant of a bulk generation, with the state of its code and of the e-mail with the code.

    The batch calls the steps below in transactions of their own: they claim lines, prepare the calls to WeChat, and
    record the results. Lines that another transaction has locked are skipped and taken up again later.
    """

    _name = "wechat.bind.batch.line"
    _inherit = ["wechat.merchant.mixin"]
    _description = "Merchant of a Bulk Generation"
    _order = "batch_id desc, id"
    _rec_name = "partner_id"

    # === FIELDS === #

    batch_id = fields.Many2one("wechat.bind.batch", required=True, readonly=True, ondelete="cascade", index=True)
    company_id = fields.Many2one(related="batch_id.company_id", store=True)
    partner_id = fields.Many2one(
        "res.partner", "Merchant", required=True, readonly=True, ondelete="cascade", index=True
    )
    # Empty if an automation started the generation and there was no account.
    account_id = fields.Many2one("wechat.account", readonly=True, ondelete="cascade", index=True)
    scene_str = fields.Char("Scene", readonly=True, copy=False, exportable=False, groups=fields.NO_ACCESS)
    code_id = fields.Many2one("wechat.bind.code", readonly=True, ondelete="set null", index="btree_not_null")
    share_url = fields.Char(related="code_id.share_url", related_sudo=False)
    expires_at = fields.Datetime(related="code_id.expires_at", related_sudo=False)
    state = fields.Selection(
        [
            ("pending", "Waiting"),
            ("done", "Generated"),
            ("skipped", "Skipped"),
            ("failed", "Generation failed"),
            ("canceled", "Cancelled"),
        ],
        "Status",
        required=True,
        readonly=True,
        default="pending",
    )
    summary = TermText("Reason in Short", readonly=True)
    reason = TermText(readonly=True)
    attempts = fields.Integer(readonly=True)
    next_attempt_at = fields.Datetime("Next Attempt on", readonly=True)
    email_state = fields.Selection(
        [("pending", "Waiting"), ("queued", "On its way"), ("sent", "Sent"), ("failed", "Not sent")],
        "Email",
        readonly=True,
        help="On its way: the e-mail waits in Odoo's queue for the mail server. Sent: the mail server has taken it.",
    )
    email_reason = TermText("Why Not Sent", readonly=True)
    # mail.mail records its result on the line.
    mail_id = fields.Many2one(
        "mail.mail", "E-mail", readonly=True, ondelete="set null", index="btree_not_null", groups=fields.NO_ACCESS
    )

    # === INDEXES === #

    _pending_idx = models.Index("(id) WHERE state = 'pending'")
    # Each claim checks for an earlier line of the same merchant.
    _pending_partner_idx = models.Index("(partner_id, id) WHERE state = 'pending'")
    _email_pending_idx = models.Index("(id) WHERE email_state = 'pending'")

    # === CRUD METHODS === #

    def _web_read_group_groupby_formatter(self, groupby_spec, values):
        """Label the groups of translatable reasons in the user's language."""
        field = self._fields.get(groupby_spec)
        if isinstance(field, TermText):
            return lambda value: (field.convert_to_record(value or None, self), [(field.name, "=", value)])
        return super()._web_read_group_groupby_formatter(groupby_spec, values)

    # === BUSINESS METHODS === #

    @api.model
    def _get_env(self, batch, starters):
        """Return an environment of the user that started a batch.

        :param wechat.bind.batch batch: the batch.
        :param dict starters: cache of the environments' arguments by batch id, for one run.
        :rtype: odoo.api.Environment
        """
        if batch.id not in starters:
            starters[batch.id] = batch._get_starter()
        return self.env(**starters[batch.id])

    @api.model
    def _get_waiting(self, account):
        """Return the waiting lines of an account, of all batches."""
        return self.search([("account_id", "=", account.id), ("state", "=", "pending")])

    def _filter_visible(self):
        """Return the lines that the user may read, with codes that the user may read."""
        lines = self._filtered_access("read")
        codes = lines.code_id._filtered_access("read")
        return lines.filtered(lambda line: not line.code_id or line.code_id in codes)

    def _get_open(self):
        """Return the lines with open codes."""
        return self.filtered(lambda line: line.code_id and line.code_id._is_open())

    def _close(self, state, *terms, summary=None):
        """Set the final state of lines.

        :param str state: the state.
        :param terms: the reason, for encode_terms().
        :param summary: the part of the reason that lines are grouped by. Default: the whole reason.
        """
        reason = bool(terms) and encode_terms(*terms)
        self.write(
            {
                "state": state,
                "reason": reason,
                "summary": reason if summary is None else encode_terms(summary),
                "next_attempt_at": False,
            }
        )

    # === BUSINESS METHODS - CLAIMING === #

    @api.model
    def _count_due(self):
        """Return the number of due lines."""
        self.env.flush_all()
        query = "SELECT count(*) FROM wechat_bind_batch_line line WHERE line.state = 'pending' AND %s"
        self.env.cr.execute(SQL(query, self._get_due_condition()))
        return self.env.cr.fetchone()[0]

    @api.model
    def _get_due_condition(self):
        """Return the SQL condition of due lines among the waiting ones: only the first line of each merchant.

        :rtype: SQL
        """
        return SQL(
            """
            (line.next_attempt_at IS NULL OR line.next_attempt_at <= %s)
            AND NOT EXISTS (SELECT 1
                              FROM wechat_bind_batch_line earlier
                             WHERE earlier.partner_id = line.partner_id
                               AND earlier.state = 'pending'
                               AND earlier.id < line.id)
            """,
            fields.Datetime.now(),
        )

    @api.model
    def _claim(self, condition, locks, limit):
        """Lock waiting lines in the first statement of a transaction, and read their merchants' open codes.

        :param SQL condition: limits the waiting lines.
        :param SQL locks: the tables to lock, "line" or "line, partner". Locked rows are skipped.
        :param int limit: the maximum number of lines.
        :return: the rows by line id, ordered by id.
        :rtype: dict[int, dict]
        """
        self.env.cr.execute(
            SQL(
                """
                SELECT line.id, code.id AS code_id
                  FROM wechat_bind_batch_line line
                  JOIN res_partner partner ON partner.id = line.partner_id
             LEFT JOIN wechat_bind_code code
                    ON code.partner_id = partner.id AND code.state = 'active' AND code.expires_at > %s
                 WHERE line.state = 'pending' AND %s
              ORDER BY line.id
                 LIMIT %s
                   FOR NO KEY UPDATE OF %s SKIP LOCKED
                """,
                fields.Datetime.now(),
                condition,
                limit,
                locks,
            )
        )
        return {row["id"]: row for row in self.env.cr.dictfetchall()}

    # === BUSINESS METHODS - PREPARING CALLS === #

    @api.model
    def _begin_calls(self, starters, after_id, limit):
        """Prepare the calls for the next due lines, and close the lines that need none.

        :param dict starters: cache of _get_env().
        :param int after_id: the id of the last line of the previous portion.
        :param int limit: the maximum number of lines.
        :return: the id of the last line, or 0 if there are none; the calls; the batch id of each closed line.
        :rtype: tuple[int, list[Call], list[int]]
        """
        rows = self._claim(SQL("line.id > %s AND %s", after_id, self._get_due_condition()), SQL("line"), limit)
        calls = []
        for batch, lines in self.browse(rows).grouped("batch_id").items():
            calls += lines._prepare_calls(self._get_env(batch, starters), rows)
        closed = self.browse(rows) - self.browse([call.key for call in calls])
        return max(rows, default=0), calls, [line.batch_id.id for line in closed]

    def _prepare_calls(self, env, rows):
        """Return the calls for the lines of one batch that need one, and close the others.

        :param Environment env: the environment of the batch's user.
        :param dict rows: from _claim().
        :rtype: list[Call]
        """
        # This field only: a plain access would prefetch all fields of the merchants.
        self.partner_id.fetch(["company_id"])
        lines = self._check_rights(env)
        lines -= lines._skip(env, rows)
        accounts, calls = {}, []
        for line in lines:
            partner = line.partner_id.with_env(env)
            try:
                if partner.company_id not in accounts:
                    accounts[partner.company_id] = self._prepare_account(env, partner)
            except UserError as error:
                line._close("failed", str(error))
                continue
            account, expire_seconds = accounts[partner.company_id]
            if line.account_id.id != account.id:
                line.account_id = account.id
            if not line.scene_str:
                # Lines of earlier versions of this addon have no scene yet.
                line.scene_str = env["wechat.bind.code"]._generate_scene()
            calls.append(Call(line.id, account.id, "create_qr_code", (line.scene_str, expire_seconds)))
        return calls

    def _prepare_account(self, env, partner):
        """Return the account of a merchant's new code, and the code's validity in seconds.

        :raise UserError: if there is no account, or its API address is not allowed.
        """
        account = env["wechat.account"]._get_for_partner(partner)
        # sudo: wechat.account - only validates the API address
        account.sudo()._get_client()
        return account, env["wechat.bind.code"]._get_expire_seconds(account)

    def _check_rights(self, env):
        """Return the lines of one batch that its user has the right to generate codes for; the others fail."""
        try:
            self.partner_id.with_env(env)._wechat_check_may_generate()
        except UserError as error:
            if len(self) > 1:
                return self.browse().concat(*(line._check_rights(env) for line in self))
            self._close("failed", str(error))
            return self.browse()
        return self

    def _skip(self, env, rows):
        """Close the lines of merchants that are bound, disabled or have an open code, and return them.

        :param Environment env: the environment of the batch's user.
        :param dict rows: from _claim().
        :rtype: wechat.bind.batch.line
        """
        skipped = self.browse()
        # These fields only: a plain access would prefetch all fields of the merchants.
        self.partner_id.fetch(["active", "commercial_partner_id", "is_wechat_bound"])
        self.partner_id.commercial_partner_id.fetch(["active"])
        for line in self:
            row = rows[line.id]
            obstacle = line.partner_id._wechat_get_bind_obstacle()
            if obstacle == "bound":
                reason = _lt("The merchant is already bound.")
            elif obstacle == "disabled":
                reason = _lt("The merchant is disabled.")
            elif row["code_id"]:
                reason = _lt("The merchant already has an open binding code. It stays as it is.")
                line.code_id = row["code_id"]
            else:
                continue
            line._close("skipped", reason)
            skipped += line
        skipped.code_id._renew_share_links()
        return skipped

    # === BUSINESS METHODS - RECORDING RESULTS === #

    @api.model
    def _finish_calls(self, starters, calls):
        """Record the results of calls. Merchants that were bound, disabled or given a code meanwhile are skipped.

        :param dict starters: cache of _get_env().
        :param list[Call] calls: their keys are ids of lines.
        :return: the calls with merchants that another transaction has locked; the ids of the changed batches.
        :rtype: tuple[list[Call], list[int]]
        """
        calls = {call.key: call for call in calls}
        rows = self._claim(SQL("line.id IN %s", tuple(calls)), SQL("line, partner"), len(calls))
        for batch, lines in self.browse(rows).grouped("batch_id").items():
            env = self._get_env(batch, starters)
            granted, failed = [], []
            for line in lines - lines._skip(env, rows):
                if calls[line.id].answer:
                    granted.append((line, calls[line.id]))
                elif calls[line.id].error:
                    failed.append((line, calls[line.id].error))
            self._fail_by_wechat(env, failed)
            self._store(env, granted)
        missing = list(set(calls).difference(rows))
        locked = self.search([("id", "in", missing), ("state", "=", "pending")]) if missing else self.browse()
        return [calls[line.id] for line in locked], self.browse(rows).batch_id.ids

    def _store(self, env, granted):
        """Store the codes that WeChat has granted to lines of one batch.

        If an automation of another addon fails for one merchant, only that line fails.

        :param Environment env: the environment of the batch's user.
        :param list granted: pairs of a line and its call.
        """
        if not granted:
            return
        lines = self.browse([line.id for line, _call in granted])
        try:
            with self.env.cr.savepoint():
                codes = lines._store_codes(env, [call for _line, call in granted])
        except (OperationalError, ConcurrencyError):
            # A conflict with another transaction, not an error of a merchant: the whole step is repeated.
            raise
        except Exception as error:
            if len(granted) > 1:
                half = len(granted) // 2
                self._store(env, granted[:half])
                self._store(env, granted[half:])
                return
            _logger.exception("wechat.codes: no code partner=%s", lines.partner_id.id)
            is_for_people = isinstance(error, UserError)
            lines._close("failed", str(error) if is_for_people else f"{type(error).__name__}: {error}")
        else:
            for line, code in zip(lines, codes, strict=True):
                line._close("done")
                line.code_id = code.id

    def _store_codes(self, env, calls):
        """Store the codes of these lines.

        :param list[Call] calls: in the order of the lines.
        :rtype: wechat.bind.code
        """
        codes = env["wechat.bind.code"]
        # sudo: wechat.bind.code - users have no right to write codes; these had expired when the lines were claimed
        codes.sudo().search([("partner_id", "in", self.partner_id.ids), ("state", "=", "active")]).state = "expired"
        return codes._store(
            [
                codes._prepare_granted_values(
                    line.partner_id, line.account_id, line.scene_str, call.answer, call.began_at
                )
                for line, call in zip(self, calls, strict=True)
            ]
        )

    def _fail_by_wechat(self, env, failed):
        """Record failed calls of lines of one batch, and pause or close the other lines of the account if they would
        fail, too.

        :param Environment env: the environment of the batch's user.
        :param list failed: pairs of a line and the error of its call.
        """
        pauses, wrong_accounts = {}, {}
        for line, error in failed:
            if not isinstance(error, WechatError):
                line._close("failed", f"{type(error).__name__}: {error}")
                continue
            terms = env["wechat.bind.code"]._get_failure_terms(line.account_id.with_env(env), error)
            summary = _lt(error.info.meaning)
            if isinstance(error, WechatRetry | WechatAmbiguous | WechatPaused) and line.attempts + 1 < MAX_ATTEMPTS:
                # WeChat limits the account's calls or can't be reached: all lines of this account wait.
                line.write(
                    {
                        "reason": encode_terms(*terms),
                        "summary": encode_terms(summary),
                        "attempts": line.attempts + 1,
                    }
                )
                pause = PAUSE_A_DAY if error.errcode == DAILY_QUOTA else PAUSE
                pauses[line.account_id] = max(pauses.get(line.account_id, pause), pause)
            elif isinstance(error, WechatAccountError):
                # The account's settings are wrong for all lines, and WeChat counts each failed call.
                wrong_accounts[line.account_id] = terms, summary
            else:
                line._close("failed", *terms, summary=summary)
        for account, pause in pauses.items():
            until = fields.Datetime.now() + pause
            self._get_waiting(account).next_attempt_at = until
            self.env["wechat.bind.batch"]._trigger_queue(until)
        for account, (terms, summary) in wrong_accounts.items():
            self._get_waiting(account)._close("failed", *terms, summary=summary)

    @api.model
    def _postpone(self, calls):
        """Postpone lines with merchants that another transaction keeps locked.

        :param list[Call] calls: their keys are ids of lines.
        """
        until = fields.Datetime.now() + PAUSE
        self.search([("id", "in", [call.key for call in calls]), ("state", "=", "pending")]).next_attempt_at = until
        self.env["wechat.bind.batch"]._trigger_queue(until)

    # === BUSINESS METHODS - MAILING === #

    @api.model
    def _count_emails(self):
        """Return the number of waiting e-mails with codes."""
        return self.search_count([("email_state", "=", "pending"), ("state", "!=", "pending")])

    @api.model
    def _email_next_codes(self, starters, limit):
        """Queue the next waiting e-mails with codes, or record the reason why not.

        :param dict starters: cache of _get_env().
        :param int limit: the maximum number of lines.
        :return: the batch id of each processed line.
        :rtype: list[int]
        """
        self.env.cr.execute(
            SQL(
                """
                SELECT id
                  FROM wechat_bind_batch_line
                 WHERE email_state = 'pending' AND state != 'pending'
              ORDER BY id
                 LIMIT %s
                   FOR NO KEY UPDATE SKIP LOCKED
                """,
                limit,
            )
        )
        lines = self.browse([line_id for (line_id,) in self.env.cr.fetchall()])
        closed = lines - lines._get_open()
        closed.write({"email_state": False})
        for batch, same in (lines - closed).grouped("batch_id").items():
            same._email_codes(self._get_env(batch, starters))
        return [line.batch_id.id for line in lines]

    def _email_codes(self, env):
        """Queue the e-mails of lines of one batch. A failure for one merchant does not affect the others.

        :param Environment env: the environment of the batch's user.
        """
        try:
            with self.env.cr.savepoint():
                obstacles = self.partner_id.with_env(env)._wechat_email_bind_codes()
        except (OperationalError, ConcurrencyError):
            raise
        except Exception as error:
            if len(self) > 1:
                for line in self:
                    line._email_codes(env)
                return
            _logger.exception("wechat.codes: no email partner=%s", self.partner_id.id)
            obstacles = {self.partner_id.id: str(error)}
        for line in self:
            if reason := obstacles.get(line.partner_id.id):
                line.write({"email_state": "failed", "email_reason": reason, "mail_id": False})
        self.filtered(lambda line: line.partner_id.id not in obstacles)._follow_emails()

    def _follow_emails(self):
        """Link lines to the e-mails that were just queued for them, which then record their results."""
        # sudo: mail.mail - users have no right to read e-mails; only their ids and states are used
        emails_sudo = self.env["mail.mail"].sudo().search([("recipient_ids", "in", self.partner_id.ids)], order="id")
        newest = {partner: email for email in emails_sudo for partner in email.recipient_ids}
        for line in self:
            email = newest.get(line.partner_id, emails_sudo.browse())
            line.write({"email_state": "queued", "email_reason": False, "mail_id": email.id})
            if email.state in ("cancel", "exception"):
                # Odoo has refused to queue it.
                line._set_email_result("failed", *email._wechat_get_failure_terms())

    def _set_email_result(self, state, *terms):
        """Record the result of the e-mails of lines.

        :param str state: a value of the field email_state.
        :param terms: the reason why they were not sent, for encode_terms().
        """
        self.write({"email_state": state, "email_reason": bool(terms) and encode_terms(*terms)})
        self.batch_id._notify_changed()
