def migrate(cr, version):
    """Remove the mark of users archived with a merchant if the user or the merchant was changed since."""
    cr.execute("""
        UPDATE res_users users
           SET wechat_disabled_partner_id = NULL
          FROM res_partner merchant, res_partner own
         WHERE merchant.id = users.wechat_disabled_partner_id
           AND own.id = users.partner_id
           AND (users.active
                OR merchant.active
                OR (own.id != merchant.id AND own.commercial_partner_id != merchant.id))
    """)
