"""Advisory locks and row locks of PostgreSQL, acquired before the transaction takes its snapshot."""

import contextlib

from psycopg2.errors import LockNotAvailable

# First key of all our advisory locks, which separates them from other addons'; the second is the hash of a name.
NAMESPACE = 0x77656368


class LockTimeoutError(LockNotAvailable):
    """One of our own locks could not be acquired, as opposed to a lock of other code."""


@contextlib.contextmanager
def session_locks(cr, names, timeout):
    """Hold a lock on each of several names, across all processes and nodes and any number of transactions.

    A transaction-level lock would be granted after the snapshot was taken, which would miss the last commit of the
    former holder. Here, the first transaction inside the block begins after the locks were granted.

    :param cr: a cursor without other work: the block begins with a commit and ends with a rollback.
    :param names: strings; all callers must order them alike, or they may block each other.
    :param str timeout: the longest wait for each lock, in PostgreSQL's notation (2500ms).
    :raise LockTimeoutError: if another session holds a lock for longer.
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
    """Lock rows by the first statement of a transaction, with a timeout for this statement only.

    :param cr: a cursor at the beginning of a transaction.
    :param str query: a SELECT ... FOR UPDATE, or a weaker lock; its rows are not returned.
    :param list params: of the query.
    :param str timeout: as for session_locks.
    :raise LockTimeoutError: if another transaction holds a row for longer.
    :raise psycopg2.errors.SerializationFailure: if another transaction has changed a row: roll back and repeat.
    """
    # SET takes no snapshot; the one of set_config in a SELECT would be older than the wait.
    query = f"SET LOCAL lock_timeout = %s; {query}; SET LOCAL lock_timeout TO DEFAULT"
    try:
        cr.execute(query, [timeout, *params], log_exceptions=False)
    except LockNotAvailable as error:
        raise LockTimeoutError from error
