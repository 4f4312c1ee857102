import io
import zipfile
from datetime import datetime

import xlsxwriter
from werkzeug.exceptions import NotFound

from odoo import http
from odoo.exceptions import AccessError, MissingError, UserError
from odoo.http import content_disposition, request

from ..tools.qr_picture import draw_png

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
XLSX_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


class WechatDownload(http.Controller):
    """The downloads of a bulk generation. Codes grant the right to bind, so no response may be cached."""

    _pictures_url = "/wechat/batch/<int:batch_id>/pictures.zip"
    _list_url = "/wechat/batch/<int:batch_id>/merchants.xlsx"

    @http.route(_pictures_url, type="http", auth="user", methods=["GET"], readonly=True)
    def wechat_batch_pictures(self, batch_id, **_query):
        """Return the pictures of a batch's open codes as a ZIP file, each named after its merchant.

        They are drawn while the response is streamed, after the request has released its cursor.

        :param int batch_id: the batch.
        """
        batch = self._find_batch(batch_id)
        try:
            lines = batch._get_open_lines()
        except UserError as error:
            raise NotFound from error
        pictures = [
            (f"{name}.png", line.code_id.qr_content)
            for name, line in zip(batch._get_file_names(lines), lines, strict=True)
        ]
        return self._send(f"{batch._get_file_title()}.zip", "application/zip", self._stream_zip(pictures))

    @http.route(_list_url, type="http", auth="user", methods=["GET"], readonly=True)
    def wechat_batch_list(self, batch_id, **_query):
        """Return all merchants of a batch, with the links to their codes or the reasons for missing codes.

        :param int batch_id: the batch.
        """
        batch = self._find_batch(batch_id)
        return self._send(f"{batch._get_file_title()}.xlsx", XLSX_TYPE, self._make_workbook(batch._get_list_rows()))

    def _find_batch(self, batch_id):
        """Return a batch that the user may download.

        :raise NotFound: if it doesn't exist, or the user may not download it.
        """
        batch = request.env["wechat.bind.batch"].browse(batch_id)
        try:
            batch._check_user()
            batch.check_access("read")
        except (AccessError, MissingError) as error:
            raise NotFound from error
        if not batch.exists():
            raise NotFound
        return batch

    def _send(self, file_name, content_type, content):
        response = request.make_response(
            content, [("Content-Type", content_type), ("Content-Disposition", content_disposition(file_name))]
        )
        response.headers.update(HEADERS)
        return response

    def _stream_zip(self, pictures):
        """Draw pictures one by one, and yield the ZIP file in chunks.

        :param list pictures: pairs of a file name and the content of a code.
        :return: a generator of bytes.
        """
        target = _Outlet()
        # Stored: PNGs don't compress. zipfile marks names that are not ASCII as UTF-8, as Windows and macOS need it.
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            for name, content in pictures:
                archive.writestr(name, draw_png(content))
                yield target.take()
        yield target.take()

    def _make_workbook(self, rows):
        """Return an XLSX file. Strings that look like formulas or URLs are written as text.

        :param list rows: lists of strings, integers and datetimes; the first row has the titles.
        :rtype: bytes
        """
        target = io.BytesIO()
        with xlsxwriter.Workbook(target, {"in_memory": True}) as workbook:
            sheet = workbook.add_worksheet()
            sheet.freeze_panes(1, 0)
            bold = workbook.add_format({"bold": True})
            moment = workbook.add_format({"num_format": "yyyy-mm-dd hh:mm"})
            for number, row in enumerate(rows):
                for column, value in enumerate(row):
                    if isinstance(value, int):
                        sheet.write_number(number, column, value)
                    elif isinstance(value, datetime):
                        sheet.write_datetime(number, column, value, moment)
                    elif value:
                        sheet.write_string(number, column, value, None if number else bold)
            for column, width in enumerate((10, 32, 12, 40, 48, 18, 18)):
                sheet.set_column(column, column, width)
        return target.getvalue()


class _Outlet(io.BytesIO):
    """An unseekable buffer for a streamed ZIP file: take() returns and drops its content."""

    def tell(self):
        raise OSError("a stream has no position")

    def take(self):
        """Return the content written since the last call."""
        content = self.getvalue()
        self.seek(0)
        self.truncate()
        return content
