"""A client that costs next to nothing: it shares the machine with the server that is measured.

Requests are bytes that were prepared before the clock starts. One thread keeps so many connections going; Odoo's
workers close each after its answer.
"""

import contextlib
import selectors
import socket
import time
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from support.pushes import Push

RECEIVE_BYTES = 64 * 1024


@dataclass
class Answer:
    """The answer to one request. A request without any has the status 0."""

    status: int = 0
    body: bytes = b""
    seconds: float = 0.0


class _Exchange:
    """A request on its way."""

    def __init__(self, number: int, request: bytes, address: tuple[str, int], timeout: float):
        self.number = number
        self.unsent = memoryview(request)
        self.received = bytearray()
        self.started = time.monotonic()
        self.deadline = self.started + timeout
        self.socket = socket.socket()
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            self.socket.connect(address)

    def send(self) -> bool:
        """Send what can be sent; tell whether it was the rest."""
        self.unsent = self.unsent[self.socket.send(self.unsent) :]
        return not self.unsent

    def receive(self) -> bool:
        """Receive what has come; tell whether it was the rest."""
        chunk = self.socket.recv(RECEIVE_BYTES)
        self.received += chunk
        return not chunk

    def close(self) -> Answer:
        """Return what was answered until now."""
        self.socket.close()
        head, _separator, body = bytes(self.received).partition(b"\r\n\r\n")
        words = head.split(None, 2)
        status = int(words[1]) if len(words) > 1 else 0
        return Answer(status, body, time.monotonic() - self.started)


def exchange(url: str, requests: list[bytes], concurrency: int, timeout: float = 60) -> tuple[list[Answer], float]:
    """Send requests, so many at a time, and wait for the answers.

    :param url: of the server; each request names its own path
    :param timeout: seconds after which a connection is cut, from its beginning
    :return: the answers in the order of the requests, and the seconds that all took
    """
    parts = urlsplit(url)
    address = (parts.hostname, parts.port)
    answers = [Answer() for _request in requests]
    waiting = iter(enumerate(requests))
    running: set[_Exchange] = set()
    started = time.monotonic()
    with selectors.DefaultSelector() as selector:

        def begin() -> None:
            for number, request in waiting:
                one = _Exchange(number, request, address, timeout)
                running.add(one)
                selector.register(one.socket, selectors.EVENT_WRITE, one)
                return

        def end(one: _Exchange) -> None:
            running.discard(one)
            selector.unregister(one.socket)
            answers[one.number] = one.close()
            begin()

        for _number in range(concurrency):
            begin()
        while running:
            ready = selector.select(1)
            for key, events in ready:
                one = key.data
                try:
                    if events & selectors.EVENT_WRITE:
                        if one.send():
                            selector.modify(one.socket, selectors.EVENT_READ, one)
                    elif one.receive():
                        end(one)
                except OSError:
                    # Refused or reset: keep the part of the answer that has arrived.
                    end(one)
            now = time.monotonic()
            for one in [one for one in running if one.deadline < now]:
                end(one)
    return answers, time.monotonic() - started


def raw_request(url: str, push: Push | None = None) -> bytes:
    """Return the bytes of a request: a GET, or the POST of a push."""
    parts = urlsplit(url)
    query, body = (parts.query, b"") if push is None else (urlencode(push.query), push.body)
    target = f"{parts.path}?{query}" if query else parts.path
    method = "GET" if push is None else "POST"
    lines = [f"{method} {target} HTTP/1.0", f"Host: {parts.netloc}", "User-Agent: Mozilla/4.0"]
    if push is not None:
        lines += ["Content-Type: text/xml", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body
