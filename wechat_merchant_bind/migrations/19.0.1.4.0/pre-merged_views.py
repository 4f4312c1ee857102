# Views that extended other views, and are parts of these now.
MERGED = (
    "wechat_bind_request_partner_view_form",
    "res_partner_view_form_mailing",
    "res_partner_view_form_messages",
    "wechat_account_view_form_quota",
    "wechat_account_view_form_sending",
    "wechat_account_view_form_templates",
    "wechat_account_view_form_health",
    "wechat_account_view_list_health",
)


def migrate(cr, version):
    """Delete views that were merged into others: until the update ends, Odoo would add them to the new ones.

    Views of other addons that extend one of them extend its parent instead.
    """
    for name in MERGED:
        cr.execute(
            """
            DELETE FROM ir_model_data
             WHERE module = 'wechat_merchant_bind' AND model = 'ir.ui.view' AND name = %s
         RETURNING res_id
            """,
            [name],
        )
        for [view_id] in cr.fetchall():
            cr.execute(
                """
                UPDATE ir_ui_view AS child
                   SET inherit_id = merged.inherit_id
                  FROM ir_ui_view AS merged
                 WHERE merged.id = %s AND child.inherit_id = merged.id
                """,
                [view_id],
            )
            cr.execute("DELETE FROM ir_ui_view WHERE id = %s", [view_id])
