import logging
import time
from datetime import datetime, timedelta, timezone
from functools import partial

import psycopg2

from odoo import api, fields, models
from odoo.exceptions import AccessError, UserError, ValidationError
from odoo.models import fix_import_export_id_paths
from odoo.tools import clean_context, hash_sign, verify_hash_signed

from ...tools.loaded_rows import LoadedRow, LoadedRows
from ...tools.wechat_api import USER_INFO_BATCH
from ...tools.wechat_errors import UNKNOWN_OPENID, WechatAmbiguous, WechatError
from ..const import FOLLOW_EVENTS, GROUP_MANAGER, IMPORT_FIELDS, OPENID, REQUIRED_FIELDS

_logger = logging.getLogger(__name__)
# Number of leavers per query; each takes a call to WeChat.
ERASE_BATCH = 50
# Fields that a scan reads of the code, its merchant and its user; wechat.event explains why they are fetched alone.
CODE_FIELDS = ("partner_id", "account_id", "company_id", "scene_str", "state", "expires_at", "user_id")
PARTNER_FIELDS = (
    "name",
    "complete_name",
    "company_name",
    "parent_id",
    "commercial_partner_id",
    "type",
    "email",
    "lang",
    "active",
    "company_id",
    "wechat_openid",
    "is_wechat_bound",
    "wechat_state",
    "wechat_bound_at",
)
USER_FIELDS = ("partner_id", "company_id", "active", "share")
UNDO_HOURS = 72
UNDO_SCOPE = "wechat_merchant_bind.undo"
# Number of rows that a notice names.
NUMBERS_SHOWN = 20


class WechatBinding(models.Model):
    """The present or a former binding of a merchant to an OpenID of an Official Account.

    Only scans and imports create bindings. A former binding stays as history, in the state "unbound".
    """

    _name = "wechat.binding"
    _inherit = ["wechat.merchant.mixin", "wechat.openid.mixin", "wechat.page.mixin"]
    _description = "WeChat Binding"
    _order = "id desc"
    _rec_name = "partner_id"
    _check_company_auto = True

    _wechat_page = "unbind"

    # === FIELDS === #

    partner_id = fields.Many2one("res.partner", "Merchant", readonly=True, ondelete="set null", index="btree_not_null")
    account_id = fields.Many2one(
        "wechat.account", required=True, readonly=True, ondelete="restrict", index=True, check_company=True
    )
    company_id = fields.Many2one(related="account_id.company_id", store=True, precompute=True, index="btree_not_null")
    openid = fields.Char(
        "OpenID", readonly=True, copy=False, index="btree_not_null", groups="wechat_merchant_bind.group_manager"
    )
    openid_masked = fields.Char("OpenID (masked)", compute="_compute_openid_masked", compute_sudo=True)
    state = fields.Selection(
        [("bound", "Bound"), ("unbound", "Unbound")], required=True, readonly=True, default="bound"
    )
    is_subscribed = fields.Boolean("Follows", readonly=True, default=True)
    last_event_at = fields.Datetime("Last Follow or Unfollow", readonly=True, help="By WeChat's clock.")
    bound_at = fields.Datetime("Bound on", readonly=True, default=fields.Datetime.now)
    unbound_at = fields.Datetime("Unbound on", readonly=True)
    code_id = fields.Many2one("wechat.bind.code", readonly=True, ondelete="set null", index="btree_not_null")
    source = fields.Selection([("scan", "Scan"), ("import", "Import")], required=True, readonly=True, default="scan")
    reason = fields.Char("Reason for Unbinding", readonly=True)

    can_undo = fields.Boolean("Can Be Undone", compute="_compute_can_undo")
    undo_until = fields.Datetime("Can Be Undone until", compute="_compute_undo_until")
    undo_url = fields.Char(
        "Link to Undo", compute="_compute_undo_url", exportable=False, groups="wechat_merchant_bind.group_manager"
    )

    is_blocked = fields.Boolean("Refuses Messages", readonly=True, help="The person has switched our messages off.")
    blocked_at = fields.Datetime("Refused on", readonly=True)

    # === CONSTRAINTS AND INDEXES === #

    _partner_bound_unique = models.UniqueIndex(
        "(partner_id) WHERE state = 'bound'", "This merchant is already bound to a WeChat account."
    )
    _openid_bound_unique = models.UniqueIndex(
        "(account_id, openid) WHERE state = 'bound'", "This OpenID is already bound to a merchant."
    )

    @api.constrains("state", "openid", "partner_id")
    def _check_bound(self):
        for binding in self:
            if binding.state == "bound" and not (binding.openid and binding.partner_id):
                raise ValidationError(self.env._("A binding needs a merchant and an OpenID."))

    @api.constrains("partner_id", "account_id")
    def _check_same_company(self):
        self.env["wechat.account"]._check_same_company(self)

    # === COMPUTE METHODS === #

    @api.depends("openid")
    def _compute_openid_masked(self):
        for binding in self:
            binding.openid_masked = self.env["wechat.operation"]._mask_openid(binding.openid)

    @api.depends("state", "bound_at", "code_id.user_id")
    @api.depends_context("uid")
    def _compute_can_undo(self):
        is_manager = self.env.user.has_group("wechat_merchant_bind.group_manager")
        for binding in self:
            is_own = binding.code_id.user_id == self.env.user
            binding.can_undo = binding._is_fresh() and (is_manager or is_own)

    @api.depends("bound_at")
    def _compute_undo_until(self):
        for binding in self:
            binding.undo_until = binding.bound_at and binding.bound_at + timedelta(hours=UNDO_HOURS)

    def _compute_undo_url(self):
        for binding in self:
            # sudo: ir.config_parameter - the database's secret signs the link
            token = hash_sign(binding.sudo().env, UNDO_SCOPE, binding.id)
            binding.undo_url = f"{binding.get_base_url()}/wechat/undo/{token}"

    # === CRUD METHODS === #

    @api.ondelete(at_uninstall=False)
    def _unlink_close(self):
        """End live bindings and record it. Bindings are deleted only to erase personal data."""
        self._unbind(self.env._("Personal data was erased."))
        notes = {
            binding.id: self.env._("The WeChat data (OpenID %s) of this merchant was erased.", binding.openid_masked)
            for binding in self
        }
        self.env["wechat.operation"]._log("erase", self, notes)
        # sudo: mail.message - the messages about a binding are erased with it
        self.env["mail.message"].sudo().search([("model", "=", self._name), ("res_id", "in", self.ids)]).unlink()

    @api.model
    def load(self, fields, data):
        """Import OpenIDs: besides a scan, the only way to create bindings.

        Each row is checked as a scan is, and then by WeChat, before anything is written. Existing bindings are never
        overwritten. A report lists the result of each row.

        :param list[str] fields: the columns: the merchant, its OpenID and, optionally, the Official Account. The
            default account is the one that issues the merchant's codes.
        :param list[list[str]] data: the rows.
        :return: the result that Odoo's import expects, with "wechat_notices" (hints for the user) and
            "wechat_report" (the action that opens the report).
        :rtype: dict
        :raise AccessError: if the user is not a WeChat manager.
        """
        if not self.env.su and not self.env.user.has_group(GROUP_MANAGER):
            raise AccessError(self.env._("Only WeChat managers may import bindings."))
        if reason := self._get_wrong_columns(fields):
            return {"ids": False, "messages": [{"type": "error", "message": reason}], "nextrow": 0}
        load = self.env.context.get("wechat_file")
        # RPC callers cannot inject one.
        load = load if isinstance(load, LoadedRows) else LoadedRows()
        context = {
            # Defaults in the caller's context could forge values.
            **clean_context(self.env.context),
            "wechat_loaded_rows": load,
            "mode": "init",
            # No options that create merchants from misspelt names or skip rows silently.
            "name_create_enabled_fields": {},
            "import_set_empty_fields": [],
            "import_skip_records": [],
        }
        result = super(WechatBinding, self.with_env(self.env(context=context))).load(fields, data)
        if result["ids"] is False and not load.is_refused:
            load.take_write_errors(result["messages"])
        limit = self.env.context.get("_import_limit") or len(data)
        result["nextrow"] = limit if not load.is_refused and len(data) > limit else 0
        report = self.env["wechat.binding.import"]._record(load)
        result["wechat_notices"] = self._get_import_notices(load)
        result["wechat_report"] = report._get_action()
        return result

    @api.model
    def _convert_records(self, records, *, log=lambda a: None, savepoint):
        load = self.env.context.get("wechat_loaded_rows")
        if not load:
            return super()._convert_records(records, log=log, savepoint=savepoint)
        load.log = log
        records = list(records)
        for index, (values, _extras) in enumerate(records):
            merchant = " ".join(str(value) for value in next(iter(values["partner_id"]), {}).values())
            load.rows[index] = LoadedRow(merchant, (values["openid"] or "").strip())
        converted = list(
            super()._convert_records(records, log=partial(self._handle_import_message, load), savepoint=savepoint)
        )
        for index, (_id, _xid, values, _info) in enumerate(converted):
            load.rows[index].partner = self.env["res.partner"].browse(values.get("partner_id") or [])
            load.rows[index].account = self.env["wechat.account"].browse(values.get("account_id") or [])
        self._check_rows(load)
        if load.is_refused:
            return []
        return [
            (False, False, self._prepare_imported_values(load.rows[index]), info)
            for index, (_id, _xid, _values, info) in enumerate(converted)
            if load.rows[index].result in ("imported", "unfollowed")
        ]

    def _load_records_create(self, vals_list):
        if not self.env.context.get("wechat_loaded_rows"):
            return super()._load_records_create(vals_list)
        # sudo: wechat.binding - users have no right to create bindings; load() has checked the import
        bindings_sudo = self.sudo().create(vals_list)
        bindings_sudo._log_import()
        return bindings_sudo.sudo(False)

    @api.model
    def get_import_templates(self):
        """Return the template file that the import screen offers, in the user's language.

        :rtype: list[dict]
        """
        language = "zh_CN" if (self.env.lang or "").startswith("zh") else "en"
        return [
            {
                "label": self.env._("Template for the Import of Bindings"),
                "template": f"/wechat_merchant_bind/static/xlsx/bindings_{language}.xlsx",
            }
        ]

    # === BUSINESS METHODS - BINDING === #

    @api.model
    def _bind_by_scan(self, account, openid, scene, scanned_at, expired_before):
        """Bind the scanner of a code to the code's merchant, or refuse.

        A live binding of the merchant or of the OpenID is never overwritten.

        :param wechat.account account: the account that pushed the scan.
        :param str openid: the scanner.
        :param str scene: the scene of the code.
        :param datetime scanned_at: the time of the scan by WeChat's clock.
        :param datetime expired_before: codes that expire at this time or earlier are refused.
        :return: the reply to the scanner.
        :rtype: str
        """
        code = self.env["wechat.bind.code"].search_fetch(
            [("scene_str", "=", scene), ("account_id", "=", account.id)], CODE_FIELDS, limit=1
        )
        if not code:
            return self._get_reply(False, "unknown")
        partner = code.partner_id
        users = code.user_id | self.env.user
        users.fetch(USER_FIELDS)
        (partner | users.partner_id).fetch(PARTNER_FIELDS)
        self.env.company.fetch(["name", "alias_domain_id"])
        own, others = self._find_conflicts(code, openid)
        own._set_subscribed(True, scanned_at)
        if own.partner_id == partner:
            return self._get_reply(partner, "bound", account)
        is_confirmed = account.bind_confirmation == "none"
        if not is_confirmed:
            # The confirmation comes later than the scan: the code must still be valid now.
            expired_before = max(expired_before, fields.Datetime.now())
        if reason := self._get_refusal(code, own, others, expired_before):
            self._log_refusal(code, openid, reason, own.partner_id)
            return self._get_reply(partner, reason)
        if not is_confirmed:
            return self.env["wechat.bind.request"]._request_confirmation(code, openid, scanned_at)
        self._create_from_scan(code, openid, scanned_at)
        return self._get_reply(partner, "bound", account)

    @api.model
    def _find_conflicts(self, code, openid):
        """Return the live bindings that conflict with binding an OpenID to a code's merchant.

        :return: the binding of the OpenID, and the merchant's bindings to other OpenIDs.
        :rtype: tuple[wechat.binding, wechat.binding]
        """
        account = code.account_id
        bindings = self.search(
            [
                ("state", "=", "bound"),
                "|",
                ("partner_id", "=", code.partner_id.id),
                "&",
                ("account_id", "=", account.id),
                ("openid", "=", openid),
            ]
        )
        own = bindings.filtered(lambda binding: binding.account_id == account and binding.openid == openid)
        return own, bindings - own

    @api.model
    def _get_refusal(self, code, openid_binding, partner_binding, expired_before):
        """Return the reason to refuse a scan, or None.

        :return: a key of _get_reply().
        :rtype: str | None
        """
        if openid_binding:
            return "openid_bound"
        if partner_binding:
            return "partner_bound"
        if code.partner_id._wechat_get_bind_obstacle() == "disabled":
            return "disabled"
        if len(code.partner_id.company_id | code.account_id.company_id) > 1:
            return "other_company"
        if code.state not in ("active", "expired"):
            return code.state
        if code.expires_at <= expired_before:
            return "expired"
        return None

    @api.model
    def _create_from_scan(self, code, openid, scanned_at, confirmation=None):
        """Bind an OpenID to a code's merchant, record it, and notify the merchant and the code's user.

        :param str confirmation: a note for the admin about the way the scan was confirmed, if it had to be.
        """
        code._mark_used()
        binding = self.create(
            {
                "partner_id": code.partner_id.id,
                "account_id": code.account_id.id,
                "openid": openid,
                "last_event_at": scanned_at,
                "code_id": code.id,
            }
        )
        env = self.with_context(lang=self.env["wechat.account"]._get_lang(code.user_id.lang)).env
        note = env._(
            "Bound to WeChat (OpenID %(openid)s) with the code generated by %(user)s.",
            openid=binding.openid_masked,
            user=code.user_id.name or env._("a deleted user"),
        )
        if confirmation:
            note += "\n" + confirmation
        self.env["wechat.operation"]._log("bind", binding, {binding.id: note})
        binding._apply_overtaking_unsubscribe()
        binding._notify_bound()
        binding._queue_welcome()
        code.partner_id._wechat_notify_changed()

    def _apply_overtaking_unsubscribe(self):
        """Apply an unsubscribe event that is later than the scan but was handled before it."""
        self.ensure_one()
        event = self.env["wechat.event"].search(
            [
                ("account_id", "=", self.account_id.id),
                ("openid", "=", self.openid),
                ("event", "in", FOLLOW_EVENTS),
                ("create_time", ">", self.last_event_at),
            ],
            order="create_time desc, id desc",
            limit=1,
        )
        if event.event == "unsubscribe":
            self._set_subscribed(False, event._get_moment())

    def _notify_bound(self):
        """Notify the merchant and the user of the code about a new binding. A failure must not undo the binding."""
        self.ensure_one()
        self.code_id.user_id._wechat_notify(self)
        email = self.partner_id.email or self.partner_id.commercial_partner_id.email
        if not email:
            return
        template = self.env.ref("wechat_merchant_bind.mail_template_wechat_bound", raise_if_not_found=False)
        if not template:
            return
        try:
            with self.env.cr.savepoint():
                self._queue_bound_mail(template, email)
        except psycopg2.Error:
            raise
        except Exception:  # expressions of an edited template may raise anything
            _logger.exception("wechat.bindings: no email binding=%s", self.id)

    def _queue_bound_mail(self, template, email):
        """Queue the e-mail about a new binding, for Odoo to send it outside of this transaction."""
        lang = self.env["wechat.account"]._get_lang(self.partner_id.lang)
        mail_id = template.with_context(lang=lang).send_mail(
            self.id, email_values={"email_to": email, "recipient_ids": []}
        )
        mail = self.env["mail.mail"].browse(mail_id)
        # A merchant's name may have several lines; mail servers refuse such a subject.
        if len(lines := (mail.subject or "").splitlines()) > 1:
            mail.subject = " ".join(lines)
        self.env.ref("mail.ir_cron_mail_scheduler_action")._trigger()

    @api.model
    def _log_refusal(self, code, openid, reason, openid_partner):
        env = self.with_context(lang=self.env["wechat.account"]._get_lang(code.user_id.lang)).env
        note = env._(
            "WeChat binding refused for OpenID %(openid)s: %(reason)s.",
            openid=self.env["wechat.operation"]._mask_openid(openid),
            reason=self._get_refusal_text(env, reason, openid_partner),
        )
        self.env["wechat.operation"]._log("refuse", code, {code.id: note}, openid=openid)

    @api.model
    def _get_refusal_text(self, env, reason, openid_partner):
        """Return the reason of a refusal, as part of a sentence for the admin.

        :param Environment env: in the reader's language.
        :param str reason: see _get_refusal().
        :param res.partner openid_partner: the merchant that the OpenID is bound to, if any.
        :rtype: str
        """
        return {
            "openid_bound": env._(
                "this WeChat is already bound to %s; unbind it there first", openid_partner.display_name
            ),
            "partner_bound": env._("the merchant is already bound to another WeChat; unbind it first"),
            "disabled": env._("the merchant is disabled"),
            "other_company": env._("the merchant has moved to another company; generate a new code"),
            "used": env._("the code was already used; generate a new one"),
            "revoked": env._("the code was revoked; generate a new one"),
            "expired": env._("the code had expired; generate a new one"),
        }[reason]

    @api.model
    def _get_reply(self, partner, outcome, account=None):
        """Return the reply to the scanner, in the merchant's language. It never names another merchant.

        :param res.partner partner: the code's merchant, or False.
        :param str outcome: "bound", "unbound", "not_bound", "unknown" or a result of _get_refusal().
        :param wechat.account account: the account with the reply, required for "bound".
        :rtype: str
        """
        lang = self.env["wechat.account"]._get_lang(bool(partner) and partner.lang)
        env = self.with_context(lang=lang).env
        if outcome == "bound":
            return account.with_env(env).bind_reply.replace("{merchant}", partner.name or "")
        return {
            "unbound": env._(
                "Your WeChat is no longer bound, and no more notices will reach you here. To bind it again, ask us for "
                "a new binding code and scan it."
            ),
            "not_bound": env._(
                "Your WeChat is not bound to any merchant. To bind it, ask us for a binding code and scan it."
            ),
            "unknown": env._("This code is not valid. Please ask us for a new one."),
            "openid_bound": env._(
                "This WeChat is already bound to a merchant and can't be bound to a second one. "
                "Please scan with another WeChat, or ask us to remove the former binding."
            ),
            "partner_bound": env._(
                "This merchant is already bound to another WeChat. If that is not yours, please contact us."
            ),
            "disabled": env._("This merchant is disabled. Please contact us."),
            "used": env._("This code was already used. Please ask us for a new one."),
            "revoked": env._("This code is no longer valid. Please ask us for a new one."),
            "other_company": env._("This code is no longer valid. Please ask us for a new one."),
            "expired": env._("This code has expired. Please ask us for a new one."),
        }[outcome]

    def _set_subscribed(self, subscribed, at):
        """Record that the OpenID of these bindings follows or has unfollowed the account.

        :param bool subscribed: whether the OpenID follows now.
        :param datetime at: CreateTime of the push. Events older than the last known change are ignored.
        """
        for binding in self:
            if binding.last_event_at and at < binding.last_event_at:
                continue
            changed = binding.is_subscribed != subscribed
            binding.write({"is_subscribed": subscribed, "last_event_at": at})
            if changed and binding.state == "bound":
                binding._log_subscription()
        if subscribed:
            self._mark_reachable()

    def _log_subscription(self):
        self.ensure_one()
        env = self.with_context(lang=self.env["wechat.account"]._get_lang(self.code_id.user_id.lang)).env
        if self.is_subscribed:
            note = env._("The merchant follows the WeChat account again.")
        else:
            note = env._(
                "The merchant has unfollowed the WeChat account. No message reaches it until it follows again."
            )
        self.env["wechat.operation"]._log("follow" if self.is_subscribed else "unfollow", self, {self.id: note})
        self.partner_id._wechat_notify_changed()

    def _unbind(self, reason):
        """End live bindings, and record it.

        :param str reason: the reason for the log; may be empty.
        """
        bindings = self.filtered(lambda binding: binding.state == "bound")
        bindings.write({"state": "unbound", "unbound_at": fields.Datetime.now(), "reason": reason})
        notes = {}
        for binding in bindings:
            notes[binding.id] = self.env._("Unbound from WeChat (OpenID %s).", binding.openid_masked)
            if reason:
                notes[binding.id] += "\n" + self.env._("Reason: %s", reason)
        self.env["wechat.operation"]._log("unbind", bindings, notes)
        bindings.partner_id._wechat_notify_changed()

    @api.model
    def _find(self, account, openid):
        """Return the present and former bindings of an OpenID."""
        return self.search([("account_id", "=", account.id), ("openid", "=", openid)])

    # === BUSINESS METHODS - REACHABILITY === #

    def _mark_unreachable(self, kind):
        """Record that messages don't reach the bound user.

        :param str kind: unfollowed, after WeChat has confirmed it, or blocked.
        """
        now = fields.Datetime.now()
        if kind == "unfollowed":
            self._set_subscribed(False, now)
            return
        fresh = self.filtered(lambda binding: not binding.is_blocked)
        fresh.write({"is_blocked": True, "blocked_at": now})
        fresh.partner_id._wechat_notify_changed()

    def _mark_reachable(self):
        """Record that messages reach the bound user again: one has arrived, or the user follows again."""
        blocked = self.filtered("is_blocked")
        blocked.write({"is_blocked": False, "blocked_at": False})
        blocked.partner_id._wechat_notify_changed()

    # === BUSINESS METHODS - UNDO === #

    def _is_fresh(self):
        """Return whether the binding is live and recent enough to be undone."""
        self.ensure_one()
        return self.state == "bound" and bool(self.bound_at) and fields.Datetime.now() < self.undo_until

    @api.model
    def _find_by_undo_token(self, token):
        """Return the sudoed binding of an undo link, in any state, or an empty one.

        :param str token: the token of the link.
        :rtype: wechat.binding
        """
        # sudo: wechat.binding - the token is signed by the database's secret and grants the access
        return self.sudo().browse(self._read_undo_token(token)).exists()

    @api.model
    def _read_undo_token(self, token):
        """Return the id of the binding in an undo token, or None if the token is truncated or forged."""
        try:
            # sudo: ir.config_parameter - the database's secret verifies the signature
            return verify_hash_signed(self.sudo().env, UNDO_SCOPE, token)
        except ValueError:
            return None

    def _get_undo_state(self):
        """Return the state of the undo page: "bound", "unbound", "expired", or "unknown" for an empty recordset.

        :rtype: str
        """
        if not self:
            return "unknown"
        if self.state == "unbound":
            return "unbound"
        return "bound" if self._is_fresh() else "expired"

    def _undo_by_link(self):
        """Undo a binding on behalf of the recipient of the e-mail about it."""
        self.ensure_one()
        lang = self.env["wechat.account"]._get_lang(self.code_id.user_id.lang)
        # Log the visitor's IP address: every reader of the e-mail can use the link.
        binding = self.with_context(lang=lang, wechat_by_visitor=True)
        binding._unbind(binding.env._("Undone by the link in the e-mail to the merchant."))

    # === BUSINESS METHODS - PAGE === #

    def _get_page_state(self):
        return "unbind" if self.state == "bound" else "told"

    def _get_page_text(self):
        return self._get_reply(self.partner_id, "unbound")

    # === BUSINESS METHODS - LEAVERS === #

    @api.model
    def _cron_erase_leavers(self):
        """Erase the data of users that unfollowed, where the account asks for it and WeChat confirms it."""
        accounts = self.env["wechat.account"].search([("leaver_policy", "=", "erase")])
        if all(self._erase_leavers(account) for account in accounts):
            self.env["ir.cron"]._commit_progress(remaining=0)

    @api.model
    def _erase_leavers(self, account):
        """Check the leavers of an account with WeChat one by one, as long as it answers.

        :return: whether there is time for another account.
        :rtype: bool
        """
        asked = []
        while leavers := self._get_leavers(account, asked):
            for openid in leavers:
                asked.append(openid)
                is_available = self._check_leaver(account, openid)
                if not self.env["ir.cron"]._commit_progress(1, remaining=1):
                    return False
                if not is_available:
                    return True
        return True

    @api.model
    def _check_leaver(self, account, openid):
        """Ask WeChat whether an OpenID has really unfollowed, and erase its data if so.

        :return: whether to go on with the account's other leavers.
        :rtype: bool
        """
        try:
            info = account._call_api("user_info", openid)
        except WechatError as error:
            if error.errcode not in UNKNOWN_OPENID:
                # Data is erased only after WeChat confirms. The next run tries again.
                _logger.warning("wechat.bindings: leaver not erased account=%s error=%s", account.id, error)
                return isinstance(error, WechatAmbiguous)
            info = {}
        if not info.get("subscribe"):
            self._erase(account, openid)
            _logger.info("wechat.bindings: leaver erased account=%s", account.id)
            return True
        # The push about following again was missed: correct the bindings, and forget the unsubscribe event.
        since = datetime.fromtimestamp(info.get("subscribe_time") or time.time(), timezone.utc)
        self._find(account, openid)._set_subscribed(True, since.replace(tzinfo=None))
        self.env["wechat.event"].search(
            [("account_id", "=", account.id), ("openid", "=", openid), ("event", "=", "unsubscribe")]
        ).unlink()
        return True

    @api.model
    def _get_leavers(self, account, asked):
        """Return the next OpenIDs that unfollowed longer ago than the account keeps their data.

        The latest of an OpenID's bindings and follow events decides.

        :param list[str] asked: OpenIDs to leave out.
        :rtype: list[str]
        """
        self.env.flush_all()
        self.env.cr.execute(
            """
            WITH sign AS (
                SELECT openid, last_event_at AS moment, is_subscribed AS follows
                  FROM wechat_binding
                 WHERE account_id = %(account_id)s AND openid IS NOT NULL
                 UNION ALL
                SELECT openid, create_time, event != 'unsubscribe'
                  FROM wechat_event
                 WHERE account_id = %(account_id)s AND openid IS NOT NULL AND event IN %(events)s
            ), last_sign AS (
                SELECT DISTINCT ON (openid) openid, moment, follows FROM sign ORDER BY openid, moment DESC, follows DESC
            )
            SELECT openid
              FROM last_sign
             WHERE NOT follows AND moment < %(before)s AND openid != ALL(%(asked)s)
             ORDER BY moment
             LIMIT %(limit)s
            """,
            {
                "account_id": account.id,
                "events": FOLLOW_EVENTS,
                "before": fields.Datetime.subtract(fields.Datetime.now(), days=account.leaver_days),
                "asked": asked,
                "limit": ERASE_BATCH,
            },
        )
        return [openid for [openid] in self.env.cr.fetchall()]

    @api.model
    def _erase(self, account, openid):
        """Erase a leaver's OpenID from all bindings and requests, the inbox and the stored replies."""
        bindings = self._find(account, openid)
        for binding in bindings:
            binding = binding.with_context(lang=self.env["wechat.account"]._get_lang(binding.code_id.user_id.lang))
            binding._unbind(binding.env._("The merchant no longer follows the account."))
            note = binding.env._("The WeChat data of this merchant was erased.")
            binding.env["wechat.operation"]._log("erase", binding, {binding.id: note})
        domain = [("account_id", "=", account.id), ("openid", "=", openid)]
        self.env["wechat.event"].search(domain).unlink()
        self.env["wechat.bind.request"].search(domain).unlink()
        bindings.openid = False

    # === BUSINESS METHODS - MIGRATION === #

    def _migrate(self, account, results, asked_at):
        """Move these bindings to the Official Account that has taken over the followers of theirs.

        Bindings that have ended since WeChat was asked are left alone.

        :param wechat.account account: the new account.
        :param dict results: by OpenID, the new one or None, and WeChat's reason.
        :param datetime asked_at: the time before WeChat was asked.
        :return: the moved bindings, and the reasons of those that can't be moved.
        :rtype: tuple[wechat.binding, dict[wechat.binding, str]]
        """
        openids = [openid for openid, _reason in results.values() if openid]
        bound = self.search([("account_id", "=", account.id), ("openid", "in", openids), ("state", "=", "bound")])
        owners = {binding.openid: binding.partner_id for binding in bound}
        moved, notes, reasons = self.browse(), {}, {}
        for binding in self.filtered(lambda binding: binding.state == "bound"):
            openid, reason = results.get(binding.openid, (None, "-"))
            if obstacle := binding._get_migration_obstacle(account, openid, reason, owners):
                reasons[binding] = obstacle
                continue
            former, former_openid = binding.account_id, binding.openid_masked
            owners[openid] = binding.partner_id
            binding.write({"account_id": account.id, "openid": openid})
            moved |= binding
            notes[binding.id] = self.env._(
                "WeChat has moved the followers of %(former)s to %(account)s. OpenID: %(old)s → %(new)s",
                former=former.name,
                account=account.name,
                old=former_openid,
                new=binding.openid_masked,
            )
        self.env["wechat.operation"]._log("migrate", moved, notes)
        # WeChat translates the OpenIDs of followers only.
        moved._set_subscribed(True, asked_at)
        return moved, reasons

    def _get_migration_obstacle(self, account, openid, reason, owners):
        """Return the reason why this binding can't be moved to another account, or None.

        :param wechat.account account: the new account.
        :param str | None openid: the new OpenID.
        :param str reason: WeChat's reason, if there is no new OpenID.
        :param dict[str, res.partner] owners: the merchants bound by the new account, by OpenID.
        :rtype: str | None
        """
        if not openid:
            return self.env._(
                "WeChat has no new OpenID for this one: probably the person did not follow when the account was moved. "
                "Unbind the merchant and send it a new binding code. WeChat's answer: %s",
                reason,
            )
        if owner := owners.get(openid):
            owner = owner.sudo(False)._filtered_access("read")
            return self.env._(
                "The new OpenID %(openid)s is already bound to %(merchant)s. Unbind one of the two.",
                openid=self.env["wechat.operation"]._mask_openid(openid),
                merchant=owner.display_name if owner else self.env._("a merchant that you may not see"),
            )
        if len(self.partner_id.company_id | account.company_id) > 1:
            return self.env._(
                "%(merchant)s and the Official Account %(account)s belong to different companies.",
                merchant=self.partner_id.display_name,
                account=account.display_name,
            )
        return None

    # === BUSINESS METHODS - IMPORT === #

    @api.model
    def _get_wrong_columns(self, fields):
        """Return an error message about the columns of an import, or None."""
        names = [fix_import_export_id_paths(name)[0] for name in fields]
        if foreign := [name for name in names if name not in IMPORT_FIELDS]:
            return self.env._(
                "Only merchants, their OpenIDs and the Official Account can be imported, and existing bindings can't "
                "be changed. You are not allowed to import these columns: %s.",
                ", ".join(foreign),
            )
        if any(name not in names for name in REQUIRED_FIELDS):
            return self.env._("The file needs a column with the merchants and one with their OpenIDs.")
        return None

    @api.model
    def _handle_import_message(self, load, message):
        """Refuse a row because of a message of Odoo's import. Warnings count as errors.

        :param LoadedRows load: the rows.
        :param dict message: the message. If it names a value, the screen shows it at the column.
        """
        index, reason = message.pop("record"), message.pop("message")
        if message["type"] == "warning":
            # Several records have this name, and Odoo would take the first one.
            reason += ". " + self.env._("It is unclear which one is meant: give its database ID instead.")
            message = {}
        load.refuse(index, reason, **message)

    @api.model
    def _check_rows(self, load):
        """Check the rows as a scan is checked, then by WeChat, and set their results.

        :param LoadedRows load: the rows, as Odoo has read them.
        """
        accounts = {}
        for index, row in load.get_open().items():
            if obstacle := self._get_row_obstacle(row, accounts):
                load.refuse(index, obstacle)
        self._check_rows_unique(load)
        self._check_rows_unbound(load)
        self._check_rows_known(load)

    @api.model
    def _get_row_obstacle(self, row, accounts):
        """Return the reason why a row by itself can't be imported, and set its account if it has none.

        :param LoadedRow row: the row.
        :param dict accounts: cache of the default accounts by company.
        :return: the reason, or None.
        :rtype: str | None
        """
        if not row.partner or not row.openid:
            return self.env._("A binding needs a merchant and an OpenID.")
        if not row.partner._filtered_access("read"):
            return self.env._("There is no merchant %s that you may see.", row.merchant)
        if row.partner._wechat_get_bind_obstacle() == "disabled":
            return self.env._("%s is disabled. Enable it before you import its OpenID.", row.partner.display_name)
        if not OPENID.fullmatch(row.openid):
            return self.env._(
                "“%(openid)s” of %(merchant)s is no OpenID: those have only letters, digits, - and _.",
                openid=row.openid[:50],
                merchant=row.partner.display_name,
            )
        try:
            self._choose_row_account(row, accounts)
        except UserError as error:
            return str(error)
        return None

    @api.model
    def _choose_row_account(self, row, accounts):
        """Check the account of a row, or set the one that issues the merchant's codes.

        :raise UserError: if there is no account, or it belongs to another company.
        """
        company = row.partner.company_id
        if not row.account:
            if company not in accounts:
                accounts[company] = self.env["wechat.account"]._get_for_partner(row.partner)
            row.account = accounts[company]
        elif not row.account._filtered_access("read") or not row.account.active:
            raise UserError(self.env._("There is no such Official Account, or it is archived."))
        self.env["wechat.account"]._check_same_company(
            self.new({"partner_id": row.partner.id, "account_id": row.account.id})
        )

    @api.model
    def _check_rows_unique(self, load):
        """Refuse rows that repeat the merchant or the OpenID of an earlier row."""
        first = {}
        for index, row in load.get_open().items():
            number = load.number(first.setdefault(row.partner, index))
            if number != load.number(index):
                reason = self.env._(
                    "%(merchant)s stands in row %(number)s already.", merchant=row.partner.display_name, number=number
                )
                load.refuse(index, reason)
                continue
            number = load.number(first.setdefault((row.account, row.openid), index))
            if number != load.number(index):
                reason = self.env._(
                    "The OpenID %(openid)s of %(merchant)s stands in row %(number)s already.",
                    openid=self._mask(row),
                    merchant=row.partner.display_name,
                    number=number,
                )
                load.refuse(index, reason)

    @api.model
    def _check_rows_unbound(self, load):
        """Refuse rows that conflict with live bindings, and mark rows that are bound already as unchanged."""
        rows = load.get_open()
        # sudo: wechat.binding - bindings that the user may not see conflict, too
        bindings_sudo = self.sudo().search(
            [
                ("state", "=", "bound"),
                "|",
                ("partner_id", "in", [row.partner.id for row in rows.values()]),
                ("openid", "in", [row.openid for row in rows.values()]),
            ]
        )
        by_partner = {binding.partner_id.id: binding for binding in bindings_sudo}
        by_openid = {(binding.account_id.id, binding.openid): binding for binding in bindings_sudo}
        for index, row in rows.items():
            partner_binding = by_partner.get(row.partner.id)
            openid_binding = by_openid.get((row.account.id, row.openid))
            if not partner_binding and not openid_binding:
                continue
            if partner_binding == openid_binding:
                row.result = "unchanged"
                row.reason = self.env._("The merchant is bound to this very OpenID.")
            elif partner_binding:
                reason = self.env._(
                    "%(merchant)s is already bound to another OpenID (%(openid)s). Unbind it before you import.",
                    merchant=row.partner.display_name,
                    openid=partner_binding.openid_masked,
                )
                load.refuse(index, reason)
            else:
                owner = openid_binding.partner_id.sudo(False)._filtered_access("read")
                reason = self.env._(
                    "The OpenID %(openid)s is already bound to %(merchant)s. Unbind it there before you import.",
                    openid=self._mask(row),
                    merchant=owner.display_name if owner else self.env._("a merchant that you may not see"),
                )
                load.refuse(index, reason)

    @api.model
    def _check_rows_known(self, load):
        """Ask WeChat which OpenIDs exist and follow. Without its answer, nothing is imported."""
        by_account = {}
        for index, row in load.get_open().items():
            by_account.setdefault(row.account, {})[row.openid] = index
        for account, indexes in by_account.items():
            try:
                users = self._fetch_followers(account, list(indexes))
            except WechatError as error:
                reason = self.env._("WeChat could not be asked about the OpenIDs, so nothing is imported.")
                load.fail(f"{reason}\n{account._get_error_message(error)}")
                return
            for openid, index in indexes.items():
                row = load.rows[index]
                if openid in users:
                    row.user = users[openid]
                    row.result = "imported" if row.user["subscribe"] else "unfollowed"
                else:
                    reason = self.env._(
                        "%(account)s doesn't know the OpenID %(openid)s of %(merchant)s. Perhaps it is one of another "
                        "Official Account or of a mini program: each has its own.",
                        account=account.display_name,
                        openid=self._mask(row),
                        merchant=row.partner.display_name,
                    )
                    load.refuse(index, reason)

    @api.model
    def _fetch_followers(self, account, openids):
        """Fetch WeChat's data about OpenIDs of an account.

        :param list[str] openids: any number.
        :return: user info by OpenID, without unknown OpenIDs.
        :rtype: dict[str, dict]
        :raise WechatError: if WeChat refuses for another reason, or can't be reached.
        """
        users = {}
        for start in range(0, len(openids), USER_INFO_BATCH):
            batch = openids[start : start + USER_INFO_BATCH]
            try:
                users |= account._call_api("batchget_user_info", batch)
            except WechatError as error:
                if error.errcode not in UNKNOWN_OPENID:
                    raise
                # WeChat doesn't say which one is unknown.
                users |= self._fetch_followers_one_by_one(account, batch)
        return users

    @api.model
    def _fetch_followers_one_by_one(self, account, openids):
        users = {}
        for openid in openids:
            try:
                users[openid] = account._call_api("user_info", openid)
            except WechatError as error:
                if error.errcode not in UNKNOWN_OPENID:
                    raise
        return users

    @api.model
    def _prepare_imported_values(self, row):
        """Return the values of the binding of a row.

        :param LoadedRow row: a row that was checked with WeChat.
        :rtype: dict
        """
        follows = row.result == "imported"
        # The last known change: later pushes override it.
        since = (follows and row.user.get("subscribe_time")) or time.time()
        return {
            "partner_id": row.partner.id,
            "account_id": row.account.id,
            "openid": row.openid,
            "source": "import",
            "is_subscribed": follows,
            "last_event_at": datetime.fromtimestamp(since, timezone.utc).replace(tzinfo=None),
        }

    def _log_import(self):
        """Record the import of these bindings, and revoke the open codes of their merchants."""
        notes = {}
        for binding in self:
            notes[binding.id] = self.env._("The OpenID %s was imported.", binding.openid_masked)
            if not binding.is_subscribed:
                notes[binding.id] += "\n" + self.env._(
                    "The merchant doesn't follow the WeChat account. No message reaches it until it does."
                )
        self.env["wechat.operation"]._log("import", self, notes)
        self.env["wechat.bind.code"].search(
            [("partner_id", "in", self.partner_id.ids), ("state", "=", "active")]
        )._revoke(self.env._("The merchant's OpenID was imported."))
        self.partner_id._wechat_notify_changed()

    @api.model
    def _get_import_notices(self, load):
        """Return hints about rows that need the user's attention but are no errors.

        :param LoadedRows load: the rows.
        :rtype: list[str]
        """
        notices = []
        if numbers := load.get_numbers("unfollowed"):
            notices.append(
                self.env._(
                    "%(count)s merchants don't follow the Official Account (rows %(rows)s). They become bound as "
                    "unfollowed: no message reaches them until they follow.",
                    count=len(numbers),
                    rows=self._shorten_numbers(numbers),
                )
            )
        if numbers := load.get_numbers("unchanged"):
            notices.append(
                self.env._(
                    "%(count)s merchants are bound to the same OpenID already (rows %(rows)s). Nothing changes for "
                    "them.",
                    count=len(numbers),
                    rows=self._shorten_numbers(numbers),
                )
            )
        return notices

    @api.model
    def _mask(self, row):
        return self.env["wechat.operation"]._mask_openid(row.openid)

    @api.model
    def _shorten_numbers(self, numbers):
        return ", ".join(map(str, numbers[:NUMBERS_SHOWN])) + (" …" if len(numbers) > NUMBERS_SHOWN else "")
