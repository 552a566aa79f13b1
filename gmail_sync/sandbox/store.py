"""The one SQLite database behind a sandbox: its tables, its lock and its transactions.

In memory by default; a file makes a demo survive a restart. One connection is shared by all
threads behind a re-entrant lock: the work under it is short, and parsing happens outside.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gmail_sync.sandbox.errors import invalid
from gmail_sync.sandbox.ids import FIRST_ID, ID_STEP

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value BLOB);
CREATE TABLE IF NOT EXISTS users (
    id INTEGER PRIMARY KEY, address TEXT NOT NULL UNIQUE, shown TEXT NOT NULL, name TEXT NOT NULL,
    history_id INTEGER NOT NULL, history_floor INTEGER NOT NULL, next_label INTEGER NOT NULL DEFAULT 1,
    watch TEXT);
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL, thread_id INTEGER NOT NULL,
    internal_date INTEGER NOT NULL, history_id INTEGER NOT NULL, size INTEGER NOT NULL,
    labels TEXT NOT NULL, hidden INTEGER NOT NULL, rfc822 TEXT NOT NULL, subject TEXT NOT NULL,
    subject_key TEXT NOT NULL, sender TEXT NOT NULL, to_ TEXT NOT NULL, cc TEXT NOT NULL, bcc TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS messages_shown ON messages (user_id, hidden, internal_date DESC, id DESC);
CREATE INDEX IF NOT EXISTS messages_all ON messages (user_id, internal_date DESC, id DESC);
CREATE INDEX IF NOT EXISTS messages_thread ON messages (user_id, thread_id, internal_date);
CREATE INDEX IF NOT EXISTS messages_rfc822 ON messages (user_id, rfc822);
CREATE TABLE IF NOT EXISTS raws (id INTEGER PRIMARY KEY, raw BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS message_labels (
    user_id INTEGER, label_id TEXT, internal_date INTEGER, message_id INTEGER,
    PRIMARY KEY (user_id, label_id, internal_date DESC, message_id DESC)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refs (
    user_id INTEGER, rfc822 TEXT, subject_key TEXT, message_id INTEGER, thread_id INTEGER,
    PRIMARY KEY (user_id, rfc822, subject_key, message_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS refs_message ON refs (message_id);
CREATE TABLE IF NOT EXISTS labels (
    user_id INTEGER, id TEXT, name TEXT NOT NULL, type TEXT NOT NULL, message_visibility TEXT,
    list_visibility TEXT, text_color TEXT, background_color TEXT, PRIMARY KEY (user_id, id));
CREATE TABLE IF NOT EXISTS history (
    user_id INTEGER, id INTEGER, kind TEXT, message_id INTEGER, thread_id INTEGER, labels TEXT,
    changed TEXT, at INTEGER, PRIMARY KEY (user_id, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS drafts (id TEXT PRIMARY KEY, user_id INTEGER, message_id INTEGER UNIQUE);
CREATE TABLE IF NOT EXISTS tokens (
    token TEXT PRIMARY KEY, kind TEXT, user_id INTEGER, client_id TEXT, scopes TEXT, expires_at REAL);
CREATE INDEX IF NOT EXISTS tokens_user ON tokens (user_id);
CREATE TABLE IF NOT EXISTS loads (
    user_id INTEGER, fingerprint TEXT, loaded INTEGER, PRIMARY KEY (user_id, fingerprint));
"""

Row = sqlite3.Row
#: What a parameter of a statement may be.
Value = str | int | float | bytes | None


class Store:
    """Rows in and out, inside transactions. `path` None keeps everything in memory."""

    def __init__(self, path: Path | None = None) -> None:
        self.lock = threading.RLock()
        self._depth = 0
        self._after: list[Callable[[], None]] = []
        self._db = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        if path:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        """Close the file; nothing may be asked afterwards."""
        with self.lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; nests, and then only the outermost commits.

        What was handed to `after_commit` runs once the lock is free, unless all was rolled back.
        """
        with self.lock:
            self._depth += 1
            try:
                if self._depth == 1:
                    self._db.execute("BEGIN IMMEDIATE")
                yield
                if self._depth == 1:
                    self._db.execute("COMMIT")
            except BaseException:
                if self._depth == 1:
                    self._db.execute("ROLLBACK")
                    self._after.clear()
                raise
            finally:
                self._depth -= 1
            after, self._after = (self._after, []) if self._depth == 0 else ([], self._after)
        for act in after:
            act()

    def after_commit(self, act: Callable[[], None]) -> None:
        """Run `act` when the transaction that is open has been committed and the lock is free."""
        self._after.append(act)

    def run(self, sql: str, *values: Value) -> int:
        """Run one statement; returns the number of rows it touched."""
        with self.lock:
            return self._db.execute(sql, values).rowcount

    def run_many(self, sql: str, rows: Iterable[tuple[Value, ...]]) -> None:
        """Run one statement for each row."""
        with self.lock:
            self._db.executemany(sql, rows)

    def rows(self, sql: str, *values: Value) -> list[Row]:
        """All rows of a query. Raises ApiError 400 for one that is too much for SQLite, as a search may be."""
        with self.lock:
            try:
                return self._db.execute(sql, values).fetchall()
            except sqlite3.OperationalError as error:
                if "too large" in str(error) or "overflow" in str(error):
                    raise invalid("Search query too long") from error
                raise

    def row(self, sql: str, *values: Value) -> Row | None:
        """The first row of a query, or None."""
        with self.lock:
            found: Row | None = self._db.execute(sql, values).fetchone()
            return found

    def value(self, sql: str, *values: Value) -> Any:
        """The first column of the first row, or None."""
        row = self.row(sql, *values)
        return row[0] if row else None

    def function(self, name: str, arguments: int, function: Callable[..., object]) -> None:
        """Make a Python function callable in SQL; a fault inside it is a SQL error."""
        self._db.create_function(name, arguments, function)  # type: ignore[arg-type]

    def meta(self, key: str, make: Callable[[], bytes]) -> bytes:
        """A value that is made once and kept with the data (a signing key, a secret)."""
        with self.transaction():
            found = self.value("SELECT value FROM meta WHERE key = ?", key)
            if found is None:
                found = make()
                self.run("INSERT INTO meta VALUES (?, ?)", key, found)
        return bytes(found)

    def new_id(self) -> int:
        """The next message id: larger than every one given before, to any user."""
        with self.transaction():
            last = self.value("SELECT value FROM meta WHERE key = 'last_id'")
            number = int(last) + ID_STEP if last is not None else FIRST_ID
            self.run("INSERT OR REPLACE INTO meta VALUES ('last_id', ?)", str(number))
        return number
