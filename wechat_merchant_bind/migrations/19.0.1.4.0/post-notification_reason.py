def migrate(cr, version):
    """Empty the failure reasons of WeChat notifications, readable by every user: the messages have them."""
    cr.execute("""
        UPDATE mail_notification
           SET failure_reason = NULL
         WHERE notification_type = 'wechat'
           AND failure_reason IS NOT NULL
    """)
