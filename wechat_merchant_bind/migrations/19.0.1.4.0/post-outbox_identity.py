def migrate(cr, version):
    """Keep only the number of the database that sends: its address is no part of its identity any more."""
    cr.execute("""
        UPDATE ir_config_parameter
           SET value = split_part(value, ' ', 1)
         WHERE key = 'wechat_merchant_bind.outbox_identity'
    """)
