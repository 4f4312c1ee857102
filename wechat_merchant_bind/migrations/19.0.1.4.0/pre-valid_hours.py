from odoo.tools.sql import table_exists


def migrate(cr, version):
    """Set the validity of templates with none or a negative one to a day, as the new constraint requires."""
    # Version 1.0.0 had no templates.
    if table_exists(cr, "wechat_template"):
        cr.execute("UPDATE wechat_template SET valid_hours = 24 WHERE valid_hours <= 0")
