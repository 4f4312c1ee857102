"""What Odoo runs when the addon goes."""

MODULE = "wechat_merchant_bind"
# What every name of a field that the addon adds to Odoo's models has in it.
FIELD_MARK = "wechat_"


def uninstall_hook(env):
    """Remove what Odoo leaves behind of an addon, and what would break without it."""
    models = env["ir.model"].search([("model", "=like", "wechat.%")])
    names = models.mapped("model")
    env["ir.config_parameter"].search([("key", "=like", f"{MODULE}.%")]).unlink()
    env["base_import.mapping"].search([("res_model", "in", names)]).unlink()
    env["mail.message"].search([("model", "in", names)]).unlink()
    env["ir.attachment"].search([("res_model", "in", names)]).unlink()
    env["ir.exports"].search([("resource", "in", names)]).unlink()
    env["ir.exports.line"].search([("name", "like", FIELD_MARK)]).unlink()
    # A favourite would keep its user from opening the contacts, an automation every user from changing one.
    env["ir.filters"].with_context(active_test=False).search(
        ["|", ("model_id", "in", names), "|", ("domain", "like", FIELD_MARK), ("context", "like", FIELD_MARK)]
    ).unlink()
    env["base.automation"].search(
        ["|", ("filter_domain", "like", FIELD_MARK), ("filter_pre_domain", "like", FIELD_MARK)]
    ).active = False
    # External IDs that an export gave.
    env["ir.model.data"].search([("model", "in", names), ("module", "=", "__export__")]).unlink()
    # Odoo gives the record of a foreign key no external ID, so it only goes where its model goes.
    env["ir.model.constraint"].search(
        [("module.name", "=", MODULE), ("type", "=", "f"), ("model", "not in", models.ids)]
    ).unlink()
