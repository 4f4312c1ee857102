def migrate(cr, version):
    """Keep only the database's UUID in the outbox identity: the address is no longer part of it."""
    cr.execute("""
        UPDATE ir_config_parameter
           SET value = split_part(value, ' ', 1)
         WHERE key = 'wechat_merchant_bind.outbox_identity'
    """)
