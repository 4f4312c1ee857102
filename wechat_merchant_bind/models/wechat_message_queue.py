from collections import defaultdict
from datetime import timedelta

from odoo import api, fields, models
from odoo.exceptions import AccessError, UserError
from odoo.fields import Domain
from odoo.tools import SQL, LazyTranslate

from .res_partner import GROUP_USER
from .term_text import encode_terms
from .wechat_message import PRIORITY_MASS, PRIORITY_NOTICE, PRIORITY_URGENT
from .wechat_message_outcome import PAUSING

_lt = LazyTranslate(__name__)

# Shares of the outbox: a merchant's messages are all in one of them, and a lane drains some of them.
BUCKETS = 8
PRIORITIES = {
    "notice": PRIORITY_NOTICE,
    "mass": PRIORITY_MASS,
    "test": PRIORITY_URGENT,
    "welcome": PRIORITY_URGENT,
}
VALID_HOURS = 24
RESENDABLE = ("failed", "unknown", "canceled")


class WechatMessage(models.Model):
    """How messages get into the outbox, and out of it unsent."""

    _inherit = "wechat.message"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

    # === FIELDS === #

    is_parked = fields.Boolean(
        readonly=True, help="Waits behind another message of the same merchant, and is not looked at until then."
    )
    resent_ids = fields.One2many("wechat.message", "resent_from_id", "Sent Again as")

    # === CONSTRAINTS AND INDEXES === #

    # What may be sent next. Messages of one account, template and priority are together, so that those of a paused
    # account or a stopped template are left out without reading any of them, however many wait. The key begins with
    # the bucket, see BUCKETS.
    _due_idx = models.Index(
        f"((COALESCE(partner_id, 0) % {BUCKETS}), account_id, (COALESCE(template_id, 0)), priority, next_attempt_at,"
        " id) WHERE state = 'outgoing' AND is_parked IS NOT TRUE"
    )
    _merchant_idx = models.Index("(partner_id, priority, id) WHERE state = 'outgoing'")
    _valid_until_idx = models.Index("(valid_until) WHERE state = 'outgoing'")
    # Not by the state: PostgreSQL would take it for a way to find out whether a message to an OpenID is being sent, and
    # read it from end to end.
    _lease_idx = models.Index("(lease_until) WHERE lease_until IS NOT NULL")
    # Whose receipts are missing.
    _awaiting_receipt_idx = models.Index("(account_id, sent_at) WHERE state = 'sent'")
    # WeChat refuses concurrent messages to one follower (43108).
    _in_flight_unique = models.UniqueIndex(
        "(account_id, openid) WHERE state = 'sending'", "A merchant is sent one message at a time."
    )
    _resent_unique = models.UniqueIndex(
        "(resent_from_id) WHERE resent_from_id IS NOT NULL", "This message was already sent again."
    )
    # For the limit of messages a merchant a day.
    _called_idx = models.Index("(partner_id, first_call_at) WHERE first_call_at IS NOT NULL")

    # === ACTION METHODS === #

    def action_resend(self):
        """Send messages that have failed, were canceled, or whose result is unknown, as new ones: with the template and
        the document as they are now.

        :return: a notification that says how many, and why the others were not.
        :rtype: dict
        :raise AccessError: if the user may not send.
        :raise UserError: if none of them can be sent again; in words.
        """
        self._check_may_send()
        # sudo: wechat.message - nobody writes the outbox directly; that the user may send and read these was checked
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
        cards, refusals = messages_sudo._render_anew(self.env)
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
        """Cancel messages that wait. One that may have been sent already is left in the list of unknown results.

        :return: True
        :raise AccessError: if the user may not send.
        """
        self._check_may_send()
        # sudo: wechat.message - see action_resend
        self.sudo()._cancel(False)
        return True

    # === BUSINESS METHODS === #

    @api.model
    def _queue(self, vals_list):
        """Put messages into the outbox, and wake the lanes that send them. This is the only way in.

        :param list[dict] vals_list: ``partner_id``, ``template_id``, ``card``, ``body``, and as wanted ``kind``,
            ``priority``, ``next_attempt_at`` (to send later), ``valid_until``, ``mail_message_id``,
            ``notification_id``, ``res_model``, ``res_id``, ``user_id``, ``resent_from_id``; ``state`` and
            ``failure_type`` for those that are not to be sent. The rest follows from the merchant and the template.
        :return: the messages, in the same order; those who have no live binding get failed ones.
        :rtype: wechat.message
        """
        # sudo: res.partner, wechat.template, wechat.binding - what is sent to whom was decided by the caller
        partners = [self.env["res.partner"].sudo().browse(vals["partner_id"] or ()) for vals in vals_list]
        bindings = {
            binding.partner_id: binding
            for binding in self.env["res.partner"].sudo().union(*partners)._wechat_get_live_bindings()
        }
        templates = self.env["wechat.template"].sudo()
        # sudo: wechat.message - nobody writes the outbox directly
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
        self._trigger_lanes(outgoing.partner_id.ids, min(outgoing.mapped("next_attempt_at"), default=None))
        return messages_sudo.sudo(False)

    @api.model
    def _prepare_queued_values(self, vals, partner, template, binding):
        """Return the values of a message that is queued.

        :param dict vals: see :meth:`_queue`.
        :param res.partner partner: to whom.
        :param wechat.template template: of what; may be empty.
        :param wechat.binding binding: the partner's live binding, or None.
        :rtype: dict
        """
        kind = vals.get("kind") or "notice"
        next_attempt_at = fields.Datetime.to_datetime(vals.get("next_attempt_at")) or fields.Datetime.now()
        # Without a binding the message is that of the template's account: its statistics and its managers see it.
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
        """Return what to write into a message that cannot be sent, else nothing.

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

    def _render_anew(self, env):
        """Make the cards with which these messages are sent again.

        :param Environment env: of the user, with whose rights the documents are read.
        :return: by message id the card (None if it is sent as it was, because it is about no document), and of those
            that can't be sent again the reason in words.
        :rtype: tuple[dict[int, Card | None], dict[int, str]]
        """
        cards, refusals = {}, self._get_resend_obstacles()
        turns = defaultdict(self.browse)
        for (template, model, _res_id), messages in (
            self.filtered(lambda message: message.id not in refusals)
            .grouped(lambda message: (message.template_id, message.res_model, message.res_id))
            .items()
        ):
            # A document has one card at a time: each of its recipients gets one in his own language.
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
        """Return why messages can't be sent again, whatever their cards would be.

        :return: by message id the reason in words.
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
        """Let the chatter say what is sent again. A message to several recipients, with a card each, stays as it is.

        :param dict[int, Card | None] cards: by id of the message that is sent again.
        """
        for message in self.filtered(lambda message: len(message.mail_message_id.notification_ids) == 1):
            card = cards[message.id]
            if card and card.body != message.body:
                message.mail_message_id.body = self.env["mail.thread"]._wechat_get_message_body(card)

    def _prepare_resend_values(self, card):
        """Return the values of the message that is sent in the place of this one.

        :param Card | None card: see :meth:`_render_anew`.
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

    @api.model
    def _cancel_waiting(self, partners, failure_type):
        """Cancel what waits for these partners, whose binding has ended or who were disabled.

        :param res.partner partners: the partners.
        :param str failure_type: why.
        """
        # sudo: wechat.message - what waits for a merchant ends with its binding, whoever ends it
        self.sudo().search(Domain("partner_id", "in", partners.ids) & Domain("state", "=", "outgoing"))._cancel(
            failure_type
        )

    def _cancel(self, failure_type, reason=None):
        """Cancel those of these messages that wait. What may have arrived is unknown, not canceled.

        :param failure_type: why, or False if somebody wanted it.
        :param str reason: the same in words, if there is more to say.
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
        self._wake_next(canceled.partner_id.ids)
        canceled._sync_notifications()
        canceled._apply_fallback()

    @api.model
    def _wake_next(self, partner_ids):
        """Let the first of the messages of each merchant that wait behind another one be looked at again.

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
    def _wake_unfollowed(self, partners):
        """Let what waits until these partners follow again be sent now, and nothing else.

        :param res.partner partners: who follow again.
        """
        # sudo: see _cancel_waiting
        self.sudo().search(
            Domain("partner_id", "in", partners.ids)
            & Domain("state", "=", "outgoing")
            & Domain("failure_type", "=", "wechat_unfollowed")
        ).next_attempt_at = fields.Datetime.now()
        self._trigger_lanes(partners.ids)

    @api.model
    def _wake_refused(self, accounts):
        """Let the messages be tried now that waited because WeChat took none of these accounts, or was out of reach.

        :param wechat.account accounts: those that WeChat takes messages of again.
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
        self._trigger_lanes()

    def _erase_content(self):
        """Forget what messages said and whose OpenID they were sent to."""
        self.write({"openid": False, "card": False, "body": False})

    def _check_may_send(self):
        """Raise AccessError unless the user may send and may see these messages."""
        if not self.env.su and not self.env.user.has_group(GROUP_USER):
            raise AccessError(self.env._("You are not allowed to send WeChat messages."))
        self.check_access("read")
