def migrate(cr, version):
    """Set the validity of templates with none or a negative one to a day, as the new constraint requires."""
    cr.execute("UPDATE wechat_template SET valid_hours = 24 WHERE valid_hours <= 0")
