from odoo import api, fields, models
from odoo.tools import SQL

from .wechat_event_receipt import RECEIPT_EVENT

# WeChat sends the receipt within seconds; what it reviews is decided within 30 minutes.
UNSENT_MINUTES = 30


class WechatMessage(models.Model):
    """Messages whose call to WeChat broke off: what is known of them, and which were probably not sent."""

    _inherit = "wechat.message"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

    # === FIELDS === #

    evidence = fields.Text("What Is Known", compute="_compute_evidence")

    # === INDEXES === #

    _unknown_idx = models.Index("(account_id, first_call_at) WHERE state = 'unknown'")

    # === COMPUTE METHODS === #

    @api.depends("state", "failure_type", "first_call_at", "openid")
    @api.depends_context("lang")
    def _compute_evidence(self):
        self.evidence = False
        unknown = self.filtered(lambda message: message.state == "unknown" and message._origin.id)
        for message_id, is_receiving, is_orphan in unknown._find_evidence():
            message = self.browse(message_id)
            message.evidence = "\n".join(message._get_evidence_words(is_receiving, is_orphan))

    def _get_evidence_words(self, is_receiving, is_orphan):
        """Return what speaks for and against that a message was sent.

        :param bool is_receiving: whether pushes arrived within half an hour after its first call.
        :param bool is_orphan: whether there is a receipt for its merchant that fits no message.
        :rtype: list[str]
        """
        words = []
        if self.failure_type == "wechat_unsent":
            words.append(
                self.env._("Receipts of later messages arrived, but none of this one: it was probably not sent.")
            )
        elif is_receiving:
            words.append(self.env._("The webhook was receiving pushes then, but no receipt of this message."))
        else:
            words.append(self.env._("The webhook received nothing then, so a receipt may be lost."))
        if is_orphan:
            words.append(
                self.env._("There is a receipt for this merchant that fits no message: it may be the one of this.")
            )
        return words

    # === BUSINESS METHODS === #

    def _find_evidence(self):
        """Return what the inbox tells of each of these messages.

        :return: the message's id, whether pushes arrived then, whether there is a receipt that may be its own.
        :rtype: list[tuple[int, bool, bool]]
        """
        if not self:
            return []
        self.flush_recordset()
        self.env["wechat.event"].flush_model()
        return self.env.execute_query(
            SQL(
                """
                SELECT message.id,
                       EXISTS (
                           SELECT FROM wechat_event AS event
                            WHERE event.account_id = message.account_id
                              AND event.refusal IS NULL
                              AND event.create_date BETWEEN message.first_call_at
                                                        AND message.first_call_at + %(minutes)s * interval '1 minute'
                       ),
                       EXISTS (
                           SELECT FROM wechat_event AS event
                            WHERE event.account_id = message.account_id
                              AND event.openid = message.openid
                              AND event.event = %(event)s
                              AND event.state != 'done'
                              AND event.create_date >= message.first_call_at
                       )
                  FROM wechat_message AS message
                 WHERE message.id IN %(ids)s
                """,
                minutes=UNSENT_MINUTES,
                event=RECEIPT_EVENT,
                ids=tuple(self._origin.ids),
            )
        )

    @api.model
    def _mark_unsent(self):
        """Say of messages whose result is unknown that they were probably not sent, where that follows.

        The webhook was working, for it got receipts of messages that were called for later, and for half an hour it
        got none that could be the message's own.
        """
        rows = self.env.execute_query(
            SQL(
                """
                UPDATE wechat_message AS message
                   SET failure_type = 'wechat_unsent',
                       write_date = statement_timestamp() AT TIME ZONE 'UTC'
                 WHERE message.state = 'unknown'
                   AND message.failure_type = 'wechat_unknown'
                   AND message.first_call_at
                       < statement_timestamp() AT TIME ZONE 'UTC' - %(minutes)s * interval '1 minute'
                   AND EXISTS (
                       SELECT FROM wechat_event AS event
                         JOIN wechat_message AS later
                           ON later.account_id = event.account_id
                          AND later.msgid = event.msgid
                          AND later.openid = event.openid
                        WHERE event.account_id = message.account_id
                          AND event.event = %(event)s
                          AND event.create_date > message.first_call_at
                          AND later.first_call_at > message.first_call_at
                   )
                   AND NOT EXISTS (
                       SELECT FROM wechat_event AS event
                        WHERE event.account_id = message.account_id
                          AND event.openid = message.openid
                          AND event.event = %(event)s
                          AND event.state != 'done'
                          AND event.create_date >= message.first_call_at
                   )
             RETURNING message.id
                """,
                minutes=UNSENT_MINUTES,
                event=RECEIPT_EVENT,
            )
        )
        messages = self.browse([message_id for [message_id] in rows])
        if messages:
            self.invalidate_model(flush=False)
            messages._sync_notifications()
