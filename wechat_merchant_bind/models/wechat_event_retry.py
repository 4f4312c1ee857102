from datetime import timedelta

from odoo import api, fields, models
from odoo.exceptions import AccessError
from odoo.tools import LazyTranslate

from .term_text import encode_terms
from .wechat_event import FOLLOW_EVENTS
from .wechat_event_handling import RETRY_WITHIN, process_event
from .wechat_event_receipt import RECEIPT_EVENT

_lt = LazyTranslate(__name__)

RETRY_BATCH = 100
RETRY_RECEIVED_AFTER = timedelta(seconds=60)


class WechatEvent(models.Model):
    """What was received and forgotten, or could not be handled, is handled once more."""

    _inherit = "wechat.event"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

    # === ACTION METHODS === #

    def action_retry(self):
        """Handle failed or forgotten events again, whatever their age.

        :return: the notification that tells how many could be handled.
        :rtype: dict
        :raise AccessError: if the user is not a WeChat manager.
        """
        if not self.env.user.has_group("wechat_merchant_bind.group_manager"):
            raise AccessError(self.env._("Only WeChat managers may retry events."))
        self.check_access("read")
        events = self.filtered(lambda event: event.state in ("received", "failed") and not event.refusal)
        for event in events:
            process_event(self.env.registry, event.id)
        # This request's snapshot is older than what was just done: count in a new one.
        with self.env.registry.cursor() as cr:
            done = self.with_env(self.env(cr=cr)).search_count(
                [("id", "in", events.ids), ("state", "in", ("done", "ignored"))]
            )
        return {
            "type": "ir.actions.client",
            "tag": "display_notification",
            "params": {
                "type": "success" if done == len(events) else "warning",
                "message": self.env._("%(done)s of %(all)s events were handled.", done=done, all=len(events)),
                "next": {"type": "ir.actions.client", "tag": "soft_reload"},
            },
        }

    # === BUSINESS METHODS - RETRY === #

    @api.model
    def _cron_retry(self):
        """Handle what was received and forgotten, or failed, once more."""
        now = fields.Datetime.now()
        due = [
            ("refusal", "=", False),
            ("event", "!=", RECEIPT_EVENT),
            "|",
            "&",
            "&",
            ("state", "=", "received"),
            ("create_date", "<", now - RETRY_RECEIVED_AFTER),
            "|",
            ("next_attempt_at", "=", False),
            ("next_attempt_at", "<=", now),
            "&",
            ("state", "=", "failed"),
            ("next_attempt_at", "<=", now),
        ]
        remaining = self.search_count(due)
        for event in self.search(due, order="id", limit=RETRY_BATCH):
            if obstacle := event._get_retry_obstacle(now):
                event.write({"state": "failed", "next_attempt_at": False, "error": encode_terms(obstacle)})
            else:
                process_event(self.env.registry, event.id)
            remaining -= 1
            if not self.env["ir.cron"]._commit_progress(1, remaining=remaining):
                break

    def _get_retry_obstacle(self, now):
        """Return why the event must not be handled any more by the cron, as a lazily translated term, or None."""
        if self.create_date < now - RETRY_WITHIN:
            return _lt("Not retried: the event is older than 24 hours.")
        later = self.search(
            [
                ("account_id", "=", self.account_id.id),
                ("openid", "=", self.openid or ""),
                ("id", ">", self.id),
                "|",
                ("event", "in", FOLLOW_EVENTS),
                ("msg_type", "=", "text"),
            ]
        )
        if any(event.event in FOLLOW_EVENTS or event._find_command()[0] for event in later):
            return _lt("Not retried: the same person has scanned, followed, unfollowed or unbound since.")
        return None
