-- Dates what setup/demo has just made back over the last two months: merchants get their codes one after the other, bind
-- some hours later, and two unfollow. Only dates change, and those of one event alike; nothing is made up that did not happen.

-- When each merchant registered, was given its code, and how long it took to scan it: customers of more than a year, one
-- after the other. The two unscanned codes are an expired one and a recent one.
CREATE TEMPORARY TABLE history AS
SELECT partner.id AS partner_id,
       NOW() AT TIME ZONE 'UTC' - (420 - 17 * number) * INTERVAL '1 day' - number * 29 % 8 * INTERVAL '1 hour' AS registered_at,
       -- The codes of a bulk generation are of today.
       NOW() AT TIME ZONE 'UTC' - CASE
           WHEN number <= 10 THEN 63 - 5.6 * number
           WHEN number = 11 THEN 33
           WHEN number = 12 THEN 4
       END * INTERVAL '1 day' AS generated_at,
       -- From one hour to almost three days.
       (1 + number * 17 % 70) * INTERVAL '1 hour' AS delay
  FROM (
        SELECT id, ROW_NUMBER() OVER (ORDER BY id) AS number
          FROM res_partner
         WHERE parent_id IS NULL AND partner_share AND is_company
           AND id NOT IN (SELECT partner_id FROM res_company)
       ) AS partner;

-- The account was connected before its first code.
UPDATE wechat_account SET create_date = NOW() AT TIME ZONE 'UTC' - INTERVAL '64 days';

UPDATE res_partner SET create_date = registered_at
  FROM history WHERE history.partner_id = res_partner.id;

-- A code is valid for 30 days: older unscanned ones have expired.
UPDATE wechat_bind_code
   SET create_date = generated_at,
       expires_at = generated_at + INTERVAL '30 days',
       share_expires_at = generated_at + INTERVAL '7 days',
       used_at = CASE WHEN used_at IS NOT NULL THEN generated_at + delay END,
       state = CASE
           WHEN state = 'active' AND generated_at + INTERVAL '30 days' < NOW() AT TIME ZONE 'UTC' THEN 'expired'
           ELSE state
       END
  FROM history WHERE history.partner_id = wechat_bind_code.partner_id AND generated_at IS NOT NULL;

UPDATE wechat_binding
   SET create_date = generated_at + delay,
       bound_at = generated_at + delay,
       last_event_at = CASE WHEN is_subscribed THEN generated_at + delay ELSE generated_at + delay + INTERVAL '2 days' END
  FROM history WHERE history.partner_id = wechat_binding.partner_id;

UPDATE res_partner SET wechat_bound_at = generated_at + delay
  FROM history WHERE history.partner_id = res_partner.id AND wechat_bound_at IS NOT NULL;

UPDATE wechat_operation
   SET create_date = CASE operation
       WHEN 'generate' THEN generated_at
       WHEN 'bind' THEN generated_at + delay
       WHEN 'unfollow' THEN generated_at + delay + INTERVAL '2 days'
       ELSE create_date
   END
  FROM history WHERE history.partner_id = wechat_operation.partner_id AND generated_at IS NOT NULL;

-- The merchants' people look into the portal now and then.
UPDATE res_users_log SET create_date = NOW() AT TIME ZONE 'UTC' - res_users.id * 7 % 11 * INTERVAL '1 day' - INTERVAL '5 hours'
  FROM res_users
  JOIN history USING (partner_id)
 WHERE res_users_log.create_uid = res_users.id;

-- The notes in the chatter tell the same story, and so does the inbox.
UPDATE mail_message
   SET date = CASE
       WHEN body LIKE '%已生成微信绑定码%' THEN COALESCE(generated_at, date)
       WHEN body LIKE '%已绑定微信%' THEN generated_at + delay
       WHEN body LIKE '%取消关注%' THEN generated_at + delay + INTERVAL '2 days'
       ELSE registered_at
   END
  FROM history WHERE mail_message.model = 'res.partner' AND history.partner_id = mail_message.res_id;

UPDATE wechat_event
   SET create_date = generated_at + delay + CASE WHEN event = 'unsubscribe' THEN INTERVAL '2 days' ELSE '0' END,
       create_time = generated_at + delay + CASE WHEN event = 'unsubscribe' THEN INTERVAL '2 days' ELSE '0' END
  FROM wechat_binding
  JOIN history ON history.partner_id = wechat_binding.partner_id
 WHERE wechat_binding.openid = wechat_event.openid;

-- The orders of the last ten days, the newest first; each message took as long as it took.
CREATE TEMPORARY TABLE notices AS
SELECT id AS message_id, mail_message_id, res_id AS order_id,
       ROW_NUMBER() OVER (ORDER BY id DESC) * INTERVAL '29 hours' AS age
  FROM wechat_message
 WHERE res_model = 'sale.order';

UPDATE wechat_message
   SET create_date = create_date - age,
       next_attempt_at = next_attempt_at - age,
       first_call_at = first_call_at - age,
       valid_until = valid_until - age,
       sent_at = sent_at - age,
       delivered_at = delivered_at - age
  FROM notices WHERE notices.message_id = wechat_message.id;

-- What the cards say of the time of the order.
CREATE FUNCTION pg_temp.dated_back(words TEXT, age INTERVAL) RETURNS TEXT LANGUAGE SQL RETURN regexp_replace(
    words,
    '[0-9]+年[0-9]+月[0-9]+日 [0-9]+:[0-9]+',
    to_char(NOW() AT TIME ZONE 'Asia/Shanghai' - age, 'YYYY"年"FMMM"月"FMDD"日" HH24:MI'),
    'g'
);

UPDATE wechat_message SET body = pg_temp.dated_back(body, age), card = pg_temp.dated_back(card::TEXT, age)::JSONB
  FROM notices WHERE notices.message_id = wechat_message.id;

UPDATE mail_message SET body = pg_temp.dated_back(body, age)
  FROM notices WHERE mail_message.id = notices.mail_message_id;

UPDATE sale_order SET create_date = create_date - age, date_order = date_order - age
  FROM notices WHERE notices.order_id = sale_order.id;

UPDATE mail_message SET date = date - age
  FROM notices WHERE mail_message.model = 'sale.order' AND notices.order_id = mail_message.res_id;
