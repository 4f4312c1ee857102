def migrate(cr, version):
    """Fill the new column wechat_operation.account_name from the accounts that still exist."""
    cr.execute("""
        UPDATE wechat_operation operation
           SET account_name = account.name
          FROM wechat_account account
         WHERE account.id = operation.account_id
           AND operation.account_name IS NULL
    """)
