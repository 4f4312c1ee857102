import json

from odoo import api, models
from odoo.tools import SQL, LazyTranslate

from .res_partner import GROUP_USER
from .term_text import encode_terms
from .wechat_message import NOTIFICATION_STATUS

_lt = LazyTranslate(__name__)

# Messages whose notifications are caught up with in one transaction.
SYNC_BATCH = 1000
# Up to so many are told live, even of messages to many: at the default rate a lane has ten of them a second.
LIVE_AT_MOST = 40


class WechatMessage(models.Model):
    """A message's notification in Odoo: it says in the chatter what has become of the message."""

    _inherit = "wechat.message"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

    # === INDEXES === #

    # What is being sent will be told with its result.
    _notification_due_idx = models.Index(
        "(id) WHERE notification_id IS NOT NULL AND state != 'sending' AND notified_state IS DISTINCT FROM state"
    )

    # === ACTION METHODS === #

    def action_ignore(self):
        """Take failed messages out of the failure menu: nobody need care any more. What the outbox knows remains.

        :return: True
        :raise AccessError: if the user may not send, or not see these messages.
        """
        self.env["res.partner"]._wechat_check_group(
            GROUP_USER, self.env._("You are not allowed to ignore failed WeChat messages.")
        )
        self.check_access("read")
        # sudo: mail.notification - nobody writes these directly; the user may see the messages they tell of
        notifications_sudo = self.sudo().notification_id.filtered(
            lambda notification: notification.notification_status == "exception"
        )
        notifications_sudo.notification_status = "canceled"
        notifications_sudo.mail_message_id._notify_message_notification_update()
        return True

    # === BUSINESS METHODS - QUEUEING === #

    @api.model
    def _queue_notices(self, template, notices, scheduled_at=None, kind="notice"):
        """Create the notifications of messages and put their cards into the outbox.

        Whoever is not reached by WeChat gets a failed message, which says why, and the template's fallback.

        :param wechat.template template: sudoed; may be empty, if it was deleted since the message was posted.
        :param list[tuple] notices: message, card and partners to notify.
        :param datetime scheduled_at: not before; in UTC.
        :param str kind: a value of the field ``kind``.
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
            # A record that names nobody fails visibly.
            for partner in recipients or [recipients]
        ]
        # sudo: mail.notification - creating notifications is the purpose of notify methods
        notifications_sudo = (
            self.env["mail.notification"].sudo().create([self._prepare_notification(vals) for vals in vals_list])
        )
        for vals, notification in zip(vals_list, notifications_sudo, strict=True):
            vals.update(notification_id=notification.id, notified_state=vals["state"])
        # sudo: wechat.message - nobody writes the outbox directly; the caller was allowed to send
        messages_sudo = self._queue(vals_list).sudo()
        messages_sudo._apply_fallback()
        return messages_sudo

    @api.model
    def _prepare_notice(self, template, message, card, partner, obstacle):
        """Return the values of one message of the outbox.

        :param str | None obstacle: why WeChat does not reach the partner.
        :rtype: dict
        """
        failure_type, reason = self._get_notice_failure(card, partner, obstacle)
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
    def _get_notice_failure(self, card, partner, obstacle):
        """Return why a card is not even tried to be sent: failure type and reason, as it is stored, or None twice.

        :rtype: tuple[str | None, str | None]
        """
        if card.errors:
            return card.failure_type, encode_terms(*card.errors)
        if not partner:
            return "wechat_recipient", encode_terms(_lt("The document names no merchant who could be notified."))
        return obstacle, obstacle and encode_terms(partner._wechat_get_obstacle_term(obstacle))

    @api.model
    def _prepare_notification(self, vals):
        """Return the values of the notification of a message.

        :param dict vals: the message's values.
        :rtype: dict
        """
        # sudo: mail.message - only who wrote it, of a message that was just posted
        message_sudo = self.env["mail.message"].sudo().browse(vals["mail_message_id"])
        return {
            "author_id": message_sudo.author_id.id,
            "mail_message_id": message_sudo.id,
            "res_partner_id": vals["partner_id"],
            "notification_type": "wechat",
            "notification_status": NOTIFICATION_STATUS[vals["state"]],
            "failure_type": vals["failure_type"],
            # It is no message for anybody's inbox.
            "is_read": True,
        }

    # === BUSINESS METHODS - TELLING === #

    def _sync_notifications(self):
        """Let the notifications say what has become of these messages, and the web clients of their authors too.

        Of several messages of one notification the newest counts, since the others were sent again; but what has been
        delivered was delivered. To be called in a transaction of its own, after the messages' was committed.

        While many are told at once, that a message to many was sent and delivered, as expected, is seen when its
        document is opened: to tell a web client of ten thousand of them costs more than to send them.
        """
        if not self:
            return
        self.flush_model(["state", "failure_type", "notification_id", "notified_state"])
        self.env["mail.notification"].flush_model()
        # A conflict is repeated by the caller, and nothing to alarm anybody with.
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
                           -- What nobody has canceled by hand has failed, except for a disabled merchant.
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
        """Catch up with what was not told, because whoever was to tell it was killed in between.

        :return: whether there is more to tell.
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
