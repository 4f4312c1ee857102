import contextlib

from psycopg2.errors import LockNotAvailable

from odoo import sql_db
from odoo.tests import BaseCase, get_db_name, tagged

from ...tools.pg_lock import session_locks

TIMEOUT = "100ms"


@tagged("post_install", "-at_install", "wechat")
class TestSessionLocks(BaseCase):
    """With real connections: the cursors of a test's registry share one connection, which never blocks itself."""

    def setUp(self):
        super().setUp()
        self.cr, self.other = self._connect(), self._connect()

    def _connect(self):
        cursor = sql_db.db_connect(get_db_name()).cursor()
        self.addCleanup(cursor.close)
        return cursor

    def _is_free(self, name):
        """Tell whether another session can acquire the lock at once."""
        with contextlib.suppress(LockNotAvailable), session_locks(self.other, [name], "1ms"):
            return True
        return False

    def assertFree(self, *names):
        """Check that no session holds these locks."""
        self.assertEqual([name for name in names if not self._is_free(name)], [])

    def test_lock_is_exclusive(self):
        with session_locks(self.cr, ["a"], TIMEOUT):
            self.assertFalse(self._is_free("a"))
            self.assertFree("b")
        self.assertFree("a")

    def test_lock_outlives_transactions(self):
        with session_locks(self.cr, ["a", "b"], TIMEOUT):
            for end in (self.cr.commit, self.cr.rollback):
                self.cr.execute("SELECT 1")
                end()
                self.assertFalse(self._is_free("a") or self._is_free("b"))
        self.assertFree("a", "b")

    def test_block_begins_with_a_new_snapshot(self):
        self.cr.execute("SELECT 1")
        with session_locks(self.cr, ["a"], TIMEOUT):
            self.other.execute("SELECT pg_current_xact_id()")
            [later] = self.other.fetchone()
            self.other.commit()
            self.cr.execute("SELECT pg_visible_in_snapshot(%s::xid8, pg_current_snapshot())", [later])
            self.assertEqual(self.cr.fetchone(), (True,))

    def test_timeout_ends_with_the_waiting(self):
        with session_locks(self.cr, ["a"], TIMEOUT):
            self.cr.execute("SHOW lock_timeout")
            self.assertEqual(self.cr.fetchone(), ("0",))

    def test_released_after_an_exception(self):
        with self.assertRaises(ZeroDivisionError), session_locks(self.cr, ["a", "b"], TIMEOUT):
            self.assertFalse(self._is_free("a"))
            raise ZeroDivisionError
        self.assertFree("a", "b")

    def test_released_after_a_failed_statement(self):
        with self.assertRaises(LockNotAvailable), session_locks(self.cr, ["a"], TIMEOUT):
            self.cr.execute("DO $$ BEGIN RAISE lock_not_available; END $$", log_exceptions=False)
        self.assertFree("a")

    def test_first_lock_is_released_if_the_second_times_out(self):
        with session_locks(self.other, ["b"], TIMEOUT):
            with self.assertRaises(LockNotAvailable), session_locks(self.cr, ["a", "b"], TIMEOUT):
                self.fail("Another session holds the second lock")
            third = self._connect()
            with session_locks(third, ["a"], "1ms"):
                pass
        self.assertFree("a", "b")

    def test_no_names(self):
        with session_locks(self.cr, [], TIMEOUT):
            self.cr.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
            self.assertEqual(self.cr.fetchone(), (0,))
