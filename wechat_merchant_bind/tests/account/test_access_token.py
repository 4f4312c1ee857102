from datetime import timedelta
from unittest.mock import patch

from psycopg2.errors import QueryCanceled, SerializationFailure

from odoo import fields
from odoo.exceptions import UserError

from ...tools.wechat_errors import WechatAccountError, WechatTokenStale
from ..common import QR_PATH, TOKEN_PATH, WechatCase

STALE = {"errcode": 42001, "errmsg": "access_token expired rid: 1-2-3"}


class TestAccessToken(WechatCase):
    """An account has one access token for all workers and nodes."""

    def setUp(self):
        super().setUp()
        self.stored = self.env["wechat.access.token"].search([("account_id", "=", self.account.id)])

    def _call(self):
        self.env.flush_all()
        try:
            return self.account.with_user(self.user)._call_api("create_qr_code", "mb_x", 60)
        finally:
            self.env.invalidate_all()

    def _store(self, token, seconds=7200, **values):
        self.stored.write(
            {
                "token": token,
                "expires_at": fields.Datetime.now() + timedelta(seconds=seconds),
                "fingerprint": self.stored._get_fingerprint(self.account),
                **values,
            }
        )

    def _counts(self):
        return self.wechat.count(TOKEN_PATH), self.wechat.count(QR_PATH)

    def test_a_token_is_fetched_once(self):
        for _i in range(3):
            self._call()
        self.assertEqual(self._counts(), (1, 3))
        self.assertEqual(self.stored.token, self.wechat.token)
        payload = self.wechat.calls[0].payload
        self.assertEqual((payload["appid"], payload["secret"]), (self.account.app_id, self.account.app_secret))

    def test_each_account_has_its_own(self):
        other = self._create_account()
        self._call()
        other._call_api("create_qr_code", "mb_x", 60)
        tokens = [call.payload["appid"] for call in self.wechat.calls if call.path == TOKEN_PATH]
        self.assertEqual(tokens, [self.account.app_id, other.app_id])

    def test_a_token_is_renewed_before_its_end(self):
        self._store(self.wechat.token, seconds=119)
        self._call()
        self.assertEqual(self._counts(), (1, 1))
        self._store(self.wechat.token, seconds=130)
        self._call()
        self.assertEqual(self._counts(), (1, 2))

    def test_the_expiry_is_stored(self):
        self.wechat.answer(TOKEN_PATH, {"access_token": self.wechat.token, "expires_in": 1000})
        self._call()
        left = (self.stored.expires_at - fields.Datetime.now()).total_seconds()
        self.assertAlmostEqual(left, 1000, delta=10)

    def test_a_stale_token_is_replaced_and_the_call_repeated_once(self):
        self._store("former-token")
        self._call()
        self.assertEqual(self._counts(), (1, 2))
        self.assertEqual(self.stored.token, self.wechat.token)

    def test_a_second_stale_token_is_an_error(self):
        self._store("former-token")
        self.wechat.answer(QR_PATH, STALE, STALE)
        with self.assertRaises(WechatTokenStale) as error:
            self._call()
        self.assertEqual(error.exception.errcode, 42001)
        self.assertEqual(self._counts(), (1, 2), "Neither call is repeated again")

    def test_a_token_renewed_by_another_worker_is_used(self):
        self._store("former-token")

        def refuse(call):
            self.assertEqual(call.query["access_token"], "former-token")
            with self.env.registry.cursor() as cr:
                cr.execute(
                    "UPDATE wechat_access_token SET token = %s WHERE id = %s", [self.wechat.token, self.stored.id]
                )
            return STALE

        self.wechat.answer(QR_PATH, refuse)
        self._call()
        self.assertEqual(self._counts(), (0, 2), "No token was fetched")

    def test_a_refused_token_that_is_returned_holds_the_account(self):
        self._store(self.wechat.token)
        self.wechat.answer(QR_PATH, STALE)
        try:
            # assertRaises would roll back the stored error.
            self._call()
        except WechatAccountError as error:
            self.assertIn("60 seconds", error.errmsg)
        self.assertGreater(self.stored.held_until, fields.Datetime.now() + timedelta(seconds=50))
        self.assertEqual(self._counts(), (1, 1))
        with self.assertRaises(UserError):
            self._make_code()
        self.assertEqual(self._counts(), (1, 1), "WeChat is left alone for the time")
        self.stored.held_until = fields.Datetime.now() - timedelta(seconds=1)
        self._call()
        self.assertEqual(self._counts(), (1, 2))

    def test_a_new_secret_outdates_the_token(self):
        self._call()
        self.account.with_user(self.manager).app_secret = "another"
        self._call()
        self._call()
        self.assertEqual(self._counts(), (2, 3))

    def test_a_locked_row_is_waited_for_no_longer_than_the_timeout(self):
        tokens = type(self.env["wechat.access.token"])
        select = tokens._select

        def locked(self, cr, account, lock=False):
            if lock:
                raise QueryCanceled
            return select(self, cr, account)

        with patch.object(tokens, "_select", locked):
            self._call()
        self.assertEqual(self._counts(), (1, 1), "stable_token allows parallel callers")
        self.assertFalse(self.stored.token, "Only the holder of the lock writes the row")

    def test_a_token_stored_while_waiting_is_read(self):
        tokens = type(self.env["wechat.access.token"])
        select, stored = tokens._select, self.stored
        token = self.wechat.token
        collisions = [SerializationFailure()]

        def collide(self, cr, account, lock=False):
            if lock and collisions:
                cr.rollback()
                cr.execute(
                    """
                    UPDATE wechat_access_token
                       SET token = %s, expires_at = clock_timestamp() AT TIME ZONE 'UTC' + interval '1 hour',
                           fingerprint = %s
                     WHERE id = %s
                    """,
                    [token, self._get_fingerprint(account), stored.id],
                )
                cr.commit()  # pylint: disable=invalid-commit  # the other process's
                raise collisions.pop()
            return select(self, cr, account, lock)

        with patch.object(tokens, "_select", collide):
            self._call()
        self.assertEqual(self._counts(), (0, 1))

    def test_a_wrong_secret_is_an_error(self):
        self.wechat.answer(TOKEN_PATH, {"errcode": 40001, "errmsg": "invalid credential rid: 1"})
        with self.assertRaises(UserError) as error:
            self._make_code()
        self.assertIn("AppSecret is wrong", str(error.exception))
        self.assertEqual(self._counts(), (1, 0))
