"""The outbox: messages, the scheduled actions that send them ("senders"), results, receipts and fallbacks.

A sender is a scheduled action that calls _cron_send. Copying one adds a sender, archiving one removes it. The merchants
are spread over BUCKETS; of n senders, each processes every n-th bucket.
"""

import json
import logging
import random
import re
import time
import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

from psycopg2 import IntegrityError

from odoo import api, fields, models
from odoo.exceptions import AccessError, UserError
from odoo.fields import Domain
from odoo.tools import SQL, LazyTranslate, config

from ...tools.call_pool import MAX_CALLS, REPEAT_SECONDS, Call, CallPool, LookUpCall, SendCall
from ...tools.pace import Pace
from ...tools.wechat_errors import (
    DAILY_QUOTA,
    ERRORS,
    LINK_TOO_LONG,
    OF_ONE_MESSAGE,
    PERHAPS_GONE,
    UNKNOWN_OPENID,
    VALUE_NOT_ALLOWED,
    ErrorClass,
    WechatAccountError,
    WechatAmbiguous,
    WechatBug,
    WechatDataError,
    WechatError,
    WechatPaused,
    WechatRepeated,
    WechatRetry,
    WechatTemplateError,
    WechatTokenStale,
    WechatUnderReview,
    WechatUnreachable,
)
from ..audit.term_text import TermText, encode_terms
from ..const import CONCURRENCY_ERRORS, FAILURE_TYPES, GROUP_USER, KINDS, RECEIPT_EVENT, RETENTION_DAYS, STATES
from .wechat_event import KEEP_DAYS

_logger = logging.getLogger(__name__)
_lt = LazyTranslate(__name__)

# --- messages ---

# The status of Odoo's notification, by the state of the message.
NOTIFICATION_STATUS = {
    "outgoing": "ready",
    "sending": "process",
    "sent": "pending",
    "delivered": "sent",
    "failed": "exception",
    "unknown": "exception",
    "canceled": "canceled",
}
# States of messages that are still to be sent, and states of messages that may have been sent without a receipt.
WAITING = ("outgoing", "sending")
UNCONFIRMED = (*WAITING, "sent", "unknown")
RESENDABLE = ("failed", "unknown", "canceled")
# States that the vacuum deletes. Waiting messages stay, and so do unknown ones, which need a decision.
ENDED = ("sent", "delivered", "failed", "canceled")
# State and failure type of a message that WeChat refused MAX_CALLS times.
EXHAUSTED = ("failed", "wechat_system")
# The lower goes first. Messages that WeChat may have taken are repeated before any notice, since WeChat recognises a
# repetition for a few minutes only.
PRIORITY_URGENT = 0
PRIORITY_REPEAT = 5
PRIORITY_NOTICE = 10
PRIORITY_MASS = 20
PRIORITIES = {
    "notice": PRIORITY_NOTICE,
    "mass": PRIORITY_MASS,
    "test": PRIORITY_URGENT,
    "welcome": PRIORITY_URGENT,
}
VALID_HOURS = 24
IDENTITY_PARAMETER = "wechat_merchant_bind.outbox_identity"
VACUUM_BATCH = 10000

# --- claiming ---

SENDER_CODE = "model._cron_send()"
# All messages of a merchant are in the same bucket, and a sender processes some of the buckets.
BUCKETS = 8
# Seconds for which a claimed message belongs to its sender. A call takes 3 seconds to connect to each of two hosts and
# 15 for the answer, and may wait for two other calls.
LEASE_SECONDS = 75
# A message that is due within this time holds back later ones of the same merchant, so that they arrive in order.
ORDER_SECONDS = 5 * 60
# Interval at which messages to an unfollowed merchant are checked again. Following again reschedules them at once.
UNFOLLOWED_SECONDS = 30 * 60
# Not clock_timestamp(): it may change within a statement, so no index can be searched by it.
NOW = SQL("(statement_timestamp() AT TIME ZONE 'UTC')")
# With many waiting messages, PostgreSQL may underrate their number per merchant, template or account, and read and sort
# all of them for the first few of an index. The overrated costs would also trigger a compilation that never pays.
PLANNER = SQL("SET LOCAL enable_bitmapscan = off; SET LOCAL enable_seqscan = off; SET LOCAL jit = off")
DUE = SQL("state = 'outgoing' AND is_parked IS NOT TRUE")
BUCKET = SQL("(COALESCE(partner_id, 0) %% %s)", SQL(str(BUCKETS)))
TEMPLATE = SQL("COALESCE(template_id, 0)")

# --- the run of a sender ---

# Calls of one sender in flight at once; the default of a system parameter.
THREADS = 16
THREADS_PARAMETER = "wechat_merchant_bind.threads_per_lane"
# Claimed messages a thread without a recorded result, at most: threads stay busy while results are written.
WINDOW = 3
# Results are written as soon as there is one a thread, or after this time.
WRITE_SECONDS = 0.2
# The longest time that the next claim, which may find urgent messages, waits for calls to end.
PATIENCE_SECONDS = 0.25
# A run gives way to other scheduled actions after this time, long before Odoo would kill it.
RUN_SECONDS = 30
RUN_SHARE = 0.25
# A run waits for messages that are due within this time, since the next run may be a minute away; the default of a
# system parameter.
LINGER_SECONDS = 12
LINGER_PARAMETER = "wechat_merchant_bind.linger_seconds"
LINGER_STEP = 1
# Intervals of the steps that need a transaction of their own, which costs more than their work for a few messages.
PROGRESS_SECONDS = 1
CLEANUP_SECONDS = 15
BUDGET_SECONDS = 1
NOTIFY_SECONDS = 1
RECEIPTS_SECONDS = 0.5
# Messages that one transaction of a cleanup updates.
CLEANUP_ROWS = 1000


@dataclass
class SenderRun:
    """The state of one run of a sender."""

    buckets: list[int]
    share: int  # the number of senders, which share an account's send rate
    deadline: float
    linger: float
    threads: int
    paces: dict = field(default_factory=dict)  # by account id
    access: dict = field(default_factory=dict)  # client and token, by account id
    wrong_values: Counter = field(default_factory=Counter)  # by template id
    unnotified: set = field(default_factory=set)  # ids of messages with outdated notifications
    budgets: list = field(default_factory=list)
    budgets_at: float = 0.0
    notify_at: float = 0.0
    done: int = 0
    reported: int = 0  # results that were reported to the scheduler before
    progress_at: float = 0.0
    cleanup_at: float = 0.0
    receipts_at: float = 0.0

    def has_time(self):
        return time.monotonic() < self.deadline


# --- outcomes of calls ---

TOO_OFTEN = 43117
MINUTE_QUOTA = 45011
NOT_FOLLOWING = (43004, 50005)
REFUSING = (43019, 43101, 48002)
# Seconds of a pause. After 45009 an hour at a time: WeChat does not say when the day of a quota ends.
PAUSES = {DAILY_QUOTA: 3600, MINUTE_QUOTA: 60}
PAUSE = 60
LONG_PAUSE = 3600
# The part of WeChat that sends may not know a new follower yet.
FOLLOWED_SECONDS = 60
FOLLOWED_RETRY = 30
DUPLICATE_RETRY = 65
TOO_OFTEN_RETRY = 2 * 3600
TOO_OFTEN_RETRY_MAX = 12 * 3600
# The few calls of a message are spread over many hours, for which WeChat may be out of reach.
RETRY, RETRY_MAX = 5, 6 * 3600
AMBIGUOUS_RETRY, AMBIGUOUS_RETRY_MAX = 10, 120
# A template that WeChat refuses as unknown and still lists is tried this often, for half an hour, before it is stopped.
LISTED_RETRY, LISTED_RETRY_MAX = 60, 900
LISTED_ATTEMPTS = 5
# Consecutive messages of a template with a value that WeChat does not allow: then the template is wrong, not the data.
WRONG_VALUES_MAX = 5
# Characters of a link that is too long in a failure reason.
LINK_SHOWN = 80
# Random share of a delay: messages that failed together are not repeated together.
JITTER = 0.25
# Codes after which a message waits for its account.
PAUSING = tuple(
    code
    for code, info in ERRORS.items()
    if isinstance(code, int) and info.error_class in (ErrorClass.PAUSED, ErrorClass.TOKEN_STALE)
)
FAILURE_BY_CODE = {
    **dict.fromkeys(NOT_FOLLOWING, "wechat_unfollowed"),
    **dict.fromkeys(REFUSING, "wechat_blocked"),
    **dict.fromkeys((*UNKNOWN_OPENID, 50002), "wechat_recipient"),
}


class Outcome(NamedTuple):
    """The consequences of a call for its message, account and template."""

    state: str
    failure_type: str | None = None
    # Seconds until the next attempt; None keeps the place in the queue.
    delay: float | None = None
    # Whether WeChat may have taken the message: it is then repeated for a while only.
    may_have_arrived: bool = False
    # Whether WeChat has answered; None if it was not called.
    is_answered: bool | None = True
    # Seconds for which the account makes no calls.
    pause: float = 0
    # The record to suspend until a manager resumes it: "account" or "template".
    suspends: str | None = None
    # Whether the template is suspended unless WeChat still lists it.
    looks_up: bool = False
    # The mark of the binding: "unfollowed" (once WeChat has confirmed it) or "blocked".
    mark: str | None = None
    # Whether the message ends because it has used up its calls.
    is_exhausted: bool = False


# --- receipts ---

SUCCESS = "success"
# Failure types by the status of a receipt without its spaces: documentation, SDKs and real pushes differ in them
# ("failed:user block", "failed: system failed"). Any other status is "wechat_receipt".
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
# WeChat sends the receipt within seconds; a review takes up to 30 minutes.
UNSENT_MINUTES = 30

# --- fallback and notifications ---

# Failure types without a fallback: canceled by a user (False), a disabled merchant, a card with errors.
WITHOUT_FALLBACK = (False, "wechat_disabled", "wechat_value")
# Messages of one transaction that sends fallbacks.
FALLBACK_BATCH = 50
# Messages of one transaction that catches up on notifications.
SYNC_BATCH = 1000
# Up to this number, web clients are notified live even of expected results of mass messages.
LIVE_AT_MOST = 40


class WechatMessage(models.Model):
    """The outbox: one template message to one merchant, and its result.

    A row holds everything that is needed to send it and to explain its result: it outlives its template, its Odoo
    message and a merge of its merchant.
    """

    _name = "wechat.message"
    _inherit = ["wechat.openid.mixin", "wechat.call.mixin"]
    _description = "WeChat Message"
    _order = "id desc"
    _rec_name = "template_name"
    _check_company_auto = True

    # === FIELDS === #

    partner_id = fields.Many2one("res.partner", "Merchant", readonly=True, ondelete="set null", index="btree_not_null")
    partner_name = fields.Char("Merchant Name", readonly=True, help="As it was when the message was queued.")
    account_id = fields.Many2one(
        "wechat.account",
        readonly=True,
        ondelete="restrict",
        check_company=True,
        help="Of the merchant's binding at the time of sending.",
    )
    company_id = fields.Many2one("res.company", readonly=True, index="btree_not_null")
    openid = fields.Char(
        "OpenID", readonly=True, exportable=False, groups="wechat_merchant_bind.group_manager", index="btree_not_null"
    )
    openid_masked = fields.Char("OpenID (masked)", compute="_compute_openid_masked", compute_sudo=True)
    user_id = fields.Many2one("res.users", "Sent by", readonly=True, ondelete="set null")

    template_id = fields.Many2one("wechat.template", readonly=True, ondelete="set null", index="btree_not_null")
    template_name = fields.Char(readonly=True, help="As it was when the message was queued.")
    template_uid = fields.Char("Template ID at WeChat", readonly=True)
    # Content of the document, for its readers only: see the visible fields below.
    card = fields.Json(
        "Card Data",
        readonly=True,
        groups=fields.NO_ACCESS,
        help="Sent to WeChat: data (by keyword), url and miniprogram. Shown to users: lines of label and value.",
    )
    body = fields.Text("Card Text", readonly=True, groups=fields.NO_ACCESS, help="The card as plain text.")
    kind = fields.Selection(KINDS, required=True, readonly=True, default="notice")

    state = fields.Selection(STATES, required=True, readonly=True, default="outgoing")
    failure_type = fields.Selection(FAILURE_TYPES, readonly=True)
    failure_reason = TermText(
        "Stored Reason", readonly=True, groups=fields.NO_ACCESS, help="What happened, what it means and what to do."
    )
    errcode = fields.Integer("WeChat's Code", readonly=True, aggregator=False)
    errmsg = fields.Char("WeChat's Text", readonly=True)
    rid = fields.Char("WeChat's Request ID", readonly=True, help="WeChat's support asks for it.")
    receipt_status = fields.Char("Receipt", readonly=True, help="The status of WeChat's receipt, verbatim.")
    msgid = fields.Char("Message ID at WeChat", readonly=True)
    client_msg_id = fields.Char(
        "Own Message ID",
        required=True,
        readonly=True,
        copy=False,
        default=lambda self: uuid.uuid4().hex,
        help="WeChat sends only one of several calls with the same number within 10 minutes.",
    )
    attempts = fields.Integer(readonly=True, aggregator=False)
    priority = fields.Integer(
        required=True, readonly=True, default=PRIORITY_NOTICE, aggregator=False, help="The lower goes first."
    )
    next_attempt_at = fields.Datetime("Next Attempt on", required=True, readonly=True, default=fields.Datetime.now)
    lease_until = fields.Datetime(readonly=True, help="Until when a worker may send it.")
    first_call_at = fields.Datetime("First Called on", readonly=True)
    valid_until = fields.Datetime(readonly=True, help="After that it is not sent any more.")
    sent_at = fields.Datetime("Sent on", readonly=True)
    delivered_at = fields.Datetime("Delivered on", readonly=True)

    mail_message_id = fields.Many2one(
        "mail.message", "Message", readonly=True, ondelete="set null", index="btree_not_null"
    )
    notification_id = fields.Many2one("mail.notification", readonly=True, ondelete="set null", index="btree_not_null")
    # The state that the notification shows. It is written after the message's, in a transaction of its own: a
    # difference means that the notification is outdated, even if a process was killed in between.
    notified_state = fields.Char(readonly=True)
    res_model = fields.Char("Document Model", readonly=True)
    res_id = fields.Many2oneReference("Document", model_field="res_model", readonly=True, aggregator=False)
    resent_from_id = fields.Many2one(
        "wechat.message", "Sent Again from", readonly=True, ondelete="set null", index="btree_not_null"
    )
    resent_ids = fields.One2many("wechat.message", "resent_from_id", "Sent Again as")

    document_name = fields.Char("Sent about", compute="_compute_document_name")
    failure_label = fields.Char("Problem", compute="_compute_failure_label")
    is_document_hidden = fields.Boolean(
        compute="_compute_visible_content", help="The user may not read what the message is about."
    )
    visible_card = fields.Json("Card", compute="_compute_visible_content")
    visible_body = fields.Text(
        "Content", compute="_compute_visible_content", search="_search_visible_body", help="The card as plain text."
    )
    visible_failure_reason = fields.Text(
        "Failure Reason",
        compute="_compute_visible_content",
        help="What happened, what it means and what to do.",
    )

    is_parked = fields.Boolean(readonly=True, help="Waits until an earlier message of the same merchant is done.")
    evidence = fields.Text("What Is Known", compute="_compute_evidence")
    fallback = fields.Selection([("email", "E-mail"), ("sms", "SMS")], "Sent instead by", readonly=True)
    # Sending an e-mail takes dozens of queries and runs code of other addons: no order waits for it or fails with it.
    fallback_due_at = fields.Datetime(readonly=True, index="btree_not_null", help="When it is to be sent instead.")

    # === CONSTRAINTS AND INDEXES === #

    _client_msg_id_unique = models.UniqueIndex("(client_msg_id)", "Two messages can't have the same number.")
    _msgid_unique = models.UniqueIndex(
        "(account_id, msgid) WHERE msgid IS NOT NULL", "WeChat gives every message its own number."
    )
    # WeChat refuses concurrent messages to one follower (43108).
    _in_flight_unique = models.UniqueIndex(
        "(account_id, openid) WHERE state = 'sending'", "A merchant is sent one message at a time."
    )
    _resent_unique = models.UniqueIndex(
        "(resent_from_id) WHERE resent_from_id IS NOT NULL", "This message was already sent again."
    )

    # For the claim. Messages of one account, template and priority are together: those of a paused account or a
    # suspended template are skipped without reading any of them, however many wait. The key begins with the bucket.
    _due_idx = models.Index(
        f"((COALESCE(partner_id, 0) % {BUCKETS}), account_id, (COALESCE(template_id, 0)), priority, next_attempt_at,"
        " id) WHERE state = 'outgoing' AND is_parked IS NOT TRUE"
    )
    _merchant_idx = models.Index("(partner_id, priority, id) WHERE state = 'outgoing'")
    # For the limit of messages a merchant a day.
    _called_idx = models.Index("(partner_id, first_call_at) WHERE first_call_at IS NOT NULL")
    _valid_until_idx = models.Index("(valid_until) WHERE state = 'outgoing'")
    # Not by the state: PostgreSQL would use such an index to check whether a message to an OpenID is being sent, and
    # read it from end to end.
    _lease_idx = models.Index("(lease_until) WHERE lease_until IS NOT NULL")
    _awaiting_receipt_idx = models.Index("(account_id, sent_at) WHERE state = 'sent'")
    _unconfirmed_idx = models.Index(
        f"(account_id, openid) WHERE msgid IS NULL AND first_call_at IS NOT NULL AND state IN {UNCONFIRMED}"
    )
    _unknown_idx = models.Index("(account_id, first_call_at) WHERE state = 'unknown'")
    # Without the messages that are being sent: their notifications are updated with their results.
    _notification_due_idx = models.Index(
        "(id) WHERE notification_id IS NOT NULL AND state != 'sending' AND notified_state IS DISTINCT FROM state"
    )

    # === COMPUTE METHODS === #

    @api.depends("openid")
    def _compute_openid_masked(self):
        for message in self:
            message.openid_masked = self.env["wechat.operation"]._mask_openid(message.openid)

    @api.depends("template_name", "partner_name")
    def _compute_display_name(self):
        for message in self:
            names = (message.template_name, message.partner_name)
            message.display_name = " - ".join(name for name in names if name) or self.env._("WeChat message")

    @api.depends("res_model", "res_id")
    @api.depends_context("uid", "lang", "allowed_company_ids")
    def _compute_document_name(self):
        """Show the names of the documents that the user may read."""
        documents = self._get_readable_documents()
        for message in self:
            document = documents.get(message)
            message.document_name = document and document.display_name

    @api.depends("res_model", "res_id", "card", "body", "failure_reason")
    @api.depends_context("uid", "lang", "allowed_company_ids")
    def _compute_visible_content(self):
        """Show the content of the card, and why WeChat refused it, to the readers of the document."""
        documents = self._get_readable_documents()
        for message in self:
            message.is_document_hidden = is_hidden = bool(
                message.res_model and message not in documents and not self.env.su
            )
            # sudo: wechat.message - the user may read the document that these values are from
            message_sudo = message.sudo()
            message.visible_card = not is_hidden and message_sudo.card
            message.visible_body = not is_hidden and message_sudo.body
            # Only a reason about a value quotes the document.
            may_read_reason = not is_hidden or message.failure_type != "wechat_value"
            message.visible_failure_reason = may_read_reason and message_sudo.failure_reason

    def _search_visible_body(self, operator, value):
        """Search the cards of documents that the user may read."""
        # sudo: wechat.message - searches the cards; the domain below and the rules filter the messages
        found = self.sudo()._search([("body", operator, value)])
        return Domain("id", "in", found) & (Domain.TRUE if self.env.su else self._get_readable_domain())

    @api.depends("state", "failure_type")
    @api.depends_context("lang")
    def _compute_failure_label(self):
        labels = dict(self._fields["failure_type"]._description_selection(self.env))
        for message in self:
            is_problem = message.state in ("failed", "unknown", "canceled")
            message.failure_label = is_problem and labels.get(message.failure_type)

    @api.depends("state", "failure_type", "first_call_at", "openid")
    @api.depends_context("lang")
    def _compute_evidence(self):
        self.evidence = False
        unknown = self.filtered(lambda message: message.state == "unknown" and message._origin.id)
        for message_id, is_receiving, is_orphan in unknown._find_evidence():
            message = self.browse(message_id)
            message.evidence = "\n".join(message._get_evidence_words(is_receiving, is_orphan))

    # === ACTION METHODS === #

    def action_open_document(self):
        """Open the document of the message.

        :return: an act_window.
        :rtype: dict
        :raise AccessError: if the user may not read the message; the document's form checks the document.
        """
        self.ensure_one()
        self.check_access("read")
        return {
            "type": "ir.actions.act_window",
            "res_model": self.res_model,
            "res_id": self.res_id,
            "views": [(False, "form")],
        }

    def action_resend(self):
        """Send failed, canceled and unknown messages again, as new ones.

        The new cards are rendered with the current template and document.

        :return: a notification with the number of new messages, and why the others are not sent again.
        :rtype: dict
        :raise AccessError: if the user may not send.
        :raise UserError: if none of them can be sent again.
        """
        self._check_may_send()
        # sudo: wechat.message - users have no write access; the user's right to send and to read these was checked
        messages_sudo = self.sudo().filtered(
            lambda message: (
                message.state in RESENDABLE and message.partner_id and message.card and not message.resent_ids
            )
        )
        if not messages_sudo:
            raise UserError(
                self.env._(
                    "Only messages that failed, were canceled or whose result is unknown can be sent again, each once."
                )
            )
        cards, refusals = messages_sudo._render_again(self.env)
        if not cards:
            raise UserError("\n".join(dict.fromkeys(refusals.values())))
        messages_sudo = messages_sudo.filtered(lambda message: message.id in cards)
        resent = self._queue([message._prepare_resend_values(cards[message.id]) for message in messages_sudo])
        messages_sudo._update_chatter(cards)
        resent.sudo()._sync_notifications()
        words = [self.env._("Queued again: %s", len(resent))]
        if refusals:
            words.append(self.env._("Not sent again: %s", len(refusals)))
            words += dict.fromkeys(refusals.values())
        return {
            "type": "ir.actions.client",
            "tag": "display_notification",
            "params": {
                "type": "warning" if refusals else "success",
                "message": "\n".join(words),
                "next": {"type": "ir.actions.act_window_close"},
            },
        }

    def action_cancel(self):
        """Cancel waiting messages. One that may have been sent already becomes unknown.

        :return: True
        :raise AccessError: if the user may not send.
        """
        self._check_may_send()
        # sudo: wechat.message - see action_resend
        self.sudo()._cancel(False)
        return True

    def action_ignore(self):
        """Remove failed messages from the failure menu. The outbox keeps them.

        :return: True
        :raise AccessError: if the user may not send, or not read these messages.
        """
        self.env["res.partner"]._wechat_check_group(
            GROUP_USER, self.env._("You are not allowed to ignore failed WeChat messages.")
        )
        self.check_access("read")
        # sudo: mail.notification - users have no write access; the user may read the messages
        notifications_sudo = self.sudo().notification_id.filtered(
            lambda notification: notification.notification_status == "exception"
        )
        notifications_sudo.notification_status = "canceled"
        notifications_sudo.mail_message_id._notify_message_notification_update()
        return True

    # === BUSINESS METHODS - DOCUMENTS === #

    def _get_readable_documents(self):
        """Return the documents of these messages that the user may read, by message. Deleted ones are left out.

        :rtype: dict[wechat.message, models.Model]
        """
        readable = {}
        for model, messages in self.grouped("res_model").items():
            if model not in self.env:
                continue
            documents = self.env[model].browse(messages.mapped("res_id")).exists()._filtered_access("read")
            by_id = dict(zip(documents.ids, documents, strict=True))
            readable.update({message: by_id[message.res_id] for message in messages if message.res_id in by_id})
        return readable

    @api.model
    def _get_readable_domain(self):
        """Return the domain of the messages about documents that the user may read.

        :rtype: Domain
        """
        domains = [
            Domain("res_model", "=", model)
            & Domain("res_id", "in", self.env[model].with_context(active_test=False)._search([]))
            # sudo: wechat.message - reads the names of models only
            for [model] in self.sudo()._read_group([("res_model", "!=", False)], ["res_model"])
            if model in self.env and self.env[model].has_access("read")
        ]
        return Domain.OR([Domain("res_model", "=", False), *domains])

    # === BUSINESS METHODS - QUEUE === #

    @api.model
    def _queue(self, vals_list):
        """Create messages in the outbox and trigger their senders. All messages are created here.

        :param list[dict] vals_list: partner_id, template_id, card, body; optionally kind, priority, next_attempt_at
            (to send later), valid_until, mail_message_id, notification_id, res_model, res_id, user_id,
            resent_from_id; state and failure_type of a message that must not be sent. The other values come from the
            merchant and the template.
        :return: the messages, in the same order; a merchant without a live binding gets a failed one.
        :rtype: wechat.message
        """
        # sudo: res.partner, wechat.template, wechat.binding - the caller has chosen recipient and template
        partners = [self.env["res.partner"].sudo().browse(vals["partner_id"] or ()) for vals in vals_list]
        bindings = {
            binding.partner_id: binding
            for binding in self.env["res.partner"].sudo().union(*partners)._wechat_get_live_bindings()
        }
        templates = self.env["wechat.template"].sudo()
        # sudo: wechat.message - users have no write access
        messages_sudo = self.sudo().create(
            [
                self._prepare_queued_values(
                    vals, partner, templates.browse(vals.get("template_id") or ()), bindings.get(partner)
                )
                for partner, vals in zip(partners, vals_list, strict=True)
            ]
        )
        self._remember_outbox_identity()
        outgoing = messages_sudo.filtered(lambda message: message.state == "outgoing")
        self._trigger_senders(outgoing.partner_id.ids, min(outgoing.mapped("next_attempt_at"), default=None))
        return messages_sudo.sudo(False)

    @api.model
    def _prepare_queued_values(self, vals, partner, template, binding):
        """Return the values of a new message.

        :param dict vals: see _queue.
        :param res.partner partner: the recipient.
        :param wechat.template template: may be empty.
        :param wechat.binding binding: the partner's live binding, or None.
        :rtype: dict
        """
        kind = vals.get("kind") or "notice"
        next_attempt_at = fields.Datetime.to_datetime(vals.get("next_attempt_at")) or fields.Datetime.now()
        # Without a binding the template's account counts: its statistics and its managers see the message.
        account = binding.account_id if binding else template.account_id
        values = {
            "partner_name": partner.display_name,
            "user_id": self.env.uid,
            "company_id": (account.company_id or partner.company_id).id,
            "account_id": account.id,
            "template_name": template.name,
            "template_uid": template.template_uid,
            "kind": kind,
            "priority": PRIORITIES[kind],
            "valid_until": next_attempt_at + timedelta(hours=template.valid_hours or VALID_HOURS),
            **vals,
            "next_attempt_at": next_attempt_at,
        }
        if values.get("state", "outgoing") == "outgoing":
            values.update(self._get_obstacle(partner, template, binding))
        return values

    @api.model
    def _get_obstacle(self, partner, template, binding):
        """Return the values that close a message that cannot be sent; empty if it can be sent.

        :rtype: dict
        """
        if term := template._get_obstacle():
            return {"state": "failed", "failure_type": "wechat_template", "failure_reason": encode_terms(term)}
        if not (partner.active and partner.commercial_partner_id.active):
            return {"state": "failed", "failure_type": "wechat_disabled"}
        if not binding:
            return {"state": "failed", "failure_type": "wechat_unbound"}
        if template.account_id != binding.account_id:
            reason = _lt(
                "The template belongs to the Official Account %(account)s, but the merchant is bound by %(other)s.",
                account=template.account_id.name,
                other=binding.account_id.name,
            )
            return {"state": "failed", "failure_type": "wechat_template", "failure_reason": encode_terms(reason)}
        return {}

    # === BUSINESS METHODS - NOTICES === #

    @api.model
    def _queue_notices(self, template, notices, scheduled_at=None, kind="notice"):
        """Create the notifications of Odoo messages and queue their cards.

        A recipient that WeChat does not reach gets a failed message, which says why, and the template's fallback.

        :param wechat.template template: sudoed; empty if it was deleted after the message was posted.
        :param list[tuple] notices: Odoo message, card and partners to notify.
        :param datetime scheduled_at: the earliest time of sending, in UTC.
        :param str kind: a value of the field kind.
        :return: the sudoed messages.
        :rtype: wechat.message
        """
        partners = self.env["res.partner"].union(*(recipients for _message, _card, recipients in notices))
        obstacles = partners._wechat_get_reachability(template.account_id)
        vals_list = [
            {
                **self._prepare_notice(template, message, card, partner, obstacles.get(partner.id)),
                **({"next_attempt_at": scheduled_at} if scheduled_at else {}),
                "kind": kind,
            }
            for message, card, recipients in notices
            # A record without a recipient fails visibly.
            for partner in recipients or [recipients]
        ]
        # sudo: mail.notification - as in Odoo's own notify methods
        notifications_sudo = (
            self.env["mail.notification"].sudo().create([self._prepare_notification(vals) for vals in vals_list])
        )
        for vals, notification in zip(vals_list, notifications_sudo, strict=True):
            vals.update(notification_id=notification.id, notified_state=vals["state"])
        # sudo: wechat.message - users have no write access; the caller was allowed to send
        messages_sudo = self._queue(vals_list).sudo()
        messages_sudo._apply_fallback()
        return messages_sudo

    @api.model
    def _prepare_notice(self, template, message, card, partner, obstacle):
        """Return the values of one message of the outbox.

        :param str | None obstacle: the failure type if WeChat does not reach the partner.
        :rtype: dict
        """
        failure_type, reason = self._get_notice_failure(template, card, partner, obstacle)
        return {
            "partner_id": partner.id,
            "template_id": template.id,
            "card": card.card,
            "body": card.body,
            "mail_message_id": message.id,
            "res_model": message.model,
            "res_id": message.res_id,
            "state": "failed" if failure_type else "outgoing",
            "failure_type": failure_type,
            "failure_reason": reason,
        }

    @api.model
    def _get_notice_failure(self, template, card, partner, obstacle):
        """Return failure type and stored reason of a card that is not sent, or None twice.

        :rtype: tuple[str | None, str | None]
        """
        if card.errors:
            return card.failure_type, encode_terms(*card.errors)
        if term := template._get_obstacle():
            return "wechat_template", encode_terms(term)
        if not partner:
            return "wechat_recipient", encode_terms(_lt("The document names no merchant who could be notified."))
        return obstacle, obstacle and encode_terms(partner._wechat_get_obstacle_term(obstacle))

    @api.model
    def _prepare_notification(self, vals):
        """Return the values of the notification of a message.

        :param dict vals: the message's values.
        :rtype: dict
        """
        # sudo: mail.message - reads the author of a message that was just posted
        message_sudo = self.env["mail.message"].sudo().browse(vals["mail_message_id"])
        return {
            "author_id": message_sudo.author_id.id,
            "mail_message_id": message_sudo.id,
            "res_partner_id": vals["partner_id"],
            "notification_type": "wechat",
            "notification_status": NOTIFICATION_STATUS[vals["state"]],
            "failure_type": vals["failure_type"],
            # Keeps it out of the recipient's inbox in Odoo.
            "is_read": True,
        }

    # === BUSINESS METHODS - RESENDING === #

    def _check_may_send(self):
        """Raise AccessError unless the user may send, and may read these messages."""
        if not self.env.su and not self.env.user.has_group(GROUP_USER):
            raise AccessError(self.env._("You are not allowed to send WeChat messages."))
        self.check_access("read")

    def _render_again(self, env):
        """Render the cards with which these messages are sent again.

        :param Environment env: environment with the rights of the user.
        :return: the cards by message id (None for a message without a document, which is sent as it was), and the
            reasons by id of the messages that can't be sent again.
        :rtype: tuple[dict[int, Card | None], dict[int, str]]
        """
        cards, refusals = {}, self._get_resend_obstacles()
        turns = defaultdict(self.browse)
        for (template, model, _res_id), messages in (
            self.filtered(lambda message: message.id not in refusals)
            .grouped(lambda message: (message.template_id, message.res_model, message.res_id))
            .items()
        ):
            # Each call below renders one card a document; each recipient of a document needs one in their own language.
            for turn, message in enumerate(messages):
                turns[template, model, turn] += message
        for (template, model, _turn), messages in turns.items():
            if not model:
                cards.update(dict.fromkeys(messages.ids))
                continue
            documents = env[model].browse(messages.mapped("res_id")).exists() if model in env else self.browse()
            recipients = {message.res_id: message.partner_id for message in messages}
            rendered = template._prepare_cards(documents._filtered_access("read"), recipients)
            for message in messages:
                card = rendered.get(message.res_id)
                if card and not card.errors:
                    cards[message.id] = card
                elif card:
                    refusals[message.id] = env._("WeChat would refuse this card.\n%s", "\n".join(card.errors))
                elif message.res_id in documents.ids:
                    refusals[message.id] = env._("You may not read the document that the message is about.")
                else:
                    refusals[message.id] = env._("The document was deleted: there is nothing left to tell.")
        return cards, refusals

    def _get_resend_obstacles(self):
        """Return why messages can't be sent again, without looking at their cards.

        :return: the reason by message id.
        :rtype: dict[int, str]
        """
        reasons = {}
        for template, messages in self.grouped("template_id").items():
            obstacles = messages.partner_id._wechat_get_reachability(template.account_id)
            for message in messages:
                obstacle = obstacles[message.partner_id.id]
                term = template._get_obstacle()
                words = term and self.env._(term)
                if not words and obstacle:
                    words = message.partner_id._wechat_get_obstacle_words(obstacle)
                if not words and not message.res_model and message.failure_type == "wechat_value":
                    words = message.failure_reason or message.failure_label
                if words:
                    reasons[message.id] = words
        return reasons

    def _update_chatter(self, cards):
        """Update the chatter to the new cards. An Odoo message with several recipients, with a card each, stays.

        :param dict[int, Card | None] cards: the new cards, by id of the message that is sent again.
        """
        for message in self.filtered(lambda message: len(message.mail_message_id.notification_ids) == 1):
            card = cards[message.id]
            if card and card.body != message.body:
                message.mail_message_id.body = self.env["mail.thread"]._wechat_get_message_body(card)

    def _prepare_resend_values(self, card):
        """Return the values of the message that replaces this one.

        :param Card | None card: see _render_again.
        :rtype: dict
        """
        self.ensure_one()
        return {
            "partner_id": self.partner_id.id,
            "template_id": self.template_id.id,
            "card": card.card if card else self.card,
            "body": card.body if card else self.body,
            "kind": self.kind,
            "mail_message_id": self.mail_message_id.id,
            "notification_id": self.notification_id.id,
            "res_model": self.res_model,
            "res_id": self.res_id,
            "resent_from_id": self.id,
        }

    # === BUSINESS METHODS - CANCELING AND RESCHEDULING === #

    @api.model
    def _cancel_waiting(self, partners, failure_type):
        """Cancel the waiting messages of partners without a binding, or of disabled ones.

        :param res.partner partners: the partners.
        :param str failure_type: the reason.
        """
        # sudo: wechat.message - a binding ends its waiting messages, also for users without write access
        self.sudo().search(Domain("partner_id", "in", partners.ids) & Domain("state", "=", "outgoing"))._cancel(
            failure_type
        )

    def _cancel(self, failure_type, reason=None):
        """Cancel the waiting ones of these messages. A message that may have arrived becomes unknown instead.

        :param failure_type: the reason; False if a user cancels.
        :param str reason: details in words.
        """
        if not self:
            return
        self.flush_recordset()
        self.env.cr.execute(
            SQL(
                """
                UPDATE wechat_message
                   SET state = CASE WHEN first_call_at IS NULL THEN 'canceled' ELSE 'unknown' END,
                       failure_type = CASE WHEN first_call_at IS NULL THEN %s ELSE 'wechat_unknown' END,
                       failure_reason = COALESCE(%s, failure_reason),
                       is_parked = FALSE,
                       write_uid = %s,
                       write_date = now() AT TIME ZONE 'UTC'
                 WHERE id IN %s
                   AND state = 'outgoing'
             RETURNING id
                """,
                failure_type or None,
                reason,
                self.env.uid,
                tuple(self.ids),
            )
        )
        canceled = self.browse([message_id for (message_id,) in self.env.cr.fetchall()])
        self.invalidate_recordset(flush=False)
        self._unpark_next(canceled.partner_id.ids)
        canceled._sync_notifications()
        canceled._apply_fallback()

    @api.model
    def _unpark_next(self, partner_ids):
        """Unpark the first parked message of each merchant, so that the next claim finds it.

        :param list[int] partner_ids: the merchants.
        """
        self.env.cr.execute(
            SQL(
                """
                UPDATE wechat_message
                   SET is_parked = FALSE
                 WHERE id IN (
                     SELECT parked.id
                       FROM unnest(%s::int[]) AS merchant (id)
                 CROSS JOIN LATERAL (
                            SELECT message.id
                              FROM wechat_message AS message
                         LEFT JOIN wechat_template AS template ON template.id = message.template_id
                             WHERE message.partner_id = merchant.id
                               AND message.state = 'outgoing'
                               AND message.is_parked
                               AND template.stop_reason IS NULL
                          ORDER BY message.priority, message.id
                             LIMIT 1
                            ) AS parked
                 )
                """,
                list(partner_ids),
            )
        )

    @api.model
    def _reschedule_unfollowed(self, partners):
        """Reschedule for now the messages that wait until these partners follow again.

        :param res.partner partners: the partners, which follow again.
        """
        # sudo: wechat.message - as in _cancel_waiting
        self.sudo().search(
            Domain("partner_id", "in", partners.ids)
            & Domain("state", "=", "outgoing")
            & Domain("failure_type", "=", "wechat_unfollowed")
        ).next_attempt_at = fields.Datetime.now()
        self._trigger_senders(partners.ids)

    @api.model
    def _reschedule_refused(self, accounts):
        """Reschedule for now the messages that met a pause of these accounts, or an unreachable WeChat.

        :param wechat.account accounts: accounts from which WeChat accepts messages again.
        """
        self.env.cr.execute(
            SQL(
                """
                UPDATE wechat_message
                   SET next_attempt_at = statement_timestamp() AT TIME ZONE 'UTC'
                 WHERE account_id = ANY(%s)
                   AND state = 'outgoing'
                   AND attempts > 0
                   AND COALESCE(errcode, 0) = ANY(%s)
                   AND next_attempt_at > statement_timestamp() AT TIME ZONE 'UTC'
                """,
                accounts.ids,
                [0, *PAUSING],
            )
        )
        self.invalidate_model(["next_attempt_at"], flush=False)
        self._trigger_senders()

    def _erase_content(self):
        """Erase the content and the OpenIDs of these messages."""
        self.write({"openid": False, "card": False, "body": False})

    # === BUSINESS METHODS - SENDERS === #

    @api.model
    def _get_senders(self):
        """Return the senders in the order of their shares.

        :rtype: ir.cron
        """
        # sudo: ir.cron - a user that queues a message triggers its sender
        return (
            self.env["ir.cron"]
            .sudo()
            .search([("model_id.model", "=", self._name), ("code", "=", SENDER_CODE)], order="id")
        )

    @api.model
    def _get_buckets(self):
        """Return the buckets of the running sender; outside of one, all buckets.

        :rtype: list[int]
        """
        senders = self._get_senders().ids
        cron_id = self.env.context.get("cron_id")
        if cron_id not in senders:
            return list(range(BUCKETS))
        return list(range(senders.index(cron_id), BUCKETS, len(senders)))

    @api.model
    def _trigger_senders(self, partner_ids=None, at=None):
        """Trigger the senders of these merchants.

        :param list[int] partner_ids: the merchants; default: all.
        :param datetime at: the time; default: now.
        """
        senders = self._get_senders()
        if not senders or partner_ids == []:
            return
        if partner_ids is None:
            wanted = range(len(senders))
        else:
            wanted = {partner_id % BUCKETS % len(senders) for partner_id in partner_ids}
        now = fields.Datetime.now()
        for index in wanted:
            senders[index]._trigger(at if at and at > now else None)

    # === BUSINESS METHODS - IDENTITY === #

    @api.model
    def _get_outbox_identity(self):
        """Return the UUID of the database, which tells it from its copies.

        Its address would not do: Odoo rewrites web.base.url when an administrator logs in under another one.

        :rtype: str
        """
        # sudo: ir.config_parameter - the value is compared only, and not shown
        return self.env["ir.config_parameter"].sudo().get_param("database.uuid")

    @api.model
    def _remember_outbox_identity(self):
        """Remember at the first message that this database sends."""
        # sudo: ir.config_parameter - as in _get_outbox_identity
        if not self.env["ir.config_parameter"].sudo().get_param(IDENTITY_PARAMETER):
            self._confirm_outbox()

    @api.model
    def _confirm_outbox(self):
        """Allow this database to send."""
        # sudo: ir.config_parameter - a manager has confirmed it, or it is the first message
        self.env["ir.config_parameter"].sudo().set_param(IDENTITY_PARAMETER, self._get_outbox_identity())

    @api.model
    def _is_outbox_confirmed(self):
        """Tell whether this database may send. A copy must not: it would send every message a second time.

        :rtype: bool
        """
        # sudo: ir.config_parameter - as in _get_outbox_identity
        known = self.env["ir.config_parameter"].sudo().get_param(IDENTITY_PARAMETER)
        return not known or known == self._get_outbox_identity()

    @api.model
    def _ask_for_confirmation(self):
        """Ask a manager to confirm that this database should send, if messages wait."""
        waiting = self.search([("state", "=", "outgoing")], limit=1)
        account = waiting.account_id
        if not account:
            return
        account = account._with_manager_lang()
        account._schedule_manager_activity(
            account.env._("WeChat messages wait until you confirm that this database sends them"),
            account.env._(
                "The number of this database has changed, as it does in a copy: a copy would send all waiting messages "
                "a second time. If this is the one that should send, press “Confirm Sending” on the Official Account."
            ),
        )

    # === BUSINESS METHODS - CLAIM === #

    @api.model
    def _get_lines_query(self, buckets, budgets):
        """Return the common table expressions budget and line of the queries for waiting messages.

        budget holds the accounts that may send; line each combination of bucket, account, template and priority, at
        the cost of one probe of the index each. Urgent messages are in the lines of every sender, since the sender of
        their bucket may not be running.

        :param list[int] buckets: see _claim.
        :param list[dict] budgets: see _claim.
        :rtype: SQL
        """
        names = ("account_id", "calls", "is_quiet", "daily_limit", "day_start", "day_end")
        return SQL(
            """
WITH RECURSIVE budget AS (
    SELECT given.*
      FROM unnest(%(account_id)s::int[], %(calls)s::int[], %(is_quiet)s::bool[], %(daily_limit)s::int[],
                  %(day_start)s::timestamp[], %(day_end)s::timestamp[])
           AS given (account_id, calls, is_quiet, daily_limit, day_start, day_end)
      JOIN wechat_account AS account ON account.id = given.account_id
     WHERE account.active
       AND account.send_stop_reason IS NULL
       AND (account.send_paused_until IS NULL OR account.send_paused_until <= %(now)s)
), anywhere AS (
    SELECT first.*
      FROM generate_series(0, %(last_bucket)s) AS bucket (id)
CROSS JOIN budget
CROSS JOIN LATERAL (
           SELECT %(bucket)s AS bucket, account_id, %(template)s AS template_id, priority
             FROM wechat_message
            WHERE %(due)s AND %(bucket)s = bucket.id AND account_id = budget.account_id
         ORDER BY %(bucket)s, account_id, %(template)s, priority
            LIMIT 1
           ) AS first
 UNION ALL
    SELECT next.*
      FROM anywhere
CROSS JOIN LATERAL (
           SELECT %(bucket)s AS bucket, account_id, %(template)s AS template_id, priority
             FROM wechat_message
            WHERE %(due)s
              AND %(bucket)s = anywhere.bucket
              AND account_id = anywhere.account_id
              AND (%(template)s, priority) > (anywhere.template_id, anywhere.priority)
         ORDER BY %(bucket)s, account_id, %(template)s, priority
            LIMIT 1
           ) AS next
), line AS (
    SELECT * FROM anywhere WHERE bucket = ANY(%(buckets)s) OR priority <= %(urgent)s
)
            """,
            **{name: [budget[name] for budget in budgets] for name in names},
            buckets=buckets,
            last_bucket=BUCKETS - 1,
            urgent=PRIORITY_URGENT,
            bucket=BUCKET,
            template=TEMPLATE,
            due=DUE,
            now=NOW,
        )

    @api.model
    def _get_seconds_to_next(self, buckets, budgets):
        """Return the seconds until the next message that is not parked is due, or None.

        :param list[int] buckets: see _claim.
        :param list[dict] budgets: see _claim.
        :rtype: float | None
        """
        if not budgets:
            return None
        self.env.cr.execute(
            SQL(
                """
%(lines)s
    SELECT EXTRACT(EPOCH FROM min(found.next_attempt_at) - %(now)s)::float
      FROM line
      JOIN budget USING (account_id)
 LEFT JOIN wechat_template AS template ON template.id = line.template_id
CROSS JOIN LATERAL (
           SELECT next_attempt_at
             FROM wechat_message
            WHERE %(due)s
              AND %(bucket)s = line.bucket
              AND account_id = line.account_id
              AND %(template)s = line.template_id
              AND priority = line.priority
         ORDER BY next_attempt_at
            LIMIT 1
           ) AS found
     WHERE template.stop_reason IS NULL
       AND (line.priority <= %(urgent)s OR NOT budget.is_quiet)
                """,
                lines=self._get_lines_query(buckets, budgets),
                bucket=BUCKET,
                template=TEMPLATE,
                due=DUE,
                now=NOW,
                urgent=PRIORITY_URGENT,
            )
        )
        return self.env.cr.fetchone()[0]

    @api.model
    def _claim(self, buckets, budgets, limit):
        """Claim the next messages to send, by the first statement of a transaction.

        The same statement handles the messages that cannot be sent, so that each is read only once: it cancels those
        without a valid time, template or binding, fails those that have used up their calls, marks those unknown that
        are too late for a repetition, and postpones the others or parks them behind an earlier message.

        :param list[int] buckets: of the sender.
        :param list[dict] budgets: one for each account that may send now: account_id, calls (the number that may
            begin), is_quiet, daily_limit, day_start and day_end (in UTC).
        :param int limit: the greatest number of rows.
        :return: the updated rows with their verdict; it is "send" for the claimed ones.
        :rtype: list[dict]
        """
        budgets = [budget for budget in budgets if budget["calls"] > 0]
        if not budgets or limit < 1:
            return []
        self.env.cr.execute(SQL("%s; %s", PLANNER, self._get_claim_query(buckets, budgets, limit)))
        rows = self.env.cr.dictfetchall()
        rows.sort(key=lambda row: (row["priority"], row["id"]))
        return rows

    @api.model
    def _get_claim_query(self, buckets, budgets, limit):
        """Return the statement of _claim.

        :rtype: SQL
        """
        return SQL(
            """
%(lines)s, stopped AS MATERIALIZED (
    SELECT ARRAY(SELECT id FROM wechat_template WHERE stop_reason IS NOT NULL AND active) AS ids
), candidate AS MATERIALIZED (
    SELECT found.*, budget.calls, budget.daily_limit, budget.day_start, budget.day_end
      FROM line
      JOIN budget USING (account_id)
CROSS JOIN LATERAL (
           SELECT id, partner_id, account_id, template_id, priority, next_attempt_at, valid_until, first_call_at,
                  attempts
             FROM wechat_message
            WHERE %(due)s
              AND %(bucket)s = line.bucket
              AND account_id = line.account_id
              AND %(template)s = line.template_id
              AND priority = line.priority
              AND next_attempt_at <= %(now)s
         ORDER BY next_attempt_at, id
            LIMIT %(limit)s
           ) AS found
     WHERE line.template_id != ALL((SELECT ids FROM stopped)::int[])
       AND (line.priority <= %(urgent)s OR NOT budget.is_quiet)
  ORDER BY found.priority, found.next_attempt_at, found.id
     LIMIT %(limit)s
), judged AS MATERIALIZED (
    SELECT candidate.*, binding.openid, binding.last_event_at,
           CASE
               WHEN candidate.first_call_at <= %(now)s - %(repeat)s * interval '1 second' THEN 'unknown'
               WHEN candidate.attempts >= %(max_calls)s THEN 'exhausted'
               WHEN candidate.valid_until <= %(now)s THEN 'wechat_expired'
               WHEN template.active IS NOT TRUE THEN 'wechat_template'
               WHEN binding.id IS NULL THEN 'wechat_unbound'
               WHEN NOT (partner.active AND merchant.active) THEN 'wechat_disabled'
               WHEN NOT binding.is_subscribed THEN 'unfollowed'
               WHEN candidate.daily_limit > 0
                AND candidate.priority > %(urgent)s
                AND candidate.first_call_at IS NULL
                AND candidate.daily_limit <= (
                        SELECT count(*)
                          FROM (SELECT FROM wechat_message AS today
                                 WHERE today.partner_id = candidate.partner_id
                                   AND today.first_call_at >= candidate.day_start
                                   AND today.state != 'failed'
                              ORDER BY today.first_call_at
                                 LIMIT candidate.daily_limit) AS called
                    )
               THEN 'limited'
               -- With EXISTS, PostgreSQL may read all messages that wait for a merchant, or all that are being sent,
               -- including those that have left this state and are not vacuumed yet.
               WHEN (
                        SELECT TRUE
                          FROM wechat_message AS flying
                         WHERE flying.state = 'sending'
                           AND flying.account_id = binding.account_id
                           AND flying.openid = binding.openid
                         LIMIT 1
                    )
                 OR (
                        SELECT TRUE
                          FROM wechat_message AS earlier
                         WHERE earlier.state = 'outgoing'
                           AND earlier.partner_id = candidate.partner_id
                           AND (earlier.priority, earlier.id) < (candidate.priority, candidate.id)
                           AND earlier.next_attempt_at <= %(now)s + %(order)s * interval '1 second'
                           AND COALESCE(earlier.template_id, 0) != ALL((SELECT ids FROM stopped)::int[])
                      ORDER BY earlier.priority, earlier.id
                         LIMIT 1
                    )
               THEN 'parked'
               ELSE 'send'
           END AS verdict
      FROM candidate
 LEFT JOIN res_partner AS partner ON partner.id = candidate.partner_id
 LEFT JOIN res_partner AS merchant ON merchant.id = COALESCE(partner.commercial_partner_id, partner.id)
 LEFT JOIN wechat_template AS template ON template.id = candidate.template_id
 LEFT JOIN wechat_binding AS binding
        ON binding.partner_id = candidate.partner_id
       AND binding.account_id = candidate.account_id
       AND binding.state = 'bound'
), chosen AS (
    SELECT judged.*,
           row_number() OVER (PARTITION BY account_id, verdict ORDER BY priority, next_attempt_at, id) AS place
      FROM judged
), locked AS (
    SELECT message.id, message.first_call_at, message.errcode, message.next_attempt_at,
           chosen.verdict, chosen.openid, chosen.last_event_at, chosen.day_end,
           chosen.verdict = 'send' AS is_sent,
           chosen.verdict IN ('parked', 'limited', 'unfollowed') AS is_waiting,
           chosen.verdict = 'unknown' OR message.first_call_at IS NOT NULL AS is_unknown
      FROM chosen
      JOIN wechat_message AS message ON message.id = chosen.id
     WHERE chosen.verdict != 'send' OR chosen.place <= chosen.calls
       FOR UPDATE OF message SKIP LOCKED
)
UPDATE wechat_message AS message
   SET state = CASE
           WHEN is_sent THEN 'sending'
           WHEN is_waiting THEN 'outgoing'
           WHEN is_unknown THEN 'unknown'
           WHEN verdict = 'exhausted' THEN %(exhausted_state)s
           ELSE 'canceled'
       END,
       failure_type = CASE
           -- Marks the messages that are rescheduled when the recipient follows again.
           WHEN verdict = 'unfollowed' THEN 'wechat_unfollowed'
           WHEN is_sent OR is_waiting THEN NULL
           WHEN is_unknown THEN 'wechat_unknown'
           WHEN verdict = 'exhausted' THEN %(exhausted_type)s
           ELSE verdict
       END,
       openid = CASE WHEN is_sent THEN locked.openid ELSE message.openid END,
       is_parked = verdict = 'parked',
       next_attempt_at = CASE verdict
           WHEN 'limited' THEN day_end + random() * interval '10 minutes'
           WHEN 'unfollowed' THEN %(now)s + %(unfollowed)s * interval '1 second'
           ELSE locked.next_attempt_at
       END,
       lease_until = CASE WHEN is_sent THEN %(now)s + %(lease)s * interval '1 second' END,
       first_call_at = CASE WHEN is_sent THEN COALESCE(locked.first_call_at, %(now)s) ELSE locked.first_call_at END,
       attempts = COALESCE(message.attempts, 0) + is_sent::int,
       write_date = %(now)s
  FROM locked
 WHERE message.id = locked.id
RETURNING message.id, message.account_id, message.template_id, message.partner_id, message.priority, message.openid,
          message.template_uid, message.client_msg_id, message.card, message.res_model, message.res_id,
          message.attempts, message.lease_until, message.first_call_at, locked.first_call_at IS NOT NULL AS is_repeat,
          locked.errcode AS former_errcode,
          locked.last_event_at, locked.verdict
            """,
            lines=self._get_lines_query(buckets, budgets),
            bucket=BUCKET,
            template=TEMPLATE,
            due=DUE,
            now=NOW,
            limit=limit,
            urgent=PRIORITY_URGENT,
            repeat=REPEAT_SECONDS,
            max_calls=MAX_CALLS,
            exhausted_state=EXHAUSTED[0],
            exhausted_type=EXHAUSTED[1],
            order=ORDER_SECONDS,
            unfollowed=UNFOLLOWED_SECONDS,
            lease=LEASE_SECONDS,
        )

    @api.model
    def _get_budgets(self, run, is_limited=True):
        """Return the budgets of the accounts, see _claim.

        :param SenderRun run: the run.
        :param bool is_limited: whether the send rate limits the calls.
        :rtype: list[dict]
        """
        if not run.paces:
            # pylint: disable-next=no-search-all  # a database has a handful of accounts
            accounts = self.env["wechat.account"].search([])
            for account in accounts:
                # After a pause, the account is tried until WeChat answers.
                run.paces[account.id] = Pace(account.send_rate / run.share, bool(account.send_paused_until))
        if time.monotonic() >= run.budgets_at:
            run.budgets_at = time.monotonic() + BUDGET_SECONDS
            now = fields.Datetime.now()
            run.budgets = [account._get_budget(now) for account in self.env["wechat.account"].browse(run.paces)]
        return [
            {**budget, "calls": run.paces[budget["account_id"]].get_allowance() if is_limited else 1}
            for budget in run.budgets
        ]

    @api.model
    def _refill(self, run, pool):
        """Claim messages and submit their calls, until each thread has work.

        :return: whether messages were found.
        :rtype: bool
        """
        has_found = False
        while pool.pending <= (WINDOW - 1) * run.threads:
            rows = self._claim_for_threads(run)
            if rows is None:
                return True
            has_found = has_found or bool(rows)
            calls = [row for row in rows if row["verdict"] == "send"]
            for row in calls:
                run.paces[row["account_id"]].begin(1)
                self._submit(pool, run.access, self._prepare_call(row))
            if len(calls) < run.threads:
                break
        return has_found

    @api.model
    def _claim_for_threads(self, run):
        """Claim a message for each thread, in a transaction of its own.

        :return: see _claim; None if the claim must be repeated, because another process has just written one of the
            rows or sends to one of the merchants.
        :rtype: list[dict] | None
        """
        try:
            budgets = self._get_budgets(run)
            self.env.cr.commit()  # pylint: disable=invalid-commit  # the claim begins a transaction
            rows = self._claim(run.buckets, budgets, run.threads)
            self._cancel_orphans(rows)
            self._finish_claim(rows)
            self.env.cr.commit()  # pylint: disable=invalid-commit  # before the calls
        except (*CONCURRENCY_ERRORS, IntegrityError):
            self.env.cr.rollback()
            _logger.info("wechat.outbox: claim begins again", exc_info=True)
            return None
        return rows

    @api.model
    def _cancel_orphans(self, rows):
        """Cancel claimed messages about deleted documents, and set their verdict to "orphan".

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
    def _finish_claim(self, rows):
        """Update chatter and fallback of the rows that a claim has closed, and unpark later messages."""
        closed = [row for row in rows if row["verdict"] not in ("send", "parked")]
        if not closed:
            return
        self.invalidate_model(flush=False)
        self._unpark_next([row["partner_id"] for row in closed if row["partner_id"]])
        ended = [row for row in closed if row["verdict"] not in ("limited", "unfollowed")]
        for row in ended:
            if term := self._get_ending_term(row):
                self.browse(row["id"]).failure_reason = encode_terms(term)
        messages = self.browse([row["id"] for row in ended])
        messages._sync_notifications()
        messages._apply_fallback()

    @api.model
    def _get_ending_term(self, row):
        """Return why a claim has closed a message, if there is more to say than the failure type.

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

    # === BUSINESS METHODS - CALLS === #

    @api.model
    def _prepare_call(self, row):
        """Return the call that sends a row.

        :param dict row: from _claim.
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
        # The claim has announced the first call only. The database must know of each call if the process is killed.
        if isinstance(call, SendCall) and refused and not self._run_in_transaction(self._announce_call, call):
            pool.give_back(call)
            return
        super()._submit(pool, access, call, refused)

    @api.model
    def _announce_call(self, call):
        """Announce one more call of a message in the database, within the limit of calls.

        :param SendCall call: the call, which is about to be repeated.
        :return: whether it may be repeated.
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
    def _try_in_transaction(self, step, *args):
        """Run a step in a transaction of its own and log its failure, which must not stop the sender."""
        try:
            return self._run_in_transaction(step, *args)
        except Exception:
            _logger.exception("wechat.outbox: goes on without step=%s", step.__name__)
            return None

    # === BUSINESS METHODS - RUN OF A SENDER === #

    @api.model
    def _cron_send(self):
        """Send the due messages of the running sender's buckets."""
        if not self._is_outbox_confirmed():
            self._ask_for_confirmation()
            return
        run = SenderRun(
            self._get_buckets(),
            max(1, len(self._get_senders())),
            time.monotonic() + self._get_run_seconds(),
            self._get_number(LINGER_PARAMETER, LINGER_SECONDS),
            max(1, int(self._get_number(THREADS_PARAMETER, THREADS))),
        )
        began_at = time.monotonic()
        with CallPool(run.threads) as pool:
            has_more = self._process_queue(run, pool)
        self._notify_results(run)
        self.env["ir.cron"]._commit_progress(run.done, remaining=0)
        if done := run.reported + run.done:
            _logger.info(
                "wechat.outbox: lane ended lane=%s calls=%s seconds=%.1f has_more=%s",
                self.env.context.get("cron_id"),
                done,
                time.monotonic() - began_at,
                has_more,
            )
        if has_more:
            # Not reported as remaining work: the scheduler would run this again before the other scheduled actions.
            self.env["ir.cron"].browse(self.env.context.get("cron_id")).sudo()._trigger()

    @api.model
    def _process_queue(self, run, pool):
        """Send messages until none is due or the time of the run is up.

        :param SenderRun run: the run.
        :param CallPool pool: the threads.
        :return: whether messages may be left.
        :rtype: bool
        """
        while True:
            has_time = run.has_time()
            if has_time:
                self._cleanup_if_due(run)
                self._apply_receipts_if_due(run)
            has_found = has_time and self._refill(run, pool)
            if pool.pending:
                calls = self._take(pool, run.access, run.threads, WRITE_SECONDS, PATIENCE_SECONDS)
                self._record_results(run, pool, calls)
            elif not has_time:
                return True
            elif not has_found and not self._wait_for_due(run):
                return False
            self._notify_results_if_due(run)
            self._report_progress(run)

    @api.model
    def _get_number(self, parameter, default):
        """Return the number in a system parameter.

        :param str parameter: its key.
        :param float default: used if the parameter holds no number.
        :rtype: float
        """
        # sudo: ir.config_parameter - a setting of the scheduled action
        value = self.env["ir.config_parameter"].sudo().get_param(parameter)
        try:
            return float(value) if value else default
        except ValueError:
            _logger.warning("wechat.outbox: parameter holds no number key=%s used=%s", parameter, default)
            return default

    @api.model
    def _get_run_seconds(self):
        """Return for how many seconds a run claims messages. The last calls end some time later."""
        limit = config["limit_time_real_cron"]
        if limit is None or limit < 0:
            limit = config["limit_time_real"]
        return min(RUN_SECONDS, limit * RUN_SHARE) if limit else RUN_SECONDS

    @api.model
    def _report_progress(self, run):
        """Report the progress to the scheduler about once a second, for the case that the run is killed."""
        if run.done and time.monotonic() >= run.progress_at:
            self.env["ir.cron"]._commit_progress(run.done)
            run.reported += run.done
            run.done, run.progress_at = 0, time.monotonic() + PROGRESS_SECONDS

    @api.model
    def _cleanup_if_due(self, run):
        if time.monotonic() >= run.cleanup_at:
            run.cleanup_at = time.monotonic() + CLEANUP_SECONDS
            self._cleanup(run.buckets)

    @api.model
    def _notify_results_if_due(self, run):
        if time.monotonic() >= run.notify_at:
            run.notify_at = time.monotonic() + NOTIFY_SECONDS
            self._notify_results(run)

    @api.model
    def _notify_results(self, run):
        """Update Odoo's notifications to the results. After a killed run, the cleanup does so."""
        if run.unnotified:
            self._try_in_transaction(self.browse(sorted(run.unnotified))._sync_notifications)
            run.unnotified.clear()

    @api.model
    def _apply_receipts_if_due(self, run):
        """Apply a batch of receipts: the senders may occupy all processes that run scheduled actions."""
        if time.monotonic() >= run.receipts_at:
            run.receipts_at = time.monotonic() + RECEIPTS_SECONDS
            self._try_in_transaction(self.env["wechat.event"]._apply_receipts, 1)

    @api.model
    def _wait_for_due(self, run):
        """Sleep, outside of a transaction, if the next message is due shortly.

        :return: whether a message is due shortly.
        :rtype: bool
        """
        seconds = self._get_seconds_to_next(run.buckets, self._get_budgets(run, is_limited=False))
        self.env.cr.commit()  # pylint: disable=invalid-commit  # the scheduled action's own cursor
        if seconds is None or seconds > run.linger:
            return False
        waits = [pace.get_wait() for pace in run.paces.values()]
        time.sleep(max(0.01, min(LINGER_STEP, max(seconds, min(waits, default=0)))))
        return True

    # === BUSINESS METHODS - OUTCOMES OF CALLS === #

    @api.model
    def _get_outcome(self, call):
        """Return the outcome of a call.

        :param SendCall call: the call, which has ended or was not made.
        :rtype: Outcome
        """
        if call.answer:
            return Outcome("sent", may_have_arrived=True)
        if not (call.error or call.began_at):
            outcome = Outcome("outgoing", is_answered=None)
        elif not call.began_at:
            outcome = self._get_outcome_without_token(call.error)
        elif not isinstance(call.error, WechatError):
            outcome = self._get_ambiguous_outcome(call)
        else:
            outcome = self._get_refused_outcome(call)
        if call.row["is_repeat"] and outcome.state == "outgoing":
            # The message may still have arrived by the call before.
            outcome = outcome._replace(may_have_arrived=True)
        if outcome.state == "outgoing" and call.row["attempts"] - call.unmade >= MAX_CALLS:
            state, failure_type = ("unknown", "wechat_unknown") if outcome.may_have_arrived else EXHAUSTED
            outcome = outcome._replace(state=state, failure_type=failure_type, delay=None, is_exhausted=True)
        return outcome

    @api.model
    def _get_refused_outcome(self, call):
        """Return the outcome of a call that WeChat has refused."""
        error, row = call.error, call.row
        match error:
            case WechatAmbiguous():
                return self._get_ambiguous_outcome(call)
            case WechatRetry(errcode=None):
                return Outcome("outgoing", delay=self._get_delay(RETRY, RETRY_MAX, row), is_answered=False)
            case WechatRetry(errcode=43117):
                return Outcome("outgoing", delay=self._get_delay(TOO_OFTEN_RETRY, TOO_OFTEN_RETRY_MAX, row))
            case WechatRetry():
                return Outcome("outgoing", delay=self._get_delay(RETRY, RETRY_MAX, row))
            case WechatTokenStale():
                # Its replacement was refused too.
                return self._get_paused_outcome(PAUSE, row)
            case WechatPaused():
                return self._get_paused_outcome(PAUSES.get(error.errcode, LONG_PAUSE), row)
            case WechatRepeated(errcode=40241) if not row["is_repeat"]:
                return Outcome("outgoing", delay=self._add_jitter(DUPLICATE_RETRY))
            case WechatRepeated() | WechatUnderReview():
                return Outcome("sent", may_have_arrived=True)
            case WechatUnreachable():
                return self._get_unreachable_outcome(call)
            case WechatTemplateError() if error.errcode in OF_ONE_MESSAGE:
                return Outcome("failed", "wechat_value")
            case WechatTemplateError() if error.errcode in PERHAPS_GONE and row["attempts"] < LISTED_ATTEMPTS:
                delay = self._get_delay(LISTED_RETRY, LISTED_RETRY_MAX, row)
                return Outcome("outgoing", delay=delay, looks_up=True)
            case WechatTemplateError():
                return Outcome("outgoing", suspends="template")
            case WechatAccountError():
                return Outcome("outgoing", suspends="account")
            case WechatDataError():
                return Outcome("failed", "wechat_content")
            case WechatBug():
                return Outcome("failed", "wechat_request")
        if row["is_repeat"]:
            return Outcome("sent", may_have_arrived=True)
        return Outcome("failed", "wechat_refused")

    @api.model
    def _get_paused_outcome(self, pause, row):
        """Return the outcome of a call that met a pause of its account.

        The delay grows, so that the end of the next pause is tried with another message. An answer of WeChat
        reschedules all of them.
        """
        return Outcome("outgoing", delay=self._get_delay(pause, RETRY_MAX, row), pause=pause)

    @api.model
    def _get_ambiguous_outcome(self, call):
        """Return the outcome of a call that WeChat may have accepted.

        The message is repeated under its number while WeChat recognises the number; then its result is unknown.
        """
        row = call.row
        delay = self._get_delay(AMBIGUOUS_RETRY, AMBIGUOUS_RETRY_MAX, row)
        is_answered = isinstance(call.error, WechatError) and call.error.errcode is not None
        again_at = fields.Datetime.now() + timedelta(seconds=delay)
        if again_at >= row["first_call_at"] + timedelta(seconds=REPEAT_SECONDS):
            return Outcome("unknown", "wechat_unknown", may_have_arrived=True, is_answered=is_answered)
        return Outcome("outgoing", delay=delay, may_have_arrived=True, is_answered=is_answered)

    @api.model
    def _get_unreachable_outcome(self, call):
        """Return the outcome of a call to an unreachable recipient."""
        errcode, row = call.error.errcode, call.row
        if (
            errcode in NOT_FOLLOWING
            and row["former_errcode"] not in NOT_FOLLOWING
            and row["last_event_at"]
            and call.began_at <= row["last_event_at"] + timedelta(seconds=FOLLOWED_SECONDS)
        ):
            return Outcome("outgoing", delay=self._add_jitter(FOLLOWED_RETRY))
        mark = None
        if errcode in NOT_FOLLOWING or errcode in UNKNOWN_OPENID:
            mark = "unfollowed"
        elif errcode in REFUSING:
            mark = "blocked"
        return Outcome("failed", FAILURE_BY_CODE.get(errcode, "wechat_refused"), mark=mark)

    @api.model
    def _get_outcome_without_token(self, error):
        """Return the outcome of a call that was not made for lack of an access token."""
        if isinstance(error, WechatAccountError) and error.errcode is not None:
            return Outcome("outgoing", is_answered=None, suspends="account")
        pause = PAUSES.get(error.errcode, PAUSE) if isinstance(error, WechatPaused) else PAUSE
        return Outcome("outgoing", is_answered=None, pause=pause)

    @api.model
    def _get_delay(self, first, longest, row):
        """Return the seconds until the next attempt: four times as many after each attempt."""
        return self._add_jitter(min(first * 4 ** min(row["attempts"] - 1, 10), longest))

    @api.model
    def _add_jitter(self, seconds):
        return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  # nosec B311  # nothing to be guessed

    @api.model
    def _get_exhausted_term(self):
        """Return the reason of a message that has used up its calls, translated when it is read.

        :rtype: LazyGettext
        """
        return _lt(
            "WeChat was called for this message %s times and is not called for it again. Send it again once the "
            "reason is gone.",
            MAX_CALLS,
        )

    @api.model
    def _get_failure_message(self, account, error, card=None):
        """Return the meaning and the remedy of a failure, in words.

        :param wechat.account account: in the language of the reader.
        :param Exception error: the error of the call.
        :param dict card: the card of the message.
        :rtype: str
        """
        terms = self._get_failure_terms(account, error, card)
        return "\n".join(term if isinstance(term, str) else account.env._(term) for term in terms)

    @api.model
    def _get_failure_terms(self, account, error, card=None):
        """Return the lines of _get_failure_message as terms, see encode_terms.

        :rtype: list
        """
        if not isinstance(error, WechatError):
            return [f"{type(error).__name__}: {error}"]
        terms = account._get_error_terms(error)
        if error.errcode == VALUE_NOT_ALLOWED and (keyword := re.search(r"data\.(\w+)\.value", error.errmsg)):
            terms.insert(0, _lt("Keyword %s is not allowed.", keyword[1]))
        if error.errcode == LINK_TOO_LONG and (link := (card or {}).get("url")):
            # Without the query, which may hold an access token of a document.
            shown = link.partition("?")[0][:LINK_SHOWN]
            terms.insert(0, _lt("Link of %(length)s characters: %(link)s…", length=len(link), link=shown))
        return terms

    # === BUSINESS METHODS - RESULTS === #

    @api.model
    def _record_results(self, run, pool, calls):
        """Record call results and react to them, each step in a transaction of its own.

        :param SenderRun run: the run.
        :param CallPool pool: the threads.
        :param list[Call] calls: the calls that have ended.
        """
        sends = [(call, self._get_outcome(call)) for call in calls if isinstance(call, SendCall)]
        if sends:
            written = self._write_results(sends)
            run.done += len(written)
            run.unnotified |= written
            # The receipt of a repeated message may have arrived long ago.
            if late := [
                (call.account_id, call.answer["msgid"])
                for call, _outcome in sends
                if call.answer and call.answer["msgid"] and call.row["is_repeat"]
            ]:
                self._try_in_transaction(self.env["wechat.event"]._retry_receipts_now, late)
            self._react_to_results(run, pool, sends)
            failed = [call.key for call, outcome in sends if outcome.state == "failed" and call.key in written]
            if failed:
                self._try_in_transaction(self.browse(failed)._apply_fallback)
        for call in calls:
            if isinstance(call, LookUpCall):
                self._try_in_transaction(self._finish_look_up, call)
            elif not isinstance(call, SendCall):
                self._try_in_transaction(self._finish_confirmation, run, pool, call)

    @api.model
    def _write_results(self, sends):
        """Write results; one by one if one of them cannot be written.

        :param list sends: pairs of a call and its outcome.
        :return: the ids of the updated messages. A message with another lease belongs to another process.
        :rtype: set[int]
        """
        try:
            return self._run_in_transaction(self._store_results, sends)
        except (*CONCURRENCY_ERRORS, IntegrityError):
            if len(sends) == 1:
                # After the end of the lease, the call is repeated under the same number.
                _logger.exception("wechat.outbox: result not written message=%s", sends[0][0].key)
                return set()
            return set().union(*(self._write_results([send]) for send in sends))

    @api.model
    def _store_results(self, sends):
        """Update the messages of calls by one statement, and unpark the messages behind them.

        :param list sends: see _write_results.
        :rtype: set[int]
        """
        # pylint: disable-next=sql-injection  # the query is constant
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
               -- COALESCE keeps PostgreSQL from scanning the index of the messages that are being sent: it expects few
               -- entries, but the sent ones stay in the index until they are vacuumed.
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
            self._unpark_next(free)
        too_often = {
            call.row["partner_id"]: outcome.delay
            for call, outcome in sends
            if getattr(call.error, "errcode", None) == TOO_OFTEN and call.key in written
        }
        if too_often:
            self._postpone_merchants(list(too_often), max(too_often.values()))
        return written

    @api.model
    def _prepare_result(self, call, outcome):
        """Return the result of a call, in the order of the columns of _store_results.

        :rtype: tuple
        """
        error = call.error
        account = self.env["wechat.account"].browse(call.account_id)
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
    def _postpone_merchants(self, partner_ids, seconds):
        """Postpone all waiting messages of merchants that got too many."""
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
    def _react_to_results(self, run, pool, sends):
        """React to outcomes: pause and suspend accounts, suspend templates, check and mark recipients.

        :param SenderRun run: the run.
        :param CallPool pool: the threads.
        :param list sends: pairs of a call and its outcome.
        """
        pauses, suspensions, marks, ends = {}, {}, defaultdict(set), set()
        doubts = defaultdict(dict)
        for call, outcome in sends:
            account_id, template_id = call.account_id, call.template
            pace = run.paces[account_id]
            was_trying = pace.is_trying
            is_enough = pace.end(outcome.is_answered)
            if was_trying and not pace.is_trying and not outcome.pause:
                ends.add(account_id)
            if outcome.pause or is_enough:
                seconds = outcome.pause or PAUSE
                if seconds > pauses.get(account_id, (0, None))[0]:
                    pauses[account_id] = seconds, call.error
            if call.answer:
                run.wrong_values[template_id] = 0
            elif getattr(call.error, "errcode", None) in OF_ONE_MESSAGE:
                run.wrong_values[template_id] += 1
                if run.wrong_values[template_id] >= WRONG_VALUES_MAX and template_id:
                    suspensions["wechat.template", template_id] = call
            if outcome.suspends == "account":
                suspensions["wechat.account", account_id] = call
            elif outcome.suspends == "template" and template_id:
                suspensions["wechat.template", template_id] = call
            elif outcome.looks_up and template_id:
                doubts[account_id][template_id] = call.error
            if outcome.mark:
                marks[account_id, outcome.mark].add(call.row["openid"])
        for account_id in ends:
            self._try_in_transaction(self.env["wechat.account"].browse(account_id)._end_pause)
        for account_id, (seconds, error) in pauses.items():
            self._try_in_transaction(self._pause_account, account_id, seconds, error)
            run.paces[account_id].is_trying = True
            pool.hold(("account", account_id))
        for (model, record_id), call in suspensions.items():
            self._try_in_transaction(self._suspend, model, record_id, call.error, call.row["card"])
        # The threads return the calls that were submitted before; those that are submitted from now on are made.
        pool.resume({key for call, _outcome in sends for key in call.get_stopped()})
        for (account_id, mark), openids in marks.items():
            if mark == "blocked":
                self._try_in_transaction(self._mark_bindings, account_id, openids, mark)
            else:
                self._confirm_leavers(run, pool, account_id, sorted(openids))
        for account_id, refusals in doubts.items():
            self._look_up_templates(run, pool, account_id, refusals)

    @api.model
    def _pause_account(self, account_id, seconds, error):
        account = self.env["wechat.account"].browse(account_id)._with_manager_lang()
        account._pause_sending(seconds, self._get_failure_message(account, error), getattr(error, "errcode", None))
        _logger.warning("wechat.outbox: paused account=%s seconds=%s error=%s", account_id, seconds, error)

    @api.model
    def _suspend(self, model, record_id, error, card=None):
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
            account._suspend_sending(reason)
        else:
            record.with_env(account.env)._suspend(reason)

    # === BUSINESS METHODS - TEMPLATES === #

    @api.model
    def _look_up_templates(self, run, pool, account_id, refusals):
        """Check whether WeChat lists templates that it refused as unknown, each once a minute at most.

        :param dict refusals: WeChat's error, by template id.
        """
        if claimed := self._try_in_transaction(self.env["wechat.template"].browse(refusals)._claim_look_up):
            refusals = {template_id: refusals[template_id] for template_id in claimed}
            call = LookUpCall(tuple(claimed), account_id, "get_all_private_template", (), refusals=refusals)
            self._submit(pool, run.access, call)

    @api.model
    def _finish_look_up(self, call):
        """Suspend the templates that WeChat does not list. The messages of the others are repeated later.

        :param LookUpCall call: from _look_up_templates.
        """
        if call.answer is None:
            if call.error:
                _logger.warning(
                    "wechat.outbox: templates not looked up account=%s error=%s", call.account_id, call.error
                )
            return
        listed = {template.get("template_id") for template in call.answer}
        for template in self.env["wechat.template"].browse(call.key).exists():
            if template.template_uid in listed:
                _logger.warning("wechat.outbox: template refused, and listed by WeChat template=%s", template.id)
            else:
                self._suspend("wechat.template", template.id, call.refusals[template.id])

    # === BUSINESS METHODS - RECIPIENTS === #

    @api.model
    def _mark_bindings(self, account_id, openids, kind):
        """Mark the live bindings of these OpenIDs as unreachable."""
        self.env["wechat.binding"].search(
            [("account_id", "=", account_id), ("openid", "in", list(openids)), ("state", "=", "bound")]
        )._mark_unreachable(kind)

    @api.model
    def _confirm_leavers(self, run, pool, account_id, openids):
        """Ask WeChat whether these users have really unfollowed.

        :param list[str] openids: at most as many as one call of user/info/batchget takes.
        """
        if len(openids) == 1:
            call = Call(tuple(openids), account_id, "user_info", (openids[0],))
        else:
            call = Call(tuple(openids), account_id, "batchget_user_info", (openids,))
        self._submit(pool, run.access, call)

    @api.model
    def _finish_confirmation(self, run, pool, call):
        """Mark the users that have left, as WeChat has confirmed.

        :param Call call: from _confirm_leavers.
        """
        openids = call.key
        if getattr(call.error, "errcode", None) in UNKNOWN_OPENID:
            if len(openids) > 1:
                # One unknown OpenID fails the whole batch.
                for openid in openids:
                    self._confirm_leavers(run, pool, call.account_id, [openid])
                return
            self._mark_bindings(call.account_id, openids, "unfollowed")
        elif call.answer:
            infos = {openids[0]: call.answer} if call.method == "user_info" else call.answer
            gone = [openid for openid, info in infos.items() if not info["subscribe"]]
            if gone:
                self._mark_bindings(call.account_id, gone, "unfollowed")
        elif call.error:
            _logger.warning("wechat.bindings: leavers not confirmed account=%s error=%s", call.account_id, call.error)

    # === BUSINESS METHODS - RECEIPTS === #

    @api.model
    def _apply_receipts(self, receipts):
        """Update the messages of receipts, in any order and number of receipts. Delivered is final.

        :param wechat.event receipts: claimed by this transaction.
        :return: the messages with a new state.
        :rtype: wechat.message
        """
        if not receipts:
            return self.browse()
        self._adopt_receipts(receipts)
        statuses = {status or "" for status in receipts.mapped("receipt_status")}
        outcomes = [self._get_receipt_outcome(status) for status in statuses]
        # Conflicts are not logged: the caller repeats the transaction.
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
        # The messages behind them may be sent now.
        if partner_ids := [partner_id for _id, partner_id, former in rows if partner_id and former in WAITING]:
            self._unpark_next(partner_ids)
        return self.browse([message_id for message_id, _partner_id, _former in rows])

    @api.model
    def _adopt_receipts(self, receipts):
        """Give the number of a receipt without a message to the only message that the receipt can be for.

        This is the only message of its account and OpenID that was called for before the receipt came, may have been
        sent, and has no number: its process died before it stored WeChat's answer, or never got one. While a message
        has a valid lease, the receipt waits for its result.

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
        """Return the outcome of a receipt.

        :param str status: verbatim; empty if the receipt has none.
        :return: the status; state, failure type and failure reason of the message.
        :rtype: tuple[str, str, str | None, str | None]
        """
        normal = "".join(status.lower().split())
        if normal == SUCCESS:
            return status, "delivered", None, None
        failure_type = FAILURES.get(normal, "wechat_receipt")
        reason = encode_terms(RECEIPT_REASONS[failure_type], _lt("Receipt: %s", status or "-"))
        return status, "failed", failure_type, reason

    def _follow_up_receipts(self):
        """React to the receipts of these messages, each step in a transaction of its own."""
        if not self:
            return
        blocked = self.filtered(lambda message: message.failure_type == "wechat_blocked")
        self._try_in_transaction(self._sync_notifications)
        self._try_in_transaction(self._mark_recipients)
        if blocked:
            self._try_in_transaction(blocked._apply_fallback)

    def _mark_recipients(self):
        """Mark the bindings of these messages as reachable or not, by the last message of each."""
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
            # The call is older than the last change.
            if key in blocked and not (binding.last_event_at and began and began < binding.last_event_at):
                binding._mark_unreachable("blocked")
            elif key in delivered and began and began > binding.blocked_at:
                binding._mark_reachable()

    # === BUSINESS METHODS - UNKNOWN RESULTS === #

    def _find_evidence(self):
        """Return the evidence of the inbox about each of these messages.

        :return: the message's id, whether pushes arrived after its call, whether a receipt may be its own.
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

    def _get_evidence_words(self, is_receiving, is_orphan):
        """Return the evidence for and against that the message was sent, in words.

        :param bool is_receiving: whether pushes arrived within half an hour after the first call.
        :param bool is_orphan: whether the inbox has a receipt for the merchant that fits no message.
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
                self.env._("There is a receipt for this merchant that fits no message: it may belong to this message.")
            )
        return words

    @api.model
    def _mark_unsent(self):
        """Mark unknown messages as probably not sent where the inbox shows it.

        The webhook received receipts of later messages, so it was working, and within half an hour it received none
        that could be the message's own.
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

    # === BUSINESS METHODS - CLEANUP === #

    @api.model
    def _cleanup(self, buckets):
        """Clean up messages that no claim finds: expired leases and messages, orphaned parking, stale notifications.

        :param list[int] buckets: of the sender.
        """
        for step in (self._cleanup_leases, self._cleanup_expired, self._cleanup_parked):
            self._try_in_transaction(step, buckets)
        self._try_in_transaction(self._sync_due_notifications)

    @api.model
    def _cleanup_leases(self, buckets):
        """Reclaim messages with an expired lease: their process was killed, perhaps in the middle of a call."""
        self._run_cleanup_query(
            SQL(
                """
                UPDATE wechat_message
                   SET state = CASE WHEN first_call_at > %(now)s - %(repeat)s * interval '1 second'
                                    THEN 'outgoing' ELSE 'unknown' END,
                       failure_type = CASE WHEN first_call_at > %(now)s - %(repeat)s * interval '1 second'
                                           THEN failure_type ELSE 'wechat_unknown' END,
                       priority = LEAST(priority, %(priority)s),
                       next_attempt_at = %(now)s,
                       lease_until = NULL,
                       write_date = %(now)s
                 WHERE id IN (
                     SELECT id
                       FROM wechat_message
                      WHERE state = 'sending' AND lease_until <= %(now)s AND %(bucket)s = ANY(%(buckets)s)
                      LIMIT %(limit)s
                        FOR UPDATE SKIP LOCKED
                 )
             RETURNING id, partner_id, state
                """,
                now=NOW,
                repeat=REPEAT_SECONDS,
                priority=PRIORITY_REPEAT,
                bucket=BUCKET,
                buckets=buckets,
                limit=CLEANUP_ROWS,
            )
        )

    @api.model
    def _cleanup_expired(self, buckets):
        """Cancel expired messages, also those of suspended accounts and templates."""
        self._run_cleanup_query(
            SQL(
                """
                UPDATE wechat_message
                   SET state = CASE WHEN first_call_at IS NULL THEN 'canceled' ELSE 'unknown' END,
                       failure_type = CASE WHEN first_call_at IS NULL THEN 'wechat_expired' ELSE 'wechat_unknown' END,
                       is_parked = FALSE,
                       write_date = %(now)s
                 WHERE id IN (
                     SELECT id
                       FROM wechat_message
                      WHERE state = 'outgoing' AND valid_until <= %(now)s AND %(bucket)s = ANY(%(buckets)s)
                      LIMIT %(limit)s
                        FOR UPDATE SKIP LOCKED
                 )
             RETURNING id, partner_id, state
                """,
                now=NOW,
                bucket=BUCKET,
                buckets=buckets,
                limit=CLEANUP_ROWS,
            )
        )

    def _run_cleanup_query(self, query):
        """Run an update of a cleanup, and unpark the messages behind the updated ones."""
        self.env.cr.execute(query)
        rows = self.env.cr.dictfetchall()
        if rows:
            self.invalidate_model(flush=False)
            self._unpark_next([row["partner_id"] for row in rows if row["partner_id"]])
            messages = self.browse([row["id"] for row in rows])
            messages._sync_notifications()
            messages._apply_fallback()

    @api.model
    def _cleanup_parked(self, buckets):
        """Unpark the first parked message of each merchant, in case the message before it is gone."""
        self.env.cr.execute(
            SQL(
                """
                UPDATE wechat_message
                   SET is_parked = FALSE
                 WHERE id IN (
                     SELECT DISTINCT ON (message.partner_id) message.id
                       FROM wechat_message AS message
                  LEFT JOIN wechat_template AS template ON template.id = message.template_id
                      WHERE message.state = 'outgoing'
                        AND message.is_parked
                        AND %(bucket)s = ANY(%(buckets)s)
                        AND template.stop_reason IS NULL
                   ORDER BY message.partner_id, message.priority, message.id
                 )
                """,
                bucket=SQL("(COALESCE(message.partner_id, 0) %% %s)", SQL(str(BUCKETS))),
                buckets=buckets,
            )
        )

    # === BUSINESS METHODS - FALLBACK === #

    def _apply_fallback(self):
        """Schedule the fallback of these messages by e-mail or SMS, where the template has one, each once.

        A scheduled action sends it, at once or at the time for which the message was scheduled.
        """
        fallen = self.filtered(lambda message: message._get_fallback() and not message.fallback_due_at)
        if not fallen:
            return
        now = fields.Datetime.now()
        for next_attempt_at, messages in fallen.grouped("next_attempt_at").items():
            messages.fallback_due_at = max(next_attempt_at, now)
        self.env.ref("wechat_merchant_bind.ir_cron_apply_fallbacks")._trigger_list(
            set(fallen.mapped("fallback_due_at"))
        )

    @api.model
    def _cron_apply_fallbacks(self):
        """Send the due fallbacks by e-mail or SMS."""
        due = [("fallback_due_at", "<=", fields.Datetime.now())]
        remaining = self.search_count(due)
        while messages := self.search(due, order="fallback_due_at, id", limit=FALLBACK_BATCH):
            messages._send_fallbacks()
            remaining -= len(messages)
            if not self.env["ir.cron"]._commit_progress(len(messages), remaining=max(remaining, 0)):
                break

    def _send_fallbacks(self):
        """Send these messages by e-mail or SMS.

        Odoo has one notification for a message and a partner: the new one replaces WeChat's. A recipient without
        address and number keeps WeChat's, which says why nothing arrived.
        """
        self.fallback_due_at = False
        fallen = self.filtered(lambda message: message._get_fallback())
        recipients_data = self.env["mail.followers"]._get_recipient_data(
            self.env["mail.thread"], "user_notification", False, fallen.partner_id.ids
        )
        # An SMS holds each recipient's own card; an e-mail holds the message of the chatter.
        for (mail_message, fallback, _body), messages in fallen.grouped(
            lambda message: (
                message.mail_message_id,
                message._get_fallback(),
                message.body if message._get_fallback() == "sms" else None,
            )
        ).items():
            record = self.env[mail_message.model].browse(mail_message.res_id).exists()
            if not record:
                continue
            data = [{**recipients_data[0][partner.id], "notif": fallback} for partner in messages.partner_id]
            try:
                with self.env.cr.savepoint():
                    messages._notify_by_fallback(record, fallback, data)
            except CONCURRENCY_ERRORS:
                # Odoo repeats the scheduled action.
                raise
            except Exception:  # pylint: disable=broad-except  # another addon's failure must not stop the others
                _logger.exception("wechat.notices: fallback failed messages=%s by=%s", messages.ids, fallback)

    def _notify_by_fallback(self, record, fallback, recipients_data):
        """Notify the recipients of one Odoo message by e-mail or SMS.

        :param mail.thread record: the document.
        :param str fallback: email or sms.
        :param list[dict] recipients_data: see Odoo's _notify_get_recipients.
        """
        mail_message = self.mail_message_id
        self.notification_id.unlink()
        self.fallback = fallback
        if fallback == "email":
            record._notify_thread_by_email(mail_message, recipients_data, force_send=False)
        else:
            record._notify_thread_by_sms(mail_message, recipients_data, sms_content=self[0].body, put_in_queue=True)
        mail_message._notify_message_notification_update()

    def _get_fallback(self):
        """Return the fallback that applies to this message (email or sms), or False.

        :rtype: str | bool
        """
        self.ensure_one()
        if self.fallback or self.failure_type in WITHOUT_FALLBACK or self.state not in ("failed", "canceled"):
            return False
        fallback = self.template_id.fallback
        address = {"email": self.partner_id.email_normalized, "sms": self.partner_id.phone}
        return bool(address.get(fallback) and self.mail_message_id) and fallback

    # === BUSINESS METHODS - NOTIFICATIONS === #

    def _sync_notifications(self):
        """Update the notifications of these messages, and the web clients of their authors.

        Of several messages of one notification, a delivered one counts, else the newest: the others were sent again.
        The caller commits the messages before, and calls this in a transaction of its own.

        Web clients are not notified that many mass messages were sent and delivered as expected: ten thousand bus
        notifications would cost more than the sending. The document shows the states when it is opened.
        """
        if not self:
            return
        self.flush_model(["state", "failure_type", "notification_id", "notified_state"])
        self.env["mail.notification"].flush_model()
        # Conflicts are not logged: the caller repeats the transaction.
        self.env.cr.execute(
            SQL(
                """
                WITH told AS (
                    UPDATE wechat_message
                       SET notified_state = state
                     WHERE id IN %(ids)s AND notified_state IS DISTINCT FROM state
                ), decisive AS (
                    SELECT DISTINCT ON (notification_id)
                           notification_id,
                           -- A message that was not canceled by a user has failed, except for a disabled merchant.
                           CASE WHEN state = 'canceled' AND failure_type != 'wechat_disabled' THEN 'exception'
                                ELSE (%(statuses)s::jsonb) ->> state END AS status,
                           CASE WHEN state IN ('failed', 'unknown', 'canceled') THEN failure_type END AS failure_type,
                           kind = 'mass' AND resent_from_id IS NULL AND state IN ('sent', 'delivered') AS is_expected
                      FROM wechat_message
                     WHERE notification_id IN (SELECT notification_id FROM wechat_message WHERE id IN %(ids)s)
                     ORDER BY notification_id, (state = 'delivered') DESC, id DESC
                )
                UPDATE mail_notification AS notification
                   SET notification_status = decisive.status,
                       failure_type = decisive.failure_type
                  FROM decisive
                  JOIN mail_notification AS former ON former.id = decisive.notification_id
                 WHERE notification.id = decisive.notification_id
                   AND notification.notification_type = 'wechat'
                   AND (notification.notification_status, notification.failure_type)
                       IS DISTINCT FROM (decisive.status, decisive.failure_type)
             RETURNING notification.id,
                       notification.mail_message_id,
                       NOT is_expected OR former.notification_status IN ('exception', 'canceled') AS is_news
                """,
                ids=tuple(self.ids),
                statuses=json.dumps(NOTIFICATION_STATUS),
            ),
            log_exceptions=False,
        )
        rows = self.env.cr.fetchall()
        self.invalidate_recordset(["notified_state"])
        notifications = self.env["mail.notification"].browse([row[0] for row in rows])
        notifications.invalidate_recordset(["notification_status", "failure_type"])
        is_few = len(rows) <= LIVE_AT_MOST
        news = {message_id for _notification_id, message_id, is_news in rows if is_few or is_news}
        self.env["mail.message"].browse(sorted(news))._notify_message_notification_update()

    @api.model
    def _sync_due_notifications(self):
        """Update outdated notifications, such as those of a process that was killed.

        :return: whether more may be outdated.
        :rtype: bool
        """
        self.flush_model(["state", "notification_id", "notified_state"])
        rows = self.env.execute_query(
            SQL(
                """
                SELECT id
                  FROM wechat_message
                 WHERE notification_id IS NOT NULL AND state != 'sending' AND notified_state IS DISTINCT FROM state
                 ORDER BY id
                 LIMIT %s
                """,
                SYNC_BATCH,
            )
        )
        self.browse([message_id for [message_id] in rows])._sync_notifications()
        return len(rows) == SYNC_BATCH

    # === BUSINESS METHODS - VACUUM === #

    @api.autovacuum
    def _gc_messages(self):
        """Delete the messages at the end of their retention.

        :return: the number of deleted messages, and whether more may remain.
        :rtype: tuple[int, bool]
        """
        done, remaining = 0, False
        # pylint: disable-next=no-search-all  # an installation has a handful of accounts
        accounts = self.env["wechat.account"].with_context(active_test=False).search([])
        for account_id, days in [(False, RETENTION_DAYS), *((a.id, a.message_retention_days) for a in accounts)]:
            before = fields.Datetime.subtract(fields.Datetime.now(), days=days)
            messages = self.search(
                Domain("account_id", "=", account_id)
                & Domain("state", "in", ENDED)
                & Domain("create_date", "<", before),
                limit=VACUUM_BATCH,
                order="id",
            )
            messages.unlink()
            done += len(messages)
            remaining |= len(messages) == VACUUM_BATCH
        return done, remaining
