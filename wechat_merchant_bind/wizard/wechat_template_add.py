from odoo import fields, models
from odoo.exceptions import UserError

from ..tools.wechat_errors import WechatError

# WeChat's code for a number that its library does not have.
UNKNOWN_TEMPLATE = 40037


class WechatTemplateAdd(models.TransientModel):
    """Dialog that adds a template of WeChat's library to an account."""

    _name = "wechat.template.add"
    _description = "Add a WeChat Template"
    _rec_name = "template_id_short"

    # === DEFAULTS === #

    def _default_account_id(self):
        return self.env["wechat.account"].search([], limit=1)

    # === FIELDS === #

    account_id = fields.Many2one(
        "wechat.account", required=True, ondelete="cascade", default=lambda self: self._default_account_id()
    )
    template_id_short = fields.Char("Number in the Library", required=True)
    words = fields.Text(
        "Keywords", required=True, help="One a line, as the library names them, in the order of the card."
    )

    # === ACTION METHODS === #

    def action_add(self):
        """Add the template at WeChat and open it here.

        :return: the act_window of the template.
        :rtype: dict
        :raise UserError: if WeChat refuses.
        """
        self.ensure_one()
        account = self.account_id
        account.check_access("write")
        try:
            template_uid = account._call_api("add_template", self.template_id_short.strip(), self._get_words())
            account._sync_templates()
        except WechatError as error:
            raise UserError(self._get_error_message(error)) from error
        template = self.env["wechat.template"].search(
            [("account_id", "=", account.id), ("template_uid", "=", template_uid)], limit=1
        )
        return {
            "type": "ir.actions.act_window",
            "res_model": "wechat.template",
            "res_id": template.id,
            "views": [(False, "form")],
        }

    # === BUSINESS METHODS === #

    def _get_words(self):
        return [name for line in self.words.splitlines() if (name := line.strip())]

    def _get_error_message(self, error):
        """Return the meaning of WeChat's refusal, in words.

        :param WechatError error: the error of the call.
        :rtype: str
        """
        if error.errcode == UNKNOWN_TEMPLATE:
            return self.env._(
                "WeChat's library has no template with the number %(number)s, or not for the service categories of "
                "%(account)s.\nWeChat's answer: %(errcode)s %(errmsg)s",
                number=self.template_id_short,
                account=self.account_id.name,
                errcode=error.errcode,
                errmsg=error.errmsg,
            )
        return self.account_id._get_error_message(error)
