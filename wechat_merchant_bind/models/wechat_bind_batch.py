from odoo import Command, api, fields, models
from odoo.exceptions import UserError

# Lines that one run of the cron takes before it reports its progress; each costs a call to WeChat.
DRAIN_BATCH = 50


class WechatBindBatch(models.Model):
    """Generates the binding codes of many merchants in the background."""

    _name = "wechat.bind.batch"
    _description = "Bulk Generation of WeChat Binding Codes"
    _order = "id desc"
    _check_company_auto = True

    # === FIELDS === #

    name = fields.Char(compute="_compute_name")
    company_id = fields.Many2one("res.company", required=True, readonly=True, default=lambda self: self.env.company)
    user_id = fields.Many2one(
        "res.users", "Started by", required=True, readonly=True, default=lambda self: self.env.user
    )
    line_ids = fields.One2many("wechat.bind.batch.line", "batch_id", readonly=True)
    total_count = fields.Integer("Merchants", compute="_compute_counts")
    done_count = fields.Integer("Generated", compute="_compute_counts")
    skipped_count = fields.Integer("Skipped", compute="_compute_counts")
    failed_count = fields.Integer("Failed", compute="_compute_counts")
    pending_count = fields.Integer("Waiting", compute="_compute_counts")
    progress = fields.Float(compute="_compute_counts")

    # === COMPUTE METHODS === #

    @api.depends("create_date", "total_count")
    def _compute_name(self):
        for batch in self:
            batch.name = self.env._("Binding codes for %s merchants", batch.total_count)

    @api.depends("line_ids.state")
    def _compute_counts(self):
        counts = {}
        for batch, state, count in self.env["wechat.bind.batch.line"]._read_group(
            [("batch_id", "in", self.ids)], ["batch_id", "state"], ["__count"]
        ):
            counts[batch.id, state] = count
        for batch in self:
            batch.done_count = counts.get((batch.id, "done"), 0)
            batch.skipped_count = counts.get((batch.id, "skipped"), 0)
            batch.failed_count = counts.get((batch.id, "failed"), 0)
            batch.pending_count = counts.get((batch.id, "pending"), 0)
            batch.total_count = batch.done_count + batch.skipped_count + batch.failed_count + batch.pending_count
            batch.progress = 100 * (1 - batch.pending_count / batch.total_count) if batch.total_count else 0

    # === ACTION METHODS === #

    def action_retry_failed(self):
        """Try the failed lines again.

        :raise AccessError: if the user may not generate codes.
        """
        self.check_access("read")
        self.line_ids.partner_id._wechat_check_may_generate()
        # sudo: wechat.bind.batch.line - users never write lines; the right to generate was just checked
        self.line_ids.sudo().filtered(lambda line: line.state == "failed").write(
            {"state": "pending", "reason": False, "attempts": 0, "next_attempt_at": False}
        )
        self._trigger_drain()

    # === BUSINESS METHODS === #

    @api.model
    def _create_for(self, partners):
        """Start the generation for several merchants.

        :param res.partner partners: any number; those who are disabled or bound when their turn comes are skipped.
        :rtype: wechat.bind.batch
        :raise UserError: if there is no partner at all, or no account for one.
        """
        if not partners:
            raise UserError(self.env._("Select the merchants to generate binding codes for."))
        # sudo: wechat.bind.batch - users follow their batches and never write them; the caller has checked the right
        accounts = {}
        for partner in partners:
            if partner.company_id not in accounts:
                accounts[partner.company_id] = self.env["wechat.account"]._get_for_partner(partner)
        lines = [
            Command.create({"partner_id": partner.id, "account_id": accounts[partner.company_id].id})
            for partner in partners
        ]
        batch_sudo = self.sudo().create({"line_ids": lines})
        self._trigger_drain()
        return batch_sudo.sudo(False)

    @api.model
    def _trigger_drain(self, at=None):
        # sudo: ir.cron - a user who may generate codes may have the job run that generates them
        self.env.ref("wechat_merchant_bind.ir_cron_drain_bind_batches").sudo()._trigger(at)

    def _get_action(self):
        """Return the act_window that shows the progress of this batch.

        :rtype: dict
        """
        self.ensure_one()
        return {
            "type": "ir.actions.act_window",
            "name": self.env._("Bulk Generation of Binding Codes"),
            "res_model": self._name,
            "res_id": self.id,
            "view_mode": "form",
            "views": [(False, "form")],
        }

    @api.model
    def _cron_drain(self):
        """Generate the codes of the waiting lines, oldest first, except those of accounts that are to be left alone."""
        now = fields.Datetime.now()
        due = [("state", "=", "pending"), "|", ("next_attempt_at", "=", False), ("next_attempt_at", "<=", now)]
        lines = self.env["wechat.bind.batch.line"].search(due, order="id", limit=DRAIN_BATCH)
        remaining = self.env["wechat.bind.batch.line"].search_count(due)
        for line in lines:
            # A line before it may have failed, or paused, for the whole account.
            if line.state == "pending" and not (line.next_attempt_at and line.next_attempt_at > now):
                line._generate()
            remaining -= 1
            if not self.env["ir.cron"]._commit_progress(1, remaining=remaining):
                break
