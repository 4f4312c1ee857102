"""What follows from what calls have brought."""

import logging
from collections import defaultdict

from psycopg2 import IntegrityError

from odoo import api, models
from odoo.tools import SQL

from ..tools.call_pool import Call, LookUpCall, SendCall
from ..tools.wechat_errors import OF_ONE_MESSAGE, UNKNOWN_OPENID
from .term_text import encode_terms
from .wechat_call_mixin import CONCURRENCY_ERRORS
from .wechat_message import PRIORITY_REPEAT
from .wechat_message_lane import ORDER_SECONDS
from .wechat_message_outcome import PAUSE, TOO_OFTEN

_logger = logging.getLogger(__name__)

# Messages of one template in a row that have a value WeChat does not allow: it is not the merchants' data.
WRONG_VALUES_MAX = 5


class WechatMessage(models.Model):
    _inherit = "wechat.message"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

    # === BUSINESS METHODS - RESULTS === #

    @api.model
    def _settle(self, lane, pool, calls):
        """Write what calls have brought: the messages first, then what follows, each in a transaction of its own.

        :param Lane lane: the lane.
        :param CallPool pool: the threads.
        :param list[Call] calls: those that have ended.
        """
        sends = [(call, self._get_outcome(call)) for call in calls if isinstance(call, SendCall)]
        if sends:
            written = self._write_results(sends)
            lane.done += len(written)
            lane.untold |= written
            # Of a message that was called for before, the receipt may have come long ago.
            if late := [
                (call.lane, call.answer["msgid"])
                for call, _outcome in sends
                if call.answer and call.answer["msgid"] and call.row["is_repeat"]
            ]:
                self._attempt(self.env["wechat.event"]._hurry_receipts, late)
            self._react(lane, pool, sends)
            failed = [call.key for call, outcome in sends if outcome.state == "failed" and call.key in written]
            if failed:
                self._attempt(self.browse(failed)._apply_fallback)
        for call in calls:
            if isinstance(call, LookUpCall):
                self._attempt(self._finish_look_up, call)
            elif not isinstance(call, SendCall):
                self._attempt(self._finish_confirmation, lane, pool, call)

    @api.model
    def _write_results(self, sends):
        """Write results, one by one if one of them cannot be written.

        :param list sends: pairs of a call and its outcome.
        :return: the ids of the messages that were written to: a lease that is over is somebody else's.
        :rtype: set[int]
        """
        try:
            return self._write(self._store_results, sends)
        except (*CONCURRENCY_ERRORS, IntegrityError):
            if len(sends) == 1:
                # The lease ends, and whoever comes then repeats the call under its number.
                _logger.exception("wechat.outbox: result not written message=%s", sends[0][0].key)
                return set()
            return set().union(*(self._write_results([send]) for send in sends))

    @api.model
    def _store_results(self, sends):
        """Update the messages of calls by one statement, and let what waited behind them be looked at.

        :param list sends: see :meth:`_write_results`.
        :rtype: set[int]
        """
        # pylint: disable-next=sql-injection  # nothing is inserted but the names of the columns below
        rows = self.env.cr.execute_values(
            """
            UPDATE wechat_message AS message
               SET state = result.state,
                   failure_type = CASE WHEN result.is_news THEN result.failure_type ELSE message.failure_type END,
                   failure_reason = CASE WHEN result.is_news THEN result.failure_reason ELSE message.failure_reason END,
                   errcode = CASE WHEN result.is_news THEN result.errcode ELSE message.errcode END,
                   errmsg = CASE WHEN result.is_news THEN result.errmsg ELSE message.errmsg END,
                   rid = CASE WHEN result.is_news THEN result.rid ELSE message.rid END,
                   msgid = COALESCE(result.msgid, message.msgid),
                   priority = LEAST(message.priority, result.priority),
                   next_attempt_at = COALESCE(
                       statement_timestamp() AT TIME ZONE 'UTC' + result.delay * interval '1 second',
                       message.next_attempt_at),
                   lease_until = NULL,
                   first_call_at = CASE WHEN result.state != 'outgoing' OR result.may_have_arrived
                                        THEN message.first_call_at END,
                   attempts = message.attempts - result.unmade,
                   sent_at = CASE WHEN result.state = 'sent' THEN statement_timestamp() AT TIME ZONE 'UTC' END,
                   write_date = statement_timestamp() AT TIME ZONE 'UTC'
              FROM (VALUES %s)
                   AS result (id, lease, state, failure_type, failure_reason, errcode, errmsg, rid, msgid,
                              priority, delay, may_have_arrived, unmade, is_news)
             WHERE message.id = result.id
               -- COALESCE keeps PostgreSQL from reading the index of what is being sent from end to end: it takes that
               -- for short, but each message that has left it stays in it until it is vacuumed.
               AND COALESCE(message.state, '') = 'sending'
               AND message.lease_until = result.lease
         RETURNING message.id
            """,
            [self._prepare_result(call, outcome) for call, outcome in sends],
            template="(%s::int, %s::timestamp, %s, %s::text, %s::text, %s::int, %s::text, %s::text, %s::text,"
            " %s::int, %s::float, %s::bool, %s::int, %s::bool)",
            page_size=len(sends),
            fetch=True,
        )
        written = {message_id for (message_id,) in rows}
        self.invalidate_model(flush=False)
        free = [
            call.row["partner_id"]
            for call, outcome in sends
            if call.row["partner_id"] and (outcome.state != "outgoing" or (outcome.delay or 0) > ORDER_SECONDS)
        ]
        if free:
            self._wake_next(free)
        too_often = {
            call.row["partner_id"]: outcome.delay
            for call, outcome in sends
            if getattr(call.error, "errcode", None) == TOO_OFTEN and call.key in written
        }
        if too_often:
            self._hold_merchants(list(too_often), max(too_often.values()))
        return written

    @api.model
    def _prepare_result(self, call, outcome):
        """Return what is written of a call, in the order of the columns of :meth:`_store_results`.

        :rtype: tuple
        """
        error = call.error
        account = self.env["wechat.account"].browse(call.lane)
        reasons = self._get_failure_terms(account, error, call.row["card"]) if error else []
        if outcome.is_exhausted:
            reasons.append(self._get_exhausted_term())
        return (
            call.key,
            call.row["lease_until"],
            outcome.state,
            outcome.failure_type,
            encode_terms(*reasons) if reasons else None,
            getattr(error, "errcode", None),
            getattr(error, "errmsg", None),
            getattr(error, "rid", None),
            call.answer and call.answer["msgid"],
            PRIORITY_REPEAT if outcome.state == "outgoing" and outcome.may_have_arrived else None,
            outcome.delay,
            outcome.may_have_arrived,
            call.unmade,
            bool(error or call.answer or outcome.is_exhausted),
        )

    @api.model
    def _hold_merchants(self, partner_ids, seconds):
        """Let all that waits for merchants wait, to whom WeChat was asked to send too much."""
        self.env.cr.execute(
            SQL(
                """
                UPDATE wechat_message
                   SET next_attempt_at = statement_timestamp() AT TIME ZONE 'UTC' + %(seconds)s * interval '1 second'
                 WHERE partner_id = ANY(%(partner_ids)s)
                   AND state = 'outgoing'
                   AND next_attempt_at < statement_timestamp() AT TIME ZONE 'UTC' + %(seconds)s * interval '1 second'
                """,
                partner_ids=partner_ids,
                seconds=seconds,
            )
        )

    @api.model
    def _react(self, lane, pool, sends):
        """Pause and stop what is not to be tried for now, and look into recipients that can't be reached.

        :param Lane lane: the lane.
        :param CallPool pool: the threads.
        :param list sends: pairs of a call and its outcome.
        """
        pauses, stops, marks, ends = {}, {}, defaultdict(set), set()
        doubts = defaultdict(dict)
        for call, outcome in sends:
            account_id, template_id = call.lane, call.template
            pace = lane.paces[account_id]
            was_trying = pace.is_trying
            is_enough = pace.end(outcome.is_answered)
            if was_trying and not pace.is_trying and not outcome.pause:
                ends.add(account_id)
            if outcome.pause or is_enough:
                seconds = outcome.pause or PAUSE
                if seconds > pauses.get(account_id, (0, None))[0]:
                    pauses[account_id] = seconds, call.error
            if call.answer:
                lane.wrong_values[template_id] = 0
            elif getattr(call.error, "errcode", None) in OF_ONE_MESSAGE:
                lane.wrong_values[template_id] += 1
                if lane.wrong_values[template_id] >= WRONG_VALUES_MAX and template_id:
                    stops["wechat.template", template_id] = call
            if outcome.stops == "account":
                stops["wechat.account", account_id] = call
            elif outcome.stops == "template" and template_id:
                stops["wechat.template", template_id] = call
            elif outcome.looks_up and template_id:
                doubts[account_id][template_id] = call.error
            if outcome.mark:
                marks[account_id, outcome.mark].add(call.row["openid"])
        for account_id in ends:
            self._attempt(self.env["wechat.account"].browse(account_id)._end_pause)
        for account_id, (seconds, error) in pauses.items():
            self._attempt(self._pause, account_id, seconds, error)
            lane.paces[account_id].is_trying = True
            pool.hold(("account", account_id))
        for (model, record_id), call in stops.items():
            self._attempt(self._stop, model, record_id, call.error, call.row["card"])
        # What was claimed before is given back by the threads, not called for; what is claimed from now on is wanted.
        pool.resume({key for call, _outcome in sends for key in call.get_stopped()})
        for (account_id, mark), openids in marks.items():
            if mark == "blocked":
                self._attempt(self._mark, account_id, openids, mark)
            else:
                self._confirm(lane, pool, account_id, sorted(openids))
        for account_id, refusals in doubts.items():
            self._look_up(lane, pool, account_id, refusals)

    @api.model
    def _pause(self, account_id, seconds, error):
        account = self.env["wechat.account"].browse(account_id)._with_manager_lang()
        account._pause_sending(seconds, self._get_failure_message(account, error), getattr(error, "errcode", None))
        _logger.warning("wechat.outbox: paused account=%s seconds=%s error=%s", account_id, seconds, error)

    @api.model
    def _stop(self, model, record_id, error, card=None):
        record = self.env[model].browse(record_id)
        account = (record if model == "wechat.account" else record.account_id)._with_manager_lang()
        reason = self._get_failure_message(account, error, card)
        _logger.error(
            "wechat.outbox: stopped until a manager resumes it account=%s model=%s id=%s error=%s",
            account.id,
            model,
            record_id,
            error,
        )
        if model == "wechat.account":
            account._stop_sending(reason)
        else:
            record.with_env(account.env)._stop(reason)

    # === BUSINESS METHODS - TEMPLATES === #

    @api.model
    def _look_up(self, lane, pool, account_id, refusals):
        """Ask WeChat whether templates that it has called unknown exist, each once a minute at most.

        :param dict refusals: WeChat's error, by template id.
        """
        if claimed := self._attempt(self.env["wechat.template"].browse(refusals)._claim_look_up):
            refusals = {template_id: refusals[template_id] for template_id in claimed}
            call = LookUpCall(tuple(claimed), account_id, "get_all_private_template", (), refusals=refusals)
            self._submit(pool, lane.access, call)

    @api.model
    def _finish_look_up(self, call):
        """Stop the templates that WeChat does not list. Messages of the others are tried again later.

        :param LookUpCall call: from :meth:`_look_up`.
        """
        if call.answer is None:
            if call.error:
                _logger.warning("wechat.outbox: templates not looked up account=%s error=%s", call.lane, call.error)
            return
        listed = {template.get("template_id") for template in call.answer}
        for template in self.env["wechat.template"].browse(call.key).exists():
            if template.template_uid in listed:
                _logger.warning("wechat.outbox: template refused, and listed by WeChat template=%s", template.id)
            else:
                self._stop("wechat.template", template.id, call.refusals[template.id])

    # === BUSINESS METHODS - RECIPIENTS === #

    @api.model
    def _mark(self, account_id, openids, kind):
        """Record on the live bindings of people that they can't be reached."""
        self.env["wechat.binding"].search(
            [("account_id", "=", account_id), ("openid", "in", list(openids)), ("state", "=", "bound")]
        )._mark_unreachable(kind)

    @api.model
    def _confirm(self, lane, pool, account_id, openids):
        """Ask WeChat whether people have really left.

        :param list[str] openids: as many as one call of user/info/batchget takes, at most.
        """
        if len(openids) == 1:
            call = Call(tuple(openids), account_id, "user_info", (openids[0],))
        else:
            call = Call(tuple(openids), account_id, "batchget_user_info", (openids,))
        self._submit(pool, lane.access, call)

    @api.model
    def _finish_confirmation(self, lane, pool, call):
        """Mark those who have left, as WeChat has confirmed.

        :param Call call: from :meth:`_confirm`.
        """
        openids = call.key
        if getattr(call.error, "errcode", None) in UNKNOWN_OPENID:
            if len(openids) > 1:
                # One of them spoils the batch.
                for openid in openids:
                    self._confirm(lane, pool, call.lane, [openid])
                return
            self._mark(call.lane, openids, "unfollowed")
        elif call.answer:
            infos = {openids[0]: call.answer} if call.method == "user_info" else call.answer
            gone = [openid for openid, info in infos.items() if not info["subscribe"]]
            if gone:
                self._mark(call.lane, gone, "unfollowed")
        elif call.error:
            _logger.warning("wechat.bindings: leavers not confirmed account=%s error=%s", call.lane, call.error)
