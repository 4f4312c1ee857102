from odoo import api, models

from ..models.const import IMPORT_FIELDS, REQUIRED_FIELDS
from ..tools.loaded_rows import LoadedRows


class BaseImportImport(models.TransientModel):
    """Prepares Odoo's import for bindings: the columns that it offers, and the file that the report names."""

    _inherit = "base_import.import"

    # === ACTION METHODS === #

    @api.model
    def get_fields_tree(self, model, *args, **kwargs):
        """Offer the columns of an import of bindings, although the fields are read-only.

        :return: the result of Odoo's method.
        :rtype: list[dict]
        """
        if model != "wechat.binding":
            return super().get_fields_tree(model, *args, **kwargs)
        found = self.env[model].fields_get(IMPORT_FIELDS, ["string", "type", "relation"])
        tree = []
        for name in [name for name in IMPORT_FIELDS if name in found]:
            field = {
                "id": name,
                "name": name,
                "string": found[name]["string"],
                "required": name in REQUIRED_FIELDS,
                "fields": [],
                "type": found[name]["type"],
                "model_name": model,
            }
            if relation := found[name].get("relation"):
                key = {**field, "model_name": relation, "type": "id"}
                field["fields"] = [
                    {**key, "name": "id", "string": self.env._("External ID")},
                    {**key, "name": ".id", "string": self.env._("Database ID")},
                ]
                field["comodel_name"] = relation
            tree.append(field)
        return tree

    def execute_import(self, fields, columns, options, dryrun=False):
        """Pass the file and the number of its first row to the import of bindings.

        :return: the result of Odoo's method.
        :rtype: dict
        """
        screen = self
        if self.res_model == "wechat.binding":
            screen = self.with_context(
                wechat_file=LoadedRows(self.id, self.file_name or "", options.get("skip", 0) + 1)
            )
        return super(BaseImportImport, screen).execute_import(fields, columns, options, dryrun=dryrun)
