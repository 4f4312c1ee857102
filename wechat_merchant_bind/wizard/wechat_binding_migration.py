import logging
from datetime import timedelta

from odoo import Command, api, fields, models
from odoo.exceptions import UserError
from odoo.tools import clean_context

from ..models.audit.term_text import TermText, encode_terms
from ..tools.wechat_api import CHANGE_OPENID_BATCH
from ..tools.wechat_errors import UNKNOWN_OPENID, WechatAmbiguous, WechatError, WechatPaused, WechatRetry

_logger = logging.getLogger(__name__)

RETRY_AFTER = timedelta(minutes=10)
CRON = "wechat_merchant_bind.ir_cron_migrate_bindings"


class WechatBindingMigration(models.Model):
    """Moves the bindings of an Official Account to the one that has taken over its followers, and reports the result.

    After such a move (账号迁移) each follower has another OpenID, which WeChat translates. A scheduled action migrates
    the bindings in the order of their ids, a hundred a transaction, and goes on after the last committed one.
    """

    _name = "wechat.binding.migration"
    _inherit = ["wechat.call.mixin"]
    _description = "Migration of WeChat Bindings"
    _order = "id desc"
    _rec_name = "former_account_id"

    # === FIELDS === #

    account_id = fields.Many2one("wechat.account", "New Official Account", required=True, ondelete="cascade")
    company_id = fields.Many2one(related="account_id.company_id", store=True, index="btree_not_null")
    former_account_id = fields.Many2one("wechat.account", "Former Official Account", required=True, ondelete="cascade")
    former_app_id = fields.Char("Former App ID", related="former_account_id.app_id")
    user_id = fields.Many2one(
        "res.users", "Started by", required=True, readonly=True, default=lambda self: self.env.user
    )
    state = fields.Selection(
        [("running", "Migrating"), ("done", "Completed"), ("failed", "Interrupted")],
        required=True,
        readonly=True,
        default="running",
    )
    error = TermText("WeChat's Refusal", readonly=True)
    last_binding_id = fields.Integer("Last Binding Tried", readonly=True)
    total_count = fields.Integer("Bindings in All", readonly=True)
    migrated_count = fields.Integer("Migrated", readonly=True)
    # sudo: also merchants that the user may not see count
    refused_count = fields.Integer("Not Migrated", compute="_compute_refused_count", compute_sudo=True)
    line_ids = fields.One2many("wechat.binding.migration.line", "migration_id", "Merchants Not Migrated", readonly=True)

    # === COMPUTE METHODS === #

    @api.depends("line_ids")
    def _compute_refused_count(self):
        counts = dict(self.line_ids._read_group([("migration_id", "in", self.ids)], ["migration_id"], ["__count"]))
        for migration in self:
            migration.refused_count = counts.get(migration, 0)

    # === CRUD METHODS === #

    @api.model_create_multi
    def create(self, vals_list):
        """Start migrations. Only the accounts are taken from the values.

        :raise UserError: if there is nothing to migrate.
        """
        names = ("account_id", "former_account_id")
        # Defaults in the caller's context could forge values, too.
        model = self.with_context(clean_context(self.env.context))
        migrations = super(WechatBindingMigration, model).create(
            [{name: vals.get(name) for name in names} for vals in vals_list]
        )
        for migration in migrations:
            migration._start()
        return migrations

    # === ACTION METHODS === #

    def action_open(self):
        """Open the report.

        :return: an act_window.
        :rtype: dict
        """
        self.ensure_one()
        self.check_access("read")
        return {
            "type": "ir.actions.act_window",
            "res_model": self._name,
            "res_id": self.id,
            "views": [(False, "form")],
        }

    def action_continue(self):
        """Go on with interrupted migrations."""
        self._check_accounts()
        # sudo: wechat.binding.migration - managers start migrations and never write them
        self.sudo().filtered(lambda migration: migration.state == "failed").write({"state": "running", "error": False})
        self._trigger()

    # === BUSINESS METHODS === #

    def _check_accounts(self):
        """Raise AccessError unless the user may see these migrations and change their accounts."""
        self.check_access("read")
        (self.account_id | self.former_account_id).check_access("write")

    def _start(self):
        """Check a new migration, and have the scheduled action run it.

        :raise UserError: if there is nothing to migrate.
        """
        self._check_accounts()
        # sudo: wechat.binding, wechat.binding.migration - the user may change both accounts
        migration_sudo = self.sudo()
        account, former = self.account_id, self.former_account_id
        if account == former:
            raise UserError(self.env._("Choose the account that the followers have come from."))
        if migration_sudo.search_count([("former_account_id", "=", former.id), ("state", "=", "running")]) > 1:
            raise UserError(self.env._("The bindings of %s are being migrated already.", former.name))
        migration_sudo.total_count = self.env["wechat.binding"].sudo().search_count(self._get_pending_domain())
        if not migration_sudo.total_count:
            raise UserError(self.env._("No merchant is bound by %s.", former.name))
        numbers = {"count": migration_sudo.total_count, "former": former.name}
        self._log(self.env._("Migration of %(count)s bindings from %(former)s started.", **numbers))
        self._trigger()

    def _get_pending_domain(self):
        return [
            ("account_id", "=", self.former_account_id.id),
            ("state", "=", "bound"),
            ("id", ">", self.last_binding_id),
        ]

    @api.model
    def _trigger(self, at=None):
        # sudo: ir.cron - the right to migrate includes triggering the job that does it
        self.env.ref(CRON).sudo()._trigger(at)

    def _log(self, note):
        self.env["wechat.operation"]._log("migrate", self.account_id, {self.account_id.id: note})

    # === BUSINESS METHODS - RUNNING === #

    @api.model
    def _cron_run(self):
        """Run the started migrations on behalf of their users, as long as there is time."""
        for migration in self.search([("state", "=", "running")], order="id"):
            user = migration.user_id
            lang = self.env["wechat.account"]._get_lang(user.lang)
            # sudo: wechat.binding - also bindings of merchants that the user may not see
            if not migration.with_user(user).with_context(lang=lang).sudo()._run():
                return
        self.env["ir.cron"]._commit_progress(remaining=0)

    def _run(self):
        """Migrate the remaining bindings.

        :return: whether there is time left.
        :rtype: bool
        """
        bindings = self.env["wechat.binding"]
        try:
            while batch := bindings.search(self._get_pending_domain(), order="id", limit=CHANGE_OPENID_BATCH):
                asked_at = fields.Datetime.now()
                results = self._translate(batch.mapped("openid"))
                # A new transaction sees what happened meanwhile.
                self.env["ir.cron"]._commit_progress()
                self._run_in_transaction(self._apply, batch, results, asked_at)
                if not self.env["ir.cron"]._commit_progress(len(batch), remaining=1):
                    return False
        except (WechatError, UserError) as error:
            self.env.cr.rollback()
            self._stop(error)
        else:
            self.state = "done"
            numbers = {"count": self.migrated_count, "former": self.former_account_id.name}
            self._log(self.env._("%(count)s bindings migrated from %(former)s.", **numbers))
        _logger.info(
            "wechat.bindings: migration account=%s former=%s state=%s migrated=%s refused=%s",
            *(self.account_id.id, self.former_account_id.id, self.state, self.migrated_count, self.refused_count),
        )
        self.env["ir.cron"]._commit_progress()
        return True

    def _translate(self, openids):
        """Ask WeChat for the new OpenIDs. An unknown one does not spoil the others of its call.

        :return: the result of WechatClient.change_openids().
        :rtype: dict[str, tuple[str | None, str]]
        :raise WechatError: if WeChat refuses for another reason, or can't be reached.
        """
        try:
            return self.account_id._call_api("change_openids", self.former_app_id, openids)
        except WechatError as error:
            if error.errcode not in UNKNOWN_OPENID:
                raise
            if len(openids) == 1:
                return {openids[0]: (None, error.errmsg)}
        half = len(openids) // 2
        return self._translate(openids[:half]) | self._translate(openids[half:])

    def _apply(self, bindings, results, asked_at):
        """Migrate bindings, and report those that could not be migrated.

        :param wechat.binding bindings: the bindings that WeChat was asked about.
        :param dict results: see _translate.
        :param datetime asked_at: the time before WeChat was asked.
        """
        migrated, reasons = bindings._migrate(self.account_id, results, asked_at)
        lines = [
            {
                "partner_id": binding.partner_id.id,
                "merchant": binding.partner_id.display_name,
                "openid_masked": binding.openid_masked,
                "reason": reason,
            }
            for binding, reason in reasons.items()
        ]
        self.write(
            {
                "last_binding_id": max(bindings.ids),
                "migrated_count": self.migrated_count + len(migrated),
                "line_ids": [Command.create(line) for line in lines],
                "error": False,
            }
        )

    def _stop(self, error):
        """Store an error. After a passing one the migration goes on by itself."""
        is_passing = isinstance(error, (WechatRetry, WechatAmbiguous, WechatPaused))
        terms = self.account_id._get_error_terms(error) if isinstance(error, WechatError) else [str(error)]
        self.write({"state": "running" if is_passing else "failed", "error": encode_terms(*terms)})
        if is_passing:
            self._trigger(fields.Datetime.now() + RETRY_AFTER)
