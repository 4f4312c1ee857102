from ..common_outbox import OutboxCase


class TestStatistics(OutboxCase):
    """The statistics of messages."""

    def _create_delivered(self, *seconds, **values):
        for number in seconds:
            message = self._queue(state="delivered", **values)
            self._set(message, delivered_at=f"create_date + interval '{number} seconds'")

    def _read(self, *groupby, user=None):
        self.env.flush_all()
        return (
            self.env["wechat.message.report"]
            .with_user(user or self.user)
            ._read_group(
                [("account_id", "=", self.account.id)],
                list(groupby),
                ["__count", "delivered_count:sum", "delivered_rate:avg", "delivery_seconds:avg"],
            )
        )

    def test_delivery_rate_and_median_time(self):
        self._create_delivered(1, 2, 900)
        self._queue(state="failed", failure_type="wechat_system")
        for state in ("outgoing", "canceled"):
            self._queue(state=state)
        self._queue(state="failed", kind="test")
        [(count, delivered, rate, median)] = self._read()
        self.assertEqual(
            (count, delivered, rate), (6, 3, 75.0), "Tests are not counted; what is not decided has no rate"
        )
        self.assertAlmostEqual(median, 2, places=3)

    def test_each_group_has_its_own_median(self):
        self._create_delivered(1, 2, 3)
        other = self._create_template(name="付款通知")
        self._create_delivered(10, 20, 30, 1000, template_id=other.id, template_name=other.name)
        rows = {template: (rate, round(median)) for template, _c, _d, rate, median in self._read("template_name")}
        self.assertEqual(rows, {self.template.name: (100.0, 2), "付款通知": (100.0, 25)})

    def test_messages_are_grouped_by_problem(self):
        self._queue(state="failed", failure_type="wechat_system")
        self._create_delivered(1, failure_type="wechat_system")
        counts = {failure: count for failure, count, *_rest in self._read("failure_type")}
        self.assertEqual(counts, {"wechat_system": 1, False: 1})
