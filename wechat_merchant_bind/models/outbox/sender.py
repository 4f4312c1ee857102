"""The sender: the turns of the scheduled action that sends the waiting messages of all accounts."""

import logging
import time
from collections import Counter, defaultdict
from datetime import datetime, timedelta

from odoo import fields
from odoo.exceptions import UserError
from odoo.tools import SQL, LazyTranslate, config

from ...tools.call_pool import CallPool, SendCall
from ...tools.send_policy import (
    MAX_CALLS,
    NEW_FOLLOWER_SECONDS,
    PAUSE,
    REPEAT_SECONDS,
    TOO_OFTEN,
    UNANSWERED_MAX,
    WRONG_VALUES_MAX,
    Attempt,
    is_answered,
    judge,
    judge_token,
)
from ...tools.wechat_errors import OF_ONE_MESSAGE, WechatAccountError, WechatError

_logger = logging.getLogger(__name__)
_lt = LazyTranslate(__name__)

# Calls in flight at once. They are 100 messages a second even if WeChat takes 0.16 seconds.
THREADS = 16
# Claimed messages a thread without a recorded result, at most.
WINDOW = 3
# Results are written as soon as there is one a thread, or after this time, in seconds.
WRITE_SECONDS = 0.2
# The longest time that the next claim, which may find urgent messages, waits for calls to end.
PATIENCE_SECONDS = 0.25
# A run gives way to other scheduled actions after this time.
RUN_SECONDS = 30
RUN_SHARE = 0.25  # of the time after which Odoo would kill it
# Seconds for which a claimed message belongs to its sender. A call takes 3 seconds to connect to each of two hosts and
# 15 for the answer, and may wait for two other calls.
LEASE_SECONDS = 75
# A message that is due within this time holds back later ones of the same merchant, so that they arrive in order.
ORDER_SECONDS = 5 * 60
# Interval at which messages to an unfollowed merchant are checked again. Following again reschedules them at once.
UNFOLLOWED_SECONDS = 30 * 60
# An access token, which is good for two minutes at least, is reused for this time.
TOKEN_SECONDS = 60


class Sender:
    """One run of the sender: claim, judge, call, record, repeat, in short transactions on the caller's cursor.

    :param Environment env: of the scheduled action, with its own cursor and all rights.
    """

    def __init__(self, env):
        self.env = env
        self.pool = None
        self.access = {}  # client, token and the time until which they are reused, by account id
        self.begun = defaultdict(Counter)  # calls of the present second, by account id
        self.in_flight = Counter()  # by account id
        self.unanswered = Counter()  # consecutive calls, by account id
        self.wrong_values = Counter()  # consecutive messages, by template id
        self.leavers = defaultdict(set)  # OpenIDs that WeChat says follow no more, by account

    def run(self):
        """Send messages until none is due or the time of the run is up.

        :return: whether messages may be left.
        :rtype: bool
        """
        began_at, calls = time.monotonic(), 0
        deadline = began_at + self._get_run_seconds()
        with CallPool(THREADS) as self.pool:
            while True:
                has_time = time.monotonic() < deadline
                wait = self._claim_all() if has_time else None  # seconds
                if ended := self.pool.take(THREADS, WRITE_SECONDS, PATIENCE_SECONDS):
                    self._record(ended)
                    calls += len(ended)
                    self.env["ir.cron"]._commit_progress(len(ended))
                elif not self.pool.pending:
                    if wait is None:
                        break
                    time.sleep(wait)
        for account, openids in self.leavers.items():
            self._try(self._mark_leavers, account, openids)
        if calls:
            seconds = time.monotonic() - began_at
            _logger.info("wechat.outbox: run ended calls=%s seconds=%.1f has_time=%s", calls, seconds, has_time)
        return not has_time

    # === CLAIM === #

    def _claim_all(self):
        """Claim messages of each account, about as many as it may send in a second, and submit their calls.

        :return: seconds until the next claim: 0 after messages were found, more after an account has begun as many
            calls as it may in this second; None if nothing is due.
        :rtype: float | None
        """
        self.env.invalidate_all(flush=False)
        now, waits = fields.Datetime.now(), []
        for account in self.env["wechat.account"].search([("send_stop_reason", "=", False)]):
            if account.is_send_paused:
                continue
            second = int(time.monotonic())
            left = account.send_rate - self.begun[account.id][second]
            # After a pause, one call at a time is made until WeChat answers.
            if account.send_paused_until:
                left = min(left, 1 - self.in_flight[account.id])
            limit = min(left, WINDOW * THREADS - self.pool.pending)
            if left <= 0:
                waits.append(second + 1 - time.monotonic())
            if limit <= 0 or not self._has_access(account, now):
                continue
            calls = self._try(self._claim, account, limit)
            if calls is not None:
                waits.append(0)
            for call in calls or ():
                self.begun[account.id][second] += 1
                self.in_flight[account.id] += 1
                self.pool.submit(call)
        self.env.cr.commit()  # pylint: disable=invalid-commit  # no open transaction while waiting for results
        return max(0, min(waits)) if waits else None

    def _has_access(self, account, now, refused=None):
        """Fetch an access token for an account with due messages; without one, pause or suspend the account.

        :param str refused: the token that WeChat has refused. It is renewed unless that has happened since.
        :rtype: bool
        """
        known = self.access.get(account.id)
        if known and time.monotonic() < known[2] and known[1] != refused:
            return True
        due = [("account_id", "=", account.id), ("state", "=", "outgoing"), ("next_attempt_at", "<=", now)]
        if not refused and not self.env["wechat.message"].search_count(due, limit=1):
            return False
        try:
            self.access[account.id] = *account._get_access(refused), time.monotonic() + TOKEN_SECONDS
        except (WechatError, UserError) as error:
            self.access.pop(account.id, None)
            if isinstance(error, UserError):
                error = WechatAccountError("/cgi-bin/stable_token", errmsg=str(error))
            verdict = judge_token(error)
            if verdict.suspends:
                self._try(self._suspend, account, error)
            else:
                self._try(self._pause, account, verdict.pause, error)
            return False
        return True

    def _claim(self, account, limit):
        """Claim the next messages of an account, by the first statement of a transaction, and prepare their calls.

        :param int limit: the greatest number.
        :return: the calls; None if nothing is due.
        :rtype: list[SendCall] | None
        """
        query = self._get_claim_query(account, limit)
        self.env.cr.commit()  # pylint: disable=invalid-commit  # the claim must see what others have committed
        self.env.cr.execute(query)
        messages = self.env["wechat.message"].browse([message_id for [message_id] in self.env.cr.fetchall()])
        return self._begin(account, self._judge(account, messages)) if messages else None

    def _get_claim_query(self, account, limit):
        """Return the statement that locks the due messages of an account, in their order and one a merchant."""
        now = fields.Datetime.now()
        # Tests and welcome messages are sent in quiet hours too.
        priority = 0 if account._get_quiet_until(now) else 100
        stopped = self.env["wechat.template"].search([("account_id", "=", account.id), ("stop_reason", "!=", False)])
        return SQL(
            """
  SELECT message.id
    FROM wechat_message AS message
   WHERE message.state = 'outgoing'
     AND message.account_id = %(account_id)s
     AND message.priority <= %(priority)s
     AND message.next_attempt_at <= %(now)s
     AND COALESCE(message.template_id, 0) != ALL(%(stopped)s::int[])
     AND NOT EXISTS (
             SELECT
               FROM wechat_message AS other
              WHERE other.partner_id = message.partner_id
                AND other.account_id = message.account_id
                AND (other.state = 'sending'
                     OR other.state = 'outgoing'
                    AND (other.priority, other.id) < (message.priority, message.id)
                    AND other.next_attempt_at <= %(soon)s
                    AND COALESCE(other.template_id, 0) != ALL(%(stopped)s::int[]))
         )
ORDER BY message.priority, message.next_attempt_at, message.id
   LIMIT %(limit)s
     FOR UPDATE OF message SKIP LOCKED
            """,
            account_id=account.id,
            priority=priority,
            now=now,
            soon=now + timedelta(seconds=ORDER_SECONDS),
            stopped=stopped.ids,
            limit=limit,
        )

    # === JUDGE === #

    def _judge(self, account, messages):
        """Close or postpone the claimed messages that cannot be sent now.

        :return: the others.
        :rtype: wechat.message
        """
        now, sendable, changes = fields.Datetime.now(), messages.browse(), {}
        obstacles = messages._get_obstacles([(message.partner_id, message.template_id) for message in messages])
        deleted = messages._get_deleted_documents()
        day_start = account._get_day_start(now)
        called = messages._count_called(messages.partner_id, day_start) if account.daily_limit else {}
        for message in messages:
            failure_type, term = obstacles.get((message.partner_id, message.template_id), (None, None))
            is_late = message.first_call_at and message.first_call_at <= now - timedelta(seconds=REPEAT_SECONDS)
            if message.attempts >= MAX_CALLS:
                changes[message] = message._prepare_end("wechat_system", message._get_exhausted_term())
            elif is_late or (message.valid_until and message.valid_until <= now):
                changes[message] = message._prepare_end("wechat_expired")
            elif message in deleted:
                term = _lt("The document was deleted before the message was sent.")
                changes[message] = message._prepare_end("wechat_expired", term)
            elif failure_type == "wechat_unfollowed":
                message.write(
                    {
                        # Marks the messages that are rescheduled when the recipient follows again.
                        "failure_type": failure_type,
                        "next_attempt_at": now + timedelta(seconds=UNFOLLOWED_SECONDS),
                    }
                )
            elif failure_type:
                changes[message] = message._prepare_end(failure_type, term)
            elif (
                called.get(message.partner_id, 0) >= account.daily_limit > 0
                and message.priority
                and not message.first_call_at
            ):
                message.next_attempt_at = account._get_morning(day_start + timedelta(days=1))
            else:
                sendable += message
        messages._change_states(changes)
        return sendable

    def _begin(self, account, messages):
        """Mark messages as being sent, with a lease, and return their calls."""
        now = fields.Datetime.now()
        lease_until = now + timedelta(seconds=LEASE_SECONDS)
        bindings = {binding.partner_id: binding for binding in messages.partner_id._wechat_get_live_bindings()}
        openids = [binding.openid for binding in bindings.values()]
        busy = messages.search([("account_id", "=", account.id), ("openid", "in", openids), ("state", "=", "sending")])
        # The user of a message that is being sent may be bound to another merchant by now.
        waiting = messages.filtered(lambda message: bindings[message.partner_id].openid in busy.mapped("openid"))
        waiting.next_attempt_at = now + timedelta(seconds=ORDER_SECONDS)
        messages -= waiting
        client, token, _until = self.access[account.id]
        calls, changes = [], {}
        for message in messages:
            binding = bindings[message.partner_id]
            calls.append(
                SendCall(
                    message.id,
                    account.id,
                    "send_template",
                    (),
                    client=client,
                    token=token,
                    template=message.template_id.id,
                    number=message.attempts + 1,
                    lease_until=lease_until,
                    first_call_at=message.first_call_at or now,
                    is_repeat=bool(message.first_call_at),
                    former_errcode=message.errcode,
                    followed_at=binding.last_event_at,
                )
            )
            changes[message] = {
                "state": "sending",
                "openid": binding.openid,
                "failure_type": False,
                "lease_until": lease_until,
                "first_call_at": message.first_call_at or now,
                "attempts": message.attempts + 1,
            }
        messages._change_states(changes)
        for call, message in zip(calls, messages, strict=True):
            call.args = (message._prepare_payload(),)
        return calls

    # === RECORD === #

    def _record(self, calls):
        """Record the results of calls, and what they mean for accounts, templates and recipients.

        :param list[SendCall] calls: the calls that have ended.
        """
        results = [(call, self._judge_call(call)) for call in calls]
        self._write_all(results)
        pauses, suspensions, stale, blocked = {}, {}, {}, defaultdict(list)
        for call, verdict in results:
            account = self.env["wechat.account"].browse(call.account_id)
            template = self.env["wechat.template"].browse(call.template or ())
            self.in_flight[account.id] -= 1
            if not verdict:
                continue
            pause = self._get_pause(account, call, verdict)
            if pause > pauses.get(account, (0, None))[0]:
                pauses[account] = pause, call.error
            elif is_answered(call.error) and self._is_trial(account, call):
                self._try(account._end_pause)
            if self._is_value_wrong_again(template, call) or verdict.suspends == "template":
                suspensions[template] = call, verdict.looks_up
            elif verdict.suspends:
                suspensions[account] = call, False
            if verdict.is_token_stale:
                stale[account] = call.token
            if verdict.mark == "unfollowed":
                self.leavers[account].add(call.args[0]["touser"])
            elif verdict.mark:
                blocked[account].append(call.args[0]["touser"])
        for account, (seconds, error) in pauses.items():
            self._try(self._pause, account, seconds, error)
        for record, (call, looks_up) in suspensions.items():
            if record and not (looks_up and self._try(record._is_listed)):
                self._try(self._suspend, record, call.error, call.args[0])
        for account, openids in blocked.items():
            self._try(self._mark_blocked, account, openids)
        for account, token in stale.items():
            self._has_access(account, fields.Datetime.now(), refused=token)
        self.pool.resume()

    def _get_pause(self, account, call, verdict):
        """Return the seconds for which an account makes no calls after this one."""
        if is_answered(call.error):
            self.unanswered[account.id] = 0
        else:
            self.unanswered[account.id] += 1
            if self._is_trial(account, call) or self.unanswered[account.id] >= UNANSWERED_MAX:
                return max(PAUSE, verdict.pause)
        return verdict.pause

    def _is_trial(self, account, call):
        """Return whether a call was the first one after a pause. The results of earlier calls may come later."""
        return bool(account.send_paused_until) and call.began_at >= account.send_paused_until

    def _is_value_wrong_again(self, template, call):
        """Return whether several messages of a template in a row were refused for a value."""
        if call.error is None:
            self.wrong_values[template] = 0
        elif getattr(call.error, "errcode", None) in OF_ONE_MESSAGE:
            self.wrong_values[template] += 1
        return self.wrong_values[template] >= WRONG_VALUES_MAX

    def _judge_call(self, call):
        """Return the verdict about a call; None if it was not made."""
        if not call.began_at:
            return None
        followed_at = call.followed_at or datetime.min
        attempt = Attempt(
            call.number,
            call.is_repeat,
            (fields.Datetime.now() - call.first_call_at).total_seconds(),
            call.former_errcode,
            (call.began_at - followed_at).total_seconds() <= NEW_FOLLOWER_SECONDS,
        )
        return judge(attempt, call.error)

    def _write_all(self, results):
        """Write results in one transaction; one by one if one of them cannot be written."""
        try:
            self._in_transaction(self._write, results)
        except Exception:
            if len(results) > 1:
                for result in results:
                    self._write_all([result])
            else:
                # After the end of the lease, the call is repeated under the same number.
                _logger.exception("wechat.outbox: result not written message=%s", results[0][0].key)

    def _write(self, results):
        """Write the results of calls. A message with another lease belongs to another process."""
        messages = self.env["wechat.message"].browse([call.key for call, _verdict in results])
        locked = {message.id: message for message in messages.try_lock_for_update()}
        changes, too_often = {}, messages.browse()
        for call, verdict in results:
            message = locked.get(call.key)
            if not message or message.state != "sending" or message.lease_until != call.lease_until:
                _logger.warning("wechat.outbox: late result dropped message=%s", call.key)
                continue
            changes[message] = message._prepare_result(call, verdict)
            if getattr(call.error, "errcode", None) == TOO_OFTEN and verdict.state == "outgoing":
                too_often += message
        messages._change_states(changes)
        if too_often:
            messages._postpone_merchants(too_often.partner_id, max(too_often.mapped("next_attempt_at")))
        if numbered := messages.filtered(lambda message: message in changes and message.msgid):
            # Their receipts may have come before.
            self.env["wechat.event"]._retry_receipts_now(numbered)

    # === ACCOUNTS, TEMPLATES, RECIPIENTS === #

    def _pause(self, account, seconds, error):
        account = account._with_manager_lang()
        account._pause_sending(seconds, account._get_failure_message(error), getattr(error, "errcode", None))
        _logger.warning("wechat.outbox: paused account=%s seconds=%s error=%s", account.id, seconds, error)

    def _suspend(self, record, error, payload=None):
        """Suspend an account or a template until a manager resumes it."""
        account = (record if record._name == "wechat.account" else record.account_id)._with_manager_lang()
        _logger.error(
            "wechat.outbox: stopped until a manager resumes it account=%s model=%s id=%s error=%s",
            account.id,
            record._name,
            record.id,
            error,
        )
        record.with_env(account.env)._suspend(account._get_failure_message(error, payload))

    def _mark_blocked(self, account, openids):
        self._find_bindings(account, openids)._mark_unreachable("blocked")

    def _mark_leavers(self, account, openids):
        """Mark the users that have left, after WeChat has confirmed it."""
        users = self.env["wechat.binding"]._fetch_followers(account, sorted(openids))
        gone = [openid for openid in openids if not users.get(openid, {}).get("subscribe")]
        self._find_bindings(account, gone)._mark_unreachable("unfollowed")

    def _find_bindings(self, account, openids):
        domain = [("account_id", "=", account.id), ("openid", "in", openids), ("state", "=", "bound")]
        return self.env["wechat.binding"].search(domain)

    # === TRANSACTIONS === #

    def _in_transaction(self, step, *args):
        """Run a step in a transaction of its own, again after a conflict with another transaction."""
        return self.env["wechat.message"]._run_in_transaction(step, *args)

    def _try(self, step, *args):
        """Run a step in a transaction of its own and log its failure, which must not stop the sender."""
        try:
            return self._in_transaction(step, *args)
        except Exception:
            _logger.exception("wechat.outbox: goes on without step=%s", step.__name__)
            return None

    def _get_run_seconds(self):
        """Return for how many seconds a run claims messages. The last calls end some time later."""
        limit = config["limit_time_real_cron"]
        if limit is None or limit < 0:
            limit = config["limit_time_real"]
        return min(RUN_SECONDS, limit * RUN_SHARE) if limit else RUN_SECONDS
