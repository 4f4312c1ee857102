def migrate(cr, version):
    """Tell when the merchants that are bound already were bound: their new column was created empty."""
    cr.execute("""
        UPDATE res_partner partner
           SET wechat_bound_at = binding.bound_at
          FROM wechat_binding binding
         WHERE binding.partner_id = partner.id
           AND binding.state = 'bound'
    """)
