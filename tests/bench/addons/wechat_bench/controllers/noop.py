from odoo import http


class Noop(http.Controller):
    """What the webhook is compared with."""

    @http.route("/wechat_bench/noop", type="http", auth="public", csrf=False, save_session=False)
    def noop(self):
        """Return a constant."""
        return "success"
