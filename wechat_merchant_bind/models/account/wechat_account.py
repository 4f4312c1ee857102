import logging
import re
import secrets
from datetime import timedelta
from typing import NamedTuple

from odoo import api, fields, models
from odoo.exceptions import UserError, ValidationError
from odoo.fields import Domain
from odoo.tools import LazyTranslate, ormcache

from ...tools import wechat_crypto
from ...tools.wechat_api import WechatClient, WechatUrlError, check_base_url
from ...tools.wechat_errors import (
    LINK_TOO_LONG,
    SEND_PATH,
    VALUE_NOT_ALLOWED,
    WechatError,
    WechatTokenStale,
    invalid_ip,
)
from ..const import RETENTION_DAYS

# Default content of a translatable field: in the merchants' language, not in the admin's.
DEFAULT_BIND_REPLY = "您好！{merchant}，公众号绑定成功！今后将通过此公众号为您推送重要通知。"
# WeChat's limit for a temporary QR code: 2,592,000 seconds.
MAX_CODE_VALIDITY_DAYS = 30
SECRET_FIELDS = frozenset(
    {"app_secret", "webhook_token", "encoding_aes_key", "previous_encoding_aes_key", "webhook_key", "webhook_url"}
)
# Fields whose changes are not logged: the order, and the account's status at WeChat.
UNAUDITED_FIELDS = frozenset(
    {
        "sequence", "last_check_at", "last_check_error", "verification_event_at", "quota_limit", "quota_used",
        "quota_checked_at", "send_paused_until", "send_pause_reason", "send_pause_errcode",
    }
)  # fmt: skip
# Characters of a value that the operations log shows.
VALUE_SHOWN = 60
# Characters of a link that is too long in a failure reason.
LINK_SHOWN = 80

# The quota is checked once an hour. A manager is warned at this share of it.
QUOTA_EVERY = timedelta(minutes=55)
WARN_PERCENT = 80
QUOTA_ACTIVITY = "mail.mail_activity_data_todo"
# Holds the UUID of the database that may send.
IDENTITY_PARAMETER = "wechat_merchant_bind.outbox_identity"

_logger = logging.getLogger(__name__)
_lt = LazyTranslate(__name__)


class Webhook(NamedTuple):
    """The settings of an account that authenticate and store its pushes. That of no account is falsy."""

    id: int | None = None
    company_id: int | None = None
    app_id: str = ""
    original_id: str | None = None
    webhook_token: str | None = None
    encoding_aes_key: str | None = None
    previous_encoding_aes_key: str | None = None
    encryption_mode: str = "safe"
    clock_tolerance: int = 0

    def __bool__(self):
        return self.id is not None

    def __repr__(self):
        # The generated one would put the secrets into logs.
        return f"Webhook(<{self.id}>)"


class WechatAccount(models.Model):
    """A WeChat Official Account: its secrets, its webhook, its API client and its rules for binding."""

    _name = "wechat.account"
    _inherit = ["wechat.suspend.mixin"]
    _description = "WeChat Official Account"
    _order = "sequence, id"
    _check_company_auto = True

    # === FIELDS === #

    name = fields.Char(required=True)
    active = fields.Boolean(default=True)
    sequence = fields.Integer(default=10)
    company_id = fields.Many2one(
        "res.company",
        index="btree_not_null",
        default=lambda self: self.env.company,
        help="Leave empty to share the account among all companies.",
    )
    account_kind = fields.Selection(
        [("service", "Service account"), ("test", "Test account")],
        required=True,
        default="service",
        help="A test account needs no verification, but knows only plain mode and does not enforce the limits of "
        "template messages.",
    )
    app_id = fields.Char("App ID", required=True, copy=False)
    app_secret = fields.Char(copy=False, exportable=False, groups="wechat_merchant_bind.group_manager")
    original_id = fields.Char(
        "Original ID", copy=False, help="The account's own ID (gh_…). If empty, it is learnt from the first push."
    )
    webhook_token = fields.Char(
        "Token",
        copy=False,
        exportable=False,
        groups="wechat_merchant_bind.group_manager",
    )
    encoding_aes_key = fields.Char(
        "EncodingAESKey",
        copy=False,
        exportable=False,
        groups="wechat_merchant_bind.group_manager",
    )
    previous_encoding_aes_key = fields.Char(
        "Previous EncodingAESKey",
        copy=False,
        exportable=False,
        groups="wechat_merchant_bind.group_manager",
        help="Still accepted, so that no push is lost while you change the key in WeChat's console.",
    )
    encryption_mode = fields.Selection(
        [("plain", "Plain"), ("compatible", "Compatible"), ("safe", "Safe")],
        required=True,
        compute="_compute_encryption_mode",
        store=True,
        precompute=True,
        readonly=False,
        help="Must be the same as in WeChat's console. Only safe mode signs the content of a push.",
    )
    webhook_key = fields.Char(
        required=True,
        readonly=True,
        copy=False,
        exportable=False,
        groups="wechat_merchant_bind.group_manager",
    )
    webhook_url = fields.Char(
        "Webhook URL", compute="_compute_webhook_url", exportable=False, groups="wechat_merchant_bind.group_manager"
    )
    api_base_url = fields.Char("API Address", required=True, default="https://api.weixin.qq.com")
    send_rate = fields.Integer(
        required=True, default=20, help="Messages a second. Every message sent comes back to the webhook as a receipt."
    )
    code_validity_days = fields.Integer(
        "Code Validity", required=True, default=MAX_CODE_VALIDITY_DAYS, help="Days until a binding code expires."
    )
    bind_confirmation = fields.Selection(
        [
            ("none", "No confirmation"),
            ("phone", "The last 4 digits of the merchant's phone, typed into the chat"),
            ("approval", "Approval by one of you"),
        ],
        "Confirmation of a Scan",
        required=True,
        default="none",
        help="Whoever scans a code is bound to its merchant. If your codes may reach the wrong person, ask for a "
        "confirmation before the binding: the code stays open meanwhile. A merchant without a phone number is left to "
        "your approval.",
    )
    remind_interval_days = fields.Integer(
        "Remind Every",
        help="Days after which a merchant that has not scanned its code is reminded by e-mail, and again after as "
        "many. 0 reminds nobody.",
    )
    remind_max = fields.Integer(
        "Remind at Most",
        required=True,
        default=1,
        help="Reminders that a merchant gets in all, also if its code is new.",
    )
    reissue_days_before = fields.Integer(
        "Reissue before Expiry",
        help="Days before an unscanned code expires at which the merchant is e-mailed a new one, up to three times. "
        "0 lets codes expire.",
    )
    bind_reply = fields.Text(
        "Reply after Binding",
        translate=True,
        required=True,
        default=DEFAULT_BIND_REPLY,
        help="{merchant} is replaced by the merchant's name.",
    )
    follow_reply = fields.Text(
        "Reply after Following",
        translate=True,
        help="Sent to people who follow the account without a binding code. WeChat's own automatic replies are off as "
        "soon as the webhook is enabled.",
    )
    transfer_customer_service = fields.Boolean(
        "Hand Messages to Customer Service",
        default=True,
        help="Passes what people write to the account on to WeChat's customer service.",
    )
    clock_tolerance = fields.Integer(
        required=True, default=15, help="Minutes by which the time that WeChat signs may differ from this server's."
    )
    leaver_policy = fields.Selection(
        [("keep", "Keep"), ("erase", "Erase")],
        "Data of Leavers",
        required=True,
        default="keep",
        help="WeChat's terms ask you to delete the data of people who no longer follow the account.",
    )
    leaver_days = fields.Integer("Erase after", required=True, default=30, help="Days after somebody unfollowed.")
    event_retention_days = fields.Integer(
        "Keep Events", required=True, default=90, help="Days until a received event is deleted."
    )
    message_retention_days = fields.Integer(
        "Keep Messages",
        required=True,
        default=RETENTION_DAYS,
        help="Days until a message is deleted. What waits or whose result is unknown is kept.",
    )

    # The last follower that the reconciliation has read, see wechat.binding.
    last_follower_openid = fields.Char(
        readonly=True, copy=False, exportable=False, groups="wechat_merchant_bind.group_manager"
    )
    last_check_at = fields.Datetime("Last Checked on", readonly=True, copy=False)
    last_check_error = fields.Text(
        "Result of the Last Check",
        readonly=True,
        copy=False,
        groups="wechat_merchant_bind.group_manager",
        help="Why WeChat did not accept the account at the last connection check; empty if it did.",
    )

    quota_limit = fields.Integer("Messages a Day", readonly=True, copy=False, help="The quota that WeChat reports.")
    quota_used = fields.Integer("Used Today", readonly=True, copy=False)
    quota_checked_at = fields.Datetime("Quota as of", readonly=True, copy=False)
    quota_percent = fields.Float("Quota Used", compute="_compute_quota_percent", digits=(5, 1))
    is_quota_short = fields.Boolean(compute="_compute_quota_percent")
    is_outbox_unconfirmed = fields.Boolean(compute="_compute_is_outbox_unconfirmed")

    # === CONSTRAINTS AND INDEXES === #

    _app_id_unique = models.UniqueIndex(
        "(app_id) WHERE active IS TRUE", "There is already an active account with this App ID."
    )
    _webhook_key_unique = models.UniqueIndex("(webhook_key)", "The webhook address must be unique.")
    _send_rate_positive = models.Constraint("CHECK(send_rate > 0)", "The send rate must be at least 1.")
    _code_validity_range = models.Constraint(
        f"CHECK(code_validity_days BETWEEN 1 AND {MAX_CODE_VALIDITY_DAYS})",
        "A binding code is valid for 1 to 30 days.",
    )
    _remind_range = models.Constraint(
        "CHECK(remind_interval_days >= 0 AND remind_max >= 1)",
        "Merchants are reminded after a number of days, at least once.",
    )
    _reissue_range = models.Constraint(
        "CHECK(reissue_days_before >= 0 AND reissue_days_before < code_validity_days)",
        "A code is reissued some days before it expires, fewer than it is valid for.",
    )
    _clock_tolerance_range = models.Constraint(
        "CHECK(clock_tolerance BETWEEN 1 AND 60)", "The clock tolerance is 1 to 60 minutes."
    )
    _leaver_days_positive = models.Constraint(
        "CHECK(leaver_days >= 0)", "The days after which data is erased can't be negative."
    )
    # Redelivered and replayed pushes are recognised by their inbox rows. WeChat's retries end, and the signed timestamp
    # expires, long before three days.
    _event_retention_range = models.Constraint(
        "CHECK(event_retention_days >= 3)", "Received events are kept for 3 days at least."
    )
    _message_retention_range = models.Constraint(
        "CHECK(message_retention_days >= 3)", "Messages are kept for 3 days at least, until their receipts are in."
    )

    @api.constrains("account_kind", "encryption_mode")
    def _check_encryption_mode(self):
        for account in self:
            if account.account_kind == "test" and account.encryption_mode != "plain":
                raise ValidationError(self.env._("A test account knows only plain mode."))

    @api.constrains("webhook_token")
    def _check_webhook_token(self):
        for account in self:
            token = account.webhook_token
            if not (token and token.isascii() and token.isalnum() and 3 <= len(token) <= 32):
                raise ValidationError(
                    self.env._("The Token must have 3 to 32 English letters or digits, as WeChat's console asks.")
                )

    @api.constrains("encryption_mode", "encoding_aes_key", "previous_encoding_aes_key")
    def _check_encoding_aes_keys(self):
        for account in self:
            try:
                if account.encryption_mode != "plain" or account.encoding_aes_key:
                    wechat_crypto.check_encoding_aes_key(account.encoding_aes_key or "")
                if account.previous_encoding_aes_key:
                    wechat_crypto.check_encoding_aes_key(account.previous_encoding_aes_key)
            except wechat_crypto.WechatCryptoError as error:
                raise ValidationError(
                    self.env._("The EncodingAESKey must have exactly 43 English letters or digits.")
                ) from error

    @api.constrains("api_base_url")
    def _check_api_base_url(self):
        for account in self:
            account._get_client()

    @api.constrains("company_id")
    def _check_companies_of_bindings(self):
        # sudo: wechat.binding - including other companies' bindings
        bindings_sudo = self.env["wechat.binding"].sudo()
        for account in self.filtered("company_id"):
            self._check_same_company(
                bindings_sudo.search(
                    [
                        ("account_id", "=", account.id),
                        ("state", "=", "bound"),
                        ("partner_id.company_id", "not in", [False, account.company_id.id]),
                    ],
                    limit=1,
                )
            )

    # === COMPUTE METHODS === #

    @api.depends("account_kind")
    def _compute_encryption_mode(self):
        for account in self:
            if account.account_kind == "test":
                account.encryption_mode = "plain"
            elif not account.encryption_mode or account._origin.account_kind == "test":
                account.encryption_mode = "safe"

    @api.depends("webhook_key")
    def _compute_webhook_url(self):
        for account in self:
            key = account.webhook_key
            account.webhook_url = key and f"{account.get_base_url()}/wechat/merchant/{key}"

    @api.depends("quota_limit", "quota_used")
    def _compute_quota_percent(self):
        for account in self:
            account.quota_percent = 100 * account.quota_used / account.quota_limit if account.quota_limit else 0
            account.is_quota_short = 0 < WARN_PERCENT * account.quota_limit <= 100 * account.quota_used

    def _compute_is_outbox_unconfirmed(self):
        self.is_outbox_unconfirmed = not self._is_database_confirmed()

    # === CRUD METHODS === #

    @api.model_create_multi
    def create(self, vals_list):
        """Create accounts and generate their secrets, which a form would show and not save if they were defaults."""
        accounts = super().create([{**vals, **self._prepare_missing_secrets(vals)} for vals in vals_list])
        # sudo: wechat.access.token - an empty row to lock later; no group may access tokens
        self.env["wechat.access.token"].sudo().create([{"account_id": account.id} for account in accounts])
        self._clear_webhooks()
        accounts._log_created()
        return accounts

    def write(self, vals):
        names = [name for name in vals if name in self._fields and name not in UNAUDITED_FIELDS]
        before = {account.id: account._get_settings(names) for account in self}
        if vals.get("encoding_aes_key") and "previous_encoding_aes_key" not in vals:
            for account in self:
                if account.encoding_aes_key not in (False, vals["encoding_aes_key"]):
                    super(WechatAccount, account).write({"previous_encoding_aes_key": account.encoding_aes_key})
        if "app_id" in vals:
            self.filtered(lambda account: account.app_id != vals["app_id"])._check_not_in_use()
        res = super().write(vals)
        if "active" in vals and not vals["active"]:
            # sudo: wechat.bind.code - the right to archive an account includes revoking its codes
            self.env["wechat.bind.code"].sudo().search(
                [("account_id", "in", self.ids), ("state", "=", "active")]
            )._revoke(self.env._("The account was disabled."))
        if not vals.keys().isdisjoint({"active", "account_kind", "webhook_key", *Webhook._fields}):
            self._clear_webhooks()
        self._log_changed(before)
        return res

    def unlink(self):
        res = super().unlink()
        self._clear_webhooks()
        return res

    @api.ondelete(at_uninstall=False)
    def _unlink_except_used(self):
        # sudo: wechat.bind.code, wechat.binding - including other companies' history
        domain = [("account_id", "in", self.ids)]
        if self.env["wechat.binding"].sudo().search_count(domain, limit=1) or self.env[
            "wechat.bind.code"
        ].sudo().search_count(domain, limit=1):
            raise UserError(
                self.env._(
                    "This account has binding codes or bindings, whose history would be lost. Archive it instead."
                )
            )

    def copy_data(self, default=None):
        default = {"app_id": self.env._("(copy)"), "active": False, **(default or {})}
        vals_list = super().copy_data(default)
        return [
            dict(vals, name=self.env._("%s (copy)", account.name))
            for account, vals in zip(self, vals_list, strict=True)
        ]

    def _export_rows(self, fields, *, _is_toplevel_call=True):
        """Refuse to export secrets, which the export dialog doesn't offer but a direct call could ask for.

        export_data would not see the accounts that the export of another model reaches.

        :raise UserError: if a secret is among the fields.
        """
        if SECRET_FIELDS.intersection(path[0] for path in fields if path):
            raise UserError(self.env._("The secrets of an Official Account can't be exported."))
        return super()._export_rows(fields, _is_toplevel_call=_is_toplevel_call)

    def _update_field_translations(self, field_name, translations, digest=None, source_lang=""):
        result = super()._update_field_translations(field_name, translations, digest=digest, source_lang=source_lang)
        label = self.fields_get([field_name], ["string"])[field_name]["string"]
        notes = {
            account.id: self.env._(
                "Translations of %(setting)s of %(account)s changed.", setting=label, account=account.name
            )
            for account in self
        }
        self.env["wechat.operation"]._log("settings", self, notes)
        return result

    @api.ondelete(at_uninstall=False)
    def _unlink_log(self):
        notes = {account.id: self.env._("Official Account %s deleted.", account.name) for account in self}
        self.env["wechat.operation"]._log("settings", self, notes)

    # === ACTION METHODS === #

    def action_test_connection(self):
        """Check the account step by step and open the result.

        :return: an act_window on a wechat.account.check.
        :rtype: dict
        """
        self.ensure_one()
        self.check_access("write")
        return self.env["wechat.account.check"]._run(self)._get_action()

    def action_generate_secrets(self):
        """Give the account a new Token and EncodingAESKey; the present key stays accepted."""
        for account in self:
            account.write(
                {
                    "webhook_token": wechat_crypto.generate_token(),
                    "encoding_aes_key": wechat_crypto.generate_encoding_aes_key(),
                }
            )

    def action_confirm_outbox(self):
        """Confirm that this database sends the messages.

        :return: True
        :raise AccessError: if the user is not a WeChat manager.
        """
        self._check_may_resume()
        self._confirm_database()
        # sudo: wechat.account - the outbox and the reminders about it are the same for all companies
        # pylint: disable-next=no-search-all  # a database has a handful of accounts
        self.sudo().search([])._close_manager_activities()
        return True

    # === BUSINESS METHODS - SECRETS === #

    @api.model
    def _prepare_missing_secrets(self, vals):
        """Return generated values for the secrets of the webhook that are missing in the values of a new account.

        :param dict vals: the values of the new account.
        :rtype: dict
        """
        generators = {
            "webhook_key": lambda: secrets.token_urlsafe(24),
            "webhook_token": wechat_crypto.generate_token,
            "encoding_aes_key": wechat_crypto.generate_encoding_aes_key,
        }
        return {name: generate() for name, generate in generators.items() if not vals.get(name)}

    # === BUSINESS METHODS - COMPANIES === #

    def _check_not_in_use(self):
        """Raise UserError if merchants are bound by these accounts: an OpenID belongs to one App ID."""
        # sudo: wechat.binding - including other companies' bindings
        if (
            self.env["wechat.binding"]
            .sudo()
            .search_count([("account_id", "in", self.ids), ("state", "=", "bound")], limit=1)
        ):
            raise UserError(
                self.env._(
                    "Merchants are bound by this account, and their OpenIDs mean nothing to another App ID. "
                    "Add the other Official Account as a new one. If WeChat has moved the followers to it, choose "
                    "“Migrate Bindings” in its action menu."
                )
            )

    @api.model
    def _check_same_company(self, records):
        """Check that the merchant and the account of codes or bindings don't belong to different companies.

        A shared account serves all companies.

        :param records: records with partner_id and account_id.
        :raise ValidationError: if they do.
        """
        for record in records:
            merchant_company, account_company = record.partner_id.company_id, record.account_id.company_id
            if merchant_company and account_company and merchant_company != account_company:
                raise ValidationError(
                    self.env._(
                        "%(merchant)s and the Official Account %(account)s belong to different companies.",
                        merchant=record.partner_id.display_name,
                        account=record.account_id.display_name,
                    )
                )

    @api.model
    def _get_for_partner(self, partner):
        """Return the account that issues the new codes of a partner.

        It is the first one of the partner's company, or of the current company for a partner without one; else the
        first shared one.

        :param res.partner partner: the partner.
        :rtype: wechat.account
        :raise UserError: if there is none.
        """
        company = partner.company_id or self.env.company
        # sudo: wechat.account - the account of a partner depends neither on the user nor on the view
        accounts_sudo = self.sudo().with_context(active_test=True).search([("company_id", "in", [company.id, False])])
        account = self.browse((accounts_sudo.filtered("company_id")[:1] or accounts_sudo[:1]).id)
        if not account:
            raise UserError(
                self.env._(
                    "No WeChat Official Account is set up for %(company)s. Ask a WeChat manager to add one under "
                    "WeChat > Configuration > Official Accounts.",
                    company=company.display_name,
                )
            )
        return account

    @api.model
    def _get_lang(self, *langs):
        """Return the first of these languages that is active, else Chinese if it is active, else English.

        A push has no user: replies and notes take the language of the merchant or of a manager.

        :param langs: codes of languages, or False.
        :rtype: str
        """
        active = {code for code, _name in self.env["res.lang"].get_installed()}
        return next((lang for lang in (*langs, "zh_CN") if lang in active), "en_US")

    # === BUSINESS METHODS - API === #

    def _get_client(self):
        """Return the client of WeChat's API for this account.

        :rtype: WechatClient
        :raise ValidationError: if the address is not allowed.
        """
        self.ensure_one()
        # sudo: ir.config_parameter - a switch that only administrators set
        parameters = self.env["ir.config_parameter"].sudo()
        allow_insecure = parameters.get_param("wechat_merchant_bind.allow_insecure_api") in ("1", "True", "true")
        try:
            return WechatClient(check_base_url(self.api_base_url, allow_insecure))
        except WechatUrlError as error:
            raise ValidationError(
                self.env._(
                    "The API address must be a plain https address such as https://api.weixin.qq.com. "
                    "Plain http is only allowed to this machine's sandbox, and only after the system parameter "
                    "wechat_merchant_bind.allow_insecure_api was set."
                )
            ) from error

    def _call_api(self, method, *args, **kwargs):
        """Call a method of the client with the account's access token.

        If WeChat calls the token stale, it is replaced and the call repeated once.

        :param str method: a method of WechatClient whose first parameter is the access token.
        :param args: its further arguments.
        :param kwargs: its keyword arguments.
        :return: its result.
        :raise WechatError: if WeChat refuses or cannot be reached.
        """
        client, token = self._get_access()
        try:
            return getattr(client, method)(token, *args, **kwargs)
        except WechatTokenStale:
            client, token = self._get_access(refused=token)
            return getattr(client, method)(token, *args, **kwargs)

    def _get_access(self, refused=None):
        """Return the client and an access token, which threads without an environment may use.

        :param str refused: the access token that WeChat has just refused; replaced only if it is still the stored one.
        :return: the client and an access token that is valid for the next two minutes at least.
        :rtype: tuple[WechatClient, str]
        :raise WechatError: if WeChat gives no token.
        """
        self.ensure_one()
        # sudo: wechat.account - only managers read the secret; all users of the addon make calls with it
        account_sudo = self.sudo()
        client = account_sudo._get_client()
        # sudo: wechat.access.token - no group may access tokens; this one never leaves the call
        token = self.env["wechat.access.token"].sudo()._get_valid(account_sudo, client, refused=refused)
        return client, token

    def _get_error_message(self, error):
        """Return the meaning and the remedy of an error of WeChat, in the user's language.

        :param WechatError error: the error.
        :return: the meaning, the remedy, and WeChat's errcode, text and rid.
        :rtype: str
        """
        return "\n".join(self.env._(term) for term in self._get_error_terms(error))

    def _get_error_terms(self, error):
        """Return the lines of _get_error_message as terms that are translated for their reader.

        :param WechatError error: the error.
        :rtype: list[LazyGettext]
        """
        info = error.info
        terms = [_lt(info.meaning), _lt(info.remedy)]
        if address := invalid_ip(error.errmsg):
            terms.append(_lt("Address to add to the IP allow-list: %s", address))
        if error.errcode is not None:
            terms.append(_lt("WeChat's answer: %(errcode)s %(errmsg)s", errcode=error.errcode, errmsg=error.errmsg))
        elif error.errmsg:
            terms.append(_lt("Details: %s", error.errmsg))
        return terms

    def _get_failure_message(self, error, card=None):
        """Return the meaning and the remedy of a failed send, in the user's language.

        :param Exception error: the error of the call.
        :param dict card: the card that was sent.
        :rtype: str
        """
        return "\n".join(
            term if isinstance(term, str) else self.env._(term) for term in self._get_failure_terms(error, card)
        )

    def _get_failure_terms(self, error, card=None):
        """Return the lines of _get_failure_message as terms, see encode_terms.

        :rtype: list
        """
        if not isinstance(error, WechatError):
            return [f"{type(error).__name__}: {error}"]
        terms = self._get_error_terms(error)
        if error.errcode == VALUE_NOT_ALLOWED and (keyword := re.search(r"data\.(\w+)\.value", error.errmsg)):
            terms.insert(0, _lt("Keyword %s is not allowed.", keyword[1]))
        if error.errcode == LINK_TOO_LONG and (link := (card or {}).get("url")):
            # Without the query, which may hold an access token of a document.
            shown = link.partition("?")[0][:LINK_SHOWN]
            terms.insert(0, _lt("Link of %(length)s characters: %(link)s…", length=len(link), link=shown))
        return terms

    def _with_manager_lang(self):
        """Return the account in the language of its manager."""
        return self.with_context(lang=self._get_lang(self._get_responsible_manager().lang))

    # === BUSINESS METHODS - QUOTA === #

    @api.model
    def _cron_check_quota(self):
        """Check today's quota of the accounts."""
        accounts = self.search(self._get_quota_domain())
        for account in accounts:
            account._check_quota()
            if not self.env["ir.cron"]._commit_progress(1):
                break

    @api.model
    def _get_quota_domain(self):
        """Return the domain of the accounts with a quota to check: each account once an hour.

        :rtype: Domain
        """
        before = fields.Datetime.now() - QUOTA_EVERY
        return Domain("quota_checked_at", "=", False) | Domain("quota_checked_at", "<", before)

    def _check_quota(self):
        """Store the account's quota as WeChat reports it. If the call fails, the stored quota stays.

        :return: daily_limit, used and remain; None if the call failed.
        :rtype: dict | None
        """
        self.ensure_one()
        try:
            quota = self._call_api("get_quota", SEND_PATH)
        except (WechatError, UserError) as error:
            _logger.info("wechat.quota: not known account=%s error=%s", self.id, error)
            return None
        self.write(
            {
                "quota_limit": quota["daily_limit"],
                "quota_used": quota["used"],
                "quota_checked_at": fields.Datetime.now(),
            }
        )
        _logger.info("wechat.quota: known account=%s used=%s limit=%s", self.id, quota["used"], quota["daily_limit"])
        self._warn_of_quota()
        return quota

    def _warn_of_quota(self):
        """Schedule one activity for a manager while the quota is almost used up."""
        if not self.is_quota_short:
            # sudo: mail.activity - removes the scheduled action's own reminder
            self.sudo().activity_unlink([QUOTA_ACTIVITY])
            return
        account = self._with_manager_lang()
        account._schedule_manager_activity(
            account.env._("The WeChat quota of today is almost used up"),
            account.env._(
                "%(used)s of %(limit)s messages of today are used. Messages beyond the quota wait until WeChat allows "
                "more; those that expire before are not sent.",
                used=self.quota_used,
                limit=self.quota_limit,
            ),
            QUOTA_ACTIVITY,
        )

    # === BUSINESS METHODS - IDENTITY === #

    @api.model
    def _get_database_identity(self):
        """Return the UUID of the database, which tells it from its copies, and the one that is allowed to send.

        The address would not do: Odoo rewrites web.base.url when an administrator logs in under another one.

        :rtype: tuple[str, str]
        """
        # sudo: ir.config_parameter - the values are compared only, and not shown
        parameters_sudo = self.env["ir.config_parameter"].sudo()
        return parameters_sudo.get_param("database.uuid"), parameters_sudo.get_param(IDENTITY_PARAMETER)

    @api.model
    def _is_database_confirmed(self):
        """Tell whether this database may send. A copy must not: it would send every message a second time.

        :rtype: bool
        """
        identity, known = self._get_database_identity()
        return not known or known == identity

    @api.model
    def _remember_database(self):
        """Remember at the first message that this database sends."""
        if not self._get_database_identity()[1]:
            self._confirm_database()

    @api.model
    def _confirm_database(self):
        """Allow this database to send."""
        identity, _known = self._get_database_identity()
        # sudo: ir.config_parameter - a manager has confirmed it, or it is the first message
        self.env["ir.config_parameter"].sudo().set_param(IDENTITY_PARAMETER, identity)

    def _ask_for_confirmation(self):
        """Ask the account's manager to confirm that this database should send."""
        for account in self:
            account = account._with_manager_lang()
            account._schedule_manager_activity(
                account.env._("WeChat messages wait until you confirm that this database sends them"),
                account.env._(
                    "The number of this database has changed, as it does in a copy: a copy would send all waiting "
                    "messages a second time. If this is the one that should send, press “Confirm Sending” on the "
                    "Official Account."
                ),
            )

    # === BUSINESS METHODS - WEBHOOK === #

    @api.model
    def _find_webhook(self, webhook_key):
        """Return the webhook of the active account with this address.

        :param str webhook_key: the secret part of the address.
        :return: the webhook, or a falsy one for an unknown address.
        :rtype: Webhook
        """
        return self._get_webhooks().get(webhook_key, Webhook())

    @api.model
    @ormcache()
    def _get_webhooks(self):
        """Return the webhooks of all active accounts, by the secret part of their address.

        They are one entry of the cache: an entry for each guessed address would evict the others.

        :rtype: dict[str, Webhook]
        """
        # sudo: wechat.account - the key is the secret that grants the access
        # pylint: disable-next=no-search-all  # a database has a handful of accounts
        accounts_sudo = self.sudo().with_context(active_test=True).search([])
        return {account.webhook_key: account._get_webhook() for account in accounts_sudo}

    @api.model
    def _clear_webhooks(self):
        """Clear the cache of webhooks now, and again after the commit: until then a thread may cache the old ones."""
        self.env.registry.clear_cache()
        self.env.cr.postcommit.add(self.env.registry.clear_cache)

    def _get_webhook(self):
        """Return the settings that authenticate and store the account's pushes.

        :rtype: Webhook
        """
        self.ensure_one()
        values = {name: self[name] for name in Webhook._fields if name != "company_id"}
        return Webhook(**values, company_id=self.company_id.id or None)

    # === BUSINESS METHODS - AUDIT === #

    def _log_created(self):
        """Log that these accounts were added."""
        notes = {
            account.id: self.env._(
                "Official Account %(account)s (App ID %(app_id)s) added.", account=account.name, app_id=account.app_id
            )
            for account in self
        }
        self.env["wechat.operation"]._log("settings", self, notes)

    def _log_changed(self, before):
        """Log the changed settings of these accounts.

        :param dict[int, dict] before: the former results of _get_settings, by account id.
        """
        notes = {}
        for account in self:
            if lines := account._get_changed_settings(before[account.id]):
                notes[account.id] = "\n".join([self.env._("Settings of %s changed:", account.name), *lines])
        self.env["wechat.operation"]._log("settings", self.browse(notes), notes)

    def _get_settings(self, names):
        """Return settings as a user reads them. Secrets are as stored, to be compared.

        :param list[str] names: names of fields.
        :rtype: dict[str, str]
        """
        self.ensure_one()
        # sudo: wechat.account - the log names changed secrets and never shows them
        account_sudo = self.sudo()
        words = {True: self.env._("yes"), False: self.env._("no")}
        return {
            name: words[account_sudo[name]]
            if self._fields[name].type == "boolean"
            else self._fields[name].convert_to_export(account_sudo[name], account_sudo)
            for name in names
        }

    def _get_changed_settings(self, before):
        """Return a line for each changed setting.

        :param dict before: the former result of _get_settings.
        :rtype: list[str]
        """
        after = self._get_settings(list(before))
        # sudo: see _get_settings
        labels = self.sudo().fields_get(list(before), ["string"])
        lines = []
        for name in before:
            if before[name] == after[name]:
                continue
            values = {"setting": labels[name]["string"]}
            if name in SECRET_FIELDS:
                lines.append(self.env._("%(setting)s: changed", **values))
            else:
                values |= {"old": self._shorten(before[name]), "new": self._shorten(after[name])}
                lines.append(self.env._("%(setting)s: %(old)s → %(new)s", **values))
        return lines

    @api.model
    def _shorten(self, value):
        text = self.env._("empty") if value in (False, None, "") else str(value)
        return text if len(text) <= VALUE_SHOWN else f"{text[:VALUE_SHOWN]}…"
