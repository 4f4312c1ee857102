def migrate(cr, version):
    """Remove the msgid 0, which WeChat gives to many messages: receipts can't be matched by it."""
    cr.execute("UPDATE wechat_message SET msgid = NULL WHERE msgid ~ '^0+$'")
    cr.execute("""
        UPDATE wechat_event
           SET msgid = NULL,
               state = CASE state WHEN 'received' THEN 'ignored' ELSE state END
         WHERE msgid ~ '^0+$'
    """)
