from odoo import api, models
from odoo.fields import Domain
from odoo.tools import SQL, LazyTranslate

from .term_text import encode_terms
from .wechat_event_receipt import KEEP_DAYS

_lt = LazyTranslate(__name__)

SUCCESS = "success"
# What the statuses of WeChat's receipts mean, by the status without its spaces: documentation, SDKs and real pushes
# differ in them ("failed:user block", "failed: system failed"). Any other is "wechat_receipt".
FAILURES = {
    "failed:userblock": "wechat_blocked",
    "failed:systemfailed": "wechat_system",
    "failed:freqlimit": "wechat_frequency",
}
RECEIPT_REASONS = {
    "wechat_blocked": _lt(
        "The merchant has switched off the messages of your Official Account.\n"
        "Ask the merchant to allow them again in WeChat, in the settings of the account's profile."
    ),
    "wechat_system": _lt("WeChat accepted the message but could not deliver it.\nSend it again."),
    "wechat_frequency": _lt(
        "WeChat did not deliver the message, because this merchant was sent too many.\n"
        "Send it again later, and fewer messages to this merchant."
    ),
    "wechat_receipt": _lt(
        "WeChat accepted the message but did not deliver it, and tells the reason in the receipt only."
    ),
}
# What may have been sent, as far as the outbox knows.
WAITING = ("outgoing", "sending")
UNCONFIRMED = (*WAITING, "sent", "unknown")


class WechatMessage(models.Model):
    """What WeChat's receipts say has become of messages."""

    _inherit = "wechat.message"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

    # === INDEXES === #

    _unconfirmed_idx = models.Index(
        f"(account_id, openid) WHERE msgid IS NULL AND first_call_at IS NOT NULL AND state IN {UNCONFIRMED}"
    )

    # === BUSINESS METHODS === #

    @api.model
    def _apply_receipts(self, receipts):
        """Write what receipts say into their messages, whatever their order and number: what was delivered stays so.

        :param wechat.event receipts: claimed by this transaction.
        :return: the messages whose state has changed.
        :rtype: wechat.message
        """
        if not receipts:
            return self.browse()
        self._adopt_receipts(receipts)
        statuses = {status or "" for status in receipts.mapped("receipt_status")}
        outcomes = [self._get_receipt_outcome(status) for status in statuses]
        # A conflict is repeated by the caller, and nothing to alarm anybody with.
        self.env.cr.execute(
            SQL(
                """
                WITH outcome (status, state, failure_type, failure_reason) AS (
                    VALUES %(outcomes)s
                ), receipt AS (
                    SELECT DISTINCT ON (message.id)
                           message.id, message.state AS former_state, event.receipt_status, event.create_date, outcome.*
                      FROM wechat_event AS event
                      JOIN wechat_message AS message
                        ON message.account_id = event.account_id
                       AND message.msgid = event.msgid
                       AND message.openid = event.openid
                      JOIN outcome ON outcome.status = COALESCE(event.receipt_status, '')
                     WHERE event.id IN %(ids)s
                     ORDER BY message.id, outcome.state, event.create_date, event.id
                )
                UPDATE wechat_message AS message
                   SET state = receipt.state,
                       failure_type = receipt.failure_type,
                       failure_reason = receipt.failure_reason,
                       receipt_status = receipt.receipt_status,
                       sent_at = COALESCE(message.sent_at, receipt.create_date),
                       delivered_at = CASE WHEN receipt.state = 'delivered' THEN receipt.create_date END,
                       lease_until = NULL,
                       write_date = statement_timestamp() AT TIME ZONE 'UTC'
                  FROM receipt
                 WHERE message.id = receipt.id
                   AND (message.state IN %(unconfirmed)s OR receipt.state = 'delivered' AND message.state = 'failed')
             RETURNING message.id, message.partner_id, receipt.former_state
                """,
                # "delivered" comes before "failed": of several receipts of one message the best one counts.
                outcomes=SQL(", ").join(SQL("(%s, %s, %s::varchar, %s::text)", *outcome) for outcome in outcomes),
                ids=tuple(receipts.ids),
                unconfirmed=UNCONFIRMED,
            ),
            log_exceptions=False,
        )
        rows = self.env.cr.fetchall()
        self.invalidate_model(flush=False)
        # What waits behind them may be sent now.
        if partner_ids := [partner_id for _id, partner_id, former in rows if partner_id and former in WAITING]:
            self._wake_next(partner_ids)
        return self.browse([message_id for message_id, _partner_id, _former in rows])

    @api.model
    def _adopt_receipts(self, receipts):
        """Give the number of a receipt that no message has to the one message that it can only be about.

        That is, the only one of its account and OpenID that began before it and may have been sent, but has no number:
        its sender died before it could store WeChat's answer, or never got it. As long as a sender is at it, the
        receipt waits for what that one stores.

        :param wechat.event receipts: claimed by this transaction.
        """
        self.env.cr.execute(
            SQL(
                """
                UPDATE wechat_message AS message
                   SET msgid = adopted.msgid
                  FROM (
                        SELECT DISTINCT ON (candidate.id) candidate.id, event.msgid
                          FROM wechat_event AS event
                    CROSS JOIN LATERAL (
                               SELECT MIN(id) AS id,
                                      COUNT(*) AS number,
                                      BOOL_OR(state = 'sending'
                                              AND lease_until > statement_timestamp() AT TIME ZONE 'UTC') AS is_busy
                                 FROM wechat_message
                                WHERE account_id = event.account_id
                                  AND openid = event.openid
                                  AND msgid IS NULL
                                  AND first_call_at IS NOT NULL
                                  AND state IN %(unconfirmed)s
                                  AND first_call_at BETWEEN event.create_date - %(keep)s * interval '1 day'
                                                        AND event.create_date
                               ) AS candidate
                         WHERE event.id IN %(ids)s
                           AND event.msgid IS NOT NULL
                           AND candidate.number = 1
                           AND NOT candidate.is_busy
                           AND NOT EXISTS (SELECT FROM wechat_message AS known
                                            WHERE known.account_id = event.account_id AND known.msgid = event.msgid)
                         ORDER BY candidate.id, event.create_date, event.id
                       ) AS adopted
                 WHERE message.id = adopted.id
                """,
                unconfirmed=UNCONFIRMED,
                keep=KEEP_DAYS,
                ids=tuple(receipts.ids),
            )
        )

    @api.model
    def _get_receipt_outcome(self, status):
        """Return what the status of a receipt means.

        :param str status: verbatim; empty if the receipt has none.
        :return: the status, the message's state, its failure type and its reason.
        :rtype: tuple[str, str, str | None, str | None]
        """
        normal = "".join(status.lower().split())
        if normal == SUCCESS:
            return status, "delivered", None, None
        failure_type = FAILURES.get(normal, "wechat_receipt")
        reason = encode_terms(RECEIPT_REASONS[failure_type], _lt("Receipt: %s", status or "-"))
        return status, "failed", failure_type, reason

    def _follow_up_receipts(self):
        """Tell what the receipts of these messages mean for others, each in a transaction of its own."""
        if not self:
            return
        blocked = self.filtered(lambda message: message.failure_type == "wechat_blocked")
        self._attempt(self._sync_notifications)
        self._attempt(self._mark_recipients)
        if blocked:
            self._attempt(blocked._apply_fallback)

    def _mark_recipients(self):
        """Record on the bindings of these messages whether they can be reached: the last message of each tells."""
        ordered = self.filtered("openid").sorted(
            lambda message: (message.first_call_at or message.create_date, message.id)
        )
        last = {(message.account_id, message.openid): message for message in ordered}
        blocked = {key for key, message in last.items() if message.failure_type == "wechat_blocked"}
        delivered = {key for key, message in last.items() if message.state == "delivered"}
        bindings = self.env["wechat.binding"].search(
            Domain("state", "=", "bound")
            & Domain("account_id", "in", ordered.account_id.ids)
            & (
                Domain("openid", "in", [openid for _account, openid in blocked])
                | Domain("openid", "in", [openid for _account, openid in delivered]) & Domain("is_blocked", "=", True)
            )
        )
        for binding in bindings:
            key = (binding.account_id, binding.openid)
            began = key in last and last[key].first_call_at
            # What began before the last change does not tell of it.
            if key in blocked and not (binding.last_event_at and began and began < binding.last_event_at):
                binding._mark_unreachable("blocked")
            elif key in delivered and began and began > binding.blocked_at:
                binding._mark_reachable()
