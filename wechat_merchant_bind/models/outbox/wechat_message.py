import logging
import uuid
from collections import defaultdict
from datetime import timedelta

from odoo import api, fields, models
from odoo.exceptions import AccessError, UserError
from odoo.fields import Domain
from odoo.tools import LazyTranslate

from ...tools.send_policy import MAX_CALLS, REPEAT_SECONDS, TOO_OFTEN
from ...tools.wechat_errors import get_receipt
from ..audit.term_text import TermText, encode_terms
from ..const import CONCURRENCY_ERRORS, FAILURE_TYPES, GROUP_USER, KINDS, RETENTION_DAYS, STATES
from .sender import Sender
from .wechat_event import KEEP_DAYS

_logger = logging.getLogger(__name__)
_lt = LazyTranslate(__name__)

# --- states ---

# By state, the states that may follow it. A waiting message that WeChat may have taken by an earlier call also ends as
# unknown, or by its receipt.
TRANSITIONS = {
    "outgoing": ("sending", "canceled", "unknown", "delivered", "failed"),
    "sending": ("outgoing", "sent", "failed", "unknown", "delivered"),
    "sent": ("delivered", "failed"),
    "unknown": ("delivered", "failed"),
    "failed": ("delivered",),
    "delivered": (),
    "canceled": (),
}
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
# States of messages that may have been sent without a receipt.
UNCONFIRMED = ("outgoing", "sending", "sent", "unknown")
PROBLEMS = ("failed", "unknown", "canceled")
# States that the vacuum deletes. Waiting messages stay, and so do unknown ones, which need a decision.
ENDED = ("sent", "delivered", "failed", "canceled")

# --- queue ---

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
SENDER = "wechat_merchant_bind.ir_cron_send_1"

# --- fallback and batches ---

# Failure types without a fallback: canceled by a user (False), a disabled merchant.
WITHOUT_FALLBACK = (False, "wechat_disabled")
# Messages of one transaction that sends fallbacks, that closes what is overdue, that deletes.
FALLBACK_BATCH = 50
CLOSE_BATCH = 500
VACUUM_BATCH = 10000


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
    res_model = fields.Char("Document Model", readonly=True)
    res_id = fields.Many2oneReference("Document", model_field="res_model", readonly=True, aggregator=False)
    resent_from_id = fields.Many2one(
        "wechat.message", "Sent Again from", readonly=True, ondelete="set null", index="btree_not_null"
    )
    resent_ids = fields.One2many("wechat.message", "resent_from_id", "Sent Again as")

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
    # For the claim: the due messages of an account, and those before them of the same merchant.
    _due_idx = models.Index("(account_id, priority, next_attempt_at, id) WHERE state = 'outgoing'")
    _merchant_idx = models.Index("(partner_id, priority, id) WHERE state IN ('outgoing', 'sending')")
    # For the limit of messages a merchant a day.
    _called_idx = models.Index("(partner_id, first_call_at) WHERE first_call_at IS NOT NULL")
    _valid_until_idx = models.Index("(valid_until) WHERE state = 'outgoing'")
    _lease_idx = models.Index("(lease_until) WHERE state = 'sending'")
    _awaiting_receipt_idx = models.Index("(account_id, sent_at) WHERE state = 'sent'")
    _unconfirmed_idx = models.Index(
        f"(account_id, openid) WHERE msgid IS NULL AND first_call_at IS NOT NULL AND state IN {UNCONFIRMED}"
    )
    _unknown_idx = models.Index("(account_id, first_call_at) WHERE state = 'unknown'")

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

    # === ACTION METHODS === #

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
            lambda message: message.state in PROBLEMS and message.partner_id and message.card and not message.resent_ids
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

    # === BUSINESS METHODS - QUEUE === #

    @api.model
    def _queue(self, vals_list):
        """Create messages in the outbox and trigger the sender. All messages are created here.

        :param list[dict] vals_list: partner_id, template_id, card, body; optionally kind, priority, next_attempt_at
            (to send later), valid_until, mail_message_id, notification_id, res_model, res_id, user_id,
            resent_from_id; state, failure_type and failure_reason of a message that must not be sent. The other values
            come from the merchant, the template and the document.
        :return: the messages, in the same order; a merchant that WeChat does not reach gets a failed one.
        :rtype: wechat.message
        """
        # sudo: res.partner, wechat.template - the caller has chosen recipient and template
        partners, templates = self.env["res.partner"].sudo(), self.env["wechat.template"].sudo()
        pairs = [
            (partners.browse(vals["partner_id"] or ()), templates.browse(vals.get("template_id") or ()))
            for vals in vals_list
        ]
        bindings = partners.union(*(partner for partner, _template in pairs))._wechat_get_live_bindings()
        accounts = {binding.partner_id: binding.account_id for binding in bindings}
        obstacles = self._get_obstacles(pairs)
        companies = self._get_document_companies(vals_list)
        # sudo: wechat.message - users have no write access
        messages_sudo = self.sudo().create(
            [
                self._prepare_queued_values(
                    # Without a binding the template's account counts: its statistics and its managers see the message.
                    {"account_id": accounts.get(pair[0], pair[1].account_id).id, **vals},
                    *pair,
                    obstacles.get(pair),
                    companies.get((vals.get("res_model"), vals.get("res_id"))),
                )
                for pair, vals in zip(pairs, vals_list, strict=True)
            ]
        )
        self.env["wechat.account"]._remember_database()
        if any(message.state == "outgoing" for message in messages_sudo):
            self._trigger_sender()
        messages_sudo._apply_fallback()
        return messages_sudo.sudo(False)

    @api.model
    def _prepare_queued_values(self, vals, partner, template, obstacle, company):
        """Return the values of a new message.

        :param dict vals: see _queue.
        :param res.partner partner: the recipient; may be empty.
        :param wechat.template template: may be empty.
        :param tuple | None obstacle: see _get_obstacles.
        :param res.company company: of the document, if it has one.
        :rtype: dict
        """
        kind = vals.get("kind") or "notice"
        next_attempt_at = fields.Datetime.to_datetime(vals.get("next_attempt_at")) or fields.Datetime.now()
        account = self.env["wechat.account"].sudo().browse(vals["account_id"])
        values = {
            "partner_name": partner.display_name,
            "user_id": self.env.uid,
            "company_id": (company or account.company_id or partner.company_id).id,
            "template_name": template.name,
            "template_uid": template.template_uid,
            "kind": kind,
            "priority": PRIORITIES[kind],
            "valid_until": next_attempt_at + timedelta(hours=template.valid_hours or VALID_HOURS),
            **vals,
            "next_attempt_at": next_attempt_at,
        }
        if obstacle and values.get("state", "outgoing") == "outgoing":
            failure_type, term = obstacle
            values |= {"state": "failed", "failure_type": failure_type, "failure_reason": encode_terms(term)}
        return values

    @api.model
    def _get_document_companies(self, vals_list):
        """Return the companies of documents, so that their users see the messages about them.

        :param list[dict] vals_list: see _queue.
        :return: by model and id, for documents with a company.
        :rtype: dict[tuple[str, int], res.company]
        """
        ids = defaultdict(set)
        for vals in vals_list:
            ids[vals.get("res_model")].add(vals.get("res_id"))
        return {
            (model, document.id): document.company_id
            for model, res_ids in ids.items()
            if model in self.env and "company_id" in self.env[model]._fields
            # sudo: only the company is read
            for document in self.env[model].sudo().browse(res_ids).exists()
        }

    @api.model
    def _get_obstacles(self, pairs):
        """Return why messages can't be sent: when they are queued, sent again, and about to be sent.

        :param list[tuple] pairs: recipient and template, sudoed; each may be empty.
        :return: failure type and reason by pair, for the pairs with an obstacle.
        :rtype: dict[tuple, tuple[str, LazyGettext]]
        """
        groups = defaultdict(self.env["res.partner"].sudo().browse)
        for partner, template in pairs:
            groups[template] |= partner
        reachability = {
            template: partners._wechat_get_reachability(template.account_id) for template, partners in groups.items()
        }
        obstacles = {}
        for partner, template in set(pairs):
            if term := template._get_obstacle():
                obstacles[partner, template] = "wechat_template", term
            elif not partner:
                term = _lt("The document names no merchant who could be notified.")
                obstacles[partner, template] = "wechat_recipient", term
            elif failure_type := reachability[template][partner.id]:
                obstacles[partner, template] = failure_type, partner._wechat_get_obstacle_term(failure_type)
        return obstacles

    @api.model
    def _trigger_sender(self):
        """Run the scheduled action that sends, at once."""
        if cron := self._get_sender():
            cron._trigger()

    @api.model
    def _get_sender(self):
        """Return the scheduled action that sends; empty if it was deleted."""
        # sudo: ir.cron - a user that queues a message triggers the sender
        return self.env.ref(SENDER, raise_if_not_found=False) or self.env["ir.cron"].sudo()

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
        # sudo: wechat.message - users have no write access; the caller was allowed to send
        messages_sudo = self._queue(
            [
                {
                    **self._prepare_notice(template, message, card, partner),
                    **({"next_attempt_at": scheduled_at} if scheduled_at else {}),
                    "kind": kind,
                }
                for message, card, recipients in notices
                # A record without a recipient fails visibly.
                for partner in recipients or [recipients]
            ]
        ).sudo()
        # sudo: mail.notification - as in Odoo's own notify methods
        notifications_sudo = (
            self.env["mail.notification"].sudo().create([message._prepare_notification() for message in messages_sudo])
        )
        for message, notification in zip(messages_sudo, notifications_sudo, strict=True):
            message.notification_id = notification
        return messages_sudo

    @api.model
    def _prepare_notice(self, template, message, card, partner):
        """Return the values of one message of the outbox."""
        values = {
            "partner_id": partner.id,
            "template_id": template.id,
            "card": card.card,
            "body": card.body,
            "mail_message_id": message.id,
            "res_model": message.model,
            "res_id": message.res_id,
        }
        if card.errors:
            reason = encode_terms(*card.errors)
            values |= {"state": "failed", "failure_type": card.failure_type, "failure_reason": reason}
        return values

    def _prepare_notification(self):
        """Return the values of the notification of a message."""
        return {
            "author_id": self.mail_message_id.author_id.id,
            "mail_message_id": self.mail_message_id.id,
            "res_partner_id": self.partner_id.id,
            "notification_type": "wechat",
            **self._get_notification_status(),
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
        cards, refusals, groups = {}, {}, defaultdict(self.browse)
        obstacles = self._get_obstacles([(message.partner_id, message.template_id) for message in self])
        for message in self:
            _failure_type, term = obstacles.get((message.partner_id, message.template_id), (None, None))
            if term:
                refusals[message.id] = env._(term)
            elif message.res_model:
                groups[message.template_id, message.res_model] += message
            elif message.failure_type == "wechat_value":
                refusals[message.id] = env._("WeChat would refuse this card.\n%s", message.failure_reason or "")
            else:
                cards[message.id] = None
        for (template, model), messages in groups.items():
            left = env[model].browse(set(messages.mapped("res_id"))).exists() if model in env else messages.browse()
            recipients = {res_id: same.partner_id for res_id, same in messages.grouped("res_id").items()}
            rendered = template._prepare_notices(left._filtered_access("read"), recipients) if left else {}
            for message in messages:
                notices = rendered.get(message.res_id, ())
                card = next((card for card, partners in notices if message.partner_id in partners), None)
                if card and not card.errors:
                    cards[message.id] = card
                elif card:
                    refusals[message.id] = env._("WeChat would refuse this card.\n%s", "\n".join(card.errors))
                elif message.res_id in left.ids:
                    refusals[message.id] = env._("You may not read the document that the message is about.")
                else:
                    refusals[message.id] = env._("The document was deleted: there is nothing left to tell.")
        return cards, refusals

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

    # === BUSINESS METHODS - STATES === #

    @api.model
    def _change_states(self, changes):
        """Move messages to other states. No other method writes a state.

        Their notifications follow, and a message that WeChat has not taken gets the template's fallback. The messages
        behind them need nothing: the next claim finds them.

        :param dict changes: the values to write, with the state, by message.
        :raise ValueError: if a state can't follow the present one, see TRANSITIONS.
        """
        for message, values in changes.items():
            if values["state"] not in TRANSITIONS[message.state]:
                raise ValueError(f"wechat.message {message.id}: {values['state']} can't follow {message.state}")
            message.write({"lease_until": False, **values})
        messages = self.concat(*changes)
        messages._sync_notifications()
        messages._apply_fallback()

    @api.model
    def _cancel_waiting(self, domain, failure_type, *terms):
        """Cancel waiting messages.

        :param domain: the messages.
        :param str failure_type: the reason.
        :param terms: details in words.
        """
        # sudo: wechat.message - a binding or template ends its waiting messages, also for users without write access
        self.sudo().search(Domain(domain) & Domain("state", "=", "outgoing"))._cancel(failure_type, *terms)

    def _cancel(self, failure_type, *terms):
        """Cancel the waiting ones of these messages. A message that may have arrived becomes unknown instead.

        :param failure_type: the reason; False if a user cancels.
        :param terms: details in words.
        """
        waiting = self.try_lock_for_update().filtered(lambda message: message.state == "outgoing")
        self._change_states({message: message._prepare_end(failure_type, *terms) for message in waiting})

    def _prepare_end(self, failure_type, *terms):
        """Return the values that end a waiting message without a further call.

        :param failure_type: the reason; False if a user cancels.
        :param terms: details in words.
        :rtype: dict
        """
        self.ensure_one()
        if self.first_call_at:
            reason = encode_terms(*terms, self._get_unknown_term())
            return {"state": "unknown", "failure_type": "wechat_unknown", "failure_reason": reason}
        reason = {"failure_reason": encode_terms(*terms)} if terms else {}
        return {"state": "canceled", "failure_type": failure_type, **reason}

    @api.model
    def _get_unknown_term(self):
        """Return what is known of a message with an unknown result."""
        return _lt("WeChat may have sent it; no receipt has come. Ask the merchant before you send it again.")

    @api.model
    def _get_exhausted_term(self):
        """Return the reason of a message that has used up its calls."""
        return _lt(
            "WeChat was called for this message %s times and is not called for it again. Send it again once the "
            "reason is gone.",
            MAX_CALLS,
        )

    @api.model
    def _retry_now(self, domain):
        """Make waiting messages due that WeChat has refused, or that waited for their recipient to follow again.

        Scheduled messages keep their time, and merchants that were sent too many messages their rest.

        :param domain: the messages.
        """
        # sudo: wechat.message - as in _cancel_waiting
        self.sudo().search(
            Domain(domain)
            & Domain("state", "=", "outgoing")
            & Domain("next_attempt_at", ">", fields.Datetime.now())
            & (Domain("attempts", ">", 0) | Domain("failure_type", "=", "wechat_unfollowed"))
            & Domain("errcode", "!=", TOO_OFTEN)
        ).next_attempt_at = fields.Datetime.now()
        self._trigger_sender()

    def _erase_content(self):
        """Erase the content and the OpenIDs of these messages."""
        self.write({"openid": False, "card": False, "body": False})

    # === BUSINESS METHODS - SENDING === #

    @api.model
    def _cron_send(self):
        """Send the due messages of all accounts."""
        if not self.env["wechat.account"]._is_database_confirmed():
            self.search([("state", "=", "outgoing")], limit=1).account_id._ask_for_confirmation()
            return
        self._run_in_transaction(self._close_overdue)
        has_more = Sender(self.env).run()
        self.env["ir.cron"]._commit_progress(remaining=0)
        if has_more:
            # Not reported as remaining work: the scheduler would run this again before the other scheduled actions.
            self._trigger_sender()

    @api.model
    def _close_overdue(self):
        """Close or queue again the messages of killed processes, and cancel the expired ones.

        A process may have been killed in the middle of a call: WeChat may have taken the message. Expired messages of
        suspended accounts and templates are never claimed.
        """
        now = fields.Datetime.now()
        killed = self.search([("state", "=", "sending"), ("lease_until", "<=", now)], limit=CLOSE_BATCH)
        changes = {}
        for message in killed.try_lock_for_update():
            if message.first_call_at and message.first_call_at > now - timedelta(seconds=REPEAT_SECONDS):
                priority = min(message.priority, PRIORITY_REPEAT)
                changes[message] = {"state": "outgoing", "priority": priority, "next_attempt_at": now}
            else:
                changes[message] = message._prepare_end("wechat_unknown")
        self._change_states(changes)
        expired = self.search([("state", "=", "outgoing"), ("valid_until", "<=", now)], limit=CLOSE_BATCH)
        expired._cancel("wechat_expired")

    def _prepare_payload(self):
        """Return the body of the call that sends a claimed message."""
        self.ensure_one()
        card = self.card or {}
        return {
            "touser": self.openid,
            "template_id": self.template_uid,
            "data": card.get("data") or {},
            "client_msg_id": self.client_msg_id,
            **{name: card[name] for name in ("url", "miniprogram") if card.get(name)},
        }

    def _prepare_result(self, call, verdict):
        """Return the values that the result of a call gives to its message.

        :param SendCall call: the call.
        :param Verdict | None verdict: None if the call was not made: the message is as it was before the claim.
        :rtype: dict
        """
        self.ensure_one()
        if not verdict:
            first_call_at = call.is_repeat and self.first_call_at
            return {"state": "outgoing", "attempts": self.attempts - 1, "first_call_at": first_call_at}
        error, now = call.error, fields.Datetime.now()
        terms = self.account_id._get_failure_terms(error, self.card) if error else []
        if verdict.is_exhausted:
            terms.append(self._get_exhausted_term())
        values = {
            "state": verdict.state,
            "failure_type": verdict.failure_type,
            "failure_reason": bool(terms) and encode_terms(*terms),
            **{name: getattr(error, name, False) for name in ("errcode", "errmsg", "rid")},
        }
        if verdict.state == "sent":
            values |= {"sent_at": now, "msgid": (call.answer and call.answer["msgid"]) or self.msgid}
        elif verdict.state == "unknown":
            values["failure_reason"] = encode_terms(*terms, self._get_unknown_term())
        elif verdict.state == "outgoing":
            values["next_attempt_at"] = now + timedelta(seconds=verdict.delay)
            if verdict.may_have_arrived:
                values["priority"] = min(self.priority, PRIORITY_REPEAT)
            else:
                values["first_call_at"] = False
        return values

    def _get_deleted_documents(self):
        """Return those of these messages with a document that was deleted."""
        deleted = self.browse()
        for model, messages in self.filtered("res_model").grouped("res_model").items():
            left = set(self.env[model].browse(messages.mapped("res_id")).exists().ids) if model in self.env else ()
            deleted |= messages.filtered(lambda message, left=left: message.res_id not in left)
        return deleted

    @api.model
    def _count_called(self, partners, since):
        """Return how many messages WeChat was called for, by merchant, for the daily limit.

        :param res.partner partners: the merchants.
        :param datetime since: the start of the day, in UTC.
        :rtype: dict[res.partner, int]
        """
        domain = [("partner_id", "in", partners.ids), ("first_call_at", ">=", since), ("state", "!=", "failed")]
        return dict(self._read_group(domain, ["partner_id"], ["__count"]))

    @api.model
    def _postpone_merchants(self, partners, until):
        """Postpone all waiting messages of merchants that got too many.

        :param datetime until: in UTC.
        """
        self.search(
            Domain("partner_id", "in", partners.ids)
            & Domain("state", "=", "outgoing")
            & Domain("next_attempt_at", "<", until)
        ).next_attempt_at = until

    # === BUSINESS METHODS - RECEIPTS === #

    @api.model
    def _apply_receipts(self, receipts):
        """Update the messages of receipts, in any order and number of receipts. Delivered is final.

        :param wechat.event receipts: claimed by this transaction, in their order.
        :return: the receipts with a known message, and the messages with a new state.
        :rtype: tuple[wechat.event, wechat.message]
        """
        matches = self._match_receipts(receipts)
        self.union(*matches.values()).lock_for_update()
        changes = {}
        for receipt, message in matches.items():
            values = self._get_receipt_values(receipt)
            state = changes[message]["state"] if message in changes else message.state
            if values["state"] in TRANSITIONS[state]:
                changes[message] = {**values, "sent_at": message.sent_at or receipt.create_date}
        self._change_states(changes)
        return receipts.browse([receipt.id for receipt in matches]), self.concat(*changes)

    @api.model
    def _match_receipts(self, receipts):
        """Return the messages of receipts, by account, number and OpenID.

        A receipt without a message is adopted by the only message that it can be for: the only one of its account and
        OpenID that was called for in the days before, may have been sent, and has no number, because its process died
        before it stored WeChat's answer, or never got one. While that message has a valid lease, its receipt waits.

        :param wechat.event receipts: in their order.
        :return: by receipt.
        :rtype: dict[wechat.event, wechat.message]
        """
        accounts, now = receipts.account_id.ids, fields.Datetime.now()
        known = self.search([("account_id", "in", accounts), ("msgid", "in", receipts.mapped("msgid"))])
        numbered = {(message.account_id, message.msgid): message for message in known}
        strays = receipts.filtered("msgid").filtered(
            lambda receipt: (receipt.account_id, receipt.msgid) not in numbered
        )
        candidates = self.search(
            Domain("account_id", "in", accounts)
            & Domain("openid", "in", strays.mapped("openid"))
            & Domain("msgid", "=", False)
            & Domain("first_call_at", "!=", False)
            & Domain("state", "in", UNCONFIRMED)
        ).grouped(lambda message: (message.account_id, message.openid))
        for receipt in strays:
            if (receipt.account_id, receipt.msgid) in numbered:
                continue
            since = receipt.create_date - timedelta(days=KEEP_DAYS)
            possible = [
                message
                for message in candidates.get((receipt.account_id, receipt.openid), ())
                if not message.msgid and since <= message.first_call_at <= receipt.create_date
            ]
            is_busy = any(message.lease_until and message.lease_until > now for message in possible)
            if len(possible) == 1 and not is_busy:
                [message] = possible
                message.msgid = receipt.msgid
                numbered[receipt.account_id, receipt.msgid] = message
        matches = {receipt: numbered.get((receipt.account_id, receipt.msgid)) for receipt in receipts}
        return {
            receipt: message for receipt, message in matches.items() if message and message.openid == receipt.openid
        }

    @api.model
    def _get_receipt_values(self, receipt):
        """Return what a receipt makes of its message.

        :param wechat.event receipt: its status is verbatim; empty if the push had none.
        :rtype: dict
        """
        status = receipt.receipt_status or ""
        values = {"state": "delivered", "failure_type": False, "failure_reason": False}
        result = get_receipt(status)
        if result.is_delivered:
            values["delivered_at"] = receipt.create_date
        else:
            terms = [_lt(term) for term in (result.meaning, result.remedy) if term]
            reason = encode_terms(*terms, _lt("Receipt: %s", status or "-"))
            values |= {"state": "failed", "failure_type": result.failure_type, "failure_reason": reason}
        return {**values, "receipt_status": status}

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
        """Return the fallback that applies to this message (email or sms), or False."""
        self.ensure_one()
        if self.fallback or self.failure_type in WITHOUT_FALLBACK or self.state not in ("failed", "canceled"):
            return False
        if self.failure_type == "wechat_value" and not all(
            line["value"] for line in (self.card or {}).get("lines", ())
        ):
            # A line that could not be rendered: there is nothing to send.
            return False
        fallback = self.template_id.fallback
        address = {"email": self.partner_id.email_normalized, "sms": self.partner_id.phone}
        return bool(address.get(fallback) and self.mail_message_id) and fallback

    # === BUSINESS METHODS - NOTIFICATIONS === #

    def _get_notification_status(self):
        """Return the values of the notification that show the state of a message."""
        self.ensure_one()
        status = NOTIFICATION_STATUS[self.state]
        # A message that was not canceled by a user has failed, except for a disabled merchant.
        if self.state == "canceled" and self.failure_type not in (False, "wechat_disabled"):
            status = "exception"
        return {"notification_status": status, "failure_type": self.state in PROBLEMS and self.failure_type}

    def _sync_notifications(self):
        """Update the notifications of these messages, and the web clients of their authors.

        Of several messages of one notification, a delivered one counts, else the newest: the others were sent again.

        Web clients are told of problems, of results, and of what ends a problem; not of the steps between, nor of the
        expected results of mass messages: ten thousand bus notifications would cost more than the sending. The
        document shows the states when it is opened.
        """
        decisive = {}
        for message in self.search([("notification_id", "in", self.notification_id.ids)], order="id"):
            former = decisive.get(message.notification_id)
            if not former or former.state != "delivered":
                decisive[message.notification_id] = message
        changes, news = defaultdict(self.env["mail.notification"].browse), self.env["mail.message"]
        for notification, message in decisive.items():
            values = message._get_notification_status()
            former = {name: notification[name] for name in values}
            if notification.notification_type != "wechat" or former == values:
                continue
            changes[tuple(values.items())] += notification
            is_expected = message.state in ("outgoing", "sending") or (
                message.kind == "mass" and not message.resent_from_id and message.state in ("sent", "delivered")
            )
            if not is_expected or former["notification_status"] in ("exception", "canceled"):
                news += notification.mail_message_id
        for values, notifications in changes.items():
            notifications.write(dict(values))
        news._notify_message_notification_update()

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
