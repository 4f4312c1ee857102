import hashlib

from psycopg2.errors import QueryCanceled, SerializationFailure

from odoo import fields, models

from ...tools.wechat_errors import (
    ErrorClass,
    WechatAccountError,
    WechatAmbiguous,
    WechatError,
    WechatNotSent,
    from_response,
)

# A token is renewed this many seconds before its end. WeChat renews it in its last 5 minutes, during which the old
# and the new one are both valid, so every reader still holds a good one.
RENEW_BEFORE = 120
# How long a reader waits for another process that is fetching. stable_token allows parallel callers, so after that it
# fetches by itself instead of failing.
WAIT_TIMEOUT = "8s"
# WeChat answered with the very token it had refused: asking again would only burn quota.
HOLD_SECONDS = 60
LOCK_ATTEMPTS = 5
TOKEN_PATH = "/cgi-bin/stable_token"  # nosec B105  # an address


class WechatAccessToken(models.Model):
    """The one access token of an account, shared by all workers and nodes.

    It lives apart from the account, and is read and written through short cursors of its own: a request that fails
    later must not undo a fetched token, and nobody who edits the account may collide with a worker that renews it.
    """

    _name = "wechat.access.token"
    _description = "WeChat Access Token"
    _rec_name = "account_id"

    account_id = fields.Many2one("wechat.account", required=True, ondelete="cascade", readonly=True)
    company_id = fields.Many2one(related="account_id.company_id", store=True)
    token = fields.Char(readonly=True, exportable=False)
    expires_at = fields.Datetime(readonly=True)
    held_until = fields.Datetime(readonly=True)
    # Of the app id, secret and address that fetched the token: once one of them changes, the token is nobody's.
    fingerprint = fields.Char(readonly=True, exportable=False)
    # Why WeChat gives none, until it does again.
    failed_since = fields.Datetime(readonly=True)
    error_class = fields.Char(readonly=True)
    errcode = fields.Integer(readonly=True)
    errmsg = fields.Char(readonly=True)

    _account_unique = models.UniqueIndex("(account_id)", "An account has one access token.")

    # === BUSINESS METHODS === #

    def _get_valid(self, account_sudo, client, refused=None):
        """Return an access token that is good for the next two minutes at least.

        One process fetches while the others wait for its row lock and then read what it stored.

        :param wechat.account account_sudo: the account, sudoed, since only managers read its secret.
        :param WechatClient client: the client that fetches.
        :param str refused: the token that WeChat has just refused. It is replaced only if it is still the stored one.
        :return: the access token.
        :rtype: str
        :raise WechatError: if it cannot be had.
        """
        with self.env.registry.cursor() as cr:
            row = self._select(cr, account_sudo)
            if self._is_usable(row, refused):
                return row["token"]
            for _attempt in range(LOCK_ATTEMPTS):
                # A new transaction: the snapshot must see what the former holder of the lock has stored.
                cr.rollback()
                try:
                    # Not lock_timeout, which begins anew when the next in the queue for a row becomes the first.
                    cr.execute("SELECT set_config('statement_timeout', %s, true)", [WAIT_TIMEOUT])
                    row = self._select(cr, account_sudo, lock=True)
                except SerializationFailure:
                    continue
                except QueryCanceled:
                    cr.rollback()
                    break
                if self._is_usable(row, refused):
                    return row["token"]
                return self._fetch(cr, account_sudo, client, row, refused)
        return client.stable_token(account_sudo.app_id, account_sudo.app_secret)[0]

    def _fetch(self, cr, account_sudo, client, row, refused):
        """Fetch a token while holding the row's lock, and store it.

        :param dict row: the locked row, or None if the account is not committed yet.
        :return: the access token.
        :rtype: str
        :raise WechatError: if WeChat refuses, or gives back the token that it had refused.
        """
        if row and row["is_held"]:
            raise self._held_error()
        try:
            token, expires_in = client.stable_token(account_sudo.app_id, account_sudo.app_secret)
        except WechatError as error:
            if row:
                self._store_failure(cr, row, error)
            raise
        if not row:
            return token
        if token == refused:
            error = self._held_error()
            self._store_failure(cr, row, error, HOLD_SECONDS)
            raise error
        cr.execute(
            """
            UPDATE wechat_access_token
               SET token = %s,
                   expires_at = clock_timestamp() AT TIME ZONE 'UTC' + %s * interval '1 second',
                   held_until = NULL,
                   fingerprint = %s,
                   failed_since = NULL, error_class = NULL, errcode = NULL, errmsg = NULL
             WHERE id = %s
            """,
            [token, expires_in, self._get_fingerprint(account_sudo), row["id"]],
        )
        return token

    def _store_failure(self, cr, row, error, hold_seconds=None):
        """Keep why there is no token, and since when, whatever becomes of the caller.

        :param dict row: the locked row.
        :param WechatError error: why.
        :param int hold_seconds: how long WeChat is not to be asked again.
        """
        cr.execute(
            """
            UPDATE wechat_access_token
               SET failed_since = COALESCE(failed_since, date_trunc('second', clock_timestamp() AT TIME ZONE 'UTC')),
                   error_class = %s,
                   errcode = %s,
                   errmsg = %s,
                   held_until = COALESCE(clock_timestamp() AT TIME ZONE 'UTC' + %s * interval '1 second', held_until)
             WHERE id = %s
            """,
            [error.info.error_class.value, error.errcode, error.errmsg, hold_seconds, row["id"]],
        )
        cr.commit()  # pylint: disable=invalid-commit  # own cursor: this must outlive the error that the caller raises

    def _get_error(self):
        """Return why WeChat gives no token, as it was raised.

        :rtype: WechatError
        """
        if self.errcode:
            return from_response(TOKEN_PATH, self.errcode, self.errmsg)
        classes = {ErrorClass.RETRY.value: WechatNotSent, ErrorClass.AMBIGUOUS.value: WechatAmbiguous}
        return classes.get(self.error_class, WechatAccountError)(TOKEN_PATH, errmsg=self.errmsg or "")

    def _get_fingerprint(self, account_sudo):
        parts = (account_sudo.app_id, account_sudo.app_secret, account_sudo.api_base_url)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def _select(self, cr, account_sudo, lock=False):
        """Read the row of an account by the database's clock, the only one that all nodes share.

        :return: id, token, is_fresh and is_held, or None.
        :rtype: dict | None
        """
        query = """
            SELECT id, token,
                   fingerprint = %(fingerprint)s
                       AND expires_at > clock_timestamp() AT TIME ZONE 'UTC' + %(margin)s * interval '1 second'
                       AS is_fresh,
                   fingerprint = %(fingerprint)s AND held_until > clock_timestamp() AT TIME ZONE 'UTC' AS is_held
              FROM wechat_access_token
             WHERE account_id = %(account_id)s
        """
        if lock:
            query += "FOR UPDATE"
        cr.execute(
            query,
            {
                "fingerprint": self._get_fingerprint(account_sudo),
                "margin": RENEW_BEFORE,
                "account_id": account_sudo.id,
            },
            log_exceptions=False,
        )
        return cr.dictfetchone()

    def _is_usable(self, row, refused):
        return bool(row and row["token"] and row["is_fresh"] and not row["is_held"] and row["token"] != refused)

    def _held_error(self):
        return WechatAccountError(
            path=TOKEN_PATH,
            errmsg=self.env._(
                "WeChat refused its own access token twice. Calls are held for %s seconds.", HOLD_SECONDS
            ),
        )
