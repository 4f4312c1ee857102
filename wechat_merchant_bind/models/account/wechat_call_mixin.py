import time

from odoo import api, models
from odoo.exceptions import UserError

from ...tools.wechat_errors import WechatAccountError, WechatError, WechatTokenStale
from ..const import CONCURRENCY_ERRORS

TRANSACTION_ATTEMPTS = 5
# Seconds that a run reuses an access token, which is good for two minutes at least, or the error in place of one.
TOKEN_SECONDS = 60
ERROR_SECONDS = 5


class WechatCallMixin(models.AbstractModel):
    """Lets a scheduled action make many concurrent calls to WeChat, in short transactions of its own."""

    _name = "wechat.call.mixin"
    _description = "Calls to WeChat Side by Side"

    # === BUSINESS METHODS === #

    @api.model
    def _run_in_transaction(self, step, *args):
        """Run a step in a transaction of its own, again after a conflict with another transaction.

        :param step: a method.
        :param args: its arguments.
        :return: its result.
        """
        attempt = 1
        while True:
            try:
                result = step(*args)
                self.env.cr.commit()  # pylint: disable=invalid-commit  # the scheduled action's own cursor
                return result
            except Exception as error:
                self.env.cr.rollback()
                if attempt == TRANSACTION_ATTEMPTS or not isinstance(error, CONCURRENCY_ERRORS):
                    raise
            attempt += 1

    @api.model
    def _submit(self, pool, access, call, refused=None):
        """Submit a call to the pool, with the access token of its account.

        :param CallPool pool: the threads.
        :param dict access: the results of _get_access in this run, by account id.
        :param Call call: the call.
        :param str refused: the token that WeChat has refused. It is renewed unless that has happened since.
        """
        known = access.get(call.account_id)
        if not known or time.monotonic() >= known[2] or (refused and known[1] == refused):
            known = access[call.account_id] = self._get_access(call.account_id, refused)
        call.client, call.token = known[:2]
        if call.client:
            pool.submit(call)
        else:
            call.began_at, call.error = None, call.token
            pool.give_back(call)

    @api.model
    def _get_access(self, account_id, refused):
        """Return the client and the access token of an account, or None and the error.

        :param int account_id: the account.
        :param str refused: the token that WeChat has refused, if any.
        :return: the client or None, the token or the error, and the monotonic time until which both may be reused.
        :rtype: tuple
        """
        account = self.env["wechat.account"].browse(account_id)
        now = time.monotonic()
        try:
            return *account._get_access(refused=refused), now + TOKEN_SECONDS
        except WechatError as error:
            return None, error, now + ERROR_SECONDS
        except UserError as error:
            return None, WechatAccountError("/cgi-bin/stable_token", errcode=0, errmsg=str(error)), now + ERROR_SECONDS

    @api.model
    def _take(self, pool, access, *args):
        """Return the calls that have ended. A call with a stale access token is repeated once with another.

        :param CallPool pool: the threads.
        :param dict access: see _submit.
        :param args: further arguments of CallPool.take.
        :rtype: list[Call]
        """
        ended = []
        for call in pool.take(*args):
            if isinstance(call.error, WechatTokenStale) and not call.is_repeated:
                call.is_repeated = True
                self._submit(pool, access, call, refused=call.token)
            else:
                ended.append(call)
        self.env.cr.commit()  # pylint: disable=invalid-commit  # the next claim begins a transaction
        return ended
