"""A crowd of partners, their logins, bindings and codes, written by SQL: the ORM would take an hour for a million.

Everything follows from a partner's number, so that two runs measure the same. Of ten partners six are merchants and
four are contacts of merchants; one partner in fifty is archived, one merchant in twenty has a portal login.
"""

from support.database import Database

# The foreign keys are valid by construction. Checking millions of them would only cost time.
FAST = "SET session_replication_role = replica; "

PARTNERS = """
    INSERT INTO res_partner (
        id, parent_id, commercial_partner_id, name, complete_name, is_company, active, partner_share, type, lang, color,
        email, email_normalized, phone, phone_sanitized, city, street, country_id, message_bounce,
        create_uid, write_uid, create_date, write_date
    )
    SELECT id, parent_id, COALESCE(parent_id, id), name,
           CASE WHEN parent_id IS NULL THEN name ELSE merchant || ', ' || name END,
           parent_id IS NULL, n %% 50 <> 7, TRUE, 'contact', 'zh_CN', 0,
           'm' || n || '@example.com', 'm' || n || '@example.com',
           '+86 138 ' || lpad(n::varchar, 8, '0'), '+86138' || lpad(n::varchar, 8, '0'),
           city, '中山路 ' || n %% 900 || ' 号', (SELECT id FROM res_country WHERE code = 'CN'), 0, 1, 1, made, made
      FROM (
        SELECT n, %(first)s + n AS id, CASE WHEN n %% 5 > 2 THEN %(first)s + n - 3 END AS parent_id, city,
               city || word || kind || owner AS merchant,
               CASE WHEN n %% 5 > 2 THEN surname || (ARRAY['老板', '会计', '店长'])[1 + n %% 3]
                    ELSE city || word || kind || owner END AS name,
               now() AT TIME ZONE 'UTC' - n %% 1500 * interval '1 day' AS made
          FROM (
            SELECT n,
                   (ARRAY['杭州', '绍兴', '宁波', '苏州', '上海', '北京', '天津', '长沙'])[1 + h %% 8] AS city,
                   (ARRAY['西湖', '运河', '兴隆', '福满', '同和', '永昌', '瑞祥', '德聚'])[1 + h / 8 %% 8] AS word,
                   (ARRAY['茶庄', '酒行', '食品店', '布庄', '药房', '书局', '粮油', '百货'])[1 + h / 64 %% 8] AS kind,
                   (ARRAY['赵', '钱', '孙', '李', '周', '吴', '郑', '王'])[1 + h / 512 %% 8] AS surname,
                   lpad((h / 512 %% 2000)::varchar, 4, '0') AS owner
              FROM (SELECT n, abs(hashint4((n - CASE WHEN n %% 5 > 2 THEN 3 ELSE 0 END)::int)) AS h
                      FROM generate_series(1, %(count)s) n) AS numbers
          ) AS words
      ) AS people;
    SELECT setval('res_partner_id_seq', %(first)s + %(count)s);
"""

LOGINS = """
    INSERT INTO res_users (
        login, partner_id, company_id, active, share, notification_type, create_uid, write_uid, create_date, write_date
    )
    SELECT 'm' || id || '@example.com', id, 1, active, TRUE, 'email', 1, 1, create_date, create_date
      FROM res_partner
     WHERE id > %(first)s AND parent_id IS NULL AND id %% 20 = 3;
    INSERT INTO res_groups_users_rel (uid, gid)
    SELECT id, (SELECT res_id FROM ir_model_data WHERE module = 'base' AND name = 'group_portal')
      FROM res_users
     WHERE partner_id > %(first)s;
    INSERT INTO res_company_users_rel (user_id, cid) SELECT id, 1 FROM res_users WHERE partner_id > %(first)s;
    INSERT INTO res_users_log (create_uid, write_uid, create_date, write_date)
    SELECT id, id, now() AT TIME ZONE 'UTC' - n * interval '9 day', now() AT TIME ZONE 'UTC'
      FROM res_users, generate_series(1, 3) n
     WHERE partner_id > %(first)s;
"""

# Whether a partner is bound when %(unbound)s of a hundred are not, independently of what else its number tells.
IS_BOUND = "active AND abs(hashint4(id)) %% 100 >= %(unbound)s"

CODES = f"""
    INSERT INTO wechat_bind_code (
        partner_id, account_id, company_id, scene_str, ticket, qr_content, expires_at, state, user_id, used_at,
        create_uid, write_uid, create_date, write_date
    )
    SELECT id, %(account)s, 1, 'mb_' || id, 'ticket', 'http://weixin.qq.com/q/' || id,
           made + interval '30 day', CASE WHEN is_bound THEN 'used' WHEN made < now() - interval '30 day' THEN 'expired'
           ELSE 'active' END, 2, CASE WHEN is_bound THEN made END, 2, 2, made, made
      FROM (SELECT id, {IS_BOUND} AS is_bound,
                   now() AT TIME ZONE 'UTC' - id %% 400 * interval '1 day' AS made
              FROM res_partner
             WHERE id > %(first)s AND abs(hashint4(id)) / 100 %% 10 < 3) AS invited;
"""

BINDINGS = f"""
    INSERT INTO wechat_binding (
        partner_id, account_id, company_id, openid, state, source, is_subscribed, bound_at, last_event_at,
        create_uid, write_uid, create_date, write_date
    )
    SELECT id, %(account)s, 1, 'oCrowd' || lpad(id::varchar, 22, '0'), 'bound', 'scan', id %% 30 <> 0, moment, moment,
           1, 1, moment, moment
      FROM (SELECT id, now() AT TIME ZONE 'UTC' - id %% 400 * interval '1 day' AS moment
              FROM res_partner
             WHERE id > %(first)s AND is_wechat_bound IS NOT TRUE AND {IS_BOUND}) AS bound;
    UPDATE res_partner
       SET wechat_openid = openid, is_wechat_bound = TRUE, wechat_bound_at = bound_at,
           wechat_state = CASE WHEN is_subscribed THEN 'bound' ELSE 'unfollowed' END
      FROM wechat_binding
     WHERE partner_id = res_partner.id AND is_wechat_bound IS NOT TRUE;
"""


# Created by Odoo, which sets the defaults.
ACCOUNT = """
env["wechat.account"].create({"name": "Crowd", "app_id": "wx-crowd", "app_secret": "x", "company_id": 1})
env.cr.commit()
"""

# How many partners each transaction has written.
VERSIONS = "SELECT xmin::varchar AS version, count(*) AS rows FROM res_partner WHERE id > %(first)s GROUP BY 1"


class Crowd:
    """The partners that were added to a database, with an id above `first`."""

    def __init__(self, database: Database, count: int):
        self.database = database
        self.first = database.execute("SELECT max(id) FROM res_partner")[0]["max"]
        database.execute(FAST + PARTNERS, first=self.first, count=count)
        database.execute(FAST + LOGINS, first=self.first)
        database.vacuum()

    def versions(self) -> dict[str, int]:
        """Return by PostgreSQL's transactions how many of the partners each has written last."""
        return {row["version"]: row["rows"] for row in self.database.execute(VERSIONS, first=self.first)}

    def count_written(self, since: dict[str, int]) -> int:
        """Return how many of the partners were written after `versions` had returned `since`."""
        return sum(rows for version, rows in self.versions().items() if version not in since)

    def bind_all_but(self, unbound: int) -> None:
        """Bind active partners until only `unbound` of a hundred are left, evenly over the alphabet.

        Bound partners stay bound, so the unbound share of a database only falls. Three partners in ten have had a code.
        """
        values = {"first": self.first, "unbound": unbound, "account": self._get_account()}
        self.database.execute("DELETE FROM wechat_bind_code WHERE partner_id > %(first)s", **values)
        self.database.execute(FAST + BINDINGS, **values)
        self.database.execute(FAST + CODES, **values)
        self.database.vacuum()

    def _get_account(self) -> int:
        """Return the account that all bindings belong to."""
        query = "SELECT id FROM wechat_account WHERE app_id = 'wx-crowd'"
        if not self.database.execute(query):
            self.database.run_in_shell(ACCOUNT)
        return self.database.execute(query)[0]["id"]
