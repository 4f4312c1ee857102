"""Advisory locks of PostgreSQL that outlive a transaction."""

import contextlib

# First key of all our locks, so that they meet nobody else's; the second is the hash of a name.
NAMESPACE = 0x77656368


@contextlib.contextmanager
def session_locks(cr, names, timeout):
    """Hold a lock on each of several names, among all processes of all nodes, through any number of transactions.

    A lock of the transaction would be granted after the transaction had taken its snapshot, which would then miss what
    the former holder has committed. Here the first transaction inside the block begins after the locks were granted.

    :param cr: a cursor of its own: the block begins with a commit and ends with a rollback.
    :param names: strings; all callers must give theirs in the same order of kinds, or they may block each other.
    :param str timeout: how long to wait for each, as PostgreSQL writes it (``2500ms``).
    :raise psycopg2.errors.LockNotAvailable: if somebody else holds one for longer.
    """
    if not names:
        yield
        return
    held = []
    try:
        cr.execute("SELECT set_config('lock_timeout', %s, true)", [timeout])
        for name in names:
            cr.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", [NAMESPACE, name], log_exceptions=False)
            held.append(name)
        cr.commit()  # pylint: disable=invalid-commit  # the locks outlive it, see above
        yield
    finally:
        cr.rollback()
        for name in held:
            cr.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", [NAMESPACE, name])
