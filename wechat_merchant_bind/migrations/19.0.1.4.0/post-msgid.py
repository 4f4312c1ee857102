def migrate(cr, version):
    """Forget the number 0, which WeChat gives to any message: it is no number by which a receipt finds its message."""
    cr.execute("UPDATE wechat_message SET msgid = NULL WHERE msgid ~ '^0+$'")
    cr.execute("""
        UPDATE wechat_event
           SET msgid = NULL,
               state = CASE state WHEN 'received' THEN 'ignored' ELSE state END
         WHERE msgid ~ '^0+$'
    """)
