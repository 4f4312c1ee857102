def migrate(cr, version):
    """Let templates whose messages were never valid, for which there is a constraint now, be valid for a day."""
    cr.execute("UPDATE wechat_template SET valid_hours = 24 WHERE valid_hours <= 0")
