import ipaddress
import socket
from urllib.parse import urlsplit

from odoo import Command, api, fields, models
from odoo.exceptions import UserError

from ..tools.wechat_errors import WechatError

# The test code has the shortest life that WeChat allows.
CHECK_CODE_SECONDS = 60
CHECK_SCENE = "mb_connection_check"
PUSH_CHECKS = ("webhook", "refusals")
# The result of a line, by the state of the finding about the account's health.
HEALTH_RESULTS = {"ok": "ok", "unconnected": "warning", "warning": "warning", "problem": "error"}


class WechatAccountCheck(models.TransientModel):
    """Checks the connection of an account step by step, in the order in which the steps fail."""

    _name = "wechat.account.check"
    _description = "WeChat Connection Check"
    _rec_name = "account_id"

    account_id = fields.Many2one("wechat.account", required=True, readonly=True)
    line_ids = fields.One2many("wechat.account.check.line", "check_id", readonly=True)
    is_ok = fields.Boolean(compute="_compute_is_ok")

    # === COMPUTE METHODS === #

    @api.depends("line_ids.result")
    def _compute_is_ok(self):
        for check in self:
            check.is_ok = all(line.result == "ok" for line in check.line_ids)

    # === BUSINESS METHODS === #

    @api.model
    def _run(self, account):
        """Check an account.

        :param wechat.account account: one account.
        :rtype: wechat.account.check
        """
        check = self.create({"account_id": account.id})
        api_lines = [check._check_api_address()]
        api_lines += check._check_api() if api_lines[0]["result"] == "ok" else []
        check._store_result(api_lines)
        lines = [check._check_own_address(), *api_lines, *check._check_pushes()]
        check.line_ids = [Command.create(line) for line in lines]
        return check

    def _store_result(self, lines):
        """Store with the account whether WeChat accepts it, for the start page, which makes no call.

        :param list[dict] lines: the lines about WeChat's API.
        """
        errors = [f"{line['subject']}: {line['message']}" for line in lines if line["result"] == "error"]
        self.account_id.write({"last_check_at": fields.Datetime.now(), "last_check_error": "\n".join(errors)})

    def _get_action(self):
        self.ensure_one()
        return {
            "type": "ir.actions.act_window",
            "name": self.env._("Connection Check - %s", self.account_id.name),
            "res_model": self._name,
            "res_id": self.id,
            "view_mode": "form",
            "views": [(False, "form")],
            "target": "new",
        }

    def _prepare_line(self, subject, result, message=""):
        return {"subject": subject, "result": result, "message": message}

    def _check_own_address(self):
        """Check that WeChat and phones can reach this Odoo."""
        subject = self.env._("Address of this Odoo")
        url = urlsplit(self.account_id.get_base_url())
        address = {"url": url.geturl()}
        if self._is_local_host(url.hostname or ""):
            return self._prepare_line(
                subject,
                "error",
                self.env._(
                    "%(url)s can only be reached from inside your network, so neither WeChat nor phones get here. "
                    "Set the system parameter web.base.url to the public address.",
                    **address,
                ),
            )
        if url.scheme != "https":
            return self._prepare_line(
                subject,
                "error",
                self.env._(
                    "%(url)s is not https: phones warn and secrets travel in the clear. Put a certificate on it and "
                    "set the system parameter web.base.url to the https address.",
                    **address,
                ),
            )
        if url.port not in (None, 443):
            return self._prepare_line(
                subject,
                "error",
                self.env._("%(url)s has a port, but WeChat only pushes to ports 80 and 443.", **address),
            )
        return self._prepare_line(subject, "ok", url.geturl())

    def _is_local_host(self, host):
        try:
            return not ipaddress.ip_address(host).is_global
        except ValueError:
            return host == "localhost" or host.endswith((".localhost", ".local", ".lan")) or "." not in host

    def _check_api_address(self):
        subject = self.env._("API address")
        try:
            self.account_id._get_client()
        except UserError as error:
            return self._prepare_line(subject, "error", str(error))
        return self._prepare_line(subject, "ok", self.account_id.api_base_url)

    def _check_api(self):
        """Check the calls to WeChat. After a failed first call the others are skipped."""
        lines = []
        for subject, method, args in (
            (self.env._("App Secret and IP allow-list"), "get_callback_ips", ()),
            (self.env._("Right to make QR codes"), "create_qr_code", (CHECK_SCENE, CHECK_CODE_SECONDS)),
            (self.env._("Template messages"), "get_all_private_template", ()),
        ):
            if lines and lines[0]["result"] == "error":
                lines.append(self._prepare_line(subject, "skipped"))
                continue
            try:
                answer = self.account_id._call_api(method, *args)
            except WechatError as error:
                message = self.account_id._get_error_message(error)
                node = self.env._("Called from the server %s.", socket.gethostname())
                lines.append(self._prepare_line(subject, "error", f"{message}\n{node}"))
            else:
                lines.append(self._prepare_line(subject, "ok", self._get_api_message(method, answer)))
        return lines

    def _get_api_message(self, method, answer):
        if method == "get_all_private_template":
            return self.env._("%s templates in this account.", len(answer))
        if method == "create_qr_code":
            return self.env._("WeChat made a test code.")
        return self.env._("WeChat accepts them, from the server %s.", socket.gethostname())

    def _check_pushes(self):
        """Return the findings of the account's health about pushes and refusals."""
        health = self.env["wechat.account.health"]
        lines = health._get_for(self.account_id).filtered(lambda line: line.kind in PUSH_CHECKS)
        findings = {line.kind: finding for line, finding in lines._get_findings().items()}
        subjects = {"webhook": self.env._("Pushes from WeChat"), "refusals": self.env._("Refused pushes")}
        return [
            self._prepare_line(
                subjects[kind],
                HEALTH_RESULTS[findings[kind].state],
                "\n".join(filter(None, [findings[kind].summary, findings[kind].message])),
            )
            for kind in PUSH_CHECKS
        ]
