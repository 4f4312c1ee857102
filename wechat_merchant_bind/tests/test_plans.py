import re
from unittest.mock import patch

from odoo.sql_db import Cursor

from .common_push import WechatPushCase

# Enough rows for PostgreSQL to prefer an index.
ROWS = 20_000
# The tables that grow with the merchants. Other tables that a push reads are small.
TABLES = "res_partner|wechat_bind_code|wechat_binding|wechat_event"
FILL = """
    WITH partner AS (
        INSERT INTO res_partner (name, complete_name, active, type, wechat_state)
        SELECT 'merchant ' || number, 'merchant ' || number, TRUE, 'contact', 'bound'
          FROM generate_series(1, %(rows)s) AS number
     RETURNING id
    ), code AS (
        INSERT INTO wechat_bind_code (partner_id, account_id, scene_str, ticket, qr_content, expires_at, state)
        SELECT id, %(account)s, 'mb_plan_' || id, 'ticket', 'x', now() AT TIME ZONE 'UTC', 'used' FROM partner
    ), binding AS (
        INSERT INTO wechat_binding (partner_id, account_id, openid, state, is_subscribed, source)
        SELECT id, %(account)s, 'oPlan-' || lpad(id::text, 22, '0'), 'bound', TRUE, 'scan' FROM partner
    )
    INSERT INTO wechat_event (account_id, msg_type, event, openid, dedupe_key, state, create_date, create_time)
    SELECT %(account)s, 'event', 'scan', 'oPlan-' || lpad(id::text, 22, '0'), 'plan' || id, 'done',
           now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC'
      FROM partner
"""


class TestPlans(WechatPushCase):
    """A push scans no large table sequentially, so its cost does not grow with the merchants."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.env.flush_all()
        cls.env.cr.execute(FILL, {"rows": ROWS, "account": cls.account.id})
        cls.env.cr.execute("ANALYZE " + TABLES.replace("|", ", "))

    def _record(self, push, *args, **kwargs):
        """Send a push and return its answer and its queries on the large tables."""
        queries = []
        execute = Cursor.execute

        def recording_execute(cr, *args, **kwargs):
            result = execute(cr, *args, **kwargs)
            text = cr._obj.query.decode()
            # The SET of a time limit may precede a query in one statement.
            statements = [part for part in text.split(";") if not re.match(r"\s*SET\b", part)]
            queries.extend(part for part in statements if re.search(rf"\b(?:{TABLES})\b", part))
            return result

        with patch.object(Cursor, "execute", recording_execute):
            answer = push(*args, **kwargs)
        return answer, queries

    def assertNoTableIsRead(self, queries):
        """Check that PostgreSQL uses an index for each of these queries."""
        self.assertTrue(queries)
        for query in queries:
            # The driver's own cursor, since a percent sign in the complete text is no placeholder.
            self.env.cr._obj.execute(f"EXPLAIN {query}")
            plan = "\n".join(line for [line] in self.env.cr._obj.fetchall())
            with self.subTest(query=query):
                self.assertNotRegex(plan, rf"Seq Scan on (?:{TABLES})\b")

    def test_binding_scans_no_large_table(self):
        code, openid = self._make_code(), self._make_openid()
        answer, queries = self._record(self._push_scan, code, openid)
        self.assertIn("Content", answer.reply)
        self.assertBound(self.merchant, openid)
        self.assertNoTableIsRead(queries)

    def test_unfollowing_scans_no_large_table(self):
        openid = self._make_openid()
        self._push_scan(self._make_code(), openid)
        answer, queries = self._record(self._push_event, "unsubscribe", openid)
        self.assertEqual(answer.status, 200)
        self.assertNoTableIsRead(queries)

    def test_redelivery_scans_no_large_table(self):
        fields = {"EventKey": "menu"}
        openid = self._make_openid()
        self._push_event("CLICK", openid, **fields)
        answer, queries = self._record(self._push_event, "CLICK", openid, **fields)
        self.assertEqual(answer.status, 200)
        self.assertNoTableIsRead(queries)
