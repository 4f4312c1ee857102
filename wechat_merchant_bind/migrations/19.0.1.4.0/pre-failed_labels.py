def migrate(cr, version):
    """Drop the translations of labels with a changed English term, which Odoo would otherwise keep."""
    cr.execute("""
        UPDATE ir_model_fields_selection AS selection
           SET name = jsonb_build_object('en_US', selection.name -> 'en_US')
          FROM ir_model_fields AS field
         WHERE field.id = selection.field_id
           AND field.model IN ('wechat.bind.batch.line', 'wechat.event')
           AND field.name = 'state'
           AND selection.value = 'failed'
    """)
    cr.execute("""
        UPDATE ir_model_fields
           SET field_description = jsonb_build_object('en_US', field_description -> 'en_US')
         WHERE model = 'wechat.bind.batch'
           AND name = 'failed_count'
    """)
