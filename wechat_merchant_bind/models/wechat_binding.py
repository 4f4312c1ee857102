import logging
import time
from datetime import datetime, timezone

from odoo import api, fields, models
from odoo.exceptions import ValidationError

from ..tools.wechat_errors import UNKNOWN_OPENID, WechatAmbiguous, WechatError
from .wechat_event import FOLLOW_EVENTS

_logger = logging.getLogger(__name__)

# Leavers who are looked up at a time; each costs a call to WeChat.
ERASE_BATCH = 50
# What a scan reads of its code, the merchant, and whoever generated the code; see wechat.event for the reason.
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


class WechatBinding(models.Model):
    """A merchant's OpenID, now or in the past."""

    _name = "wechat.binding"
    _inherit = ["wechat.merchant.mixin", "wechat.openid.mixin"]
    _description = "WeChat Binding"
    _order = "id desc"
    _rec_name = "partner_id"
    _check_company_auto = True

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

    # === CRUD METHODS === #

    @api.ondelete(at_uninstall=False)
    def _unlink_close(self):
        """End what is live and record it: nobody deletes a binding but whoever erases a person's data."""
        self._unbind(self.env._("Personal data was erased."))
        notes = {
            binding.id: self.env._("The WeChat data (OpenID %s) of this merchant was erased.", binding.openid_masked)
            for binding in self
        }
        self.env["wechat.operation"]._log("erase", self, notes)
        # sudo: mail.message - what was mailed about a binding goes with it
        self.env["mail.message"].sudo().search([("model", "=", self._name), ("res_id", "in", self.ids)]).unlink()

    # === BUSINESS METHODS === #

    @api.model
    def _bind_by_scan(self, account, openid, scene, scanned_at, expired_before):
        """Bind the person who scanned a code to the code's merchant, or refuse.

        A live binding of the merchant or of the OpenID is never taken over.

        :param wechat.account account: the account that pushed the scan.
        :param str openid: who scanned.
        :param str scene: the scene of the code.
        :param datetime scanned_at: when, by WeChat's clock.
        :param datetime expired_before: a code whose time ended by then had expired.
        :return: what to tell the person.
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
            # The confirmation comes later than the scan, and binds nobody to a code that has expired by then.
            expired_before = max(expired_before, fields.Datetime.now())
        if reason := self._get_refusal(code, own, others, expired_before):
            self._log_refusal(code, openid, reason, own.partner_id)
            return self._get_reply(partner, reason)
        if not is_confirmed:
            return self.env["wechat.bind.request"]._ask(code, openid, scanned_at)
        self._create_from_scan(code, openid, scanned_at)
        return self._get_reply(partner, "bound", account)

    @api.model
    def _find_conflicts(self, code, openid):
        """Return the live bindings that may speak against binding a person to a code's merchant.

        :return: the person's own by the code's account, and the merchant's by others.
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
        """Return why a scan must not bind, or None.

        :return: a key of :meth:`_get_reply`.
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
        """Bind a person to a code's merchant, and tell whom it concerns.

        :param str confirmation: how the scan was confirmed, in words for the admin, if it had to be.
        """
        code._use()
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
        binding._tell_bound()
        binding._queue_welcome()
        code.partner_id._wechat_notify_changed()

    def _apply_overtaking_unsubscribe(self):
        """Catch up with an ``unsubscribe`` that was handled before the scan which it followed."""
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

    @api.model
    def _log_refusal(self, code, openid, reason, openid_partner):
        env = self.with_context(lang=self.env["wechat.account"]._get_lang(code.user_id.lang)).env
        note = env._(
            "WeChat binding refused for OpenID %(openid)s: %(reason)s.",
            openid=self.env["wechat.operation"]._mask_openid(openid),
            reason=self._get_refusal_words(env, reason, openid_partner),
        )
        self.env["wechat.operation"]._log("refuse", code, {code.id: note}, openid=openid)

    @api.model
    def _get_refusal_words(self, env, reason, openid_partner):
        """Return why somebody must not be bound, as part of a sentence for the admin.

        :param Environment env: in the reader's language.
        :param str reason: see :meth:`_get_refusal`.
        :param res.partner openid_partner: to whom the WeChat is bound, if it is.
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
        """Return what the person who scanned reads, in the merchant's language. Another merchant is never named.

        :param res.partner partner: the code's merchant, or False.
        :param str outcome: ``bound``, ``unknown`` or a refusal.
        :param wechat.account account: for ``bound``: whose reply it is.
        :rtype: str
        """
        lang = self.env["wechat.account"]._get_lang(partner and partner.lang)
        env = self.with_context(lang=lang).env
        if outcome == "bound":
            return account.with_env(env).bind_reply.replace("{merchant}", partner.name or "")
        return {
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
        """Record that somebody follows or has unfollowed. What is older than the last known change counts for nothing.

        :param bool subscribed: whether the person follows now.
        :param datetime at: CreateTime of the push.
        """
        for binding in self:
            if binding.last_event_at and at < binding.last_event_at:
                continue
            changed = binding.is_subscribed != subscribed
            binding.write({"is_subscribed": subscribed, "last_event_at": at})
            if changed and binding.state == "bound":
                binding._log_subscription()

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

        :param str reason: why, in words; may be empty.
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

    # === BUSINESS METHODS - LEAVERS === #

    @api.model
    def _cron_erase_leavers(self):
        """Erase what is kept of people who left, where the account asks for it, once WeChat confirms that they left."""
        accounts = self.env["wechat.account"].search([("leaver_policy", "=", "erase")])
        if all(self._erase_leavers(account) for account in accounts):
            self.env["ir.cron"]._commit_progress(remaining=0)

    @api.model
    def _erase_leavers(self, account):
        """Ask WeChat about an account's leavers one by one, as long as it answers.

        :return: whether there is time for another account.
        :rtype: bool
        """
        asked = []
        while leavers := self._get_leavers(account, asked):
            for openid in leavers:
                asked.append(openid)
                is_available = self._ask_leaver(account, openid)
                if not self.env["ir.cron"]._commit_progress(1, remaining=1):
                    return False
                if not is_available:
                    return True
        return True

    @api.model
    def _ask_leaver(self, account, openid):
        """Ask WeChat whether somebody has really left, and act on it.

        :return: whether the account can be asked about others.
        :rtype: bool
        """
        try:
            info = account._call_api("user_info", openid)
        except WechatError as error:
            if error.errcode not in UNKNOWN_OPENID:
                # Nothing is erased on less than WeChat's word. The next run tries again.
                _logger.warning("wechat.bindings: leaver not erased account=%s error=%s", account.id, error)
                return isinstance(error, WechatAmbiguous)
            info = {}
        if not info.get("subscribe"):
            self._erase(account, openid)
            _logger.info("wechat.bindings: leaver erased account=%s", account.id)
            return True
        # The following was missed: from now on nothing says that this person left.
        since = datetime.fromtimestamp(info.get("subscribe_time") or time.time(), timezone.utc)
        self._find(account, openid)._set_subscribed(True, since.replace(tzinfo=None))
        self.env["wechat.event"].search(
            [("account_id", "=", account.id), ("openid", "=", openid), ("event", "=", "unsubscribe")]
        ).unlink()
        return True

    @api.model
    def _get_leavers(self, account, asked):
        """Return the next OpenIDs whose last sign is that they left, longer ago than the account keeps their data.

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
    def _find(self, account, openid):
        """Return the present and former bindings of a person."""
        return self.search([("account_id", "=", account.id), ("openid", "=", openid)])

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
