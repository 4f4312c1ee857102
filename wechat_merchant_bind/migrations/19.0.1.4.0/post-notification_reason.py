def migrate(cr, version):
    """Forget why WeChat messages failed where every user may read it: the messages keep it for fewer readers."""
    cr.execute("""
        UPDATE mail_notification
           SET failure_reason = NULL
         WHERE notification_type = 'wechat'
           AND failure_reason IS NOT NULL
    """)
