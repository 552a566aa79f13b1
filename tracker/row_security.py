"""Row-level security: PostgreSQL's own lock between teams, behind the application's filters.

The tables' owner (the worker, the command line, signing in) sees everything. What a person asks for runs as a role
that owns no table and sees the rows of one team: that of the setting `tracker.team_id`, for as long as the
transaction lasts. A filter that somebody forgot then shows nothing rather than everything.

Policies belong to the database and travel with its dumps. Roles belong to the server, so the role is looked after
at each start (`ensure`), and named for its database.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, SessionTransaction

from tracker.db import TEAM, Sessions

log = logging.getLogger(__name__)

SETTING = "tracker.team_id"
POLICY = "of_team"
#: Without a team it is NULL, and no row is shown. Where the query names the team too, PostgreSQL compares the two
#: once a statement. (In a sub-select it would always be asked once, but planned for each table of each statement.)
_TEAM = f"nullif(current_setting('{SETTING}', true), '')::bigint"
#: What the role may do is what pages do, no more.
_VERBS = {"events": ("SELECT", "INSERT"), "teams": ("SELECT", "UPDATE")}
_ALL = ("SELECT", "INSERT", "UPDATE", "DELETE")

#: PostgreSQL asks an index only for what can't tell of rows that the policy hides ("leakproof"), and counts the
#: operators below among those that might. They tell nothing but their answer; and nobody writes SQL here but us.
LEAKPROOF = (
    "ts_match_vq(tsvector, tsquery)", "ts_match_qv(tsquery, tsvector)",
    "textlike(text, text)", "textnlike(text, text)", "texticlike(text, text)", "texticnlike(text, text)",
    "lower(text)", "arraycontains(anyarray, anyarray)", "arraycontained(anyarray, anyarray)",
    "arrayoverlap(anyarray, anyarray)", "jsonb_contains(jsonb, jsonb)", "jsonb_exists(jsonb, text)",
    "jsonb_object_field_text(jsonb, text)", "jsonb_object_field(jsonb, text)",
)  # fmt: skip


class Why(StrEnum):
    """What a request may do with the system's rights once it is known who asks, and why; there is nothing else."""

    ONE_ACCOUNT_ONE_TEAM = "a Gmail account is connected once: whether another team has it is asked of all of them"
    ONE_BROWSER_ONE_PERSON = "a browser rings for whoever switched it on last, of whichever team they were before"


@dataclass(frozen=True, slots=True)
class Lock:
    """How the lock is."""

    role: str
    problems: tuple[str, ...] = ()  #: what keeps it from holding, in words; none: it holds
    path: str = "public"  #: where the tables are, and what else is found

    @property
    def holds(self) -> bool:
        """Whether requests run behind it."""
        return not self.problems


# -- the policies


def guard(connection: Connection, table: str) -> None:
    """Put a table that has a `team_id` behind the lock. For migrations: `guard(op.get_bind(), "things")`."""
    name, column = _quoted(connection, table), "id" if table == "teams" else "team_id"
    for statement in (
        f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY",
        f"DROP POLICY IF EXISTS {POLICY} ON {name}",
        f"CREATE POLICY {POLICY} ON {name} USING ({column} = {_TEAM}) WITH CHECK ({column} = {_TEAM})",
    ):
        connection.execute(text(statement))


def unguard(connection: Connection, table: str) -> None:
    """Take the lock off a table."""
    name = _quoted(connection, table)
    connection.execute(text(f"DROP POLICY IF EXISTS {POLICY} ON {name}"))
    connection.execute(text(f"ALTER TABLE {name} DISABLE ROW LEVEL SECURITY"))


def tables(connection: Connection) -> Sequence[str]:
    """The tables whose rows are a team's, `teams` among them."""
    query = f"SELECT relname FROM ({_TABLES}) AS found ORDER BY relname"  # noqa: S608 - no input in it
    return connection.scalars(text(query)).all()


_TABLES = """
    SELECT c.oid, c.relname, c.relowner, c.relrowsecurity FROM pg_class c
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
      AND (c.relname = 'teams' OR EXISTS (
        SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'team_id' AND NOT a.attisdropped))
"""


def guard_all(connection: Connection) -> None:
    """Put every table with a team behind the lock that is not yet."""
    for table in _state(connection).open_tables:
        guard(connection, table)


def _quoted(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote(name)


# -- the role


def role_name(database: str) -> str:
    """The role of a database: of two in one server, neither's opens the other."""
    # PostgreSQL cuts names at 63 bytes, and keeps those in pg_ for itself.
    start = database.encode()[:40].decode(errors="ignore")
    start = f"of_{start}"[:40] if start.lower().startswith("pg_") else start
    return f"{start}_team_{hashlib.sha256(database.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class _State:
    role: str
    exists: bool
    may_become: bool
    too_strong: bool
    open_tables: Sequence[str]  #: without a policy
    ungranted: Sequence[str]
    schema: str
    path: str
    may_use: bool  #: the schema
    superuser: bool


#: Of the tables with a team, those that number their rows.
_SEQUENCES = """
    SELECT c.oid, c.relname
    FROM pg_class c
    JOIN pg_depend d ON d.objid = c.oid AND d.classid = 'pg_class'::regclass
    JOIN found ON d.refclassid = 'pg_class'::regclass AND d.refobjid = found.oid
    WHERE c.relkind = 'S' AND d.deptype IN ('a', 'i') AND found.relname <> 'teams'
"""
_STATE = f"""
    WITH found AS ({_TABLES}), r AS (SELECT * FROM pg_roles WHERE rolname = :role)
    SELECT EXISTS (SELECT FROM r),
      coalesce((SELECT pg_has_role(current_user, r.oid, :become) FROM r), false),
      coalesce((SELECT r.rolsuper OR r.rolbypassrls OR EXISTS (SELECT FROM found WHERE relowner = r.oid)
                FROM r), false),
      array(SELECT relname::text FROM found WHERE NOT relrowsecurity OR NOT EXISTS (
        SELECT FROM pg_policy p WHERE p.polrelid = found.oid AND p.polname = '{POLICY}')),
      array(SELECT relname::text FROM found, r
        WHERE NOT has_table_privilege(r.oid, found.oid, 'SELECT')
           OR relname <> 'teams' AND NOT has_table_privilege(r.oid, found.oid, 'INSERT')
           OR relname NOT IN ('events', 'teams') AND NOT (
             has_table_privilege(r.oid, found.oid, 'UPDATE') AND has_table_privilege(r.oid, found.oid, 'DELETE'))
        UNION ALL SELECT s.relname::text FROM ({_SEQUENCES}) s, r
        WHERE NOT has_sequence_privilege(r.oid, s.oid, 'USAGE')),
      current_schema()::text,
      array_to_string(ARRAY(SELECT quote_ident(one) FROM unnest(current_schemas(false)) AS one), ', '),
      coalesce((SELECT has_schema_privilege(r.oid, current_schema(), 'USAGE') FROM r), false),
      (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
"""  # noqa: S608 - the policy's name is ours


def _state(connection: Connection) -> _State:
    role = role_name(str(connection.scalar(text("SELECT current_database()"))))
    become = "SET" if _newer(connection) else "MEMBER"
    row = connection.execute(text(_STATE), {"role": role, "become": become}).one()
    return _State(role, *row)


def _newer(connection: Connection) -> bool:
    """Whether the server tells becoming a role from inheriting its rights (since PostgreSQL 16)."""
    return (connection.dialect.server_version_info or (0,)) >= (16,)


def look(connection: Connection) -> Lock:
    """How the lock is, without changing anything."""
    state = _state(connection)
    found = []
    if not state.exists:
        found.append(f"there is no role {state.role}")
    elif not state.may_become:
        found.append(f"the database user is no member of the role {state.role}")
    if state.too_strong:
        found.append(f"the role {state.role} passes by every policy: it must be no superuser and own no table")
    if state.open_tables:
        found.append(f"tables without the policy: {', '.join(state.open_tables)}")
    if state.exists and not state.may_use:
        words = f'GRANT USAGE ON SCHEMA "{state.schema}" TO "{state.role}"'
        found.append(f"the role {state.role} may not use the schema {state.schema} of this database ({words})")
    if state.exists and state.ungranted:
        found.append(f"the role {state.role} has no rights on: {', '.join(state.ungranted)}")
    return Lock(state.role, tuple(found), state.path)


def remedy(lock: Lock, user: str) -> str:
    """What a database administrator runs where we may not make roles; then Tracker is started again."""
    return f'CREATE ROLE "{lock.role}" NOLOGIN NOSUPERUSER NOBYPASSRLS;\nGRANT "{lock.role}" TO "{user}";'


def ensure(engine: Engine) -> Lock:
    """Make of the lock what this user may: role, rights, policies. What could not be done is in what is returned.

    Each step in its own transaction, since an administrator may have allowed us one and not the other.
    """
    with engine.connect() as connection:
        if not connection.scalar(text("SELECT to_regclass('teams') IS NOT NULL")):
            return Lock("", ("there are no tables yet",))
        state = _state(connection)
        connection.commit()
        for step in (_make_role, _join_role, _guard_tables, _grant, _mark_leakproof):
            try:
                step(connection, state)
                connection.commit()
            except DBAPIError as error:  # told by `look`, in its own words
                connection.rollback()
                log.debug("Row-level security: %s: %s", step.__name__, error.orig)
        return look(connection)


def _make_role(connection: Connection, state: _State) -> None:
    if not state.exists:
        connection.execute(text(f'CREATE ROLE "{state.role}" NOLOGIN NOSUPERUSER NOBYPASSRLS'))


def _join_role(connection: Connection, state: _State) -> None:
    if not state.superuser and not state.may_become:
        how = " WITH INHERIT FALSE, SET TRUE" if _newer(connection) else ""
        connection.execute(text(f'GRANT "{state.role}" TO CURRENT_USER{how}'))


def _guard_tables(connection: Connection, _: _State) -> None:
    guard_all(connection)


def _grant(connection: Connection, state: _State) -> None:
    if not state.ungranted and state.may_use and state.exists:
        return
    schema = _quoted(connection, state.schema)
    connection.execute(text(f'GRANT USAGE ON SCHEMA {schema} TO "{state.role}"'))
    for table in tables(connection):
        name, verbs = _quoted(connection, table), ", ".join(_VERBS.get(table, _ALL))
        connection.execute(text(f'GRANT {verbs} ON {name} TO "{state.role}"'))
        sequence = connection.scalar(text(_SEQUENCE), {"table": table})
        if sequence:
            connection.execute(text(f'GRANT USAGE ON SEQUENCE {sequence} TO "{state.role}"'))


_SEQUENCE = """
    SELECT pg_get_serial_sequence(quote_ident(:table), 'id') WHERE EXISTS (
      SELECT FROM pg_attribute WHERE attrelid = to_regclass(quote_ident(:table)) AND attname = 'id')
"""


def _mark_leakproof(connection: Connection, state: _State) -> None:
    """Let indexes be used behind the lock; see `LEAKPROOF`. Only a superuser may."""
    if not state.superuser:
        return
    wanted = [f"pg_catalog.{one}" for one in LEAKPROOF]
    query = text("SELECT one FROM unnest(CAST(:all AS text[])) one JOIN pg_proc ON oid = to_regprocedure(one) "
                 "WHERE NOT proleakproof")  # fmt: skip
    for one in connection.scalars(query, {"all": wanted}).all():
        connection.execute(text(f"ALTER FUNCTION {one} LEAKPROOF"))


def remove(connection: Connection) -> None:
    """Take the lock off every table, and the role's rights away; for the way back."""
    for table in tables(connection):
        unguard(connection, table)
    state = _state(connection)
    if state.exists:
        with suppress(DBAPIError), connection.begin_nested():
            connection.execute(text(f'DROP OWNED BY "{state.role}"'))
            connection.execute(text(f'DROP ROLE "{state.role}"'))


# -- sessions behind the lock

#: How each engine's lock was found: once a process where it holds, else again after a minute.
_locks: WeakKeyDictionary[Engine, Lock] = WeakKeyDictionary()
_asked: WeakKeyDictionary[Engine, float] = WeakKeyDictionary()
AGAIN = 60.0  # seconds


def lock_of(session: Session) -> Lock:
    """The lock of a session's database, looked at when it is first asked for; one that is off, now and then."""
    engine, now = session.get_bind().engine, monotonic()
    found = _locks.get(engine)
    if found is None or not (found.holds or now < _asked.setdefault(engine, now) + AGAIN):
        before, found = found, look(session.connection())
        _locks[engine], _asked[engine] = found, now
        if not found.holds and found != before:
            log.warning(
                "Row-level security is off: %s; `tracker db security` says more", "; ".join(found.problems)
            )
    return found


def enter(session: Session, team_id: int) -> None:
    """From now on, through all its transactions, the session sees this team's rows only."""
    if session.info.get(TEAM) == team_id or not lock_of(session).holds:
        return
    # PostgreSQL would take the role back with the savepoint, and the session would not know.
    assert not session.in_nested_transaction()
    session.flush()  # what was done before was the system's
    session.info[TEAM] = team_id
    if session.in_transaction():
        _apply(session.connection(), lock_of(session), team_id)


@contextmanager
def as_system(session: Session, why: Why) -> Iterator[None]:
    """Within the block the session has the system's rights again; `why` says that this was thought about."""
    team_id = session.info.pop(TEAM, None)
    if team_id is None:
        yield
        return
    assert isinstance(why, Why)
    session.flush()
    session.execute(text("SELECT set_config('role', 'none', true)"))
    try:
        yield
        session.flush()
    finally:
        session.info[TEAM] = team_id
        with suppress(DBAPIError):  # a transaction that failed ends anyway, and the next one begins locked
            _apply(session.connection(), lock_of(session), team_id)


@contextmanager
def opened(sessions: Sessions, team_id: int) -> Iterator[Session]:
    """A session of its own behind the lock."""
    with sessions() as session:
        enter(session, team_id)
        yield session


def _apply(connection: Connection, lock: Lock, team_id: int) -> None:
    """One round trip for all, until the end of the transaction.

    The path too: a `"$user"` in it, the schema that is called as one's role, would be another.
    """
    values = {"team": str(team_id), "path": lock.path, "role": lock.role}
    connection.execute(text(_APPLY), values)


_APPLY = (
    f"SELECT set_config('{SETTING}', :team, true), set_config('search_path', :path, true), "
    "set_config('role', :role, true)"
)


@event.listens_for(Session, "after_begin")
def _lock_again(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    team_id: Any = session.info.get(TEAM)
    if team_id is not None and not transaction.nested:
        _apply(connection, _locks[connection.engine], team_id)
