import logging
import time
from collections import OrderedDict
from typing import NamedTuple

import psycopg2
from werkzeug.exceptions import Forbidden, ServiceUnavailable, TooManyRequests

from odoo import SUPERUSER_ID, http
from odoo.http import request

from ..models.inbox import dispatcher
from ..models.inbox.wechat_event import SignatureReusedError
from ..tools import wechat_crypto, wechat_xml

_logger = logging.getLogger(__name__)

# A push has some hundred bytes; an encrypted one in compatible mode about three times as much.
MAX_BODY_BYTES = 64 * 1024
# Failed authentications of one address, within a minute, that are answered one by one.
FAILURES_A_MINUTE = 60
FAILURES_ADDRESSES = 1000
SUCCESS = "success"


class Push(NamedTuple):
    """An authentic push."""

    message: dict
    # The EncodingAESKey to encrypt the reply with; None: reply in the clear.
    key: str | None
    # In plain mode: the signature, which no other body may bear.
    signature: str | None


class PushForbiddenError(Exception):
    """A push without a valid signature."""


class PushRefusedError(Exception):
    """A push that bears a valid signature and is refused for another reason.

    :param str refusal: a value of the field refusal of wechat.event.
    :param int skew: seconds by which the signed time is behind our clock.
    :param str signed_by: the query parameter that was verified, if it is not the one of the account's mode.
    """

    def __init__(self, refusal, skew=0, signed_by=None):
        super().__init__(refusal)
        self.refusal = refusal
        self.skew = skew
        self.signed_by = signed_by


class FailureLimiter:
    """Counts failed authentications by address, in this process and in the current minute."""

    def __init__(self):
        self._counts = OrderedDict()
        self._minute = None

    def exceeded(self, address):
        """Count one failure and return whether the address has had too many."""
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            self._minute, self._counts = minute, OrderedDict()
        self._counts[address] = self._counts.pop(address, 0) + 1
        if len(self._counts) > FAILURES_ADDRESSES:
            self._counts.popitem(last=False)
        return self._counts[address] > FAILURES_A_MINUTE


_failures = FailureLimiter()
# Verifies pushes to unknown addresses. It never leaves this process, so nothing is signed with it.
_unknown_token = wechat_crypto.generate_token()


class WechatWebhook(http.Controller):
    """The route that WeChat calls: the check of the address, and the pushes.

    It authenticates a push, stores it, dispatches it and replies. wechat.event decides what a push means.
    """

    _webhook_url = "/wechat/merchant/<string:webhook_key>"

    @http.route(_webhook_url, type="http", auth="public", methods=["GET"], csrf=False, save_session=False)
    def wechat_check(self, webhook_key, **_query):
        """Answer WeChat's check of the address, which the console makes when the address is saved.

        :param str webhook_key: the secret part of the address.
        :return: the echostr, verbatim, as text: a browser must not show it as a page.
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
        """Receive a push: authenticate it, store it, dispatch it, reply.

        :param str webhook_key: the secret part of the address.
        :param bytes body: the request's body, from ir.http.
        :return: a passive reply, or "success".
        """
        query = request.httprequest.args
        webhook = None
        try:
            webhook = self._find_webhook(webhook_key)
            push = self._open_push(webhook, query, body)
            received = self._get_env()["wechat.event"]._receive(webhook, push.message, push.signature)
            request.env.cr.commit()  # pylint: disable=invalid-commit  # the push must survive a failure of its handling
        except PushForbiddenError:
            raise self._forbid() from None
        except SignatureReusedError:
            return self._refuse(webhook, query, PushRefusedError("signature_reused"))
        except PushRefusedError as error:
            return self._refuse(webhook, query, error)
        except psycopg2.Error as error:
            raise self._make_unavailable(error) from None
        reply = self._dispatch(received) if received.event_id else received.reply
        return self._make_reply(webhook, push, query, reply)

    # === AUTHENTICATION === #

    def _get_env(self):
        """Return the superuser's environment, without the request's language: no effect of a push depends on it."""
        return request.env(user=SUPERUSER_ID, context={}, su=True)

    def _find_webhook(self, webhook_key):
        """Return the webhook of the account with this key.

        :rtype: Webhook
        """
        return self._get_env()["wechat.account"]._find_webhook(webhook_key)

    def _verify(self, webhook, query):
        """Return whether the plain signature is right. That of an unknown account takes as long to check."""
        parts = (webhook.webhook_token or _unknown_token, query.get("timestamp"), query.get("nonce"))
        return wechat_crypto.verify(query.get("signature"), *parts) and bool(webhook)

    def _open_push(self, webhook, query, body):
        """Authenticate and read a push.

        :param Webhook webhook: the account's webhook.
        :param dict query: the URL's query.
        :param bytes body: the request's body.
        :rtype: Push
        :raise PushForbiddenError: if it is not signed with the account's token.
        :raise PushRefusedError: if it is refused for another reason.
        """
        # Parsed for unknown accounts too: the time of the answer must not tell whether there is one. Dropping the
        # characters that XML forbids breaks no signature, since none covers this body.
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
        """Open a push in safe or compatible mode, where every field outside of Encrypt is unsigned and ignored."""
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
        """Refuse a push that was signed too long ago, or by a clock that differs too much from this server's."""
        timestamp = query.get("timestamp", "")
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 10):
            raise PushRefusedError("malformed", signed_by=signed_by)
        skew = int(time.time()) - int(timestamp)
        if abs(skew) > webhook.clock_tolerance * 60:
            raise PushRefusedError("clock_skew", max(-(2**31), min(skew, 2**31 - 1)), signed_by)

    def _forbid(self):
        """Return the answer to a failed authentication, which does not tell a wrong key from a wrong signature."""
        if _failures.exceeded(request.httprequest.remote_addr):
            return TooManyRequests()
        _logger.info("wechat.webhook: push without a valid signature from=%s", request.httprequest.remote_addr)
        return Forbidden()

    def _refuse(self, webhook, query, error):
        """Store the refusal of an authentic push, for the connection check, and answer it.

        A malformed push is acknowledged: no repetition and no change of settings would make it acceptable.
        """
        _logger.warning(
            "wechat.webhook: push refused account=%s reason=%s skew=%s", webhook.id, error.refusal, error.skew
        )
        # The verified signature identifies the refusal: a sender could vary the rest of the URL without end.
        signed_by = "signature" if webhook.encryption_mode == "plain" else "msg_signature"
        signed = query[error.signed_by or signed_by]
        try:
            self._get_env()["wechat.event"]._receive_refused(webhook, error.refusal, error.skew, signed)
        except psycopg2.Error as database_error:
            raise self._make_unavailable(database_error) from None
        return SUCCESS if error.refusal == "malformed" else Forbidden().get_response()

    def _make_unavailable(self, error):
        """Return the answer after which WeChat sends the push again.

        :param psycopg2.Error error: the reason why the inbox can't be written.
        """
        request.env.cr.rollback()
        _logger.error("wechat.webhook: inbox not written error=%s", dispatcher.describe_error(error))
        return ServiceUnavailable()

    # === DISPATCH AND REPLY === #

    def _dispatch(self, received):
        """Have a stored push handled, and return the reply in the clear, or None.

        The handling has a cursor of its own, so the request closes its own first: a push takes one connection, and none
        while it waits for a thread. Odoo serves requests whose cursor is closed.

        :param Received received: the committed push.
        :rtype: str | None
        """
        registry = request.env.registry
        request.env.cr.close()
        return dispatcher.dispatch(registry, received.event_id, received.is_slow)

    def _make_reply(self, webhook, push, query, reply):
        """Return the response that carries a passive reply, encrypted as the push was."""
        if not reply:
            return request.make_response(SUCCESS, [("Content-Type", "text/plain; charset=utf-8")])
        body = reply.encode()
        if push.key:
            crypto = wechat_crypto.WechatCrypto(webhook.webhook_token, webhook.app_id, push.key)
            body = wechat_xml.encrypted_reply(crypto.encrypt(body, str(int(time.time())), query["nonce"]))
        return request.make_response(body, [("Content-Type", "text/xml; charset=utf-8")])
