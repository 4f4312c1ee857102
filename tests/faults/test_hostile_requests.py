"""Hostile requests at a real server: none is expensive, fails or is logged in full."""

import gzip
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from support import pushes

LIMIT = 64 * 1024
# Tolerance for a busy machine.
SECONDS = 20
LENGTH = 100_000_000


class Wire:
    """A connection to the server of the webhook."""

    def __init__(self, url: str):
        self.address = urlsplit(url)
        self.socket = socket.create_connection((self.address.hostname, self.address.port), timeout=SECONDS)

    def head(self, path: str, *headers: str) -> bytes:
        """Return the head of a POST."""
        lines = [f"POST {path} HTTP/1.1", f"Host: {self.address.netloc}", "Content-Type: text/xml", *headers]
        return "\r\n".join([*lines, "", ""]).encode()

    def send(self, *parts: bytes) -> bytes:
        """Send until the server stops reading, and return its answer."""
        answer = b""
        try:
            for part in parts:
                self.socket.sendall(part)
            self.socket.shutdown(socket.SHUT_WR)
            while data := self.socket.recv(65536):
                answer += data
        except ConnectionError:
            pass
        finally:
            self.socket.close()
        return answer


@pytest.fixture
def quiet_log(system) -> Iterator[None]:
    """Fail if the servers log a traceback meanwhile."""
    marks = [server.log.stat().st_size for server in system.servers]
    yield
    for server, mark in zip(system.servers, marks, strict=True):
        assert "Traceback" not in server.read_log(mark)


def chunked(body: bytes, size: int) -> Iterator[bytes]:
    """Cut a body into chunks as HTTP transfers them."""
    for start in range(0, len(body), size):
        part = body[start : start + size]
        yield f"{len(part):x}\r\n".encode() + part + b"\r\n"
    yield b"0\r\n\r\n"


def peak_memory(pid: int) -> int:
    """Return the most bytes that a process has ever had in memory."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def target(channel: pushes.Channel, push: pushes.Push) -> str:
    """Return the path and query of a push."""
    return f"{urlsplit(channel.url).path}?{urlencode(push.query)}"


def test_push_in_chunks_binds(system, quiet_log):
    """A proxy may pass a body on in chunks, without its length: it binds as any other."""
    partner = system.merchant("分块茶庄")
    push = pushes.scan(system.channel, pushes.new_openid(), system.code(partner)["scene_str"])
    wire = Wire(system.channel.url)
    head = wire.head(target(system.channel, push), "Transfer-Encoding: chunked", "Connection: close")
    answer = wire.send(head, *chunked(push.body, 7))
    assert b" 200 " in answer.split(b"\r\n")[0]
    assert len(system.bindings(partner)) == 1


@pytest.mark.parametrize("size", [1000, 1_000_000])
def test_endless_body_is_not_read(system, quiet_log, size):
    """The body beyond the limit is not read into memory, and the rest is no push."""
    push = pushes.seal(system.channel, pushes.event_xml(system.channel, pushes.new_openid(), "VIEW"))
    wire = Wire(system.channel.url)
    head = wire.head(target(system.channel, push), "Transfer-Encoding: chunked", "Connection: close")
    before = peak_memory(system.servers[0].process.pid)
    answer = wire.send(head, *chunked(b"<xml>" + b" " * LENGTH, size))
    assert not answer or answer.split(b" ")[1] in (b"403", b"413"), answer[:200]
    assert peak_memory(system.servers[0].process.pid) - before < LENGTH / 2


@pytest.mark.parametrize(
    "headers",
    [
        (f"Content-Length: {LIMIT + 1}",),
        ("Content-Length: 99999999999999999999",),
        ("Content-Length: -1",),
        ("Content-Length: x",),
        ("Content-Length: 5", "Content-Length: 50"),
        ("Content-Length: 50", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: gzip, chunked",),
        ("Transfer-Encoding: identity",),
        ("Expect: 100-continue", f"Content-Length: {LIMIT + 1}"),
        ("Content-Encoding: gzip", "Content-Length: 40"),
        (),
    ],
    ids=" ".join,
)
def test_wrong_lengths_cause_no_error(system, quiet_log, headers):
    """A wrong length in the head stores nothing and causes no error."""
    before = system.admin.call("wechat.event", "search_count", [("payload", "!=", False)])
    push = pushes.seal(system.channel, pushes.event_xml(system.channel, pushes.new_openid(), "VIEW"))
    for body in (b"<xml/>" + b" " * 44, gzip.compress(b" " * 10_000_000)[:40]):
        wire = Wire(system.channel.url)
        answer = wire.send(wire.head(target(system.channel, push), *headers, "Connection: close"), body)
        assert b" 5" not in answer.split(b"\r\n")[0][8:10] + b" ", answer[:200]
        assert not answer or answer.split(b" ")[1][:1] in (b"4", b"1"), answer[:200]
    assert system.admin.call("wechat.event", "search_count", [("payload", "!=", False)]) == before


def test_access_log_holds_no_secrets(system):
    """Requests are logged in one line each, without key, token, OpenID or signature."""
    partner = system.merchant("日志茶庄")
    code, openid = system.code(partner), pushes.new_openid()
    token = code["share_url"].rpartition("/")[2]
    push = pushes.scan(system.channel, openid, code["scene_str"])
    push.query["openid"] = openid
    server = system.servers[0]
    mark = server.log.stat().st_size
    push.send(system.channel.at(server.url))
    wire = Wire(server.url)
    wire.send(f"GET /wechat/bind/{token}/state HTTP/1.0\r\n\r\n".encode())
    forged = "%0d%0a2026-11-24%20ERROR%20forged"
    Wire(server.url).send(f"GET /wechat/bind/{token}{forged}?x={forged} HTTP/1.0\r\n\r\n".encode())
    log = server.read_log(mark)
    assert log.count('"GET /wechat/bind/') == 2
    assert '"POST /wechat/merchant/' in log
    assert not any(line.startswith("2026-11-24 ERROR forged") for line in log.splitlines())
    key = urlsplit(system.channel.url).path.rpartition("/")[2]
    for secret in (key, token, openid, push.query["signature"], push.query["msg_signature"]):
        assert secret not in log
