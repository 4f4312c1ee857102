import re

from odoo import Command, api, fields, models

# Results that a row keeps although other rows are refused; all others become "left out".
KEPT_RESULTS = ("refused", "unchanged")
# A probable OpenID, to mask it in wrong columns, too.
OPENID_IN_TEXT = re.compile(r"(?<![\w-])o[\w-]{27}(?![\w-])", re.ASCII)


class WechatBindingImport(models.Model):
    """The report of an import of OpenIDs, with the result of each row of the file."""

    _name = "wechat.binding.import"
    _description = "Import of WeChat Bindings"
    _order = "id desc"
    _rec_name = "file_name"

    # === FIELDS === #

    file_name = fields.Char("File", readonly=True)
    # The id of base_import.import. Odoo imports a long file in several parts, which share one report.
    file_id = fields.Integer("Uploaded File", readonly=True, exportable=False)
    user_id = fields.Many2one("res.users", "Imported by", readonly=True, ondelete="set null")
    company_id = fields.Many2one("res.company", required=True, readonly=True, default=lambda self: self.env.company)
    line_ids = fields.One2many("wechat.binding.import.line", "import_id", "Rows", readonly=True)
    total_count = fields.Integer("Rows in All", compute="_compute_counts")
    imported_count = fields.Integer("Imported", compute="_compute_counts")
    unfollowed_count = fields.Integer("Imported as Unfollowed", compute="_compute_counts")
    unchanged_count = fields.Integer("Already Bound", compute="_compute_counts")
    refused_count = fields.Integer("Refused", compute="_compute_counts")
    left_out_count = fields.Integer("Left Out", compute="_compute_counts")

    # === COMPUTE METHODS === #

    @api.depends("line_ids.result")
    def _compute_counts(self):
        counts = {}
        for report, result, count in self.env["wechat.binding.import.line"]._read_group(
            [("import_id", "in", self.ids)], ["import_id", "result"], ["__count"]
        ):
            counts[report.id, result] = count
        results = [result for result, _label in self.line_ids._fields["result"].selection]
        for report in self:
            for result in results:
                report[f"{result}_count"] = counts.get((report.id, result), 0)
            report.total_count = sum(counts.get((report.id, result), 0) for result in results)

    # === BUSINESS METHODS === #

    @api.model
    def _record(self, load):
        """Create the report of an imported file, or add the rows of its next part.

        :param LoadedRows load: the rows with their results.
        :return: the report.
        :rtype: wechat.binding.import
        """
        # sudo: wechat.binding.import - users have no right to write reports; the caller has checked the right to import
        report_sudo = self.sudo()
        if load.file_id and load.first_number > 1:
            report_sudo = report_sudo.search([("file_id", "=", load.file_id), ("user_id", "=", self.env.uid)], limit=1)
        values = {"line_ids": self._prepare_lines(load)}
        if report_sudo:
            report_sudo.write(values)
        else:
            report_sudo = report_sudo.create(
                {"file_id": load.file_id, "file_name": load.file_name, "user_id": self.env.uid, **values}
            )
        return report_sudo.sudo(False)

    @api.model
    def _prepare_lines(self, load):
        left_out = self.env._("Not imported, because other rows were refused.")
        return [
            Command.create(
                {
                    "row": load.number(index),
                    "merchant": self._mask_openids(row.merchant),
                    "partner_id": row.partner and row.partner.id,
                    "account_id": row.account and row.account.id,
                    "openid_masked": self.env["wechat.operation"]._mask_openid(row.openid),
                    "result": row.result if not load.is_refused or row.result in KEPT_RESULTS else "left_out",
                    "reason": self._mask_openids(row.reason) or (left_out if load.is_refused else False),
                }
            )
            for index, row in load.rows.items()
        ]

    @api.model
    def _mask_openids(self, text):
        return OPENID_IN_TEXT.sub(lambda found: self.env["wechat.operation"]._mask_openid(found[0]), text)

    def _get_action(self):
        """Return the act_window that shows this report.

        :rtype: dict
        """
        self.ensure_one()
        return {
            "type": "ir.actions.act_window",
            "name": self.env._("Import Report"),
            "res_model": self._name,
            "res_id": self.id,
            "views": [(False, "form")],
        }
