import logging
from datetime import timedelta

from psycopg2 import OperationalError

from odoo import fields, models
from odoo.exceptions import ConcurrencyError, UserError

from ..tools.wechat_errors import WechatAccountError, WechatAmbiguous, WechatPaused, WechatRetry

_logger = logging.getLogger(__name__)

# How long to leave WeChat alone once it asks for that, or can't be reached. 45011 counts by the minute, 45009 by the
# day; when its day turns is not documented.
DAILY_QUOTA = 45009
PAUSE = timedelta(minutes=2)
PAUSE_A_DAY = timedelta(hours=1)
MAX_ATTEMPTS = 30


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
    account_id = fields.Many2one("wechat.account", required=True, readonly=True, ondelete="cascade", index=True)
    code_id = fields.Many2one("wechat.bind.code", readonly=True, ondelete="set null", index="btree_not_null")
    share_url = fields.Char(related="code_id.share_url", related_sudo=False)
    state = fields.Selection(
        [("pending", "Waiting"), ("done", "Generated"), ("skipped", "Skipped"), ("failed", "Failed")],
        required=True,
        readonly=True,
        default="pending",
    )
    reason = fields.Text(readonly=True)
    attempts = fields.Integer(readonly=True)
    next_attempt_at = fields.Datetime("Next Attempt on", readonly=True)

    _pending_idx = models.Index("(id) WHERE state = 'pending'")

    # === BUSINESS METHODS === #

    def _generate(self):
        """Generate the code of one waiting line, on behalf of the user who started the batch."""
        self.ensure_one()
        batch = self.batch_id
        companies = batch.company_id | batch.user_id.company_ids
        partner = self.partner_id.with_user(batch.user_id).with_context(
            allowed_company_ids=companies.ids, lang=self.env["wechat.account"]._get_lang(batch.user_id.lang)
        )
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
                self._generate_failed(error)
            except (OperationalError, ConcurrencyError):
                # Nothing is wrong with this merchant: the cron's next run tries again.
                raise
            except Exception as error:
                # An automation of another addon must not keep the other merchants waiting.
                _logger.exception("No WeChat binding code for partner %s", partner.id)
                self.write({"state": "failed", "reason": f"{type(error).__name__}: {error}"})
            else:
                self.write({"state": "done", "code_id": code.id, "reason": False})

    def _generate_failed(self, error):
        """Keep why there is no code, for all the lines that it concerns.

        :param UserError error: its cause is what WeChat said, if it was WeChat that refused.
        """
        cause = error.__cause__
        values = {"reason": str(error)}
        if isinstance(cause, WechatRetry | WechatAmbiguous | WechatPaused) and self.attempts + 1 < MAX_ATTEMPTS:
            # WeChat asks to be left alone, or can't be reached: all lines of this account wait, and no other's.
            self.attempts += 1
            pause = PAUSE_A_DAY if cause.errcode == DAILY_QUOTA else PAUSE
            until = fields.Datetime.now() + pause
            self.write(values)
            self._get_waiting().next_attempt_at = until
            self.batch_id._trigger_drain(until)
        elif isinstance(cause, WechatAccountError):
            # A wrong secret is wrong for all, and WeChat counts every try.
            self._get_waiting().write({"state": "failed", **values})
        else:
            self.write({"state": "failed", **values})

    def _get_waiting(self):
        """Return all waiting lines of this line's account."""
        return self.search([("account_id", "=", self.account_id.id), ("state", "=", "pending")])
