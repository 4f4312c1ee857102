import os
from unittest.mock import patch

from odoo import fields
from odoo.tools import SQL

from ...models.outbox.wechat_message import PLANNER, Outcome
from ...tools.call_pool import CallPool
from ..common import SEND_PATH
from ..common_outbox import MESSAGES_MODULE, SENDERS, OutboxCase

# Waiting messages of the claims with checked plans.
WAITING = 100_000 if os.environ.get("WECHAT_TEST_ALL") else 30_000
# Messages sent since the last vacuum, and pages of the table that a claim of 32 and its results may read for them.
SENT, PAGES = 20_000, 5_000


class TestOutbox(OutboxCase):
    def test_sent(self):
        message = self._queue()
        self.assertRecordValues(
            message,
            [
                {
                    "state": "outgoing",
                    "partner_name": "杭州西湖茶庄",
                    "account_id": self.account.id,
                    "template_uid": self.template.template_uid,
                    "priority": 10,
                }
            ],
        )
        self._process_queue()
        [call] = [call for call in self.wechat.calls if call.path == SEND_PATH]
        self.assertEqual(
            call.payload,
            {
                "touser": self.openid,
                "template_id": self.template.template_uid,
                "url": "https://example.com/1",
                "data": {"thing1": {"value": "一箱龙井"}},
                "client_msg_id": message.client_msg_id,
            },
        )
        self.assertRecordValues(
            message, [{"state": "sent", "attempts": 1, "openid": self.openid, "lease_until": False, "errcode": 0}]
        )
        self.assertTrue(message.sent_at and message.first_call_at)
        self.assertGreater(int(message.msgid), 2**53, "WeChat's numbers are kept to the last digit")
        self._process_queue()
        self.assertEqual(self.wechat.count(SEND_PATH), 1)

    def test_repetitions_precede_notices(self):
        """Messages that WeChat may have accepted do not wait behind older notices, since WeChat soon forgets them."""
        self.env.ref(SENDERS[1]).active = False
        killed_binding, other_binding = (
            self._bind(partner=self._create_merchant(name)) for name in ("绍兴黄酒行", "宁波汤圆店")
        )
        failed = self._queue()
        self.wechat.answer(SEND_PATH, {"errcode": -1, "errmsg": "system error"})
        self._process_queue()
        killed, waiting = self._queue(killed_binding.partner_id, other_binding.partner_id)
        self._set(waiting, next_attempt_at="now() AT TIME ZONE 'UTC' - interval '1 hour'")
        self._set(
            killed,
            state="'sending'",
            openid=f"'{killed_binding.openid}'",
            first_call_at="now() AT TIME ZONE 'UTC'",
            lease_until="now() AT TIME ZONE 'UTC' - interval '1 second'",
        )
        self._make_due(failed)
        self._process_queue()
        *repeated, last = [call.payload["touser"] for call in self.wechat.calls if call.path == SEND_PATH][1:]
        self.assertEqual(set(repeated), {self.openid, killed_binding.openid})
        self.assertEqual(last, other_binding.openid)

    def test_threads_have_work_while_results_are_written(self):
        """A sender claims ahead of its threads up to the window. A system parameter sets the number of threads."""
        self.env.ref(SENDERS[1]).active = False
        partners = self.env["res.partner"].union(*(self._create_merchant(f"商家 {number}") for number in range(15)))
        for partner in partners:
            self._bind(partner)
        messages = self._queue(*partners)
        self.startPatcher(patch(f"{MESSAGES_MODULE}.WINDOW", 3))
        pools, take = set(), CallPool.take

        def record_take(pool, *args):
            pools.add((pool._executor._max_workers, pool.pending))
            return take(pool, *args)

        self.startPatcher(patch.object(CallPool, "take", record_take))
        self.env["ir.config_parameter"].set_param("wechat_merchant_bind.threads_per_lane", "2")
        self._process_queue()
        self.assertEqual(set(messages.mapped("state")), {"sent"})
        self.assertEqual({threads for threads, _pending in pools}, {2})
        self.assertEqual(max(pending for _threads, pending in pools), 6)

    def test_malformed_parameter_uses_the_default(self):
        self.env["ir.config_parameter"].set_param("wechat_merchant_bind.threads_per_lane", "many")
        message = self._queue()
        with self.assertLogs(MESSAGES_MODULE, "WARNING"):
            self._process_queue()
        self.assertEqual(message.state, "sent")


class TestClaimPlan(OutboxCase):
    """A claim reads only few of the waiting messages, for each reason to wait."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.env.flush_all()
        cls.env.cr.execute(
            """
            WITH partner AS (
                INSERT INTO res_partner (name, complete_name, active, commercial_partner_id, type)
                SELECT 'merchant ' || number, 'merchant ' || number, TRUE, NULL, 'contact'
                  FROM generate_series(1, %(merchants)s) AS number
             RETURNING id
            ), binding AS (
                INSERT INTO wechat_binding (partner_id, account_id, openid, state, is_subscribed, source)
                SELECT id, %(account)s, 'oPlan-' || lpad(id::text, 22, '0'), 'bound', TRUE, 'scan' FROM partner
            )
            INSERT INTO wechat_message (partner_id, account_id, template_id, template_uid, state, kind, priority,
                                        client_msg_id, next_attempt_at, valid_until)
            SELECT partner.id, %(account)s, %(template)s, 'x', 'outgoing', 'notice', 10, gen_random_uuid(),
                   now() AT TIME ZONE 'UTC' - interval '1 hour', now() AT TIME ZONE 'UTC' + interval '1 day'
              FROM partner CROSS JOIN generate_series(1, 5)
            """,
            {"account": cls.account.id, "template": cls.template.id, "merchants": WAITING // 5},
        )
        cls.env.cr.execute("ANALYZE wechat_message, wechat_binding, res_partner")

    def _get_budget(self):
        """Return the budget of the account, see wechat.message._claim."""
        now = fields.Datetime.now()
        return {
            "account_id": self.account.id,
            "calls": 32,
            "is_quiet": False,
            "daily_limit": 5,
            "day_start": now,
            "day_end": now,
        }

    def _claim(self):
        """Claim like a sender.

        :return: the executed nodes of PostgreSQL's plan.
        :rtype: list[dict]
        """
        query = self.env["wechat.message"]._get_claim_query([0, 2, 4, 6], [self._get_budget()], 32)
        self.env.flush_all()
        self.env.cr.execute(PLANNER)
        [[plan]] = self.env.execute_query(SQL("EXPLAIN (ANALYZE, FORMAT JSON) %s", query))
        nodes = []

        def visit(node):
            nodes.append(node)
            for child in node.get("Plans", ()):
                visit(child)

        visit(plan[0]["Plan"])
        return nodes

    def assertCheap(self, claimed):
        """Check the number of claimed messages, and that the claim reads few rows."""
        sending = self.env["wechat.message"].search_count([("state", "=", "sending")])
        nodes = self._claim()
        self.env.invalidate_all()
        self.assertEqual(self.env["wechat.message"].search_count([("state", "=", "sending")]) - sending, claimed)
        read = [node for node in nodes if node.get("Relation Name") == "wechat_message"]
        self.assertFalse([node for node in read if node["Node Type"] == "Seq Scan"])
        rows = sum(
            (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"] for node in read
        )
        self.assertLess(rows, 1000, f"Of {WAITING} waiting messages")

    def _update(self, assignments):
        self.env.flush_all()
        self.env.cr.execute(f"UPDATE wechat_message SET {assignments}")
        self.env.cr.execute("ANALYZE wechat_message")

    def test_all_are_due(self):
        self.assertCheap(32)
        self.assertCheap(32)

    def test_all_are_backed_off(self):
        self._update("next_attempt_at = now() AT TIME ZONE 'UTC' + interval '1 hour'")
        self.assertCheap(0)

    def test_account_is_paused(self):
        self.account._pause_sending(3600, "45009")
        self.assertCheap(0)

    def test_template_is_stopped(self):
        self.template._suspend("40037")
        self.assertCheap(0)

    def test_all_are_for_one_merchant(self):
        self.env.cr.execute("SELECT partner_id FROM wechat_message WHERE partner_id % 2 = 0 LIMIT 1")
        [partner_id] = self.env.cr.fetchone()
        self._update(f"partner_id = {partner_id}")
        self.assertCheap(1)
        for _number in range(3):
            self.assertCheap(0)

    def _count_pages(self):
        """Return the number of page reads of the outbox in this transaction."""
        self.env.cr.execute("SELECT pg_stat_get_xact_blocks_fetched('wechat_message'::regclass)")
        return self.env.cr.fetchone()[0]

    def _claim_and_count(self):
        """Claim 32 messages; return them and the number of page reads."""
        before = self._count_pages()
        rows = self.env["wechat.message"]._claim([0, 2, 4, 6], [self._get_budget()], 32)
        return rows, self._count_pages() - before

    def test_sent_messages_are_not_read(self):
        """Sent messages stay in the index of the messages that are being sent until they are vacuumed.

        PostgreSQL may read this index for a claim if a hundred thousand messages wait. The first claim measures the
        usual reads: rolled back rows of other tests are in the indexes too.
        """
        _rows, usual = self._claim_and_count()
        self.env.cr.execute(
            """
            INSERT INTO wechat_message (account_id, template_uid, openid, state, kind, priority,
                                        client_msg_id, next_attempt_at)
            SELECT %s, 'x', md5(number::text), 'sending', 'notice', 10, gen_random_uuid(), now() AT TIME ZONE 'UTC'
              FROM generate_series(1, %s) AS number
            """,
            [self.account.id, SENT],
        )
        self.env.cr.execute("UPDATE wechat_message SET state = 'sent' WHERE state = 'sending'")
        self.env.cr.execute("ANALYZE wechat_message")
        rows, pages = self._claim_and_count()
        self.assertEqual([row["verdict"] for row in rows], ["send"] * 32)
        self.assertLess(pages - usual, PAGES, f"Claim after {SENT} sent messages")
        messages, claimed = self.env["wechat.message"], self._count_pages()
        self.assertTrue(messages._store_results([(messages._prepare_call(row), Outcome("sent")) for row in rows]))
        self.assertLess(self._count_pages() - claimed, PAGES, f"Results after {SENT} sent messages")
