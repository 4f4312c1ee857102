"""A mail server that collects the mails that Odoo sends."""

import email
import socketserver
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.policy import default
from threading import Thread

from support.odoo import WebClient, wait_for

ANSWERS = {b"EHLO": b"250 mailbox", b"HELO": b"250 mailbox", b"QUIT": b"221 bye"}


class Session(socketserver.StreamRequestHandler):
    """One SMTP connection, with the commands that Odoo uses."""

    def handle(self) -> None:
        """Answer each command; keep what comes behind DATA."""
        self.reply(b"220 mailbox")
        while line := self.rfile.readline():
            command = line[:4].upper().strip()
            if command == b"DATA":
                self.reply(b"354 go on")
                self.server.messages.append(email.message_from_bytes(self.read_data(), policy=default))
            self.reply(ANSWERS.get(command, b"250 ok"))
            if command == b"QUIT":
                return

    def reply(self, answer: bytes) -> None:
        """Send one line."""
        self.wfile.write(answer + b"\r\n")

    def read_data(self) -> bytes:
        """Read until the line with a dot, and remove dot-stuffing."""
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        return b"".join(lines)


class Mailbox(socketserver.ThreadingTCPServer):
    """The mails since it was opened, oldest first."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Session)
        self.messages: list[EmailMessage] = []

    def wait(self, address: str) -> EmailMessage:
        """Remove and return the next message to an address.

        :raise AssertionError: none comes
        """

        def find() -> EmailMessage | None:
            return next((message for message in self.messages if address in message["To"]), None)

        message = wait_for(find, f"an e-mail to {address}")
        self.messages.remove(message)
        return message


@contextmanager
def open_mailbox(admin: WebClient) -> Iterator[Mailbox]:
    """Have Odoo send its mail to a mailbox of the test."""
    with Mailbox() as mailbox:
        Thread(target=mailbox.serve_forever, daemon=True).start()
        server = admin.create(
            "ir.mail_server",
            {
                "name": "Mailbox",
                "smtp_host": "127.0.0.1",
                "smtp_port": mailbox.server_address[1],
                "smtp_encryption": "none",
                "sequence": 0,
            },
        )
        try:
            yield mailbox
        finally:
            admin.call("ir.mail_server", "unlink", [server])
            mailbox.shutdown()
