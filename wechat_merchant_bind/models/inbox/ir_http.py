from werkzeug.exceptions import BadRequest

from odoo import models
from odoo.http import request


class IrHttp(models.AbstractModel):
    """What Odoo would do with the requests to our addresses before we see them."""

    _inherit = "ir.http"

    @classmethod
    def _pre_dispatch(cls, rule, args):
        result = super()._pre_dispatch(rule, args)
        if rule.endpoint.routing.get("wechat_body"):
            # Odoo reads the parameters next, and a body that a proxy or a tool has called a form is gone with them.
            args["body"] = request.httprequest.get_data()
        if rule.rule.startswith("/wechat/") and "self" in request.get_http_params():
            # Passed on as the method's own self, it fails with a traceback, which anybody could write into the log.
            raise BadRequest
        return result
