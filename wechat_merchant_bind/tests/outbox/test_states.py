import itertools

from odoo import Command, fields
from odoo.tools import SQL

from ...models.const import STATES
from ...models.outbox.sender import Sender
from ...models.outbox.wechat_message import TRANSITIONS
from ..channel.test_channel import ChannelCase
from ..common import SEND_PATH
from ..common_outbox import OutboxCase

# Waiting messages of the claim with a checked plan.
WAITING = 10_000


class TestStates(OutboxCase):
    """One method changes states, by one table."""

    def test_the_table_names_every_state(self):
        self.assertEqual(set(TRANSITIONS), {state for state, _label in STATES})
        self.assertFalse(TRANSITIONS["delivered"] or TRANSITIONS["canceled"])

    def test_other_transitions_are_refused(self):
        for state, other in itertools.product(TRANSITIONS, repeat=2):
            with self.subTest(state=state, other=other):
                message = self._queue(state=state)
                if other in TRANSITIONS[state]:
                    message._change_states({message: {"state": other}})
                    self.assertEqual(message.state, other)
                else:
                    with self.assertRaises(ValueError):
                        message._change_states({message: {"state": other}})
                    self.assertEqual(message.state, state)
                message.unlink()


class TestCompany(ChannelCase):
    """A message belongs to the company of its document, also if another company's account sends it."""

    def test_users_of_the_document_see_their_failure(self):
        other = self.env["res.company"].create({"name": "分公司"})
        shared = self._create_account(company_id=False)
        template = self._create_template(account_id=shared.id)
        document = self._create_merchant("订单", company_id=other.id)
        colleague = self._create_user(
            "colleague",
            "wechat_merchant_bind.group_user,base.group_partner_manager",
            company_id=other.id,
            company_ids=[Command.set(other.ids)],
        )
        document._message_wechat_with_template(template)
        row = self.env["wechat.message"].search([("res_id", "=", document.id)], limit=1)
        self.assertEqual((row.company_id, row.state), (other, "failed"))
        self.assertTrue(row.with_user(colleague).action_ignore())
        self._bind(document, account=shared)
        row.with_user(colleague).action_resend()
        self.assertEqual(row.resent_ids.company_id, other)

    def test_documents_without_a_company(self):
        self.merchant._message_wechat_with_template(self.template)
        row = self.env["wechat.message"].search([("res_id", "=", self.merchant.id)], limit=1)
        self.assertEqual(row.company_id, self.account.company_id)


class TestClaim(OutboxCase):
    """What is claimed, and what a claim reads."""

    def _claim(self, limit=20):
        """Claim like the sender, without calls.

        :return: the claimed messages in the order of their calls.
        :rtype: wechat.message
        """
        self.env.flush_all()
        with self.env.registry.cursor() as cr:
            sender = Sender(self.env(cr=cr))
            account = self.account.with_env(sender.env)
            sender._has_access(account, fields.Datetime.now())
            calls = sender._claim(account, limit)
        self.env.invalidate_all()
        return self.env["wechat.message"].browse([call.key for call in calls or ()])

    def test_one_message_a_merchant(self):
        messages = self._queue(self.merchant, self._bind(self.other_merchant).partner_id, count=3)
        self.assertEqual(self._claim(), messages[0] + messages[3])
        self.assertFalse(self._claim(), "Their merchants are being sent a message")

    def test_limit(self):
        self._queue(self.merchant, self._bind(self.other_merchant).partner_id)
        self.assertEqual(len(self._claim(limit=1)), 1)

    def test_user_of_another_message_in_flight_waits(self):
        """The user was bound to another merchant before, whose message is still being sent."""
        flying = self._queue()
        self._claim()
        self.binding._unbind("x")
        self._bind(self.other_merchant, openid=self.openid)
        waiting = self._queue(self.other_merchant)
        self.assertFalse(self._claim())
        self.assertEqual((flying.state, waiting.state), ("sending", "outgoing"))
        self.assertGreater(waiting.next_attempt_at, fields.Datetime.now())

    def test_send_rate(self):
        """A run begins about as many calls a second as the account may send."""
        self.account.send_rate = 2
        merchants = [self._bind(self._create_merchant(f"商家 {number}")).partner_id for number in range(5)]
        messages = self._queue(*merchants)
        self._process_queue()
        times = sorted(messages.mapped("sent_at"))
        self.assertEqual(self.wechat.count(SEND_PATH), 5)
        self.assertGreaterEqual((times[-1] - times[0]).total_seconds(), 1, "Five messages take more than two seconds")

    def test_a_claim_reads_few_messages(self):
        self.env.flush_all()
        self.env.cr.execute(
            """
            WITH partner AS (
                INSERT INTO res_partner (name, complete_name, active, commercial_partner_id, type)
                SELECT 'merchant ' || number, 'merchant ' || number, TRUE, NULL, 'contact'
                  FROM generate_series(1, %(count)s) AS number
             RETURNING id
            )
            INSERT INTO wechat_message (partner_id, account_id, template_id, template_uid, state, kind, priority,
                                        client_msg_id, next_attempt_at, valid_until)
            SELECT partner.id, %(account)s, %(template)s, 'x', 'outgoing', 'notice', 10, gen_random_uuid(),
                   now() AT TIME ZONE 'UTC' - interval '1 hour', now() AT TIME ZONE 'UTC' + interval '1 day'
              FROM partner
            """,
            {"account": self.account.id, "template": self.template.id, "count": WAITING},
        )
        self.env.cr.execute("ANALYZE wechat_message")
        query = Sender(self.env)._get_claim_query(self.account, 20)
        [[plan]] = self.env.execute_query(SQL("EXPLAIN (ANALYZE, FORMAT JSON) %s", query))
        nodes = [plan[0]["Plan"]]
        for node in nodes:
            nodes += node.get("Plans", ())
        read = [node for node in nodes if node.get("Relation Name") == "wechat_message"]
        self.assertFalse([node for node in read if node["Node Type"] == "Seq Scan"])
        rows = sum(
            (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"] for node in read
        )
        self.assertLess(rows, 500, f"Of {WAITING} waiting messages")
