"""Locks of PostgreSQL that don't make a transaction miss what the former holder has committed."""

import contextlib

from psycopg2.errors import LockNotAvailable

# First key of all our advisory locks, so that they meet nobody else's; the second is the hash of a name.
NAMESPACE = 0x77656368


class LockTimeoutError(LockNotAvailable):
    """One of our own locks could not be had, as opposed to one that somebody else's code asked for."""


@contextlib.contextmanager
def session_locks(cr, names, timeout):
    """Hold a lock on each of several names, among all processes of all nodes, through any number of transactions.

    A lock of the transaction would be granted after the transaction had taken its snapshot, which would then miss what
    the former holder has committed. Here the first transaction inside the block begins after the locks were granted.

    :param cr: a cursor of its own: the block begins with a commit and ends with a rollback.
    :param names: strings; all callers must give theirs in the same order of kinds, or they may block each other.
    :param str timeout: how long to wait for each, as PostgreSQL writes it (``2500ms``).
    :raise LockTimeoutError: if somebody else holds one for longer.
    """
    if not names:
        yield
        return
    held = []
    try:
        try:
            for name in names:
                query = "SET LOCAL lock_timeout = %s; SELECT pg_advisory_lock(%s, hashtext(%s))"
                cr.execute(query, [timeout, NAMESPACE, name], log_exceptions=False)
                held.append(name)
        except LockNotAvailable as error:
            raise LockTimeoutError from error
        cr.commit()  # pylint: disable=invalid-commit  # the locks outlive it, see above
        yield
    finally:
        cr.rollback()
        query = "SELECT pg_advisory_unlock(%s, hashtext(name)) FROM unnest(%s::text[]) AS name"
        cr.execute(query, [NAMESPACE, held])


def claim(cr, query, params, timeout):
    """Lock rows by the first statement of a transaction, and leave later statements the ordinary timeout.

    :param cr: a cursor at the beginning of a transaction.
    :param str query: a SELECT ... FOR UPDATE, or a weaker lock; its rows are not returned.
    :param list params: of the query.
    :param str timeout: as for :func:`session_locks`.
    :raise LockTimeoutError: if somebody else holds a row for longer.
    :raise psycopg2.errors.SerializationFailure: if somebody else has changed a row meanwhile: roll back and repeat.
    """
    # Unlike set_config in a SELECT, SET takes no snapshot, which would be older than the wait.
    query = f"SET LOCAL lock_timeout = %s; {query}; SET LOCAL lock_timeout TO DEFAULT"
    try:
        cr.execute(query, [timeout, *params], log_exceptions=False)
    except LockNotAvailable as error:
        raise LockTimeoutError from error
