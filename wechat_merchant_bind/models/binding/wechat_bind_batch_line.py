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
# How long to leave WeChat alone once it asks for that, or can't be reached. 45011 counts by the minute, 45009 by the
# day; when its day turns is not documented.
PAUSE = timedelta(minutes=2)
PAUSE_A_DAY = timedelta(hours=1)
MAX_ATTEMPTS = 30


class WechatBindBatchLine(models.Model):
    """One merchant of a bulk generation."""

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
    # Empty if there was none when an automation asked for the code.
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
    # What becomes of it is told by mail.mail.
    mail_id = fields.Many2one(
        "mail.mail", "E-mail", readonly=True, ondelete="set null", index="btree_not_null", groups=fields.NO_ACCESS
    )

    # === INDEXES === #

    _pending_idx = models.Index("(id) WHERE state = 'pending'")
    # Whether another line of the merchant comes first is asked for each line of a claim.
    _pending_partner_idx = models.Index("(partner_id, id) WHERE state = 'pending'")
    _email_pending_idx = models.Index("(id) WHERE email_state = 'pending'")

    # === CRUD METHODS === #

    def _web_read_group_groupby_formatter(self, groupby_spec, values):
        """Name the groups of a reason in the language of the reader, as the lines do."""
        field = self._fields.get(groupby_spec)
        if isinstance(field, TermText):
            return lambda value: (field.convert_to_record(value or None, self), [(field.name, "=", value)])
        return super()._web_read_group_groupby_formatter(groupby_spec, values)

    # === BUSINESS METHODS - STEPS OF THE DRAIN === #

    @api.model
    def _count_due(self):
        """Return how many lines may be generated now."""
        self.env.flush_all()
        query = "SELECT count(*) FROM wechat_bind_batch_line line WHERE line.state = 'pending' AND %s"
        self.env.cr.execute(SQL(query, self._get_due_condition()))
        return self.env.cr.fetchone()[0]

    @api.model
    def _begin(self, starters, after_id, limit):
        """Prepare the calls for the next due lines, and close those that need none.

        :param dict starters: what :meth:`_get_env` remembers.
        :param int after_id: the last line that was looked at.
        :param int limit: how many lines to look at.
        :return: the last line of these, or 0 if there were none; the calls; the batch of each line that was closed.
        :rtype: tuple[int, list[Call], list[int]]
        """
        rows = self._claim(SQL("line.id > %s AND %s", after_id, self._get_due_condition()), SQL("line"), limit)
        calls = []
        for batch, lines in self.browse(rows).grouped("batch_id").items():
            calls += lines._prepare_calls(self._get_env(batch, starters), rows)
        closed = self.browse(rows) - self.browse([call.key for call in calls])
        return max(rows, default=0), calls, [line.batch_id.id for line in closed]

    @api.model
    def _finish(self, starters, calls):
        """Write what calls have brought. Whoever was bound, disabled or given a code meanwhile is left as it is.

        :param dict starters: what :meth:`_get_env` remembers.
        :param list[Call] calls: their keys are ids of lines.
        :return: the calls whose merchants are locked by somebody else; the batches that were written to.
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

    @api.model
    def _postpone(self, calls):
        """Let lines wait a while, whose merchants somebody else keeps locked.

        :param list[Call] calls: their keys are ids of lines.
        """
        until = fields.Datetime.now() + PAUSE
        self.search([("id", "in", [call.key for call in calls]), ("state", "=", "pending")]).next_attempt_at = until
        self.env["wechat.bind.batch"]._trigger_drain(until)

    # === BUSINESS METHODS - EMAILS === #

    @api.model
    def _count_emails(self):
        """Return how many merchants are to be sent their codes now."""
        return self.search_count([("email_state", "=", "pending"), ("state", "!=", "pending")])

    @api.model
    def _email_next(self, starters, limit):
        """Send the next merchants their codes by email, or say why not.

        :param dict starters: what :meth:`_get_env` remembers.
        :param int limit: how many.
        :return: the batch of each line that was looked at.
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
            same._email(self._get_env(batch, starters))
        return [line.batch_id.id for line in lines]

    def _email(self, env):
        """Send the merchants of lines of one batch their codes. One who can't be written to keeps no other waiting.

        :param Environment env: of who started the batch.
        """
        try:
            with self.env.cr.savepoint():
                obstacles = self.partner_id.with_env(env)._wechat_email_bind_codes()
        except (OperationalError, ConcurrencyError):
            raise
        except Exception as error:
            if len(self) > 1:
                for line in self:
                    line._email(env)
                return
            _logger.exception("wechat.codes: no email partner=%s", self.partner_id.id)
            obstacles = {self.partner_id.id: str(error)}
        for line in self:
            if reason := obstacles.get(line.partner_id.id):
                line.write({"email_state": "failed", "email_reason": reason, "mail_id": False})
        self.filtered(lambda line: line.partner_id.id not in obstacles)._follow_emails()

    def _follow_emails(self):
        """Let lines whose e-mails were just queued be told what becomes of these."""
        # sudo: mail.mail - only the e-mails that were queued for these lines
        emails_sudo = self.env["mail.mail"].sudo().search([("recipient_ids", "in", self.partner_id.ids)], order="id")
        newest = {partner: email for email in emails_sudo for partner in email.recipient_ids}
        for line in self:
            email = newest.get(line.partner_id, emails_sudo.browse())
            line.write({"email_state": "queued", "email_reason": False, "mail_id": email.id})
            if email.state in ("cancel", "exception"):
                # Odoo has decided at once not to send it.
                line._set_email_result("failed", *email._wechat_get_failure_terms())

    def _set_email_result(self, state, *terms):
        """Record what has become of the e-mails of lines.

        :param str state: a value of the field ``email_state``.
        :param terms: why it was not sent, see :func:`~.term_text.encode_terms`.
        """
        self.write({"email_state": state, "email_reason": bool(terms) and encode_terms(*terms)})
        self.batch_id._notify_changed()

    # === BUSINESS METHODS - CLAIM AND PREPARATION === #

    @api.model
    def _get_env(self, batch, starters):
        """Return the environment of the user who started a batch.

        :param wechat.bind.batch batch: the batch.
        :param dict starters: remembers for a run of the drain, by batch, what it took to make it.
        :rtype: odoo.api.Environment
        """
        if batch.id not in starters:
            starters[batch.id] = batch._get_starter()
        return self.env(**starters[batch.id])

    @api.model
    def _get_due_condition(self):
        """Return which of the waiting lines may be generated now: of several of one merchant, only the first.

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
        """Lock waiting lines by the first statement of a transaction, and read their merchants' open codes.

        :param SQL condition: which of the waiting lines.
        :param SQL locks: what to lock of ``line`` and ``partner``; rows that somebody else has locked are left out.
        :param int limit: how many.
        :return: by line id, in this order.
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

    def _prepare_calls(self, env, rows):
        """Return the calls for those lines of one batch that need one; the others are closed.

        :param Environment env: of who started the batch.
        :param dict rows: from :meth:`_claim`.
        :rtype: list[Call]
        """
        # By itself, or all that there is to read of the merchants would be.
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
                # Made by a version of this addon that drew the scene at the call.
                line.scene_str = env["wechat.bind.code"]._draw_scene()
            calls.append(Call(line.id, account.id, "create_qr_code", (line.scene_str, expire_seconds)))
        return calls

    def _prepare_account(self, env, partner):
        """Return the account of a merchant's new code, and the seconds for which the code is valid.

        :raise UserError: if there is none, or its address can't be called.
        """
        account = env["wechat.account"]._get_for_partner(partner)
        # sudo: wechat.account - only its address is looked at
        account.sudo()._get_client()
        return account, env["wechat.bind.code"]._get_expire_seconds(account)

    def _check_rights(self, env):
        """Return those of one batch's lines whose merchants its starter may generate codes for; the others fail."""
        try:
            self.partner_id.with_env(env)._wechat_check_may_generate()
        except UserError as error:
            if len(self) > 1:
                return self.browse().concat(*(line._check_rights(env) for line in self))
            self._close("failed", str(error))
            return self.browse()
        return self

    def _skip(self, env, rows):
        """Close the lines whose merchants must not or need not get a code, and return them.

        :param Environment env: of who started the batch.
        :param dict rows: from :meth:`_claim`.
        :rtype: wechat.bind.batch.line
        """
        skipped = self.browse()
        # By themselves, or all that there is to read of the merchants would be.
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

    # === BUSINESS METHODS - OUTCOMES === #

    def _store(self, env, granted):
        """Store the codes that WeChat has granted to lines of one batch.

        An automation of another addon that fails for one merchant neither keeps the others waiting nor undoes theirs.

        :param Environment env: of who started the batch.
        :param list granted: pairs of a line and its call.
        """
        if not granted:
            return
        lines = self.browse([line.id for line, _call in granted])
        try:
            with self.env.cr.savepoint():
                codes = lines._store_codes(env, [call for _line, call in granted])
        except (OperationalError, ConcurrencyError):
            # Nothing is wrong with these merchants: the whole step is repeated.
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
        # sudo: wechat.bind.code - users never write codes; these could no longer be scanned when the lines were claimed
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
        """Keep why WeChat gave no codes to lines of one batch, for all the lines that it concerns.

        :param Environment env: of who started the batch.
        :param list failed: pairs of a line and what its call has brought.
        """
        pauses, wrong_accounts = {}, {}
        for line, error in failed:
            if not isinstance(error, WechatError):
                line._close("failed", f"{type(error).__name__}: {error}")
                continue
            terms = env["wechat.bind.code"]._get_failure_terms(line.account_id.with_env(env), error)
            summary = _lt(error.info.meaning)
            if isinstance(error, WechatRetry | WechatAmbiguous | WechatPaused) and line.attempts + 1 < MAX_ATTEMPTS:
                # WeChat asks to be left alone, or can't be reached: all lines of this account wait, and no other's.
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
                # A wrong secret is wrong for all, and WeChat counts every try.
                wrong_accounts[line.account_id] = terms, summary
            else:
                line._close("failed", *terms, summary=summary)
        for account, pause in pauses.items():
            until = fields.Datetime.now() + pause
            self._get_waiting(account).next_attempt_at = until
            self.env["wechat.bind.batch"]._trigger_drain(until)
        for account, (terms, summary) in wrong_accounts.items():
            self._get_waiting(account)._close("failed", *terms, summary=summary)

    def _close(self, state, *terms, summary=None):
        """Write the outcome of lines.

        :param str state: the outcome.
        :param terms: why, for the admin, see :func:`~.term_text.encode_terms`.
        :param summary: the one of the terms that is the same for all whom it concerns; default: all of them.
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

    @api.model
    def _get_waiting(self, account):
        """Return all waiting lines of an account."""
        return self.search([("account_id", "=", account.id), ("state", "=", "pending")])

    def _filter_visible(self):
        """Return the lines that the user may see, with their codes."""
        lines = self._filtered_access("read")
        codes = lines.code_id._filtered_access("read")
        return lines.filtered(lambda line: not line.code_id or line.code_id in codes)

    def _get_open(self):
        """Return the lines whose codes can still be scanned."""
        return self.filtered(lambda line: line.code_id and line.code_id._is_open())
