import contextlib
import http.server
import json
import os
import socket
import struct
import threading
import traceback
from unittest.mock import patch
from urllib.parse import urlsplit

import requests

from odoo.tests import BaseCase, tagged

from ...tools import wechat_errors, wechat_http

# Kept before Odoo's tests wrap it
_send = requests.Session.send

TOKEN = "57_tokenTokenToken"
SECRET = "5ecretSecretSecret"
OPENID = "oABCDopenidOPENID"
PATH = "/cgi-bin/user/info"


class Handler(http.server.BaseHTTPRequestHandler):
    """Records a request and sends the next of the server's answers."""

    protocol_version = "HTTP/1.1"

    def handle_one_request(self):
        # A client that has hung up is no failure of the server.
        with contextlib.suppress(OSError):
            return super().handle_one_request()
        self.close_connection = True
        return None

    def _answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.calls.append((self.command, self.path, body, self.headers))
        answer = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
        answer(self)

    do_GET = do_POST = do_CONNECT = _answer

    def log_message(self, *args):
        """Keep the test's output clean."""


class Server(http.server.ThreadingHTTPServer):
    """An HTTP server on this machine.

    :param answers: actions for the requests in order; the last one also for all further requests
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *answers, context=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.calls, self.connections = list(answers), [], 0
        self.released = threading.Event()
        self.closed = threading.Semaphore(0)
        self._context = context
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.server_port}"

    def start(self):
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self):
        self.released.set()
        self.shutdown()
        self.server_close()

    def process_request(self, request, client_address):
        self.connections += 1
        return super().process_request(request, client_address)

    def finish_request(self, request, client_address):  # pylint: disable=missing-return  # returns nothing
        # In the thread of the connection: a failing handshake must not stop other connections.
        with contextlib.suppress(OSError):
            if self._context:
                request = self._context.wrap_socket(request, server_side=True)
            super().finish_request(request, client_address)
            request.close()
            self.closed.release()


def answer(body, status=200, **headers):
    """The server answers with bytes, or with an object as JSON."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()

    def respond(handler):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return respond


def hang(handler):
    """The server reads the request and does not answer until the end of the test."""
    handler.server.released.wait(30)
    handler.close_connection = True


def hang_up(handler):
    """The server closes the connection instead of answering."""
    handler.close_connection = True


def reset(handler):
    """The server resets the connection instead of answering."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.rfile.close()
    handler.connection.close()
    handler.close_connection = True


def stop_halfway(handler):
    """The server closes the connection in the middle of the answer."""
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"errcode"')
    handler.close_connection = True


def open_tunnel_and_hang_up(handler):
    """The server is a proxy that accepts a connection and cannot reach its target."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    handler.close_connection = True


def wrong_chunks(handler):
    """The server announces chunks and sends none."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")
    handler.close_connection = True


def gibberish(handler):
    """The server does not speak HTTP."""
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    handler.close_connection = True


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@tagged("post_install", "-at_install", "wechat_tools")
class ClientCase(BaseCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        environ = patch.dict(os.environ, {"no_proxy": "127.0.0.1"})
        environ.start()
        cls.addClassCleanup(environ.stop)

    def setUp(self):
        super().setUp()
        sessions = patch.dict(wechat_http._sessions, clear=True)
        sessions.start()
        self.addCleanup(sessions.stop)
        self.addCleanup(self._close_sessions)

    def _close_sessions(self):
        for session in wechat_http._sessions.values():
            session.close()

    @classmethod
    def _request_handler(cls, s, r, /, **kw):
        # Odoo's own filter compares the timeout with a number, and would extend it.
        if urlsplit(r.url).hostname != "127.0.0.1":
            raise AssertionError(f"a test must not speak to {r.url}")
        return _send(s, r, **kw)

    def serve(self, *answers, context=None):
        """Start a server that runs until the end of the test."""
        server = Server(*answers, context=context)
        server.start()
        self.addCleanup(server.stop)
        return server

    def assertFails(self, client, exception_class):
        """Call with all secrets; check the class of the error, and that it holds no secret."""
        try:
            client.call("POST", PATH, TOKEN, params={"openid": OPENID}, payload={"secret": SECRET, "touser": OPENID})
        except wechat_errors.WechatError as exc:
            error = exc
        else:
            self.fail("no WechatError")
        self.assertIs(type(error), exception_class, error)
        self.assertEqual(error.path, PATH)
        printed = "".join(traceback.format_exception(error)) + repr(error) + repr(error.info)
        for secret in (TOKEN, SECRET, OPENID):
            self.assertNotIn(secret, printed)
        # Loggers and error trackers follow these even if the traceback hides them.
        self.assertIsNone(error.__context__)
        self.assertIsNone(error.__cause__)
        return error
