"""HTTP sessions for WeChat: kept connections, no redirects, answers of limited time and size."""

import errno
import http.client
import http.cookiejar
import io
import os
import threading
import time

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError

MAX_RESPONSE_BYTES = 2 * 1024 * 1024
# From the end of the request to the last byte of the answer. The lease of the outbox is longer.
ANSWER_SECONDS = 15.0
POOL_SIZE = 64

_sessions = {}
_sessions_lock = threading.Lock()


def get_session(base_url):
    """Return the session of this process for an address. Threads share it.

    :rtype: requests.Session
    """
    # By process: a forked process must not use an inherited connection.
    key = os.getpid(), base_url
    with _sessions_lock:
        if key not in _sessions:
            session = _Session()
            session.headers["Accept-Encoding"] = "identity"
            session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
            for scheme in ("http://", "https://"):
                session.mount(scheme, _Adapter(pool_maxsize=POOL_SIZE))
            _sessions[key] = session
        return _sessions[key]


def get_proxies(url):
    """Return the proxies of the environment for an address, as requests takes them.

    The caller keeps them: requests itself would read them for each request, which takes a quarter of its time.

    :rtype: dict[str, str]
    """
    return get_environ_proxies(url, no_proxy=None)


def read_body(response):
    """Return the body of a streamed response; of a longer one, slightly more than MAX_RESPONSE_BYTES.

    :param requests.Response response: not read yet
    :rtype: bytes
    :raise requests.RequestException: if the body ends too early or takes too long
    """
    if response.headers.get("Content-Encoding", "identity") != "identity":
        # Not requested; a kilobyte of compressed body can unfold to a megabyte before its size is checked.
        return b""
    body = bytearray()
    for chunk in response.iter_content(64 * 1024):
        body += chunk
        if len(body) > MAX_RESPONSE_BYTES:
            break
    return bytes(body)


class _Session(requests.Session):
    """A session without redirects, which reads only the certificates from the environment, and only once.

    Even with allow_redirects=False, requests reads the body of a redirect to its end and prepares the next request.
    An error of the latter would look as if nothing had been sent.
    """

    def __init__(self):
        super().__init__()
        self.trust_env = False
        self.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True

    def get_redirect_target(self, resp):
        return None


class _TimedStream(io.RawIOBase):
    """The bytes of one answer, with a deadline for all of them.

    The timeout of a socket restarts with each byte: a peer that sends single bytes would block a thread for hours.
    """

    def __init__(self, sock, stream):
        self._sock, self._stream = sock, stream
        self._ends_at = time.monotonic() + ANSWER_SECONDS

    def readable(self):
        return True

    def readinto(self, buffer):
        left, timeout = self._ends_at - time.monotonic(), self._sock.gettimeout()
        try:
            if left > 0:
                self._sock.settimeout(left if timeout is None else min(timeout, left))
                return self._stream.readinto(buffer)
        except TimeoutError:
            if time.monotonic() < self._ends_at:
                raise
        raise TimeoutError(errno.ETIMEDOUT, f"the answer is not complete after {ANSWER_SECONDS:g} seconds")

    def close(self):
        self._stream.close()
        return super().close()


class _Response(http.client.HTTPResponse):
    """A response that reads its status line, headers and body through a _TimedStream."""

    def __init__(self, sock, *args, **kwargs):
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_TimedStream(sock, self.fp.detach()))


class _HTTPConnection(HTTPConnection):
    response_class = _Response


class _HTTPSConnection(HTTPSConnection):
    """A connection that marks each failure before the first byte of a request.

    urllib3 reports a TLS handshake that was reset or timed out like a failure while the answer was read.
    """

    response_class = _Response

    def connect(self):
        try:
            return super().connect()
        except (OSError, http.client.HTTPException) as exc:
            raise NewConnectionError(self, "no TLS connection") from exc


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


class _Adapter(HTTPAdapter):
    """An adapter with our connection classes, with and without a proxy."""

    _pool_classes = {"http": _HTTPPool, "https": _HTTPSPool}

    def init_poolmanager(self, *args, **kwargs):
        result = super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pool_classes
        return result

    def proxy_manager_for(self, *args, **kwargs):
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = self._pool_classes
        return manager
