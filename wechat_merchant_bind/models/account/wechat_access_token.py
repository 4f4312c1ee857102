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

# Seconds before its end at which a token is renewed. WeChat issues a new one in the last 5 minutes, during which both
# are valid, so that every reader holds a valid one.
RENEW_BEFORE = 120
# How long a reader waits for another process that fetches. After that it fetches too: stable_token allows parallel
# callers.
WAIT_TIMEOUT = "8s"
# Seconds without calls after WeChat has returned the very token that it had refused: asking again only costs quota.
HOLD_SECONDS = 60
LOCK_ATTEMPTS = 5
TOKEN_PATH = "/cgi-bin/stable_token"  # nosec B105  # an address


class WechatAccessToken(models.Model):
    """The one access token of an account, shared by all workers and nodes.

    It is a record of its own, read and written in short transactions of its own: a request that fails later does not
    undo a fetched token, and an edit of the account does not conflict with a worker that renews it.
    """

    _name = "wechat.access.token"
    _description = "WeChat Access Token"
    _rec_name = "account_id"

    account_id = fields.Many2one("wechat.account", required=True, ondelete="cascade", readonly=True)
    company_id = fields.Many2one(related="account_id.company_id", store=True)
    token = fields.Char(readonly=True, exportable=False)
    expires_at = fields.Datetime(readonly=True)
    held_until = fields.Datetime(readonly=True)
    # Hash of the app id, secret and address that fetched the token, which is invalid once one of them changes.
    fingerprint = fields.Char(readonly=True, exportable=False)
    # The last error, until WeChat gives a token again.
    failed_since = fields.Datetime(readonly=True)
    error_class = fields.Char(readonly=True)
    errcode = fields.Integer(readonly=True)
    errmsg = fields.Char(readonly=True)

    _account_unique = models.UniqueIndex("(account_id)", "An account has one access token.")

    # === BUSINESS METHODS === #

    def _get_valid(self, account_sudo, client, refused=None):
        """Return an access token that is valid for the next two minutes at least.

        One process fetches it. The others wait for the lock on the row, then read the stored token.

        :param wechat.account account_sudo: the account, sudoed, since only managers read its secret.
        :param WechatClient client: the client that fetches.
        :param str refused: the token that WeChat has just refused. It is replaced only if it is still the stored one.
        :return: the access token.
        :rtype: str
        :raise WechatError: if WeChat gives none.
        """
        with self.env.registry.cursor() as cr:
            row = self._select(cr, account_sudo)
            if self._is_usable(row, refused):
                return row["token"]
            for _attempt in range(LOCK_ATTEMPTS):
                # A new transaction, whose snapshot sees the token that the former holder of the lock has stored.
                cr.rollback()
                try:
                    # lock_timeout would begin anew when this process becomes the first in the queue for the row.
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

        :param Cursor cr: the cursor that holds the lock.
        :param wechat.account account_sudo: the account, sudoed.
        :param WechatClient client: the client that fetches.
        :param dict row: the locked row, or None if the account is not committed yet.
        :param str refused: the token that WeChat has just refused, if any.
        :return: the access token.
        :rtype: str
        :raise WechatError: if WeChat refuses, or returns the token that it had refused.
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
        """Store an error and the time of the first one in a row. The caller's failure does not undo it.

        :param dict row: the locked row.
        :param WechatError error: the error.
        :param int hold_seconds: seconds until WeChat may be asked again.
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
        """Return the stored error as the exception that was raised.

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
