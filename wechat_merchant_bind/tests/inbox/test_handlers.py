from unittest.mock import patch

import psycopg2

from odoo.tools import mute_logger

from ...models.inbox import dispatcher
from ...models.inbox.wechat_event import Handler
from ..common_push import WechatPushCase

OUTBOX_LOGGER = "odoo.addons.wechat_merchant_bind.models.outbox.wechat_event"


class TestHandlers(WechatPushCase):
    """The table of handlers decides what a push means."""

    def setUp(self):
        super().setUp()
        self.events = type(self.env["wechat.event"])
        self.openid = self._make_openid()
        self.dispatched = []
        dispatch = dispatcher.dispatch

        def record(registry, event_id, is_slow):
            self.dispatched.append((event_id, is_slow))
            return dispatch(registry, event_id, is_slow)

        self.startPatcher(patch.object(dispatcher, "dispatch", record))

    def _add_handler(self, kind, handler):
        """Add a row to the table, as an addon does by an override."""
        get_handlers = self.events._get_handlers
        override = patch.object(self.events, "_get_handlers", lambda model: {**get_handlers(model), kind: handler})
        self.startPatcher(override)

    def _add_method(self, name, method):
        self.startPatcher(patch.object(self.events, name, method, create=True))

    def test_an_addon_adds_an_event_by_a_row_and_a_method(self):
        self._add_handler("event/view", Handler("_handle_view"))
        self._add_method("_handle_view", lambda event: ("done", event._get_text_reply(f"Seen: {event.event_key}")))
        answer = self._push_event("VIEW", self.openid, EventKey="https://example.com")
        self.assertReply(answer, "Seen: https://example.com", to=self.openid)
        event = self._get_events()
        self.assertRecordValues(event, [{"state": "done", "attempts": 1}])
        self.assertEqual(self.dispatched, [(event.id, False)])
        again = self._push_event("VIEW", self.openid, EventKey="https://example.com")
        self.assertEqual(again.reply, answer.reply, "A redelivery gets the stored reply")
        self.assertEqual(len(self.dispatched), 1)

    def test_a_failing_handler_is_retried(self):
        self._add_handler("event/view", Handler("_handle_view", is_slow=True))
        self._add_method("_handle_view", lambda event: 1 / 0)
        with mute_logger("odoo.addons.wechat_merchant_bind.models.inbox.wechat_event"):
            self.assertSilent(self._push_event("VIEW", self.openid, EventKey="x"))
        event = self._get_events()
        self.assertEqual(event.state, "failed")
        self.assertEqual(self.dispatched, [(event.id, True)])
        self._add_method("_handle_view", lambda event: ("done", None))
        event.with_user(self.manager).action_retry()
        self.env.invalidate_all()
        self.assertEqual(event.state, "done")

    def test_a_push_without_a_row_is_stored_and_not_dispatched(self):
        self.assertSilent(self._push_event("VIEW", self.openid, EventKey="x"))
        self.assertSilent(self._push_event("LOCATION", self.openid, Latitude="23.1", Longitude="113.3"))
        self.assertEqual(self._get_events().mapped("state"), ["ignored"] * 2)
        self.assertEqual(self.dispatched, [])

    def test_a_push_without_a_row_tells_the_original_id(self):
        account = self._create_account(original_id=False)
        self.assertSilent(self._push_event("VIEW", self.openid, account=account, EventKey="x"))
        self.assertEqual(account.original_id, "gh_learnt")
        self.assertEqual(self._get_events(account).state, "ignored")
        self.assertEqual(len(self.dispatched), 1)
        self._push_event("VIEW", self.openid, account=account, EventKey="y")
        self.assertEqual(len(self.dispatched), 1)

    def test_a_queued_push_wakes_its_queue_and_is_not_dispatched(self):
        woken = []
        self._add_handler("event/view", Handler(queue="_wake_views"))
        self._add_method("_wake_views", lambda events: woken.append(True))
        for _delivery in range(2):
            self.assertSilent(self._push_event("VIEW", self.openid, EventKey="x"))
        self.assertEqual((woken, self.dispatched), ([True], []), "A redelivery wakes nothing")
        self.assertEqual(self._get_events().state, "received")

    @mute_logger(OUTBOX_LOGGER)
    def test_a_receipt_is_stored_although_nothing_can_be_woken(self):
        crons = type(self.env["ir.cron"])
        with patch.object(crons, "_trigger", side_effect=psycopg2.OperationalError("the disk is full")) as trigger:
            answer = self._push_event("TEMPLATESENDJOBFINISH", self.openid, MsgID=1, Status="success")
        trigger.assert_called_once()
        self.assertSilent(answer)
        self.assertRecordValues(self._get_events(), [{"state": "received", "msgid": "1"}])

    def test_only_typed_commands_are_slow(self):
        for content, is_slow in (("你好", False), ("解绑", True), ("2368", True)):
            self._push_text(self._make_openid(), content)
            self.assertEqual(self.dispatched[-1], (self._get_events()[-1].id, is_slow), content)
