import logging
import time
from datetime import timedelta

from markupsafe import Markup

from odoo import Command, api, fields, models
from odoo.exceptions import UserError

from ...tools import file_names
from ...tools.call_pool import CallPool
from ...tools.pg_lock import LockTimeoutError, session_locks
from ..const import CONCURRENCY_ERRORS, GROUP_USER

_logger = logging.getLogger(__name__)
OUTCOMES = Markup('<table class="table table-sm table-borderless mb-0"><tbody>%s</tbody></table>')
OUTCOME = Markup(
    '<tr><td class="w-0"><span class="badge text-bg-%s">%s</span></td>'
    '<td class="w-0 text-end fw-bold">%s</td><td>%s</td></tr>'
)
# Concurrent calls to WeChat, for all accounts together.
THREADS = 16
# Maximum of queued and running calls, which keeps the threads busy while results are written, and lines per refill.
WINDOW = 128
REFILL = 64
# Results are written in batches of at least this size, or after this time.
WRITE_AT_LEAST = 16
WRITE_SECONDS = 0.25
# E-mails per transaction: each has a picture to draw.
EMAIL_BATCH = 20
# Minimum interval of progress notifications to open forms: each takes a connection to PostgreSQL.
NOTIFY_SECONDS = 0.5
# The advisory lock of the process that works on the batches. It is released when that process loses its connection.
LOCK_NAME = "bind_batch_queue"
QUEUE_LOCK_TIMEOUT = "500ms"
RETRY_LOCKED_AFTER = timedelta(minutes=1)


class WechatBindBatch(models.Model):
    """A bulk generation: creates the binding codes of many merchants in the background.

    A scheduled action processes the waiting lines of all batches. Threads without access to Odoo call WeChat in
    parallel, while the scheduled action's process records the results of earlier calls. Each transaction is short, and
    none is open while the process waits for results. The scene of a line is committed before its call, and the code
    together with the line's state: after a crash, the next run requests the same scene again and stores one code.
    """

    _name = "wechat.bind.batch"
    _inherit = ["wechat.call.mixin"]
    _description = "Bulk Generation of WeChat Binding Codes"
    _order = "id desc"
    _check_company_auto = True

    # === FIELDS === #

    name = fields.Char(compute="_compute_name")
    company_id = fields.Many2one("res.company", required=True, readonly=True, default=lambda self: self.env.company)
    user_id = fields.Many2one(
        "res.users", "Started by", required=True, readonly=True, default=lambda self: self.env.user
    )
    is_automated = fields.Boolean(
        "Automated", readonly=True, help="Started by an automation, without a check of the user's rights."
    )
    send_email = fields.Boolean("Send by Email", readonly=True, help="Each merchant is sent its code by email.")
    line_ids = fields.One2many("wechat.bind.batch.line", "batch_id", readonly=True)
    state = fields.Selection(
        [("running", "In progress"), ("paused", "Paused"), ("done", "Completed"), ("canceled", "Cancelled")],
        "Status",
        compute="_compute_counts",
    )
    total_count = fields.Integer("Merchants", compute="_compute_counts")
    done_count = fields.Integer("Generated", compute="_compute_counts")
    skipped_count = fields.Integer("Skipped", compute="_compute_counts")
    failed_count = fields.Integer("Generation Failed", compute="_compute_counts")
    canceled_count = fields.Integer("Cancelled", compute="_compute_counts")
    pending_count = fields.Integer("Waiting", compute="_compute_counts")
    processed_count = fields.Integer("Processed", compute="_compute_counts")
    progress = fields.Float(compute="_compute_counts")
    is_active = fields.Boolean(compute="_compute_counts")
    resumes_at = fields.Datetime("Continues on", compute="_compute_counts")
    pause_reason = fields.Text(compute="_compute_pause_reason")
    email_progress = fields.Char("Emails", compute="_compute_email_progress")
    outcomes = fields.Html("Not Generated", compute="_compute_outcomes", sanitize=False)
    has_open_codes = fields.Boolean(compute="_compute_has_open_codes")

    # === COMPUTE METHODS === #

    @api.depends("create_date", "total_count")
    def _compute_name(self):
        for batch in self:
            batch.name = self.env._("Binding codes for %s merchants", batch.total_count)

    @api.depends("line_ids.state", "line_ids.next_attempt_at")
    def _compute_counts(self):
        now = fields.Datetime.now()
        counts, resumes_at = {}, {}
        for batch, state, count, first_attempt_at in self.env["wechat.bind.batch.line"]._read_group(
            [("batch_id", "in", self.ids)], ["batch_id", "state"], ["__count", "next_attempt_at:min"]
        ):
            counts[batch, state] = count
            if state == "pending":
                resumes_at[batch] = first_attempt_at
        waiting_now = {
            batch
            for (batch,) in self.env["wechat.bind.batch.line"]._read_group(
                [("batch_id", "in", self.ids), *self._get_due_domain(now)], ["batch_id"]
            )
        }
        emails_waiting = {
            batch
            for (batch,) in self.env["wechat.bind.batch.line"]._read_group(
                [("batch_id", "in", self.ids), ("email_state", "=", "pending")], ["batch_id"]
            )
        }
        for batch in self:
            batch.done_count = counts.get((batch, "done"), 0)
            batch.skipped_count = counts.get((batch, "skipped"), 0)
            batch.failed_count = counts.get((batch, "failed"), 0)
            batch.canceled_count = counts.get((batch, "canceled"), 0)
            batch.pending_count = counts.get((batch, "pending"), 0)
            batch.processed_count = batch.done_count + batch.skipped_count + batch.failed_count
            batch.total_count = batch.processed_count + batch.canceled_count + batch.pending_count
            batch.progress = 100 * (1 - batch.pending_count / batch.total_count) if batch.total_count else 0
            batch.is_active = bool(batch.pending_count) or batch in emails_waiting
            batch.resumes_at = False
            if batch in waiting_now:
                batch.state = "running"
            elif batch.pending_count:
                batch.state = "paused"
                batch.resumes_at = resumes_at[batch]
            else:
                batch.state = "canceled" if batch.canceled_count else "done"

    @api.depends("line_ids.reason")
    @api.depends_context("lang")
    def _compute_pause_reason(self):
        reasons = dict(
            self.env["wechat.bind.batch.line"]._read_group(
                [("batch_id", "in", self.ids), ("state", "=", "pending"), ("reason", "!=", False)],
                ["batch_id", "reason"],
            )
        )
        reason = self.line_ids._fields["reason"]
        for batch in self:
            batch.pause_reason = reason.convert_to_record(reasons.get(batch), self)

    @api.depends("line_ids.email_state")
    @api.depends_context("lang")
    def _compute_email_progress(self):
        states = dict(self.line_ids._fields["email_state"]._description_selection(self.env))
        counts = {}
        for batch, state, count in self.env["wechat.bind.batch.line"]._read_group(
            [("batch_id", "in", self.ids), ("email_state", "!=", False)], ["batch_id", "email_state"], ["__count"]
        ):
            counts.setdefault(batch, []).append(f"{states[state]} {count}")
        for batch in self:
            batch.email_progress = " · ".join(counts.get(batch, []))

    @api.depends("line_ids.state", "line_ids.summary")
    @api.depends_context("lang")
    def _compute_outcomes(self):
        states = dict(self.line_ids._fields["state"]._description_selection(self.env))
        rows = {}
        for batch, state, summary, count in self.env["wechat.bind.batch.line"]._read_group(
            [("batch_id", "in", self.ids), ("state", "in", ["skipped", "failed"])],
            ["batch_id", "state", "summary"],
            ["__count"],
            order="state, __count desc",
        ):
            colour = "danger" if state == "failed" else "warning"
            reason = self.line_ids._fields["summary"].convert_to_record(summary, self) or ""
            rows.setdefault(batch, []).append(OUTCOME % (colour, states[state], count, reason))
        for batch in self:
            batch.outcomes = OUTCOMES % Markup().join(rows[batch]) if batch in rows else False

    @api.depends("line_ids.code_id.state")
    def _compute_has_open_codes(self):
        with_codes = {
            batch
            for (batch,) in self.env["wechat.bind.batch.line"]._read_group(
                [("batch_id", "in", self.ids), ("code_id.state", "=", "active")], ["batch_id"]
            )
        }
        for batch in self:
            batch.has_open_codes = batch in with_codes

    # === ACTION METHODS === #

    def action_retry_failed(self):
        """Try the failed lines again.

        :raise AccessError: if the user may not generate codes.
        """
        # sudo: wechat.bind.batch.line - users never write lines; the right to generate was just checked
        failed_sudo = self._get_visible_lines().sudo().filtered(lambda line: line.state == "failed")
        failed_sudo.write(
            {"state": "pending", "reason": False, "summary": False, "attempts": 0, "next_attempt_at": False}
        )
        failed_sudo.filtered("batch_id.send_email").email_state = "pending"
        self._notify_changed()
        self._trigger_queue()

    def action_cancel(self):
        """Cancel the waiting lines and e-mails. Existing codes stay valid.

        :raise AccessError: if the user may not generate codes.
        """
        # sudo: wechat.bind.batch.line - users never write lines; the right to generate was just checked
        lines_sudo = self._get_visible_lines().sudo()
        lines_sudo.filtered(lambda line: line.state == "pending").write(
            {"state": "canceled", "reason": False, "summary": False, "next_attempt_at": False}
        )
        lines_sudo.filtered(lambda line: line.email_state == "pending").email_state = False
        self._notify_changed()

    def action_download_pictures(self):
        """Download the pictures of the open codes as a ZIP file.

        :rtype: dict
        :raise AccessError: if the user may not generate codes.
        :raise UserError: if there is no open code.
        """
        self._get_open_lines()
        return self._get_download_action("pictures.zip")

    def action_download_list(self):
        """Download the list of all merchants, with the links to their open codes, as an XLSX file.

        :rtype: dict
        :raise AccessError: if the user may not generate codes.
        """
        self._get_visible_lines()._get_open().code_id._renew_share_links()
        return self._get_download_action("merchants.xlsx")

    def action_email(self):
        """Send each merchant its open code by email, in the background.

        :raise AccessError: if the user may not generate codes.
        :raise UserError: if there is no open code.
        """
        # sudo: wechat.bind.batch.line - users never write lines; the right to generate was just checked
        self._get_open_lines().sudo().write({"email_state": "pending", "email_reason": False})
        self._notify_changed()
        self._trigger_queue()

    def action_print(self):
        """Print the open codes, several per page.

        :rtype: dict
        :raise AccessError: if the user may not generate codes.
        :raise UserError: if there is no open code.
        """
        self._get_open_lines()
        report = self.env.ref("wechat_merchant_bind.wechat_bind_batch_report")
        return report.report_action(self, config=False)

    # === BUSINESS METHODS === #

    @api.model
    def _create_for(self, partners, **values):
        """Start the generation for several merchants.

        :param res.partner partners: any number; disabled and bound ones will be skipped.
        :param values: field values of the batch.
        :rtype: wechat.bind.batch
        :raise UserError: if there is no partner, or no account for one of them.
        """
        if not partners:
            raise UserError(self.env._("Select the merchants to generate binding codes for."))
        accounts = {}
        for partner in partners:
            if partner.company_id not in accounts:
                accounts[partner.company_id] = self.env["wechat.account"]._get_for_partner(partner)
        return self._create_lines(partners, accounts, **values)

    @api.model
    def _create_automated(self, partners, **values):
        """Start the generation on behalf of an automation. The user that triggers it needs no right and gets no errors.

        :param res.partner partners: any number; errors are recorded on their lines.
        :param values: field values of the batch.
        :rtype: wechat.bind.batch
        """
        accounts = {}
        for company, same in partners.grouped("company_id").items():
            try:
                accounts[company] = self.env["wechat.account"]._get_for_partner(same[0])
            except UserError:
                # Processing the line will raise this error again and record it.
                accounts[company] = self.env["wechat.account"]
        if not self.env.user._is_internal():
            # Portal users must not become the author of notes in the chatter.
            values["user_id"] = self.env.ref("base.user_root").id
        return self._create_lines(partners, accounts, is_automated=True, **values)

    @api.model
    def _create_lines(self, partners, accounts, **values):
        """Create a batch with a line for each merchant, and trigger its processing.

        :param res.partner partners: the merchants.
        :param dict accounts: the accounts for the codes, by company of the merchants.
        :param values: field values of the batch.
        :rtype: wechat.bind.batch
        """
        lines = [
            Command.create(self._prepare_line_values(partner, accounts[partner.company_id], **values))
            for partner in partners
        ]
        # sudo: wechat.bind.batch - users have no right to write batches; the caller has checked the right to generate
        batch_sudo = self.sudo().create({"line_ids": lines, **values})
        self._trigger_queue()
        return batch_sudo.sudo(False)

    @api.model
    def _prepare_line_values(self, partner, account, send_email=False, **_values):
        return {
            "email_state": "pending" if send_email else False,
            "partner_id": partner.id,
            "account_id": account.id,
            # Committed before WeChat is called, so that a repeated call requests the same scene.
            "scene_str": self.env["wechat.bind.code"]._generate_scene(),
        }

    @api.model
    def _get_due_domain(self, now):
        """Return the domain of the lines that are due at a moment."""
        return [("state", "=", "pending"), "|", ("next_attempt_at", "=", False), ("next_attempt_at", "<=", now)]

    def _notify_changed(self):
        """Notify the open forms of these batches, which read them again with their users' rights."""
        group = self.env.ref(GROUP_USER)
        for batch in self:
            group._bus_send("wechat_merchant_bind/batch", {"id": batch.id})

    def _get_starter(self):
        """Return the arguments of an environment of the user that started this batch.

        Its companies are those of the user and that of the batch.

        :rtype: dict
        """
        user = self.user_id
        # These fields only: a plain access would prefetch all fields of the user.
        user.fetch(["lang", "company_ids"])
        companies = self.company_id | user.company_ids
        return {
            "user": user.id,
            "context": {
                **self.env.context,
                "allowed_company_ids": companies.ids,
                "lang": self.env["wechat.account"]._get_lang(user.lang),
                "tz": user.tz,
            },
            # sudo: res.partner - an automation has the rights of its administrator, not of the user that triggered it
            "su": self.is_automated or user._is_superuser(),
        }

    def _check_user(self):
        """Raise AccessError unless the user may generate codes."""
        self.env["res.partner"]._wechat_check_may_generate()

    def _get_visible_lines(self):
        """Return the lines with merchants and codes that the user may see.

        :rtype: wechat.bind.batch.line
        :raise AccessError: if the user may not generate codes or not see the batch.
        """
        self._check_user()
        self.check_access("read")
        return self.line_ids._filter_visible()

    def _get_open_lines(self):
        """Return the lines with open codes, of the merchants that the user may see.

        :rtype: wechat.bind.batch.line
        :raise AccessError: if the user may not generate codes or not see the batch.
        :raise UserError: if there is none.
        """
        lines = self._get_visible_lines()._get_open()
        if not lines:
            raise UserError(
                self.env._(
                    "None of these merchants has a code that can be scanned: they were used, have expired or were "
                    "revoked. Generate the codes again."
                )
            )
        return lines

    def _get_action(self):
        """Return the act_window that shows the progress of this batch.

        :rtype: dict
        """
        self.ensure_one()
        return {
            "type": "ir.actions.act_window",
            "name": self.env._("Bulk Generation of Binding Codes"),
            "res_model": self._name,
            "res_id": self.id,
            "view_mode": "form",
            "views": [(False, "form")],
        }

    # === BUSINESS METHODS - PROCESSING === #

    @api.model
    def _cron_drain(self):
        """Generate the codes of the due lines, oldest first, then send the waiting e-mails."""
        try:
            with session_locks(self.env.cr, [LOCK_NAME], QUEUE_LOCK_TIMEOUT):
                if self._process_queue():
                    self._process_emails()
        except LockTimeoutError:
            # Another process is working on the batches. Look for lines that it missed later.
            self._trigger_queue(fields.Datetime.now() + RETRY_LOCKED_AFTER)

    @api.model
    def _trigger_queue(self, at=None):
        # sudo: ir.cron - the right to generate codes includes triggering the job that generates them
        self.env.ref("wechat_merchant_bind.ir_cron_drain_bind_batches").sudo()._trigger(at)

    def _process_queue(self):
        """Generate codes until no line is due or the time is up.

        :return: whether the run has time for more.
        :rtype: bool
        """
        lines = self.env["wechat.bind.batch.line"]
        cron = self.env["ir.cron"]
        has_time = cron._commit_progress(remaining=lines._count_due() + lines._count_emails())
        access, starters, locked, last_id, has_more = {}, {}, [], 0, True
        changed, notify_at = set(), time.monotonic()
        done, began_at = 0, time.monotonic()
        with CallPool(THREADS) as pool:
            while has_more or pool.pending:
                processed = 0
                while has_more and pool.pending <= WINDOW - REFILL:
                    # A small first portion, so that the threads start early.
                    limit = REFILL if pool.pending else THREADS
                    last_id, calls, closed = self._run_in_transaction(lines._begin_calls, starters, last_id, limit)
                    has_more = bool(last_id)
                    processed += len(closed)
                    changed.update(closed)
                    for call in calls:
                        self._submit(pool, access, call)
                    self.env.cr.commit()  # pylint: disable=invalid-commit  # no open transaction while waiting for results
                ended = self._take(pool, access, WRITE_AT_LEAST, WRITE_SECONDS)
                locked, written = self._record_results(starters, locked + ended)
                changed.update(written)
                if time.monotonic() >= notify_at:
                    self.browse(changed)._notify_changed()
                    changed, notify_at = set(), time.monotonic() + NOTIFY_SECONDS
                done += processed + len(ended)
                has_time = cron._commit_progress(processed + len(ended))
                if not has_time:
                    # The scheduler runs the action again. Calls that have not begun stay waiting.
                    has_more = False
                    pool.stop()
        if locked:
            self._run_in_transaction(lines._postpone, locked)
        self.browse(changed)._notify_changed()
        if done:
            seconds = time.monotonic() - began_at
            _logger.info("wechat.codes: batch run ended lines=%s postponed=%s seconds=%.1f", done, len(locked), seconds)
        has_time = cron._commit_progress(remaining=lines._count_due() + lines._count_emails())
        return bool(has_time)

    def _record_results(self, starters, calls):
        """Record the results of calls.

        :param dict starters: see WechatBindBatchLine._get_env().
        :param list[Call] calls: ended calls.
        :return: the calls with merchants that another transaction has locked; the ids of the changed batches.
        :rtype: tuple[list[Call], list[int]]
        """
        if not calls:
            return [], []
        lines = self.env["wechat.bind.batch.line"]
        try:
            return self._run_in_transaction(lines._finish_calls, starters, calls)
        except CONCURRENCY_ERRORS:
            # Find the call that causes the conflict, so that the others need not wait for it.
            if len(calls) == 1:
                _logger.warning("wechat.codes: code postponed line=%s", calls[0].key, exc_info=True)
                self._run_in_transaction(lines._postpone, calls)
                return [], []
            locked, written = [], []
            for call in calls:
                for target, more in zip((locked, written), self._record_results(starters, [call]), strict=True):
                    target += more
            return locked, written

    def _process_emails(self):
        """Queue the e-mails of batches until there are none or the time is up."""
        lines = self.env["wechat.bind.batch.line"]
        starters, has_time = {}, True
        while has_time and (batch_ids := self._run_in_transaction(lines._email_next_codes, starters, EMAIL_BATCH)):
            self.browse(set(batch_ids))._notify_changed()
            remaining = lines._count_due() + lines._count_emails()
            has_time = self.env["ir.cron"]._commit_progress(len(batch_ids), remaining=remaining)

    # === BUSINESS METHODS - DOWNLOADS === #

    def _get_list_rows(self):
        """Return the rows of the list of merchants with the links to their codes, titles first.

        :rtype: list[list]
        :raise AccessError: if the user may not generate codes or not see the batch.
        """
        self.ensure_one()
        lines = self._get_visible_lines()
        open_lines = lines._get_open()
        now = fields.Datetime.now()
        states = dict(lines._fields["state"]._description_selection(self.env))
        rows = [
            [
                self.env._("Merchant ID"),
                self.env._("Merchant"),
                self.env._("Status"),
                self.env._("Reason"),
                self.env._("Link"),
                self.env._("Link Expires on"),
                self.env._("Code Expires on"),
            ]
        ]
        for line in lines:
            row = [line.partner_id.id, line.partner_id.display_name, states[line.state], line.reason or ""]
            if line in open_lines:
                code = line.code_id
                if code.share_expires_at > now:
                    row += [code.share_url, self._get_local_time(code.share_expires_at)]
                else:
                    row += ["", ""]
                row.append(self._get_local_time(code.expires_at))
            rows.append(row)
        return rows

    def _get_local_time(self, moment):
        """Return a moment in the user's time zone, as a naive datetime for files without time zones."""
        return fields.Datetime.context_timestamp(self, moment).replace(tzinfo=None)

    def _get_file_names(self, lines):
        """Return a file name without extension for each line: the merchant's name, numbered if it is not unique.

        :rtype: list[str]
        """
        return file_names.number_duplicates(
            [
                file_names.safe_name(line.partner_id.display_name, self.env._("Merchant %s", line.partner_id.id))
                for line in lines
            ]
        )

    def _get_file_title(self):
        """Return the file name, without extension, of downloads of this batch.

        :rtype: str
        """
        self.ensure_one()
        return self.env._("WeChat binding codes %s", f"{self._get_local_time(self.create_date):%Y-%m-%d %H%M}")

    def _get_download_action(self, file):
        self.ensure_one()
        return {"type": "ir.actions.act_url", "url": f"/wechat/batch/{self.id}/{file}", "target": "download"}
