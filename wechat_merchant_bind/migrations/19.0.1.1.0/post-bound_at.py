def migrate(cr, version):
    """Fill the new column res_partner.wechat_bound_at from the live bindings."""
    cr.execute("""
        UPDATE res_partner partner
           SET wechat_bound_at = binding.bound_at
          FROM wechat_binding binding
         WHERE binding.partner_id = partner.id
           AND binding.state = 'bound'
    """)
