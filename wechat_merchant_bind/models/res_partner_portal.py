import logging

from odoo import models
from odoo.exceptions import UserError

from ..tools.wechat_errors import WechatError

_logger = logging.getLogger(__name__)


class ResPartner(models.Model):
    """What a merchant sees of its binding in the portal, and what it may do about it."""

    _inherit = "res.partner"  # pylint: disable=consider-merging-classes-inherited  # a topic of its own

    # === BUSINESS METHODS - PORTAL === #

    def _wechat_get_portal_values(self):
        """Return what the merchant's own page shows.

        :return: ``state``: ``disabled``, ``bound``, ``unfollowed``, ``waiting`` for the scan of ``code``, or
            ``unbound``; ``binding``; ``code``; ``bind_request``, the scan of the code that waits for its confirmation;
            and ``version``, another one as soon as the page must look different.
        :rtype: dict
        """
        self.ensure_one()
        binding = self._wechat_get_live_bindings()
        code = self._wechat_get_open_code()
        if self._wechat_get_bind_obstacle() == "disabled":
            state = "disabled"
        elif binding:
            state = "bound" if binding.is_subscribed else "unfollowed"
        else:
            state = "waiting" if code else "unbound"
        request = self.env["wechat.bind.request"]
        version = state
        if state == "waiting":
            request = request.search([("code_id", "=", code.id), ("state", "=", "pending")], limit=1)
            version = f"{state} {code.expires_at} {request.id}"
        return {"state": state, "binding": binding, "code": code, "bind_request": request, "version": version}

    def _wechat_get_open_code(self):
        """Return the binding code of this merchant that can be scanned now; there may be none."""
        self.ensure_one()
        codes = self.env["wechat.bind.code"].search([("partner_id", "=", self.id), ("state", "=", "active")])
        return codes.filtered(lambda code: code._is_open())

    def _wechat_generate_portal_code(self):
        """Have an open binding code for the merchant's own page; a new one only if there is none.

        :return: why there is none, or None if there is: ``disabled``, ``bound``, ``limit`` (too many attempts),
            ``no_account``, or ``unavailable``: what WeChat said is in the log, not for the merchant.
        :rtype: str | None
        """
        self.ensure_one()
        state = self._wechat_get_portal_values()["state"]
        if state in ("disabled", "waiting"):
            return None if state == "waiting" else state
        if state != "unbound":
            return "bound"
        if not self.env["wechat.portal.attempt"]._spend(self):
            return "limit"
        try:
            with self.env.cr.savepoint():
                self._wechat_get_bind_code()
        except UserError as error:
            _logger.warning("wechat.codes: none in the portal partner=%s error=%s", self.id, error)
            return "unavailable" if isinstance(error.__cause__, WechatError) else "no_account"
        return None

    def _wechat_unbind_in_portal(self):
        """Unbind the merchant at its own wish."""
        self._wechat_get_live_bindings()._unbind(self.env._("The merchant unbound itself in the portal."))
