"""What the pushes of a round are about, written by SQL: the ORM would take longer than what is measured.

Only the ground is laid so. What a push does is always done by Odoo.
"""

from dataclasses import dataclass

from support.database import Database
from support.pushes import new_openid

# As Odoo has them after an admin has pressed 生成绑定码.
CODES = """
    WITH merchant AS MATERIALIZED (
        SELECT nextval('res_partner_id_seq') AS id, now() AT TIME ZONE 'UTC' - interval '1 day' AS moment
          FROM generate_series(1, %(count)s)
    ), partner AS (
        INSERT INTO res_partner (
            id, commercial_partner_id, name, complete_name, is_company, active, partner_share, type, lang, color,
            wechat_state, is_wechat_bound, create_uid, write_uid, create_date, write_date
        )
        SELECT id, id, '茶庄 ' || id, '茶庄 ' || id, TRUE, TRUE, TRUE, 'contact', 'zh_CN', 0,
               'unbound', FALSE, 2, 2, moment, moment
          FROM merchant
    )
    INSERT INTO wechat_bind_code (
        partner_id, account_id, company_id, scene_str, ticket, qr_content, share_token, share_expires_at, expires_at,
        state, user_id, create_uid, write_uid, create_date, write_date
    )
    SELECT merchant.id, account.id, account.company_id, 'mb_' || gen_random_uuid(), 'ticket',
           'http://weixin.qq.com/q/' || merchant.id, gen_random_uuid()::varchar, moment + interval '7 day',
           moment + interval '7 day', 'active', 2, 2, 2, moment, moment
      FROM merchant, wechat_account AS account
     WHERE account.id = %(account)s
 RETURNING partner_id, scene_str
"""

# As the outbox has them when WeChat has taken them.
SENT_MESSAGES = """
    INSERT INTO wechat_message (
        partner_id, partner_name, account_id, company_id, openid, kind, state, msgid, client_msg_id, attempts, priority,
        next_attempt_at, first_call_at, sent_at, create_uid, write_uid, create_date, write_date
    )
    SELECT partner.id, partner.name, account.id, account.company_id, openid, 'notice', 'sent',
           (%(first)s + number)::varchar, replace(gen_random_uuid()::varchar, '-', ''), 1, 10, moment, moment, moment,
           1, 1, moment, moment
      FROM unnest(%(partners)s, %(openids)s) WITH ORDINALITY AS bound (partner_id, openid, number)
      JOIN res_partner AS partner ON partner.id = bound.partner_id,
           wechat_account AS account,
           LATERAL (SELECT now() AT TIME ZONE 'UTC' AS moment) AS clock
     WHERE account.id = %(account)s
 RETURNING id, msgid, openid
"""

# A country's merchants after some years: each had a code; of a hundred codes 90 were used, 6 ran out, 2 were revoked
# and 2 are open. Of a hundred bindings 4 have ended and 3 have unfollowed. One row of the inbox in a
# thousand has failed, and none waits.
CROWD = """
    SET session_replication_role = replica;
    CREATE TEMPORARY TABLE crowd AS
    SELECT number, base + number AS id, now() AT TIME ZONE 'UTC' - number %% 900 * interval '1 day' AS moment,
           'o' || lpad(number::varchar, 27, 'Crowd') AS openid
      FROM generate_series(1, %(count)s) AS number, (SELECT max(id) AS base FROM res_partner) AS partner;
    INSERT INTO res_partner (
        id, commercial_partner_id, name, complete_name, is_company, active, partner_share, type, lang, color,
        wechat_openid, is_wechat_bound, wechat_bound_at, wechat_state, create_uid, write_uid, create_date, write_date
    )
    SELECT id, id, '商家 ' || number, '商家 ' || number, TRUE, number %% 50 <> 7, TRUE, 'contact', 'zh_CN', 0,
           CASE WHEN number %% 25 > 0 THEN openid END, number %% 25 > 0, CASE WHEN number %% 25 > 0 THEN moment END,
           CASE WHEN number %% 25 = 0 THEN 'unbound' WHEN number %% 33 = 1 THEN 'unfollowed' ELSE 'bound' END,
           1, 1, moment, moment
      FROM crowd;
    SELECT setval('res_partner_id_seq', max(id)) FROM crowd;
    INSERT INTO wechat_bind_code (
        partner_id, account_id, company_id, scene_str, ticket, qr_content, share_token, share_expires_at, expires_at,
        state, user_id, used_at, create_uid, write_uid, create_date, write_date
    )
    SELECT crowd.id, account.id, account.company_id, 'mb_' || md5(number::varchar), 'ticket',
           'http://weixin.qq.com/q/' || number, md5(crowd.id::varchar), moment + interval '7 day',
           CASE WHEN number %% 100 > 97 THEN now() AT TIME ZONE 'UTC' + interval '7 day'
                ELSE moment + interval '7 day' END,
           CASE WHEN number %% 100 < 90 THEN 'used' WHEN number %% 100 < 96 THEN 'expired'
                WHEN number %% 100 < 98 THEN 'revoked' ELSE 'active' END,
           2, CASE WHEN number %% 100 < 90 THEN moment END, 2, 2, moment, moment
      FROM crowd, wechat_account AS account
     WHERE account.id = %(account)s;
    INSERT INTO wechat_binding (
        partner_id, account_id, company_id, openid, state, source, is_subscribed, bound_at, unbound_at, last_event_at,
        code_id, create_uid, write_uid, create_date, write_date
    )
    SELECT crowd.id, account.id, account.company_id, openid, CASE WHEN number %% 25 > 0 THEN 'bound' ELSE 'unbound' END,
           'scan', number %% 33 <> 1, moment, CASE WHEN number %% 25 = 0 THEN moment + interval '1 day' END, moment,
           code.id, 1, 1, moment, moment
      FROM crowd
      JOIN wechat_bind_code AS code ON code.partner_id = crowd.id,
           wechat_account AS account
     WHERE account.id = %(account)s;
    INSERT INTO wechat_event (
        account_id, company_id, msg_type, event, openid, event_key, create_time, payload, dedupe_key, reply, state,
        attempts, create_uid, write_uid, create_date, write_date
    )
    SELECT account.id, account.company_id, 'event',
           (ARRAY['scan', 'subscribe', 'click', 'templatesendjobfinish', 'view'])[1 + number %% 5], openid,
           'mb_' || md5(number::varchar), moment, repeat('{"FromUserName": "' || openid || '"} ', 8),
           md5(number::varchar) || md5(openid), CASE WHEN number %% 5 < 2 THEN repeat('<xml></xml>', 30) END,
           CASE WHEN number %% 1000 = 13 THEN 'failed' WHEN number %% 5 IN (2, 4) THEN 'ignored' ELSE 'done' END,
           1, 1, 1, moment, moment
      FROM crowd, wechat_account AS account
     WHERE account.id = %(account)s;
"""


@dataclass
class Invitation:
    """A merchant with an open code, and the OpenID of its scanner."""

    partner_id: int
    scene: str
    openid: str


def add_codes(database: Database, account_id: int, count: int) -> list[Invitation]:
    """Add merchants with an open binding code each."""
    rows = database.execute(CODES, count=count, account=account_id)
    database.execute("ANALYZE wechat_bind_code; ANALYZE res_partner")
    return [Invitation(row["partner_id"], row["scene_str"], new_openid()) for row in rows]


def add_crowd(database: Database, account_id: int, count: int) -> None:
    """Add merchants, each with a code, a binding and a row of the inbox, and let PostgreSQL count them."""
    database.execute(CROWD, count=count, account=account_id)
    database.vacuum()


def add_sent_messages(database: Database, account_id: int, invitations: list[Invitation], first: int) -> list[dict]:
    """Add a sent message without a receipt to each of these merchants.

    :param first: below their numbers at WeChat
    :return: rows of id, msgid and openid
    """
    partners, openids = [one.partner_id for one in invitations], [one.openid for one in invitations]
    rows = database.execute(SENT_MESSAGES, partners=partners, openids=openids, account=account_id, first=first)
    database.execute("ANALYZE wechat_message")
    return rows
