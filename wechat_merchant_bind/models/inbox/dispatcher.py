"""Handles stored pushes in transactions of their own, for as long as WeChat waits for the answer."""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import lru_cache

import psycopg2

from odoo import SUPERUSER_ID, api
from odoo.modules import module
from odoo.sql_db import PoolError

_logger = logging.getLogger(__name__)

# WeChat cuts the connection after 5 seconds and counts the push as failed. Slower handling, such as by an automation of
# another addon, goes on in its thread after WeChat has got a provisional answer.
HANDLING_SECONDS = 3.5
HANDLING_THREADS = 16
# The database refuses, or Odoo has no free connection to it.
DATABASE_ERRORS = (psycopg2.Error, PoolError)

_free_threads = threading.BoundedSemaphore(HANDLING_THREADS)


@lru_cache(maxsize=1)
def _get_executor():
    """Return the threads that handle pushes. They are started in the worker process, after its fork."""
    return ThreadPoolExecutor(HANDLING_THREADS, thread_name_prefix="wechat_event")


def dispatch(registry, event_id, is_slow):
    """Handle a stored push for as long as WeChat waits for its answer.

    :param Registry registry: the database's registry.
    :param int event_id: a wechat.event. Its transaction is committed.
    :param bool is_slow: whether code of other addons may run, see Handler.
    :return: the passive reply in the clear, a provisional one if the push is handled later, or None.
    :rtype: str | None
    """
    try:
        # A test shares its cursor with the request: a thread would wait for it forever.
        if is_slow and not module.current_test:
            return _process_in_thread(registry, event_id)
        return process_event(registry, event_id)
    except FutureTimeoutError:
        _logger.warning("wechat.inbox: takes longer than WeChat waits event=%s", event_id)
    except DATABASE_ERRORS as error:
        _logger.error("wechat.inbox: left to the cron event=%s error=%s", event_id, describe_error(error))
    return _call(registry, event_id, "_get_provisional_reply")


def process_event(registry, event_id, is_late=False):
    """Handle a stored push in a transaction of its own.

    It runs as the superuser, so that OdooBot is the author of notes in the chatter instead of the public user.

    :param Registry registry: the database's registry.
    :param int event_id: a wechat.event. Its transaction is committed.
    :param bool is_late: whether the sender got a provisional reply, and is to be told the outcome.
    :return: the passive reply in the clear, or None.
    :rtype: str | None
    """
    # The database that log lines of this thread name.
    threading.current_thread().dbname = registry.db_name
    try:
        with registry.cursor() as cr:
            env = api.Environment(cr, SUPERUSER_ID, {})
            # A push has no user whose language errors and notes could take.
            env = env(context={"lang": env["wechat.account"]._get_lang(), "wechat_is_late": is_late})
            reply = env["wechat.event"].browse(event_id)._process()
        registry.signal_changes()
    except Exception:
        registry.reset_changes()
        raise
    return reply


def describe_error(error):
    """Return an error of the database without its details, which may hold a full OpenID.

    :rtype: str
    """
    message = error.diag.message_primary if isinstance(error, psycopg2.Error) else None
    return message or type(error).__name__


def _process_in_thread(registry, event_id):
    """Handle a push in a thread. If none becomes free in time, the scheduled action handles the push.

    A thread that ends after the provisional reply has the outcome told.

    :return: the passive reply in the clear, or None.
    :raise concurrent.futures.TimeoutError: if it takes longer than WeChat waits.
    """
    deadline = time.monotonic() + HANDLING_SECONDS
    if not _free_threads.acquire(timeout=HANDLING_SECONDS):
        _call(registry, event_id, "_retry_soon")
        raise FutureTimeoutError
    future = _get_executor().submit(process_event, registry, event_id)
    future.add_done_callback(lambda _future: _free_threads.release())
    try:
        return future.result(max(0, deadline - time.monotonic()))
    except FutureTimeoutError:
        future.add_done_callback(lambda _future: _call(registry, event_id, "_tell_if_handled"))
        raise


def _call(registry, event_id, method):
    """Call a method of an event in a transaction of its own.

    :param str method: a method without parameters.
    :return: its result, or None if the database refuses.
    """
    try:
        with registry.cursor() as cr:
            return getattr(api.Environment(cr, SUPERUSER_ID, {})["wechat.event"].browse(event_id), method)()
    except DATABASE_ERRORS as error:
        _logger.error("wechat.inbox: step failed method=%s event=%s error=%s", method, event_id, describe_error(error))
        return None
