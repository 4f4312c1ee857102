import base64

from odoo import api, models
from odoo.tools import format_date

from ..tools.qr_picture import draw_png

# Sharp enough for a picture of 5 cm, small enough for a file with hundreds of codes.
PIXELS_PER_MODULE = 8
COLUMNS = 3
ROWS = 4


class ReportWechatBindBatchSheet(models.AbstractModel):
    """Sheets with the open codes of a bulk generation, to be cut apart or used as labels."""

    _name = "report.wechat_merchant_bind.bind_batch_sheet"
    _description = "Sheet of WeChat Binding Codes"

    @api.model
    def _get_report_values(self, docids, data=None):
        """Return the pages of the report, each with rows of codes.

        :raise AccessError: if the user may not generate codes, or may not read a batch.
        :raise UserError: if there is no open code.
        """
        batches = self.env["wechat.bind.batch"].browse(docids)
        cells = [
            {
                "merchant": line.partner_id.display_name,
                "expiry": format_date(self.env, batch._get_local_time(line.code_id.expires_at)),
                "picture": "data:image/png;base64,"
                + base64.b64encode(draw_png(line.code_id.qr_content, PIXELS_PER_MODULE)).decode(),
            }
            for batch in batches
            for line in batch._get_open_lines()
        ]
        rows = [cells[start : start + COLUMNS] for start in range(0, len(cells), COLUMNS)]
        return {
            "docs": batches,
            "columns": COLUMNS,
            "pages": [rows[start : start + ROWS] for start in range(0, len(rows), ROWS)],
        }
