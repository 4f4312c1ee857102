"""Outboxes full of messages, and how long it takes to drain them."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from support.bare_pool import CRON_NICENESS, time_posts
from support.odoo import wait_for
from support.running_outbox import SEND, SEND_PATH, RunningOutbox

from bench.measure import require_rows
from bench.servers import Bench, Site, running_site

THREADS = 16
LATENCY_MS = 50
WARM_UP = 200
# Of send_rate a second and of WeChat's limit a day: more than any machine sends.
UNLIMITED = 1_000_000
# The sandbox takes bodies of a megabyte.
FOLLOWERS_AT_ONCE = 20_000
# What the composer makes of a notice to many, but for the card, which is the same for all.
NOTICES = """
    WITH message AS (
        SELECT nextval('mail_message_id_seq') AS mail_message_id,
               nextval('mail_notification_id_seq') AS notification_id, id AS message_id, partner_id
          FROM wechat_message
         WHERE notification_id IS NULL AND state = 'outgoing'
    ), author AS (
        SELECT partner_id AS id FROM res_users WHERE login = 'admin'
    ), posted AS (
        INSERT INTO mail_message (
            id, model, res_id, message_type, author_id, email_from, body, date, is_internal, subtype_id, message_id,
            create_uid, write_uid, create_date, write_date
        )
        SELECT mail_message_id, 'res.partner', message.partner_id, 'wechat', author.id, 'admin@example.com',
               '<p><b>到货通知</b></p>', now() AT TIME ZONE 'UTC', TRUE, subtype.res_id,
               '<' || mail_message_id || '@bench>', 1, 1, now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC'
          FROM message, author, ir_model_data AS subtype
         WHERE subtype.module = 'mail' AND subtype.name = 'mt_note'
    ), notified AS (
        INSERT INTO mail_notification (
            id, mail_message_id, res_partner_id, author_id, notification_type, notification_status, is_read
        )
        SELECT notification_id, mail_message_id, message.partner_id, author.id, 'wechat', 'ready', TRUE
          FROM message, author
    )
    UPDATE wechat_message
       SET mail_message_id = message.mail_message_id, notification_id = message.notification_id,
           res_model = 'res.partner', res_id = message.partner_id
      FROM message
     WHERE id = message.message_id
"""
QUEUE = """
template = env["wechat.template"].browse({template})
card = {{"title": template.title, "lines": [], "url": "", "data": {{"thing1": {{"value": "一箱龙井"}}}}}}
for start in range(0, len({partners}), 1000):
    env["wechat.message"]._queue([
        {{
            "partner_id": partner, "template_id": template.id, "card": card, "body": "一箱龙井", "kind": "mass",
            "next_attempt_at": "{moment}",
        }}
        for partner in {partners}[start : start + 1000]
    ])
    env.cr.commit()
"""
UNDELIVERED = "SELECT id FROM wechat_message WHERE first_call_at >= %s AND state != 'delivered' LIMIT 1"
MAKE_DUE = """
    UPDATE wechat_message SET next_attempt_at = now() AT TIME ZONE 'UTC' WHERE state = 'outgoing'
"""


@dataclass
class Drained:
    """How long it took to send messages, until the last result was committed.

    `seconds` from the moment at which the sender was woken, `sending_seconds` from the first call.
    """

    number: int
    seconds: float
    sending_seconds: float

    @property
    def rate(self) -> float:
        """Messages a second, with what waking the sender takes."""
        return self.number / self.seconds

    @property
    def sending_rate(self) -> float:
        """Messages a second, once the sender is awake."""
        return self.number / self.sending_seconds


class BenchOutbox(RunningOutbox):
    """The outbox of a site, in which messages wait until the clock starts."""

    def __init__(self, site: Site):
        super().__init__(site.system)
        self.site = site
        self.set_rate(UNLIMITED)
        # WeChat's limit of a day is what the measures of a run send together.
        self._set_sandbox(quotas={SEND_PATH: UNLIMITED})

    def add_merchants(self, count: int) -> list[int]:
        """Add this number of bound merchants that follow the account."""
        partners = []
        while len(partners) < count:
            partners += super().add_merchants(min(FOLLOWERS_AT_ONCE, count - len(partners)))
        return partners

    def set_receipts(self, mode: str) -> None:
        """Let WeChat give receipts (`after`) or not (`off`)."""
        self._set_sandbox(receipts=mode)

    def compose(self, partners: list[int]) -> None:
        """Queue a message for each merchant, as an admin does from the list, that is not due before `make_due`."""
        self.queue(partners, scheduled_at=tomorrow())

    def fill(self, partners: list[int]) -> None:
        """Queue a message for each merchant by the addon's own way in, without what rendering the cards costs."""
        code = QUEUE.format(template=self.template_id, partners=partners, moment=tomorrow())
        self.database.run_in_shell(code)
        self.database.execute(NOTICES)
        self.database.vacuum()

    def drain(self, is_delivered: bool = False) -> Drained:
        """Make everything due that waits, and wait until it was sent.

        :param is_delivered: also until the receipts are applied
        :raise MissingRowsError: a message was not sent, or WeChat was called for it more or less than once
        """
        [waiting] = self.database.execute("SELECT count(*) FROM wechat_message WHERE state = 'outgoing'")
        number, called = waiting["count"], self.count_calls()
        sent = self._count_sent()
        self.database.execute(MAKE_DUE)
        self.database.vacuum()
        moment, woken = datetime.now(UTC).replace(tzinfo=None), time.monotonic()
        self.wake(SEND)
        wait_for(lambda: self.count_calls() > called, "the sender calls WeChat")
        first = time.monotonic()
        wait_for(lambda: self.count_calls() >= called + number, f"{number} messages are sent", 60 + number / 20)
        wait_for(lambda: not self.count_waiting(), "the results are written")
        last = time.monotonic()
        if is_delivered:
            wait_for(
                lambda: not self.database.execute(UNDELIVERED, moment), "the receipts are applied", 60 + number / 20
            )
        require_rows("calls", number, self.count_calls() - called)
        require_rows("messages sent", number, self._count_sent() - sent)
        return Drained(number, last - woken, last - first)

    def time_bare_pool(self, number: int) -> float:
        """Return the calls a second of a bare pool that posts what was posted for the newest messages."""
        rows = self.database.execute(
            "SELECT openid, template_uid, card FROM wechat_message WHERE state != 'outgoing' ORDER BY id DESC LIMIT %s",
            number,
        )
        payloads = [
            {
                "touser": row["openid"],
                "template_id": row["template_uid"],
                "data": row["card"]["data"],
                "client_msg_id": uuid.uuid4().hex,
            }
            for row in rows
        ]
        sandbox = self.system.sandbox
        url = f"{sandbox.url}{SEND_PATH}?access_token={sandbox.fetch_token()}"
        return number / time_posts(url, payloads, THREADS, CRON_NICENESS)

    def _set_sandbox(self, **settings: object) -> None:
        """Change settings of the account in WeChat's stand-in."""
        sandbox = self.system.sandbox
        sandbox.post("accounts", app_id=sandbox.account()["app_id"], **settings)

    def _count_sent(self) -> int:
        return self.site.count("wechat.message", ("state", "in", ("sent", "delivered")))


def tomorrow() -> str:
    """Return a moment at which no measure runs any more, as Odoo writes it."""
    return str(datetime.now(UTC).replace(tzinfo=None, microsecond=0) + timedelta(days=1))


@contextmanager
def running_outbox() -> Iterator[BenchOutbox]:
    """The outbox of a site of its own; WeChat takes as long as on the way to Shenzhen, and gives no receipts."""
    with running_site("sending") as site:
        outbox = BenchOutbox(site)
        outbox.set_receipts("off")
        site.system.sandbox.post("faults", path=SEND_PATH, latency_ms=LATENCY_MS, times=0)
        # The first run of the sender loads its worker's registry.
        outbox.fill(outbox.add_merchants(WARM_UP))
        outbox.drain()
        yield outbox


@cache
def get_outbox(bench: Bench) -> BenchOutbox:
    """Return the outbox that the measures of a run share: each empties it."""
    return bench.keep(running_outbox())
