import logging

from psycopg2 import OperationalError

from odoo import fields, models
from odoo.exceptions import ConcurrencyError, UserError

from ..tools.wechat_errors import WechatAccountError, WechatAmbiguous, WechatPaused, WechatRetry

_logger = logging.getLogger(__name__)


class WechatBindBatchLine(models.Model):
    """One merchant of a bulk generation."""

    _name = "wechat.bind.batch.line"
    _description = "Merchant of a Bulk Generation"
    _order = "batch_id desc, id"
    _rec_name = "partner_id"

    batch_id = fields.Many2one("wechat.bind.batch", required=True, readonly=True, ondelete="cascade", index=True)
    company_id = fields.Many2one(related="batch_id.company_id", store=True)
    partner_id = fields.Many2one(
        "res.partner", "Merchant", required=True, readonly=True, ondelete="cascade", index=True
    )
    code_id = fields.Many2one("wechat.bind.code", readonly=True, ondelete="set null", index="btree_not_null")
    share_url = fields.Char(related="code_id.share_url", related_sudo=False)
    state = fields.Selection(
        [("pending", "Waiting"), ("done", "Generated"), ("skipped", "Skipped"), ("failed", "Failed")],
        required=True,
        readonly=True,
        default="pending",
    )
    reason = fields.Text(readonly=True)

    _pending_idx = models.Index("(id) WHERE state = 'pending'")

    # === BUSINESS METHODS === #

    def _generate(self):
        """Generate the code of one waiting line, on behalf of the user who started the batch.

        :return: whether to go on. If not, the line still waits: WeChat is to be left alone for a while.
        :rtype: bool
        """
        self.ensure_one()
        batch = self.batch_id
        partner = self.partner_id.with_user(batch.user_id).with_company(batch.company_id)
        partner = partner.with_context(lang=self.env["wechat.account"]._get_lang(batch.user_id.lang))
        env = partner.env
        # sudo: res.partner - whether it is bound is decided as in _wechat_get_bind_code
        if partner.sudo().is_wechat_bound:
            self.write({"state": "skipped", "reason": env._("The merchant is already bound.")})
        elif not partner.active:
            self.write({"state": "skipped", "reason": env._("The merchant is disabled.")})
        else:
            try:
                with self.env.cr.savepoint():
                    partner._wechat_check_may_generate()
                    code = partner._wechat_get_bind_code()
            except UserError as error:
                return self._generate_failed(error)
            except (OperationalError, ConcurrencyError):
                # Nothing is wrong with this merchant: the cron's next run tries again.
                raise
            except Exception as error:
                # An automation of another addon must not keep the other merchants waiting.
                _logger.exception("No WeChat binding code for partner %s", partner.id)
                self.write({"state": "failed", "reason": f"{type(error).__name__}: {error}"})
            else:
                self.write({"state": "done", "code_id": code.id, "reason": False})
        return True

    def _generate_failed(self, error):
        """Keep why there is no code.

        :param UserError error: its cause is what WeChat said, if it was WeChat that refused.
        :return: see :meth:`_generate`.
        """
        reason = {"reason": str(error)}
        if isinstance(error.__cause__, WechatRetry | WechatAmbiguous | WechatPaused):
            self.write(reason)
            return False
        # A wrong secret is wrong for all, and WeChat counts every try.
        same = isinstance(error.__cause__, WechatAccountError)
        lines = self.batch_id.line_ids.filtered(lambda line: line.state == "pending") if same else self
        lines.write({"state": "failed", **reason})
        return True
