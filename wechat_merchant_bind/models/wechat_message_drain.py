"""How a lane sends what waits.

Calls to WeChat are made side by side, by threads that know nothing of Odoo, while this process writes what the calls
before them have brought. Every transaction is short, and none is open while an answer is waited for. That a message is
called for is committed before its call: whoever comes after a process that was killed knows that it may have been sent,
and repeats it under the same number only, and only as long as WeChat recognises that.
"""

import logging
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from psycopg2 import IntegrityError

from odoo import api, fields, models
from odoo.tools import SQL, LazyTranslate, config

from ..tools.call_pool import MAX_CALLS, CallPool, SendCall
from ..tools.pace import Pace
from .term_text import encode_terms
from .wechat_call_mixin import CONCURRENCY_ERRORS

_lt = LazyTranslate(__name__)
_logger = logging.getLogger(__name__)

# Calls in flight at once, of one lane. A system parameter, see THREADS_PARAMETER, says otherwise.
THREADS = 16
THREADS_PARAMETER = "wechat_merchant_bind.threads_per_lane"
# Messages a thread that are claimed and not settled, at most: threads have work while results are written.
WINDOW = 3
# What has ended is written as soon as there is one result a thread, or after so long.
WRITE_SECONDS = 0.2
# The longest time that a claim waits for calls to end before it looks for urgent messages.
PATIENCE_SECONDS = 0.25
# A run gives way to other scheduled actions after so long, and long before Odoo would kill it.
RUN_SECONDS = 30
RUN_SHARE = 0.25
# A run stays for messages that are due so soon, since the next run may be a minute away. A system parameter, see
# LINGER_PARAMETER, says otherwise.
LINGER_SECONDS = 12
LINGER_PARAMETER = "wechat_merchant_bind.linger_seconds"
LINGER_STEP = 1
PROGRESS_SECONDS = 1
SWEEP_SECONDS = 15
# What accounts may send is read again, and what has become of messages told, so often: every transaction of its own
# costs more than what it does for a few messages.
BUDGET_SECONDS = 1
TELL_SECONDS = 1
# How often a lane applies a batch of the receipts that its messages bring back.
RECEIPTS_SECONDS = 0.5


@dataclass
class Lane:
    """What one run of a lane knows."""

    buckets: list[int]
    share: int  # of how many lanes it is one
    deadline: float
    linger: float
    threads: int
    paces: dict = field(default_factory=dict)  # by account id
    access: dict = field(default_factory=dict)  # by account id, client and token
    wrong_values: Counter = field(default_factory=Counter)  # by template id
    untold: set = field(default_factory=set)  # ids of messages whose notifications are yet to tell what became of them
    budgets: list = field(default_factory=list)
    budgets_at: float = 0.0
    tell_at: float = 0.0
    done: int = 0
    reported: int = 0  # of what is done, to the scheduler, before
    progress_at: float = 0.0
    sweep_at: float = 0.0
    receipts_at: float = 0.0

    def has_time(self):
        return time.monotonic() < self.deadline


class WechatMessage(models.Model):
    _name = "wechat.message"
    _inherit = ["wechat.message", "wechat.call.mixin"]

    # === BUSINESS METHODS - DRAIN === #

    @api.model
    def _cron_send(self):
        """Send what is due of the share of the lane that runs this."""
        if not self._is_outbox_confirmed():
            self._ask_for_confirmation()
            return
        lane = Lane(
            self._get_buckets(),
            max(1, len(self._get_lanes())),
            time.monotonic() + self._get_run_seconds(),
            self._get_number(LINGER_PARAMETER, LINGER_SECONDS),
            max(1, int(self._get_number(THREADS_PARAMETER, THREADS))),
        )
        began_at = time.monotonic()
        with CallPool(lane.threads) as pool:
            has_more = self._drain(lane, pool)
        self._tell(lane)
        self.env["ir.cron"]._commit_progress(lane.done, remaining=0)
        if done := lane.reported + lane.done:
            _logger.info(
                "wechat.outbox: lane ended lane=%s calls=%s seconds=%.1f has_more=%s",
                self.env.context.get("cron_id"),
                done,
                time.monotonic() - began_at,
                has_more,
            )
        if has_more:
            # By itself, and not as work that remains: the scheduler would begin again before others had their turn.
            self.env["ir.cron"].browse(self.env.context.get("cron_id")).sudo()._trigger()

    @api.model
    def _drain(self, lane, pool):
        """Send until nothing is due or the time is up.

        :param Lane lane: the lane.
        :param CallPool pool: the threads.
        :return: whether something is left.
        :rtype: bool
        """
        while True:
            has_time = lane.has_time()
            if has_time:
                self._sweep_sometimes(lane)
                self._apply_receipts_sometimes(lane)
            has_found = has_time and self._refill(lane, pool)
            if pool.pending:
                calls = self._take(pool, lane.access, lane.threads, WRITE_SECONDS, PATIENCE_SECONDS)
                self._settle(lane, pool, calls)
            elif not has_time:
                return True
            elif not has_found and not self._linger(lane):
                return False
            self._tell_sometimes(lane)
            self._report(lane)

    @api.model
    def _get_number(self, parameter, default):
        """Return the number that a system parameter holds.

        :param str parameter: its key.
        :param float default: if it holds none.
        :rtype: float
        """
        # sudo: ir.config_parameter - a number, for the scheduler
        value = self.env["ir.config_parameter"].sudo().get_param(parameter)
        try:
            return float(value) if value else default
        except ValueError:
            _logger.warning("wechat.outbox: parameter holds no number key=%s used=%s", parameter, default)
            return default

    @api.model
    def _get_run_seconds(self):
        """Return how long a run takes new messages: what is in flight then still needs a while."""
        limit = config["limit_time_real_cron"]
        if limit is None or limit < 0:
            limit = config["limit_time_real"]
        return min(RUN_SECONDS, limit * RUN_SHARE) if limit else RUN_SECONDS

    @api.model
    def _report(self, lane):
        """Tell the scheduler about once a second how far the run is: one that is killed later has done something."""
        if lane.done and time.monotonic() >= lane.progress_at:
            self.env["ir.cron"]._commit_progress(lane.done)
            lane.reported += lane.done
            lane.done, lane.progress_at = 0, time.monotonic() + PROGRESS_SECONDS

    @api.model
    def _sweep_sometimes(self, lane):
        if time.monotonic() >= lane.sweep_at:
            lane.sweep_at = time.monotonic() + SWEEP_SECONDS
            self._sweep(lane.buckets)

    @api.model
    def _tell_sometimes(self, lane):
        if time.monotonic() >= lane.tell_at:
            lane.tell_at = time.monotonic() + TELL_SECONDS
            self._tell(lane)

    @api.model
    def _tell(self, lane):
        """Let Odoo's notifications tell what has become of messages. What a run that is killed leaves untold, a sweep
        tells."""
        if lane.untold:
            self._attempt(self.browse(sorted(lane.untold))._sync_notifications)
            lane.untold.clear()

    @api.model
    def _apply_receipts_sometimes(self, lane):
        """Apply receipts: while all lanes run, there may be no process left for the scheduled action that does."""
        if time.monotonic() >= lane.receipts_at:
            lane.receipts_at = time.monotonic() + RECEIPTS_SECONDS
            self._attempt(self.env["wechat.event"]._apply_receipts, 1)

    @api.model
    def _linger(self, lane):
        """Wait for what is due so soon that it is not worth while to end, without a transaction.

        :return: whether there is something.
        :rtype: bool
        """
        seconds = self._get_seconds_to_next(lane.buckets, self._get_budgets(lane, is_limited=False))
        self.env.cr.commit()  # pylint: disable=invalid-commit  # the lane's own cursor
        if seconds is None or seconds > lane.linger:
            return False
        waits = [pace.get_wait() for pace in lane.paces.values()]
        time.sleep(max(0.01, min(LINGER_STEP, max(seconds, min(waits, default=0)))))
        return True

    @api.model
    def _ask_for_confirmation(self):
        """Ask a manager whether it is this database that should send, if something waits."""
        waiting = self.search([("state", "=", "outgoing")], limit=1)
        account = waiting.account_id
        if not account:
            return
        account = account._with_manager_lang()
        account._schedule_stop_activity(
            account.env._("WeChat messages wait until you confirm that this database sends them"),
            account.env._(
                "The number of this database has changed, as it does in a copy: a copy would send all waiting messages "
                "a second time. If this is the one that should send, press “Confirm Sending” on the Official Account."
            ),
        )

    # === BUSINESS METHODS - CLAIM === #

    @api.model
    def _get_budgets(self, lane, is_limited=True):
        """Return what each account may send now, see :meth:`_claim`.

        :param Lane lane: the lane.
        :param bool is_limited: whether by the rate.
        :rtype: list[dict]
        """
        if not lane.paces:
            # pylint: disable-next=no-search-all  # a database has a handful of accounts
            accounts = self.env["wechat.account"].search([])
            for account in accounts:
                # A pause that has ended is forgotten only once WeChat answers.
                lane.paces[account.id] = Pace(account.send_rate / lane.share, bool(account.send_paused_until))
        if time.monotonic() >= lane.budgets_at:
            lane.budgets_at = time.monotonic() + BUDGET_SECONDS
            now = fields.Datetime.now()
            lane.budgets = [account._get_budget(now) for account in self.env["wechat.account"].browse(lane.paces)]
        return [
            {**budget, "calls": lane.paces[budget["account_id"]].get_allowance() if is_limited else 1}
            for budget in lane.budgets
        ]

    @api.model
    def _refill(self, lane, pool):
        """Claim messages and let the threads call for them, until each thread has some.

        :return: whether something was found.
        :rtype: bool
        """
        has_found = False
        while pool.pending <= (WINDOW - 1) * lane.threads:
            rows = self._claim_for_threads(lane)
            if rows is None:
                return True
            has_found = has_found or bool(rows)
            calls = [row for row in rows if row["verdict"] == "send"]
            for row in calls:
                lane.paces[row["account_id"]].begin(1)
                self._submit(pool, lane.access, self._prepare_call(row))
            if len(calls) < lane.threads:
                break
        return has_found

    @api.model
    def _claim_for_threads(self, lane):
        """Claim a message for each thread, in a transaction of its own.

        :return: see :meth:`_claim`; None if it is to begin again, because somebody else has just written one of these
            rows, or sends to one of these merchants.
        :rtype: list[dict] | None
        """
        try:
            budgets = self._get_budgets(lane)
            self.env.cr.commit()  # pylint: disable=invalid-commit  # what follows begins with its claim
            rows = self._claim(lane.buckets, budgets, lane.threads)
            self._cancel_orphans(rows)
            self._after_claim(rows)
            self.env.cr.commit()  # pylint: disable=invalid-commit  # before the calls
        except (*CONCURRENCY_ERRORS, IntegrityError):
            self.env.cr.rollback()
            _logger.info("wechat.outbox: claim begins again", exc_info=True)
            return None
        return rows

    @api.model
    def _cancel_orphans(self, rows):
        """Cancel claimed messages whose document was deleted while they waited; their verdict is then ``orphan``.

        :param list[dict] rows: of a claim.
        """
        claimed = defaultdict(list)
        for row in rows:
            if row["verdict"] == "send" and row["res_model"]:
                claimed[row["res_model"]].append(row)
        orphans = []
        for model, model_rows in claimed.items():
            documents = self.env[model].browse({row["res_id"] for row in model_rows}) if model in self.env else ()
            left = set(documents and documents.exists().ids)
            orphans += [row for row in model_rows if row["res_id"] not in left]
        if not orphans:
            return
        self.env.cr.execute(
            SQL(
                """
                UPDATE wechat_message
                   SET state = CASE WHEN id = ANY(%(repeated_ids)s) THEN 'unknown' ELSE 'canceled' END,
                       failure_type = CASE WHEN id = ANY(%(repeated_ids)s) THEN 'wechat_unknown'
                                           ELSE 'wechat_expired' END,
                       first_call_at = CASE WHEN id = ANY(%(repeated_ids)s) THEN first_call_at END,
                       lease_until = NULL,
                       attempts = attempts - 1
                 WHERE id = ANY(%(ids)s)
                """,
                ids=[row["id"] for row in orphans],
                repeated_ids=[row["id"] for row in orphans if row["is_repeat"]],
            )
        )
        for row in orphans:
            row["verdict"] = "orphan"

    @api.model
    def _after_claim(self, rows):
        """Deal with the rows of a claim that are not sent."""
        closed = [row for row in rows if row["verdict"] not in ("send", "parked")]
        if not closed:
            return
        self.invalidate_model(flush=False)
        self._wake_next([row["partner_id"] for row in closed if row["partner_id"]])
        ended = [row for row in closed if row["verdict"] not in ("limited", "unfollowed")]
        for row in ended:
            if term := self._get_ending_term(row):
                self.browse(row["id"]).failure_reason = encode_terms(term)
        messages = self.browse([row["id"] for row in ended])
        messages._sync_notifications()
        messages._apply_fallback()

    @api.model
    def _get_ending_term(self, row):
        """Return why a claim has ended a message, where its failure type does not say it all.

        :param dict row: of the claim.
        :rtype: LazyGettext | None
        """
        match row["verdict"]:
            case "exhausted":
                return self._get_exhausted_term()
            case "orphan":
                return _lt("The document was deleted before the message was sent.")
            case "wechat_template":
                return self.env["wechat.template"].browse(row["template_id"] or ())._get_obstacle()
        return None

    @api.model
    def _prepare_call(self, row):
        """Return the call that sends a row.

        :param dict row: from :meth:`_claim`.
        :rtype: SendCall
        """
        card = row["card"] or {}
        payload = {
            "touser": row["openid"],
            "template_id": row["template_uid"],
            "data": card.get("data") or {},
            "client_msg_id": row["client_msg_id"],
        }
        for name in ("url", "miniprogram"):
            if card.get(name):
                payload[name] = card[name]
        return SendCall(
            row["id"], row["account_id"], "send_template", (payload,), template=row["template_id"] or 0, row=row
        )

    @api.model
    def _submit(self, pool, access, call, refused=None):
        # A repetition was not announced by a claim, and whoever comes after a process that was killed must know of it.
        if isinstance(call, SendCall) and refused and not self._write(self._announce_call, call):
            pool.give_back(call)
            return
        super()._submit(pool, access, call, refused)

    @api.model
    def _announce_call(self, call):
        """Count one more call of a message that is being sent, unless it was called for as often as it may be.

        :param SendCall call: that is about to be made once more.
        :return: whether it may be made.
        :rtype: bool
        """
        self.env.cr.execute(
            SQL(
                """
                UPDATE wechat_message
                   SET attempts = attempts + 1
                 WHERE id = %s AND state = 'sending' AND lease_until = %s AND attempts < %s
             RETURNING attempts
                """,
                call.key,
                call.row["lease_until"],
                MAX_CALLS,
            )
        )
        if not (found := self.env.cr.fetchone()):
            return False
        call.row["attempts"] = found[0]
        call.unmade += 1
        return True

    @api.model
    def _attempt(self, step, *args):
        """Run a step whose failure must not keep messages waiting: it may be another addon's."""
        try:
            return self._write(step, *args)
        except Exception:
            _logger.exception("wechat.outbox: goes on without step=%s", step.__name__)
            return None
