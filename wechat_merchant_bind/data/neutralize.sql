-- A copy of the database neither calls WeChat nor accepts pushes: the accounts are archived and lose their secrets, and
-- their API address is refused before any call. A copied access token would stay valid for up to two hours.
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
-- A scanned code of the copy would bind a merchant of the original.
UPDATE wechat_bind_code
   SET state = 'revoked',
       share_token = NULL
 WHERE state = 'active';
-- The original sends the waiting messages. No sender runs in the copy, so the chatter's state is set here as well.
UPDATE mail_notification
   SET notification_status = 'canceled',
       failure_type = NULL
 WHERE id IN (SELECT notification_id FROM wechat_message WHERE state IN ('outgoing', 'sending'));
UPDATE wechat_message
   SET state = 'canceled',
       failure_type = NULL,
       lease_until = NULL
 WHERE state IN ('outgoing', 'sending');
