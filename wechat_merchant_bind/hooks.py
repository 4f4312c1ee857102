"""Hooks that Odoo runs at the uninstallation of the addon."""

MODULE = "wechat_merchant_bind"
# Part of the name of every field that the addon adds to Odoo's models.
FIELD_MARK = "wechat_"


def uninstall_hook(env):
    """Remove records that Odoo keeps after an uninstallation, and archive automations that would fail."""
    models = env["ir.model"].search([("model", "=like", "wechat.%")])
    names = models.mapped("model")
    env["ir.config_parameter"].search([("key", "=like", f"{MODULE}.%")]).unlink()
    env["base_import.mapping"].search([("res_model", "in", names)]).unlink()
    env["mail.message"].search([("model", "in", names)]).unlink()
    env["ir.attachment"].search([("res_model", "in", names)]).unlink()
    env["ir.exports"].search([("resource", "in", names)]).unlink()
    env["ir.exports.line"].search([("name", "like", FIELD_MARK)]).unlink()
    # Such a favourite would break the list of contacts, such an automation every change of a contact.
    env["ir.filters"].with_context(active_test=False).search(
        ["|", ("model_id", "in", names), "|", ("domain", "like", FIELD_MARK), ("context", "like", FIELD_MARK)]
    ).unlink()
    env["base.automation"].search(
        ["|", ("filter_domain", "like", FIELD_MARK), ("filter_pre_domain", "like", FIELD_MARK)]
    ).active = False
    # External IDs created by exports.
    env["ir.model.data"].search([("model", "in", names), ("module", "=", "__export__")]).unlink()
    # Foreign keys have no external ID: Odoo removes their records only with their own model.
    env["ir.model.constraint"].search(
        [("module.name", "=", MODULE), ("type", "=", "f"), ("model", "not in", models.ids)]
    ).unlink()
