-- A copy of the database calls WeChat for nobody and takes no push: the accounts are off, their secrets are gone, and
-- the address is one that is refused before anything is sent. A copied access token would be good for two more hours.
UPDATE wechat_account
   SET active = FALSE,
       app_secret = NULL,
       webhook_token = NULL,
       encoding_aes_key = NULL,
       previous_encoding_aes_key = NULL,
       webhook_key = 'neutralized-' || md5(random()::text || id::text),
       api_base_url = 'http://neutralized.invalid';
UPDATE wechat_access_token
   SET token = NULL,
       expires_at = NULL,
       fingerprint = NULL;
-- Whoever scans a code from the copy would bind a merchant of the original.
UPDATE wechat_bind_code
   SET state = 'revoked',
       share_token = NULL
 WHERE state = 'active';
-- What waits in the outbox is the original's to send. No lane runs that would tell it in the chatter.
UPDATE mail_notification
   SET notification_status = 'canceled',
       failure_type = 'wechat_unsent'
 WHERE id IN (SELECT notification_id FROM wechat_message WHERE state IN ('outgoing', 'sending'));
UPDATE wechat_message
   SET state = 'canceled',
       notified_state = 'canceled',
       failure_type = 'wechat_unsent',
       lease_until = NULL,
       is_parked = FALSE
 WHERE state IN ('outgoing', 'sending');
