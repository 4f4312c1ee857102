def migrate(cr, version):
    """Tell the account of old operations, of which only its record was kept."""
    cr.execute("""
        UPDATE wechat_operation operation
           SET account_name = account.name
          FROM wechat_account account
         WHERE account.id = operation.account_id
           AND operation.account_name IS NULL
    """)
