"""The sandbox as its own process, with an independent SDK (wechatpy) as its caller and receiver."""

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from requests.adapters import HTTPAdapter
from wechatpy import parse_message
from wechatpy.crypto import WeChatCrypto
from wechatpy.exceptions import WeChatClientException
from wechatpy.utils import check_signature

SANDBOX = Path(__file__).resolve().parents[2] / "setup" / "sandbox"
START_SECONDS = 20
EVENT_SECONDS = 10
POLL_SECONDS = 0.05


def free_port() -> int:
    """Return a port that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition, what: str):
    """Poll until `condition()` is true, for changes that depend on the clock; return its value."""
    deadline = time.monotonic() + EVENT_SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(POLL_SECONDS)
    return value


class Sandbox:
    """The sandbox's process and its own paths."""

    def __init__(self, *arguments):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen([sys.executable, str(SANDBOX), "--port", str(self.port), *arguments])
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                assert self.get("health") == {"ok": True}
                return
            except urllib.error.URLError:
                assert self.process.poll() is None, "the sandbox ended at once"
                assert time.monotonic() < deadline, "the sandbox does not answer"
                time.sleep(POLL_SECONDS)

    def stop(self):
        self.process.terminate()
        assert self.process.wait(START_SECONDS) == 0

    def _read(self, request, expect):
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                status, body = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, body = error.code, error.read()
        assert status == expect, body.decode()
        return json.loads(body)

    def get(self, path: str, /, expect: int = 200, **query) -> dict:
        """GET one of the sandbox's own paths."""
        return self._read(f"{self.url}/sandbox/{path}?{urlencode(query)}", expect)

    def post(self, path: str, /, expect: int = 200, **data) -> dict:
        """POST to one of the sandbox's own paths."""
        return self._read(urllib.request.Request(f"{self.url}/sandbox/{path}", json.dumps(data).encode()), expect)

    def wait(self, condition, what: str):
        """Wait until `condition(state)` holds, woken by the sandbox's own changes; return the state."""
        deadline = time.monotonic() + EVENT_SECONDS
        state = self.get("state")
        while not condition(state):
            assert time.monotonic() < deadline, f"never happened: {what}"
            state = self.get("state", after=state["version"])
        return state


class ToSandbox(HTTPAdapter):
    """Carries what the SDK sends to WeChat's hosts to the sandbox, so that the SDK runs as it is."""

    def __init__(self, sandbox: Sandbox):
        super().__init__()
        self.sandbox = sandbox

    def send(self, request, **options):
        parts = urlsplit(request.url)
        request.url = parts._replace(scheme="http", netloc=f"127.0.0.1:{self.sandbox.port}").geturl()
        return super().send(request, **options)


class Server:
    """The developer's server: notes every push, decrypted by the SDK, and answers as the test says.

    `answer(push)` returns (status, body); a push has query, body, message (parsed by the SDK) and fields.
    """

    def __init__(self, account: dict):
        self.account = account
        self.pushes = []
        self.answer = lambda push: (200, b"success")
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                query = dict(parse_qsl(urlsplit(self.path).query))
                check_signature(owner.account["token"], query["signature"], query["timestamp"], query["nonce"])
                self.reply(200, query["echostr"].encode())

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                push = owner.take(dict(parse_qsl(urlsplit(self.path).query)), body)
                self.reply(*owner.answer(push))

            def reply(self, status, body):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def handle(self):
                try:
                    super().handle()
                except ConnectionError:
                    # The platform cuts a connection after five seconds.
                    self.close_connection = True

            def log_message(self, *_args):
                """Drop the message."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/wechat"
        # A short poll, for stop() waits it out.
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def crypto(self) -> WeChatCrypto:
        return WeChatCrypto(self.account["token"], self.account["encoding_aes_key"], self.account["app_id"])

    def take(self, query: dict, body: bytes):
        """Authenticate a push with the SDK and note it."""
        check_signature(self.account["token"], query["signature"], query["timestamp"], query["nonce"])
        xml = body.decode()
        if query.get("encrypt_type") == "aes":
            xml = self.crypto().decrypt_message(body, query["msg_signature"], query["timestamp"], query["nonce"])
        push = {"query": query, "body": body, "xml": xml, "message": parse_message(xml)}
        self.pushes.append(push)
        return push

    def stop(self):
        self.http.shutdown()
        self.http.server_close()


def stable(client, **more):
    """Fetch a stable token. The SDK is older than that call, so its generic post is used."""
    body = {"grant_type": "client_credential", "appid": client.appid, "secret": client.secret, **more}
    return client.post("stable_token", data=body, params={"access_token": ""})


def errcode(call, *args, **options):
    """Return the errcode that a call is refused with; its text must carry a rid."""
    with pytest.raises(WeChatClientException) as caught:
        call(*args, **options)
    assert " rid: " in caught.value.errmsg
    return caught.value.errcode
