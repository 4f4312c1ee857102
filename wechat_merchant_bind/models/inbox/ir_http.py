from werkzeug.exceptions import BadRequest

from odoo import models
from odoo.http import request


class IrHttp(models.AbstractModel):
    """Keeps Odoo from reading or misusing the parameters of requests to this addon's routes."""

    _inherit = "ir.http"

    @classmethod
    def _pre_dispatch(cls, rule, args):
        result = super()._pre_dispatch(rule, args)
        if rule.endpoint.routing.get("wechat_body"):
            # Odoo reads the parameters next, which consumes a body that a proxy or a tool has declared a form.
            args["body"] = request.httprequest.get_data()
        if rule.rule.startswith("/wechat/") and "self" in request.get_http_params():
            # Odoo would pass it as the method's own self and log a traceback: visitors could fill the log with them.
            raise BadRequest
        return result
