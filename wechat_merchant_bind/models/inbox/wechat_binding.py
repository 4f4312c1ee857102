import logging
from datetime import datetime, timedelta, timezone

from psycopg2.errors import SerializationFailure

from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.tools import SQL

from ...tools.wechat_api import USER_INFO_BATCH
from ...tools.wechat_errors import UNKNOWN_OPENID, WechatError
from ..const import SCENE_PREFIX
from .dispatcher import process_event
from .wechat_event import QRSCENE_PREFIX, SignatureReusedError

_logger = logging.getLogger(__name__)

# Once a day; a run that is cut short leaves the rest to the next one.
RECONCILE_EVERY = timedelta(hours=20)
# Followers without a binding, as most of an account's are, that one run looks up.
LOOKUPS_MAX = 200_000


class WechatBinding(models.Model):
    """Makes good for lost pushes: compares the bindings with WeChat once a day.

    WeChat gives up a push after three attempts. What it knows of the followers tells of lost follows and unfollows, and
    of lost scans by new followers.
    """

    _inherit = "wechat.binding"

    # === FIELDS === #

    reconciled_at = fields.Datetime("Last Compared with WeChat on", readonly=True, copy=False)

    # === BUSINESS METHODS === #

    @api.model
    def _cron_reconcile(self):
        """Compare all live bindings with WeChat, then look for follows whose push was lost."""
        # pylint: disable-next=no-search-all  # an installation has a handful of accounts
        for account in self.env["wechat.account"].search([]):
            try:
                if not (self._reconcile(account) and self._find_lost_follows(account)):
                    return
            except (WechatError, UserError) as error:
                # The next run tries again. The other accounts go on.
                self.env.cr.rollback()
                _logger.warning("wechat.bindings: not compared account=%s error=%s", account.id, error)
        self.env["ir.cron"]._commit_progress(remaining=0)

    # === BUSINESS METHODS - FOLLOWING === #

    @api.model
    def _reconcile(self, account):
        """Compare the live bindings of an account with WeChat, a hundred a call.

        :return: whether there is time left.
        :rtype: bool
        :raise WechatError: if WeChat does not answer.
        """
        before = fields.Datetime.now() - RECONCILE_EVERY
        domain = [
            ("account_id", "=", account.id),
            ("state", "=", "bound"),
            "|",
            ("reconciled_at", "=", False),
            ("reconciled_at", "<", before),
        ]
        while bindings := self.search(domain, limit=USER_INFO_BATCH, order="id"):
            asked_at = fields.Datetime.now()
            users = self._get_following(account, bindings.mapped("openid"))
            if users is None:
                # The App ID may be another account's: change nothing.
                _logger.error("wechat.bindings: none is known account=%s bindings=%s", account.id, len(bindings))
                return True
            # A new transaction sees the pushes that came meanwhile.
            self.env["ir.cron"]._commit_progress()
            bindings.invalidate_recordset()
            self._apply_reconciliation(bindings, users, asked_at)
            _logger.info("wechat.bindings: compared account=%s bindings=%s", account.id, len(bindings))
            if not self.env["ir.cron"]._commit_progress(len(bindings), remaining=1):
                return False
        return True

    @api.model
    def _get_following(self, account, openids):
        """Ask WeChat which of these OpenIDs follow the account. An unknown one follows no longer.

        :return: by OpenID, whether it follows; None if WeChat knows none of several.
        :rtype: dict[str, bool] | None
        :raise WechatError: if WeChat does not answer.
        """
        known, pending = {}, [openids]
        while pending:
            some = pending.pop()
            try:
                users = account._call_api("batchget_user_info", some)
            except WechatError as error:
                if error.errcode not in UNKNOWN_OPENID:
                    raise
                if len(some) > 1:
                    # One of them spoils the batch.
                    half = len(some) // 2
                    pending += [some[:half], some[half:]]
                else:
                    known[some[0]] = None
            else:
                known.update({openid: bool(user["subscribe"]) for openid, user in users.items()})
        if len(openids) > 1 and all(follows is None for follows in known.values()):
            return None
        return {openid: bool(follows) for openid, follows in known.items()}

    @api.model
    def _apply_reconciliation(self, bindings, users, asked_at):
        """Correct the bindings that differ from WeChat, unless a later push has changed them.

        :param wechat.binding bindings: the compared bindings.
        :param dict[str, bool] users: by OpenID, whether it follows.
        :param datetime asked_at: the time before WeChat was asked.
        """
        try:
            for binding in bindings:
                follows = users.get(binding.openid)
                if follows is not None and follows != binding.is_subscribed:
                    binding._set_subscribed(follows, asked_at)
            self.env.flush_all()
            # In SQL: the ORM would also change write_date, and the binding itself has not changed.
            self.env.cr.execute(
                SQL("UPDATE wechat_binding SET reconciled_at = %s WHERE id IN %s", asked_at, tuple(bindings.ids))
            )
        except SerializationFailure:
            # A push about one of them has just been handled: the next day's run compares them.
            self.env.cr.rollback()
            self.env.cr.execute(
                SQL("UPDATE wechat_binding SET reconciled_at = %s WHERE id IN %s", asked_at, tuple(bindings.ids))
            )
        self.invalidate_model(["reconciled_at"], flush=False)

    # === BUSINESS METHODS - LOST FOLLOWS === #

    @api.model
    def _find_lost_follows(self, account):
        """Bind the merchants that followed by scanning a code while the webhook could not be reached.

        WeChat keeps the code by which a user followed. New followers come last in its list of followers, so a run that
        goes on where the one before ended costs one of 500 calls a day. Only the first run reads the whole list.

        :return: whether there is time left.
        :rtype: bool
        :raise WechatError: if WeChat does not answer.
        """
        last, lookups = account.last_follower_openid or "", 0
        while lookups < LOOKUPS_MAX and self._has_open_codes(account):
            try:
                openids, _next_openid = account._call_api("get_followers", last)
            except WechatError as error:
                if not last or error.errcode not in UNKNOWN_OPENID:
                    raise
                # The last follower has left since: read the list from its beginning.
                last = ""
                continue
            if not openids:
                break
            unbound = self._filter_unbound(account, openids)
            for start in range(0, len(unbound), USER_INFO_BATCH):
                some = unbound[start : start + USER_INFO_BATCH]
                self._bind_lost_follows(account, account._call_api("batchget_user_info", some))
                lookups += len(some)
                if not self.env["ir.cron"]._commit_progress(len(some), remaining=1):
                    return False
            last = openids[-1]
            # In SQL: the ORM would log it as a change of settings.
            self.env.cr.execute(
                SQL("UPDATE wechat_account SET last_follower_openid = %s WHERE id = %s", last, account.id)
            )
            account.invalidate_recordset(["last_follower_openid"], flush=False)
            if not self.env["ir.cron"]._commit_progress(1, remaining=1):
                return False
        return True

    @api.model
    def _has_open_codes(self, account):
        return bool(
            self.env["wechat.bind.code"].search_count(
                [("account_id", "=", account.id), ("state", "in", ("active", "expired"))], limit=1
            )
        )

    @api.model
    def _filter_unbound(self, account, openids):
        """Return the OpenIDs without a live binding."""
        bound = self.search([("account_id", "=", account.id), ("openid", "in", openids), ("state", "=", "bound")])
        known = set(bound.mapped("openid"))
        return [openid for openid in openids if openid not in known]

    @api.model
    def _bind_lost_follows(self, account, users):
        """Handle the lost pushes of follows as if they came now.

        They go through the inbox: the same rules apply, and a push that was handled already is recognised.

        :param dict[str, dict] users: WeChat's answer about users, by OpenID.
        """
        scenes = {
            scene: openid
            for openid, user in users.items()
            if user["subscribe"] and (scene := str(user.get("qr_scene_str") or "")).startswith(SCENE_PREFIX)
        }
        codes = self.env["wechat.bind.code"].search(
            [
                ("account_id", "=", account.id),
                ("scene_str", "in", list(scenes)),
                ("state", "in", ("active", "expired")),
            ]
        )
        for code in codes:
            openid = scenes[code.scene_str]
            followed_at = users[openid].get("subscribe_time") or 0
            since = datetime.fromtimestamp(followed_at, timezone.utc).replace(tzinfo=None)
            # WeChat's clock differs from this server's, and tells whole seconds.
            if not code.create_date - timedelta(minutes=account.clock_tolerance) <= since < code.expires_at:
                continue
            message = {
                "ToUserName": account.original_id or "",
                "FromUserName": openid,
                "CreateTime": str(followed_at),
                "MsgType": "event",
                "Event": "subscribe",
                "EventKey": f"{QRSCENE_PREFIX}{code.scene_str}",
                "Source": "user/info",
            }
            try:
                received = self.env["wechat.event"]._receive(account._get_webhook(), message)
            except SignatureReusedError:
                continue
            self.env.cr.commit()  # pylint: disable=invalid-commit  # stored before it is handled, as in a push
            if received.event_id:
                process_event(self.env.registry, received.event_id)
                _logger.info("wechat.bindings: lost follow found account=%s event=%s", account.id, received.event_id)
