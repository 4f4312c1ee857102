from odoo import fields, models
from odoo.tools import SQL


class WechatBoundRate(models.Model):
    """The share of bound merchants, day by day since the first binding.

    It counts the merchants of today: for each day, those that existed at its end, and those of them that were bound at
    that time. The last day is today, so the graph ends with the number of the dashboard.
    """

    _name = "wechat.bound.rate"
    _description = "WeChat Bound Rate over Time"
    _auto = False
    _order = "date desc"
    _rec_name = "date"
    _depends = {
        "res.partner": ["company_id", "create_date"],
        "wechat.binding": ["partner_id", "bound_at", "unbound_at"],
    }

    # === FIELDS === #

    date = fields.Date("Day", readonly=True)
    company_id = fields.Many2one("res.company", readonly=True)
    merchant_count = fields.Integer("Merchants", readonly=True, aggregator="avg")
    bound_count = fields.Integer("Bound Merchants", readonly=True, aggregator="avg")
    bound_rate = fields.Float("Bound Rate (%)", readonly=True, aggregator="avg", digits=(5, 1))

    # === BUSINESS METHODS === #

    @property
    def _table_query(self):
        # Days are in the reader's time zone, as in the other statistics. Merchants from before the first binding count
        # for its day, without converting each date: there may be a million of them.
        return SQL(
            """
            WITH merchant AS (
                %(merchants)s
            ), binding AS (
                SELECT merchant.company_id, binding.bound_at, binding.unbound_at
                  FROM wechat_binding AS binding
                  JOIN merchant ON merchant.id = binding.partner_id
                 WHERE binding.bound_at IS NOT NULL
            ), beginning AS (
                SELECT MIN(bound_at) AS moment, %(first_day)s AS day
                  FROM binding
            ), change AS (
                SELECT company_id, 1 AS merchants, 0 AS bound,
                       CASE WHEN create_date <= beginning.moment THEN beginning.day ELSE %(create_day)s END AS day
                  FROM merchant, beginning
                 UNION ALL
                SELECT company_id, 0, 1, %(bound_day)s FROM binding
                 UNION ALL
                SELECT company_id, 0, -1, %(unbound_day)s FROM binding WHERE unbound_at IS NOT NULL
            ), change_a_day AS (
                SELECT company_id, day, SUM(merchants) AS merchants, SUM(bound) AS bound
                  FROM change
              GROUP BY company_id, day
            ), total AS (
                SELECT series.day::date AS date,
                       company.company_id,
                       SUM(change_a_day.merchants) OVER until_then AS merchants,
                       SUM(change_a_day.bound) OVER until_then AS bound
                  FROM beginning
            CROSS JOIN GENERATE_SERIES(beginning.day, %(today)s, INTERVAL '1 day') AS series(day)
            CROSS JOIN (SELECT DISTINCT company_id FROM change_a_day) AS company
             LEFT JOIN change_a_day
                    ON change_a_day.day = series.day::date
                   AND change_a_day.company_id IS NOT DISTINCT FROM company.company_id
                WINDOW until_then AS (PARTITION BY company.company_id ORDER BY series.day)
            )
            SELECT (date - DATE '2000-01-01') * 10000 + COALESCE(company_id, 0) AS id,
                   date,
                   company_id,
                   merchants AS merchant_count,
                   bound AS bound_count,
                   100.0 * bound / merchants AS bound_rate
              FROM total
             WHERE merchants > 0
            """,
            merchants=self._get_merchants_query(),
            first_day=self._to_day(SQL("MIN(bound_at)")),
            create_day=self._to_day(SQL("create_date")),
            bound_day=self._to_day(SQL("bound_at")),
            unbound_day=self._to_day(SQL("unbound_at")),
            today=self._to_day(SQL("NOW() AT TIME ZONE 'UTC'")),
        )

    def _get_merchants_query(self):
        partners = self.env["res.partner"]
        # Without the rules of partners, which are only counted. The company rule of this report applies.
        query = partners._search(partners._wechat_get_merchant_domain(), bypass_access=True)
        return query.select(*(SQL.identifier(query.table, name) for name in ("id", "company_id", "create_date")))

    def _to_day(self, moment):
        return SQL("(%s AT TIME ZONE 'UTC' AT TIME ZONE %s)::date", moment, str(self.env.tz))

    def _read_group_select(self, aggregate_spec, query):
        """Weight companies by their merchants, and average numbers of merchants over the days."""
        if aggregate_spec == "bound_rate:avg":
            return SQL("100.0 * SUM(%s) / SUM(%s)", *self._get_columns(query, "bound_count", "merchant_count"))
        if aggregate_spec in ("merchant_count:avg", "bound_count:avg"):
            name = aggregate_spec.removesuffix(":avg")
            return SQL("1.0 * SUM(%s) / COUNT(DISTINCT %s)", *self._get_columns(query, name, "date"))
        return super()._read_group_select(aggregate_spec, query)

    def _get_columns(self, query, *names):
        return [self._field_to_sql(self._table, name, query) for name in names]
