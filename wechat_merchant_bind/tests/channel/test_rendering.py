from unittest.mock import patch

from psycopg2 import OperationalError
from psycopg2.errors import DeadlockDetected, DivisionByZero, LockNotAvailable, SerializationFailure

from odoo.exceptions import ConcurrencyError, UserError
from odoo.tests import Form
from odoo.tools import mute_logger

from ...models.channel import wechat_template
from .test_channel import ChannelCase

# 20:00 UTC on the last day of the year, which is the next year in China.
TEXT = "x"
MOMENT = "datetime.datetime(2026, 12, 31, 20, 0)"


class TestFailingExpressions(ChannelCase):
    """Database errors of an expression fail only its card, except for conflicts, which Odoo repeats."""

    def setUp(self):
        super().setUp()
        self._bind()
        self._bind(self.other_merchant)

    def _let_expression(self, function):
        """Make the first keyword of the template call a function on each partner."""
        self.template.line_ids[0].value = "{{ object.run_test() }}"
        self.startPatcher(patch.object(type(self.env["res.partner"]), "run_test", function, create=True))

    def _raise_in_sql(self, code):
        self.env.cr.execute(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$")

    @mute_logger("odoo.sql_db", wechat_template.__name__)
    def test_conflicts_pass_through(self):
        def hide(_partner):
            try:
                self._raise_in_sql("40001")
            except SerializationFailure as error:
                raise UserError(str(error)) from error

        def undo(_partner):
            with self.env.cr.savepoint():
                self._raise_in_sql("40001")

        def raise_error(error):
            raise error

        for function, expected in (
            (lambda _partner: self._raise_in_sql("40001"), SerializationFailure),
            (lambda _partner: self._raise_in_sql("40P01"), DeadlockDetected),
            (lambda _partner: self._raise_in_sql("55P03"), LockNotAvailable),
            (lambda _partner: raise_error(OperationalError("server closed the connection")), OperationalError),
            (lambda _partner: raise_error(ConcurrencyError("again")), ConcurrencyError),
            (hide, SerializationFailure),
            (undo, SerializationFailure),
        ):
            self._let_expression(function)
            for value in ("{{ object.run_test() }}", "x {{ object.run_test() }}"):
                self.template.line_ids[0].value = value
                with self.subTest(expected=expected, value=value):
                    with self.assertRaises(expected), self.env.cr.savepoint():
                        self._send()

    @mute_logger("odoo.sql_db", wechat_template.__name__)
    def test_conflicts_of_link_and_language_pass_through(self):
        self._let_expression(lambda _partner: self._raise_in_sql("40001"))
        self.template.line_ids[0].value = "x"
        for name in ("url", "lang"):
            self.template.write({"url": False, "lang": False, name: "{{ object.run_test() }}"})
            with self.subTest(name):
                with self.assertRaises(SerializationFailure), self.env.cr.savepoint():
                    self._send()

    @mute_logger("odoo.sql_db", wechat_template.__name__)
    def test_failing_query_fails_only_its_card(self):
        def cancel(partner):
            partner.env.cr.execute("SET LOCAL statement_timeout = 1")
            partner.env.cr.execute("SELECT pg_sleep(1)")

        def swallow(partner):
            try:
                partner.env.cr.execute("SELECT 1 / 0")
            except DivisionByZero:
                return "x"

        def write(partner):
            # The database raises the error at the flush.
            partner.parent_id = 2**31 - 1

        for function, reason in (
            (lambda partner: partner.env.cr.execute("SELECT 1 / 0"), "division by zero"),
            (lambda partner: partner.env.cr.execute("SELECT 'x'::int"), "invalid input syntax"),
            (lambda partner: partner.env.cr.execute("SELECT nothing"), "does not exist"),
            (lambda partner: partner.env.cr.execute("UPDATE res_partner SET id = 1"), "duplicate key"),
            (cancel, "statement timeout"),
            (swallow, "queries failed"),
            (write, "foreign key"),
        ):
            self._let_expression(
                lambda partner, function=function: function(partner) if partner.id == self.merchant.id else partner.name
            )
            with self.subTest(reason):
                # A pending change of the document, which is flushed when the notice is made.
                self.merchant.street = reason
                messages = self._send(self.merchant + self.other_merchant)
                self.env.flush_all()
                self.env.invalidate_all()
                self.assertRecordValues(self.merchant, [{"street": reason, "parent_id": False}])
                row = self.assertWechatNotification(messages[0], self.merchant, "failed", "wechat_value")
                self.assertIn("商家", row.failure_reason)
                self.assertIn(reason, row.failure_reason)
                self.assertEqual(row.card["data"]["character_string2"]["value"], f"SO{self.merchant.id}")
                self.assertWechatNotification(messages[1], self.other_merchant, "outgoing")

    @mute_logger("odoo.sql_db", wechat_template.__name__)
    def test_failing_queries_of_link_and_language(self):
        self._let_expression(lambda partner: partner.env.cr.execute("SELECT 1 / 0"))
        self.template.line_ids[0].value = "{{ object.name }}"
        self.template.lang = "{{ object.run_test() }}"
        self.assertWechatNotification(self._send(), self.merchant, "outgoing")
        self.template.url = "{{ object.run_test() }}"
        self.assertWechatNotification(self._send(), self.merchant, "failed", "wechat_value")

    @mute_logger("odoo.sql_db", wechat_template.__name__)
    def test_unusable_values_fail_their_card(self):
        for key in ("thing1", "amount1", "number1", "character_string1", "time1", "anything"):
            self.template.line_ids[0].key = key
            for value in (
                "10 ** 5000",
                "float('nan')",
                "float('inf')",
                "'\\x00'",
                "'\\ud83d'",
                "datetime.datetime(9999, 12, 31, 23, 0)",
                "[1, {}]",
                "object.",
                ")(",
                "object.__class__",
                "object.no_such_field.name",
                "lambda: 0",
                "object",
            ):
                self.template.line_ids[0].value = f"{{{{ {value} }}}}"
                with self.subTest(key=key, value=value):
                    message = self._send()
                    self.env.flush_all()
                    self.assertEqual(len(message.notification_ids), 1)

    @mute_logger("odoo.sql_db", wechat_template.__name__)
    def test_posting_with_template_of_another_model_fails_visibly(self):
        self.template.model_id = self.env["ir.model"]._get("discuss.channel")
        message = self.merchant.with_user(self.user).message_post(
            body=TEXT, message_type="wechat", partner_ids=self.merchant.ids, wechat_template_id=self.template.id
        )
        self.assertWechatNotification(message, self.merchant, "failed", "wechat_template")

    @mute_logger("odoo.sql_db", wechat_template.__name__)
    def test_posting_with_deleted_template_fails_visibly(self):
        template = self.template
        with mute_logger("odoo.models.unlink"):
            template.unlink()
        for gone in (template, self.env["wechat.template"]):
            message = self.merchant._message_wechat_with_template(gone)
            row = self.assertWechatNotification(message, self.merchant, "failed", "wechat_template")
            self.assertIn("no WeChat template", row.failure_reason)

    @mute_logger("odoo.sql_db", wechat_template.__name__)
    def test_form_keeps_its_values_after_a_failing_query(self):
        with Form(self.template) as form:
            form.name = "改了"
            with form.line_ids.edit(0) as line:
                line.value = "{{ object.env.cr.execute('SELECT 1 / 0') }}"
            form.preview_ref = f"res.partner,{self.merchant.id}"
            self.assertIn("division by zero", form.card_preview["errors"][0])
        self.assertEqual(self.template.name, "改了")


class TestLocale(ChannelCase):
    """A card is in the language and the time zone of its recipient, not of the user."""

    def setUp(self):
        super().setUp()
        self._bind()
        self.merchant.write({"lang": "zh_CN", "tz": "Asia/Shanghai"})

    def _render(self, expression, record=None):
        self.template.line_ids[0].write({"key": "anything", "value": f"{{{{ {expression} }}}}"})
        record = record or self.merchant
        return self.template.sudo()._prepare_cards(record)[record.id].card["data"]["anything"]["value"]

    def test_helpers_use_the_time_zone_of_the_recipient(self):
        cron, public = self.env.ref("base.user_root"), self.public
        (cron + public).write({"tz": False})
        self.employee.tz = "America/New_York"
        for expression, expected in (
            (MOMENT, "2027年1月1日 04:00"),
            (f"format_datetime({MOMENT}, dt_format='yyyy-MM-dd HH:mm')", "2027-01-01 04:00"),
            ("format_datetime('2026-12-31 20:00:00', dt_format='yyyy-MM-dd HH:mm')", "2027-01-01 04:00"),
            (f"format_datetime({MOMENT}, 'Asia/Tokyo', 'yyyy-MM-dd HH:mm')", "2027-01-01 05:00"),
            (f"format_datetime({MOMENT}, tz='UTC', dt_format='HH:mm')", "20:00"),
            (f"format_time({MOMENT}, time_format='HH:mm')", "04:00"),
            (f"format_date({MOMENT}, 'yyyy-MM-dd')", "2027-01-01"),
            (f"format_date({MOMENT}.date(), 'yyyy-MM-dd')", "2026-12-31"),
            ("format_duration(1.5)", "01:30"),
        ):
            for user in (cron, public, self.employee):
                with self.subTest(expression=expression, user=user.login):
                    record = self.merchant.with_user(user).sudo().with_context(tz="America/New_York", lang="en_US")
                    self.assertEqual(self._render(expression, record), expected)

    def test_helpers_use_the_language_of_the_recipient(self):
        chinese = self._render(f"format_date({MOMENT})")
        amount = "format_amount(1234.5, object.env.ref('base.EUR'))"
        self.assertIn("2027", chinese)
        self.env["res.lang"]._lang_get("en_US").write({"thousands_sep": "_"})
        self.assertNotIn("_", self._render(amount))
        self.merchant.lang = "en_US"
        self.assertIn("1_234.50", self._render(amount))
        self.assertNotEqual(self._render(f"format_date({MOMENT})"), chinese)

    def test_time_zone_of_the_company_is_the_default(self):
        self.merchant.tz = False
        company = self.env.company.partner_id
        for tz, expected in (("Asia/Tokyo", "05:00"), (False, "04:00")):
            company.tz = tz
            with self.subTest(tz=tz):
                self.assertEqual(self._render(f"format_time({MOMENT}, time_format='HH:mm')"), expected)

    def test_each_contact_gets_its_own_language_and_time(self):
        self.template.notify_contacts = True
        self.template.line_ids[0].write({"key": "first", "value": "{{ object.type }}"})
        self.template.line_ids[1].write({"key": "time2", "value": f"{{{{ {MOMENT} }}}}"})
        contacts = self.env["res.partner"].create(
            [
                {"name": name, "parent_id": self.merchant.id, "lang": lang, "tz": tz}
                for name, lang, tz in (
                    ("老板", "zh_CN", "Asia/Shanghai"),
                    ("Jane", "en_US", "America/New_York"),
                    ("Tom", "en_US", "America/New_York"),
                )
            ]
        )
        for contact in contacts:
            self._bind(contact)
        words = self.env["res.partner"]._fields["type"]
        labels = {
            lang: dict(words._description_selection(self.env(context={"lang": lang})))["contact"]
            for lang in ("zh_CN", "en_US")
        }
        self.assertNotEqual(*labels.values())
        posted = self.merchant.with_user(self.user).message_post(
            body=TEXT,
            message_type="wechat",
            partner_ids=(self.merchant + contacts).ids,
            wechat_template_id=self.template.id,
        )
        for message in (self._send(), posted):
            self.assertEqual(message.partner_ids, self.merchant + contacts)
            said = {
                row.partner_id: [row.card["data"][key]["value"] for key in ("first", "time2")]
                for row in self._get_rows(message)
            }
            chinese, english = [labels["zh_CN"], "2027年1月1日 04:00"], [labels["en_US"], "2026年12月31日 15:00"]
            self.assertEqual(
                said,
                {
                    self.merchant: chinese,
                    **dict(zip(contacts, (chinese, english, english), strict=True)),
                },
            )

    def test_card_is_rendered_once_for_each_locale(self):
        self.template.notify_contacts = True
        contacts = self.env["res.partner"].create(
            [{"name": f"店员 {number}", "parent_id": self.merchant.id, "lang": "zh_CN"} for number in range(5)]
        )
        contacts.tz = "Asia/Shanghai"
        for contact in contacts:
            self._bind(contact)
        rendering = type(self.template)
        with patch.object(rendering, "_prepare_card", autospec=True, side_effect=rendering._prepare_card) as prepare:
            self.assertEqual(len(self._get_rows(self._send())), 6)
        self.assertEqual(prepare.call_count, 1)

    def test_sms_is_in_the_language_of_each_contact(self):
        self.template.write({"notify_contacts": True, "fallback": "sms"})
        self.template.line_ids[0].write({"key": "first", "value": "{{ object.type }}"})
        contacts = self.env["res.partner"].create(
            [
                {"name": lang, "parent_id": self.merchant.id, "lang": lang, "phone": "+86 571 8700 0000"}
                for lang in ("zh_CN", "en_US")
            ]
        )
        for contact in contacts:
            self._bind(contact, is_subscribed=False)
        message = self._send(partner_ids=contacts.ids)
        self.env.flush_all()
        self.env.ref("wechat_merchant_bind.ir_cron_apply_fallbacks").method_direct_trigger()
        sms = self.env["sms.sms"].search([("mail_message_id", "=", message.id)])
        rows = self._get_rows(message)
        self.assertEqual({one.partner_id: one.body for one in sms}, {row.partner_id: row.body for row in rows})
        self.assertEqual(len(set(rows.mapped("body"))), 2)
