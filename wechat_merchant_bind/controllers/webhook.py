import logging
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import lru_cache
from threading import BoundedSemaphore
from typing import NamedTuple

import psycopg2
from werkzeug.exceptions import Forbidden, ServiceUnavailable, TooManyRequests

from odoo import SUPERUSER_ID, api, http
from odoo.http import request
from odoo.modules import module
from odoo.sql_db import PoolError

from ..models.const import FOLLOW_EVENTS, RECEIPT_EVENT
from ..models.inbox.wechat_event import SignatureReusedError, process_event
from ..tools import wechat_commands, wechat_crypto, wechat_xml

_logger = logging.getLogger(__name__)

# A push has some hundred bytes; an encrypted one in compatible mode about three times as much.
MAX_BODY_BYTES = 64 * 1024
# WeChat cuts the connection after 5 seconds and counts the push as failed. Whatever is not done by then (a slow
# automation of another addon, say) goes on in its thread while WeChat gets its answer.
HANDLING_SECONDS = 3.5
HANDLING_THREADS = 16
# Failed authentications of one address, within a minute, that are answered one by one.
FAILURES_A_MINUTE = 60
FAILURES_ADDRESSES = 1000
SUCCESS = "success"
# Why the database can't be used: it says so, or Odoo has no connection left.
DATABASE_ERRORS = (psycopg2.Error, PoolError)


class Push(NamedTuple):
    """An authentic push."""

    message: dict
    # The EncodingAESKey to encrypt the reply with; None: reply in the clear.
    key: str | None
    # In plain mode: the signature, which must never vouch for another body.
    signature: str | None


class PushForbiddenError(Exception):
    """A push that nobody who knows the token has signed."""


class PushRefusedError(Exception):
    """A push that was signed with the token and is refused all the same.

    :param str refusal: a value of the field ``refusal`` of ``wechat.event``.
    :param int skew: seconds by which the signed time is behind our clock.
    :param str signed_by: the query parameter that was verified, if it is not the one of the account's mode.
    """

    def __init__(self, refusal, skew=0, signed_by=None):
        super().__init__(refusal)
        self.refusal = refusal
        self.skew = skew
        self.signed_by = signed_by


class FailureLimiter:
    """Counts failed authentications by address, for this process and the running minute. Success is never counted."""

    def __init__(self):
        self._counts = OrderedDict()
        self._minute = None

    def exceeded(self, address):
        """Count one failure and tell whether the address has had too many."""
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            self._minute, self._counts = minute, OrderedDict()
        self._counts[address] = self._counts.pop(address, 0) + 1
        if len(self._counts) > FAILURES_ADDRESSES:
            self._counts.popitem(last=False)
        return self._counts[address] > FAILURES_A_MINUTE


_failures = FailureLimiter()
# What pushes to unknown addresses are verified with, which nobody can sign.
_unknown_token = wechat_crypto.generate_token()
_free_threads = BoundedSemaphore(HANDLING_THREADS)


@lru_cache(maxsize=1)
def _get_executor():
    """Return the threads that handle pushes, made in the worker that uses them and not before it was forked."""
    return ThreadPoolExecutor(HANDLING_THREADS, thread_name_prefix="wechat_event")


class WechatWebhook(http.Controller):
    """The one route that WeChat calls: the check of the address, and the pushes."""

    _webhook_url = "/wechat/merchant/<string:webhook_key>"

    @http.route(_webhook_url, type="http", auth="public", methods=["GET"], csrf=False, save_session=False)
    def wechat_check(self, webhook_key, **_query):
        """Answer WeChat's check of the address, which the console makes when the address is saved.

        :param str webhook_key: the secret part of the address.
        :return: the echostr, verbatim; as text, so that it can't become a page.
        """
        webhook = self._find_webhook(webhook_key)
        query = request.httprequest.args
        if not self._verify(webhook, query):
            raise self._forbid()
        if webhook.encryption_mode == "plain":
            try:
                self._get_env()["wechat.event"]._receive_check(webhook, query["signature"])
            except psycopg2.Error as error:
                raise self._make_unavailable(error) from None
        return request.make_response(query.get("echostr", ""), [("Content-Type", "text/plain; charset=utf-8")])

    @http.route(
        _webhook_url,
        type="http",
        auth="public",
        methods=["POST"],
        csrf=False,
        save_session=False,
        max_content_length=MAX_BODY_BYTES,
        wechat_body=True,
    )
    def wechat_push(self, webhook_key, body, **_query):
        """Receive a push: authenticate it, store it, then have it handled for as long as WeChat waits.

        :param str webhook_key: the secret part of the address.
        :param bytes body: the request's body, from ``ir.http``.
        :return: a passive reply, or ``success``.
        """
        query = request.httprequest.args
        events = self._get_env()["wechat.event"]
        webhook = None
        try:
            webhook = self._find_webhook(webhook_key)
            push = self._open_push(webhook, query, body)
            event_id, reply = events._receive(webhook, push.message, push.signature)
            request.env.cr.commit()  # pylint: disable=invalid-commit  # the inbox comes first, whatever happens next
        except PushForbiddenError:
            raise self._forbid() from None
        except SignatureReusedError:
            return self._refuse(webhook, query, PushRefusedError("signature_reused"))
        except PushRefusedError as error:
            return self._refuse(webhook, query, error)
        except psycopg2.Error as error:
            raise self._make_unavailable(error) from None
        if event_id and push.message.get("Event", "").lower() == RECEIPT_EVENT:
            # As many as messages are sent: they are applied many at a time.
            self._wake_receipts(events)
        elif event_id and events._must_handle(webhook, push.message):
            reply = self._handle(event_id, push)
        return self._make_reply(webhook, push, query, reply)

    # === AUTHENTICATION === #

    def _get_env(self):
        """Return the superuser's environment, without the request's language: what a push causes must not depend on who
        sent it.
        """
        return request.env(user=SUPERUSER_ID, context={}, su=True)

    def _find_webhook(self, webhook_key):
        """Return what is known of the account behind the key.

        :rtype: Webhook
        """
        return self._get_env()["wechat.account"]._find_webhook(webhook_key)

    def _verify(self, webhook, query):
        """Tell whether the plain signature is right. An unknown account is checked too, so that it takes as long."""
        parts = (webhook.webhook_token or _unknown_token, query.get("timestamp"), query.get("nonce"))
        return wechat_crypto.verify(query.get("signature"), *parts) and bool(webhook)

    def _open_push(self, webhook, query, body):
        """Authenticate and read a push.

        :param Webhook webhook: what is known of the account behind the key.
        :param dict query: the URL's query.
        :param bytes body: the request's body.
        :rtype: Push
        :raise PushForbiddenError: if it is not signed with our token.
        :raise PushRefusedError: if it is, and is refused all the same.
        """
        # Before anything is verified, whatever the account: the time that it takes must not tell that there is one. No
        # signature covers this body, so it is no matter that characters which XML forbids are dropped from it.
        try:
            message = wechat_xml.parse(body)
        except wechat_xml.WechatXmlError:
            message = None
        if webhook.encryption_mode == "plain":
            push = self._open_plain_push(webhook, query, message)
        else:
            push = self._open_encrypted_push(webhook, query, message)
        if webhook.original_id and push.message.get("ToUserName") != webhook.original_id:
            raise PushRefusedError("other_account")
        return push

    def _open_plain_push(self, webhook, query, message):
        if not self._verify(webhook, query):
            raise PushForbiddenError
        self._check_skew(webhook, query)
        if message is None:
            raise PushRefusedError("malformed")
        if "Encrypt" in message and "MsgType" not in message:
            raise PushRefusedError("encrypted")
        return Push(message, None, query["signature"])

    def _open_encrypted_push(self, webhook, query, envelope):
        """Open a push in safe or compatible mode, where every field outside of ``Encrypt`` is unsigned and ignored."""
        encrypt = (envelope or {}).get("Encrypt")
        if not encrypt or query.get("encrypt_type") != "aes":
            if not self._verify(webhook, query):
                raise PushForbiddenError
            self._check_skew(webhook, query, signed_by="signature")
            raise PushRefusedError("not_encrypted", signed_by="signature")
        crypto = wechat_crypto.WechatCrypto(
            webhook.webhook_token or _unknown_token,
            webhook.app_id or "",
            webhook.encoding_aes_key,
            webhook.previous_encoding_aes_key,
        )
        try:
            decrypted = crypto.decrypt(encrypt, query.get("msg_signature"), query.get("timestamp"), query.get("nonce"))
        except wechat_crypto.WechatSignatureError:
            raise PushForbiddenError from None
        except wechat_crypto.WechatCryptoError:
            raise PushRefusedError("undecipherable") from None
        self._check_skew(webhook, query)
        try:
            return Push(wechat_xml.parse(decrypted.plaintext), decrypted.key, None)
        except wechat_xml.WechatXmlError:
            raise PushRefusedError("malformed") from None

    def _check_skew(self, webhook, query, signed_by=None):
        """Refuse what was signed too long ago, or by a clock that differs too much from ours."""
        timestamp = query.get("timestamp", "")
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 10):
            raise PushRefusedError("malformed", signed_by=signed_by)
        skew = int(time.time()) - int(timestamp)
        if abs(skew) > webhook.clock_tolerance * 60:
            raise PushRefusedError("clock_skew", max(-(2**31), min(skew, 2**31 - 1)), signed_by)

    def _forbid(self):
        """Return the answer to a failed authentication: the same whether the key or the signature is wrong."""
        if _failures.exceeded(request.httprequest.remote_addr):
            return TooManyRequests()
        _logger.info("wechat.webhook: push without a valid signature from=%s", request.httprequest.remote_addr)
        return Forbidden()

    def _refuse(self, webhook, query, error):
        """Keep an authentic push's refusal, for the account's check, and answer it.

        Only what no repetition and no change of our settings could mend is acknowledged.
        """
        _logger.warning(
            "wechat.webhook: push refused account=%s reason=%s skew=%s", webhook.id, error.refusal, error.skew
        )
        # The signature that was verified: whatever else the URL says could be varied without end.
        signed_by = "signature" if webhook.encryption_mode == "plain" else "msg_signature"
        signed = query[error.signed_by or signed_by]
        try:
            self._get_env()["wechat.event"]._receive_refused(webhook, error.refusal, error.skew, signed)
        except psycopg2.Error as database_error:
            raise self._make_unavailable(database_error) from None
        return SUCCESS if error.refusal == "malformed" else Forbidden().get_response()

    def _make_unavailable(self, error):
        """Return the answer after which WeChat sends the push again.

        :param psycopg2.Error error: why the inbox can't be written.
        """
        request.env.cr.rollback()
        _logger.error("wechat.webhook: inbox not written error=%s", self._describe(error))
        return ServiceUnavailable()

    # === HANDLING === #

    def _describe(self, error):
        """Return a database error without its details, which may hold a full OpenID."""
        is_told = isinstance(error, psycopg2.Error) and error.diag.message_primary
        return is_told or type(error).__name__

    def _handle(self, event_id, push):
        """Have a stored event handled, and wait for the reply as long as WeChat waits for ours.

        The handling has a cursor of its own, so the request gives its own back: a push takes one connection, and none
        while it waits for a thread. Odoo serves requests whose cursor is closed.

        :return: the reply in the clear, or None.
        :rtype: str | None
        """
        registry = request.env.registry
        request.env.cr.close()
        try:
            # What binds nobody runs no code but ours and needs no thread, and so does not wait behind slow automations.
            # In a test, a thread would wait for ever for the cursor that the test and this request share.
            may_bind = push.message.get("Event", "").lower() in FOLLOW_EVENTS or wechat_commands.parse(push.message)
            if not may_bind or module.current_test:
                return process_event(registry, event_id)
            return self._handle_in_thread(registry, event_id)
        except FutureTimeoutError:
            _logger.warning("wechat.inbox: takes longer than WeChat waits event=%s", event_id)
        except DATABASE_ERRORS as error:
            _logger.error("wechat.inbox: left to the cron event=%s error=%s", event_id, self._describe(error))
        return self._get_pending_reply(registry, event_id)

    def _get_pending_reply(self, registry, event_id):
        """Return what is answered for now to an event that is handled later.

        :return: the reply in the clear, or None.
        :rtype: str | None
        """
        try:
            with registry.cursor() as cr:
                return api.Environment(cr, SUPERUSER_ID, {})["wechat.event"].browse(event_id)._get_pending_reply()
        except DATABASE_ERRORS as error:
            _logger.error("wechat.inbox: no reply event=%s error=%s", event_id, self._describe(error))
            return None

    def _wake_receipts(self, events):
        """Have the receipts applied soon. A failure costs nothing but a minute: they are stored."""
        try:
            events._wake_receipts()
        except psycopg2.Error as error:
            request.env.cr.rollback()
            _logger.error("wechat.receipts: left to the cron error=%s", self._describe(error))

    def _handle_in_thread(self, registry, event_id):
        """Handle an event in a thread of ours. If none becomes free in time, the event is left to the cron.

        :raise concurrent.futures.TimeoutError: if it takes longer than WeChat waits.
        """
        deadline = time.monotonic() + HANDLING_SECONDS
        if not _free_threads.acquire(timeout=HANDLING_SECONDS):
            raise FutureTimeoutError
        future = _get_executor().submit(process_event, registry, event_id)
        future.add_done_callback(lambda _future: _free_threads.release())
        return future.result(max(0, deadline - time.monotonic()))

    def _make_reply(self, webhook, push, query, reply):
        """Return the response that carries a passive reply, encrypted as the push was."""
        if not reply:
            return request.make_response(SUCCESS, [("Content-Type", "text/plain; charset=utf-8")])
        body = reply.encode()
        if push.key:
            crypto = wechat_crypto.WechatCrypto(webhook.webhook_token, webhook.app_id, push.key)
            body = wechat_xml.encrypted_reply(crypto.encrypt(body, str(int(time.time())), query["nonce"]))
        return request.make_response(body, [("Content-Type", "text/xml; charset=utf-8")])
