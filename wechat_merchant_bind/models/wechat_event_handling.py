import json
import logging
import re
import threading
import time
from datetime import timedelta

import psycopg2
from psycopg2.errors import DeadlockDetected, SerializationFailure, UniqueViolation

from odoo import SUPERUSER_ID, api, fields, models

from ..tools import wechat_commands, wechat_xml
from ..tools.pg_lock import LockTimeoutError, claim, session_locks
from .wechat_bind_code import SCENE_PREFIX
from .wechat_event import FOLLOW_EVENTS, LOCK_TIMEOUT
from .wechat_event_receipt import RECEIPT_EVENT

_logger = logging.getLogger(__name__)

# A subscribe that came from a scan carries the scene behind this prefix, a SCAN carries the bare scene.
QRSCENE_PREFIX = "qrscene_"
# The messages, as opposed to events, that WeChat lets us hand over to its customer service.
MESSAGE_TYPES = ("text", "image", "voice", "video", "shortvideo", "location", "link")

ORIGINAL_ID = re.compile(r"gh_[A-Za-z0-9_-]{1,64}")
# What is read of an event before and after its locks, and of its account. Odoo would read all columns at the first use
# of any, which takes longer than all that is done with them.
LOCK_FIELDS = ("account_id", "msg_type", "event", "openid", "event_key", "payload")
HANDLE_FIELDS = (*LOCK_FIELDS, "create_time", "create_date", "state", "reply", "attempts", "next_attempt_at")
ACCOUNT_FIELDS = (
    "name",
    "company_id",
    "original_id",
    "clock_tolerance",
    "transfer_customer_service",
    "bind_confirmation",
    "bind_reply",
    "follow_reply",
    "welcome_template_id",
)

HANDLE_ATTEMPTS = 3
RETRY_LOCKED_AFTER = timedelta(minutes=2)
RETRY_WITHIN = timedelta(hours=24)


def process_event(registry, event_id):
    """Handle a stored push in a transaction of its own, which sees nothing of the caller's.

    It runs as the superuser, so that the chatter is signed by OdooBot and not by the public user.

    :param Registry registry: the database's registry.
    :param int event_id: the ``wechat.event``.
    :return: the passive reply in the clear, or None if there is none (yet).
    :rtype: str | None
    """
    # What the log lines of this thread name as their database.
    threading.current_thread().dbname = registry.db_name
    try:
        with registry.cursor() as cr:
            env = api.Environment(cr, SUPERUSER_ID, {})
            # Nobody is logged in whose language errors and notes could take.
            env = env(context={"lang": env["wechat.account"]._get_lang()})
            reply = env["wechat.event"].browse(event_id)._process()
        registry.signal_changes()
    except Exception:
        registry.reset_changes()
        raise
    return reply


class WechatEvent(models.Model):
    """What is done about the pushes in the inbox."""

    _inherit = "wechat.event"  # pylint: disable=consider-merging-classes-inherited  # a file by topic

    # === BUSINESS METHODS - INBOX === #

    @api.model
    def _prepare_event_values(self, webhook, message):
        values = super()._prepare_event_values(webhook, message)
        if not self._must_handle(webhook, message):
            values["state"] = "ignored"
        return values

    @api.model
    def _must_handle(self, webhook, message):
        """Tell whether there is something to do about a push, once it is stored.

        :param Webhook webhook: of the account that the push came for.
        :param dict message: the push's fields.
        :rtype: bool
        """
        if not webhook.original_id or message.get("Event", "").lower() in (*FOLLOW_EVENTS, RECEIPT_EVENT):
            return True
        is_message = message.get("MsgType") in MESSAGE_TYPES
        return is_message and (webhook.transfer_customer_service or bool(wechat_commands.parse(message)))

    # === BUSINESS METHODS - HANDLING === #

    def _process(self):
        """Handle one event as the only user of this cursor, which it commits and rolls back.

        Whatever fails, be it a third party's automation, leaves the event ``failed`` with its error.

        :return: the passive reply in the clear, or None.
        :rtype: str | None
        """
        self.ensure_one()
        cr = self.env.cr
        # Read before the locks: the first statement after them is to be the claim.
        self.fetch(LOCK_FIELDS)
        if self.event == RECEIPT_EVENT:
            self.next_attempt_at = False
            self._apply_receipts()
            return None
        command, scene = self._find_command()
        scene = scene or self._get_scene()
        lock_names = self._get_lock_names(command, scene)
        person = (scene or None, self.account_id.id, self.openid)
        try:
            with session_locks(cr, lock_names, LOCK_TIMEOUT):
                for attempt in range(1, HANDLE_ATTEMPTS + 1):
                    try:
                        if lock_names:
                            self._claim_partners(*person)
                        reply = self._process_once(command)
                        # A commit forgets them.
                        values = self._get_logged_values()
                        cr.commit()  # pylint: disable=invalid-commit  # own cursor, see process_event
                        _logger.info("wechat.inbox: handled account=%s event=%s kind=%s state=%s attempts=%s", *values)
                        return reply
                    except (SerializationFailure, DeadlockDetected, UniqueViolation):
                        # Somebody else has just changed the merchant: look again.
                        cr.rollback()
                        if attempt == HANDLE_ATTEMPTS:
                            raise
        except LockTimeoutError:
            # Another scan, or whoever writes the merchant, takes long. The event is stored: the cron comes back to it.
            cr.rollback()
            self.next_attempt_at = fields.Datetime.now() + RETRY_LOCKED_AFTER
            cr.commit()  # pylint: disable=invalid-commit  # own cursor, see process_event
            return self._get_pending_reply()
        except Exception as error:  # code of other addons runs here, and may raise anything
            cr.rollback()
            # The text of a database error may hold a full OpenID.
            _logger.error(
                "wechat.inbox: could not be handled event=%s error=%s",
                self.id,
                type(error).__name__,
                exc_info=not isinstance(error, psycopg2.Error),
            )
            self._process_failure(error)
            return self._get_pending_reply()

    def _get_lock_names(self, command, scene):
        """Return what must be handled one after the other: what one person does, and what happens to one code.

        :param str | None command: what the person has typed, if it is a command.
        :param str | None scene: the scene of the code that is scanned or that the command is about.
        """
        if not self.openid or not (command or self.event in FOLLOW_EVENTS):
            return []
        return [f"openid:{self.account_id.id}:{self.openid}", *([f"scene:{scene}"] if scene else [])]

    def _claim_partners(self, scene, account_id, openid):
        """Lock the merchants that a scan, a command or a following may change, as the transaction's first statement.

        Whoever has written them since makes this statement fail, which is repeated, instead of a later one of the ORM,
        which would be logged with the full OpenID.

        :param str scene: of the code that is scanned or meant, if any.
        :param int account_id: the account of the push.
        :param str openid: whose event it is.
        """
        claim(
            self.env.cr,
            """
            SELECT id
              FROM res_partner
             WHERE id IN (SELECT partner_id FROM wechat_bind_code WHERE scene_str = %s
                          UNION
                          SELECT partner_id FROM wechat_binding
                           WHERE account_id = %s AND openid = %s AND state = 'bound')
             ORDER BY id
               FOR NO KEY UPDATE
            """,
            [scene, account_id, openid],
            LOCK_TIMEOUT,
        )

    def _process_once(self, command):
        self.fetch(HANDLE_FIELDS)
        if self.state not in ("received", "failed"):
            return self.reply
        self.account_id.fetch(ACCOUNT_FIELDS)
        state, reply = self._handle(command)
        self.write(
            {
                "state": state,
                "reply": reply,
                "error": False,
                "attempts": self.attempts + 1,
                "next_attempt_at": False,
            }
        )
        self.env.cr.flush()
        return reply

    def _get_logged_values(self):
        # Whatever a push calls itself must not look like a line of its own.
        kind = re.sub(r"\W", "?", self.event or self.msg_type or "")[:40]
        return self.account_id.id, self.id, kind, self.state, self.attempts

    def _process_failure(self, error):
        """Keep the error, and when to try again: after 2, 4, 8 … minutes."""
        attempts = self.attempts + 1
        self.write(
            {
                "state": "failed",
                # A text with a NUL can't be stored. That of a database error may hold a full OpenID.
                "error": self._mask_own_openid(f"{type(error).__name__}: {error}".replace("\x00", "")),
                "attempts": attempts,
                "next_attempt_at": fields.Datetime.now() + timedelta(minutes=2 ** min(attempts, 10)),
            }
        )
        self.env.cr.commit()  # pylint: disable=invalid-commit  # own cursor, see process_event

    def _get_pending_reply(self):
        """Return what a merchant reads whose scan or command could not be handled in time. It is not stored: a better
        one follows.

        :return: the passive reply in the clear, or None if nobody waits for one.
        :rtype: str | None
        """
        env = self.with_context(lang=self.env["wechat.account"]._get_lang()).env
        if self.openid and (self._get_scene() or "").startswith(SCENE_PREFIX):
            content = env._("We have received your scan. The binding will be completed in a few minutes.")
        elif self._find_command()[0]:
            content = env._("We have received your message. It will be handled in a few minutes.")
        else:
            return None
        return self._get_text_reply(content)

    def _get_scene(self):
        """Return the scene that was scanned, if any."""
        if self.event == "scan":
            return self.event_key
        if self.event == "subscribe" and (self.event_key or "").startswith(QRSCENE_PREFIX):
            return self.event_key.removeprefix(QRSCENE_PREFIX)
        return None

    def _handle(self, command):
        """Do what an event asks for.

        :param str | None command: what the person has typed, if it is a command.
        :return: the event's new state and the passive reply in the clear, or None.
        :rtype: tuple[str, str | None]
        """
        self._learn_original_id()
        if not self.openid or not self.create_time:
            return "ignored", None
        if command:
            return self._handle_command(command)
        if self.msg_type == "event":
            handler = {
                "subscribe": self._handle_subscribe,
                "scan": self._handle_scan,
                "unsubscribe": self._handle_unsubscribe,
            }.get(self.event)
        else:
            handler = self._handle_message if self.msg_type in MESSAGE_TYPES else None
        return handler() if handler else ("ignored", None)

    def _handle_subscribe(self):
        self._find_bindings()._set_subscribed(True, self._get_moment())
        if self._get_scene() is not None:
            return self._handle_scan()
        content = self.account_id.with_context(lang=self.env["wechat.account"]._get_lang()).follow_reply
        return "done", self._get_text_reply(content) if content else None

    def _handle_scan(self):
        scene = self._get_scene()
        if not scene or not scene.startswith(SCENE_PREFIX):
            # Somebody else's code on the same account.
            return "ignored", None
        # However old the scan says it is, it revives no code that had expired a day before it came.
        expired_before = max(self._get_moment(), self.create_date - RETRY_WITHIN)
        content = self.env["wechat.binding"]._bind_by_scan(
            self.account_id, self.openid, scene, self._get_moment(), expired_before
        )
        return "done", self._get_text_reply(content)

    def _handle_unsubscribe(self):
        bindings = self._find_bindings()
        bindings._set_subscribed(False, self._get_moment())
        return "done" if bindings else "ignored", None

    def _handle_message(self):
        if not self.account_id.transfer_customer_service:
            return "ignored", None
        reply = wechat_xml.transfer_customer_service(self.openid, self._get_original_id(), int(time.time()))
        return "done", reply.decode()

    def _find_bindings(self):
        """Return what binds or once bound the sender: also the OpenID of an ended binding is a leaver's data."""
        return self.env["wechat.binding"]._find(self.account_id, self.openid)

    def _get_moment(self):
        """Return when it happened: CreateTime, but not in the future, which would outdate this person's real events."""
        return min(self.create_time, self.create_date + timedelta(minutes=self.account_id.clock_tolerance))

    def _learn_original_id(self):
        """Take the account's gh_ ID from its first authentic push."""
        if not self.account_id.original_id and ORIGINAL_ID.fullmatch(self._get_original_id()):
            self.account_id.original_id = self._get_original_id()

    def _get_original_id(self):
        return json.loads(self.payload).get("ToUserName") or ""

    def _get_text_reply(self, content):
        return wechat_xml.text_reply(self.openid, self._get_original_id(), content, int(time.time())).decode()
