"""The second lock: with the application's filters away, PostgreSQL shows one team's rows and no others."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy import Connection, Engine, create_engine, func, make_url, select, text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.orm import Session

from config import tables, teams
from config.postgres import Cluster
from tests import databases
from tests.tracker.domain import NOW, a_box, a_team
from tracker import events, people, row_security
from tracker.boxes import Box
from tracker.db import TEAM, Sessions, insert_many, transaction
from tracker.events import Event
from tracker.people import Team, User, viewer_of
from tracker.row_security import Why

OF_TEAM = [one.name for one in tables.metadata.sorted_tables if one.name == "teams" or "team_id" in one.columns]


@pytest.fixture
def two(sessions: Sessions) -> tuple[User, User]:
    """The admins of two teams, each with a box."""
    with transaction(sessions) as session:
        alice = a_team(session)
        zoe = teams.found(session, "Others", "zoe@others.example", "Zoe")
        for user, name in ((alice, "Acme"), (zoe, "Secret deal")):
            a_box(session, viewer_of(user, "test"), name, now=NOW)
        return alice, zoe


def teams_seen(connection: Connection, table: str) -> set[int]:
    """Whose rows a table shows, without any filter."""
    column = "id" if table == "teams" else "team_id"
    return set(connection.scalars(text(f"SELECT DISTINCT {column} FROM {table}")))


def test_every_table_with_a_team_is_behind_the_lock(engine: Engine) -> None:
    with engine.connect() as connection:
        guarded = connection.scalars(
            text(
                "SELECT relname FROM pg_class WHERE relrowsecurity AND relkind = 'r' AND "
                "ARRAY(SELECT polname::text FROM pg_policy WHERE polrelid = pg_class.oid) = ARRAY['of_team']"
            )
        ).all()
        assert sorted(guarded) == sorted(OF_TEAM)
        assert row_security.look(connection).problems == ()


def test_a_table_that_forgot_is_guarded_at_the_next_start(cluster: Cluster) -> None:
    with databases.copied(cluster) as url:
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE forgot (id bigserial PRIMARY KEY, team_id bigint)"))
            found = row_security.look(connection).problems
            assert any("forgot" in one for one in found)
        assert row_security.ensure(engine).holds
        with engine.connect() as connection:
            connection.execute(text("INSERT INTO forgot (team_id) VALUES (1), (2), (NULL)"))
            _become(connection, 2)
            assert teams_seen(connection, "forgot") == {2}
            connection.execute(text("INSERT INTO forgot (team_id) VALUES (2)"))  # the sequence too
        engine.dispose()


def _become(connection: Connection, team_id: int) -> None:
    row_security._apply(connection, row_security.look(connection), team_id)


def test_without_a_filter_a_team_sees_its_own_rows_only(
    sessions: Sessions, two: tuple[User, User], engine: Engine
) -> None:
    alice, zoe = two
    with engine.connect() as connection:
        of_both = [one for one in OF_TEAM if teams_seen(connection, one) == {alice.team_id, zoe.team_id}]
    assert {"teams", "users", "boxes", "pipelines", "stages", "events", "own_addresses"} <= set(of_both)
    with row_security.opened(sessions, alice.team_id) as session:
        for table in of_both:
            assert teams_seen(session.connection(), table) == {alice.team_id}, table
        for table in OF_TEAM:
            assert teams_seen(session.connection(), table) <= {alice.team_id}, table


def test_the_lock_holds_in_the_next_transaction_and_not_on_the_next_one_who_has_the_connection(
    sessions: Sessions, two: tuple[User, User], engine: Engine
) -> None:
    alice, zoe = two
    with row_security.opened(sessions, alice.team_id) as session:
        for end in (session.commit, session.rollback, session.commit):
            assert session.scalars(select(Team.id)).all() == [alice.team_id]
            end()
        with session.begin_nested() as inner:
            inner.rollback()
        assert session.scalars(select(Team.id)).all() == [alice.team_id]
    with sessions() as session:
        assert set(session.scalars(select(Team.id))) == {alice.team_id, zoe.team_id}
    with row_security.opened(sessions, zoe.team_id) as session:
        assert session.scalars(select(Box.name)).all() == ["Secret deal"]


def test_nothing_is_seen_where_no_team_was_said(two: tuple[User, User], engine: Engine) -> None:
    with engine.connect() as connection:
        role = row_security.look(connection).role
        connection.execute(text(f'SET LOCAL ROLE "{role}"'))
        assert teams_seen(connection, "boxes") == set()
        connection.commit()
        _become(connection, two[0].team_id)
        connection.commit()  # PostgreSQL leaves an empty word behind, not nothing
        connection.execute(text(f'SET LOCAL ROLE "{role}"'))
        assert teams_seen(connection, "boxes") == set()


def test_nothing_of_another_team_is_written(sessions: Sessions, two: tuple[User, User]) -> None:
    alice, zoe = two
    with row_security.opened(sessions, alice.team_id) as session:
        assert session.execute(text("UPDATE boxes SET name = 'Mine now'")).rowcount == 1  # type: ignore[attr-defined]
        assert session.execute(text("DELETE FROM tasks")).rowcount == 0  # type: ignore[attr-defined]
        with pytest.raises(ProgrammingError, match="row-level security"):
            session.execute(text("UPDATE boxes SET team_id = :other"), {"other": zoe.team_id})
        session.rollback()
        with pytest.raises(ProgrammingError, match="row-level security"):
            events.record(session, zoe.team_id, "box.moved")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET kind = 'x'", "DELETE FROM events", "DELETE FROM teams", "TRUNCATE boxes",
        "SELECT * FROM alembic_version", "SELECT * FROM procrastinate_jobs", "SELECT * FROM event_readers",
        "ALTER TABLE boxes DISABLE ROW LEVEL SECURITY", "DROP POLICY of_team ON boxes",
        "CREATE TABLE mine (id int)", "INSERT INTO teams (key, name) VALUES ('k', 'T')",
    ],
)  # fmt: skip
def test_the_role_may_do_no_more_than_pages_do(sessions: Sessions, two: tuple[User, User], statement: str) -> None:
    with (
        row_security.opened(sessions, two[0].team_id) as session,
        pytest.raises(DBAPIError, match=r"permission|owner"),
    ):
        session.execute(text(statement))


def test_many_rows_are_inserted_behind_the_lock(sessions: Sessions, two: tuple[User, User]) -> None:
    """COPY is not possible there."""
    rows = [{"team_id": two[0].team_id, "kind": f"a.{n}", "actor": "system", "data": {"n": n}} for n in range(9)]
    with row_security.opened(sessions, two[0].team_id) as session:
        insert_many(session, Event, rows)
        session.commit()
        query = select(func.count()).select_from(Event).where(Event.kind.like("a.%"))
        assert session.scalar(query) == 9


def test_the_systems_rights_last_as_long_as_their_block(sessions: Sessions, two: tuple[User, User]) -> None:
    alice, zoe = two
    with row_security.opened(sessions, alice.team_id) as session:
        assert people.by_address(session, zoe.address) is None
        with row_security.as_system(session, Why.ONE_ACCOUNT_ONE_TEAM):
            assert people.by_address(session, zoe.address) is not None
        assert session.info[TEAM] == alice.team_id
        assert session.scalars(select(Team.id)).all() == [alice.team_id]
        with pytest.raises(DBAPIError), row_security.as_system(session, Why.ONE_ACCOUNT_ONE_TEAM):
            session.execute(text("SELECT 1/0"))
        session.rollback()
        assert session.scalars(select(Team.id)).all() == [alice.team_id]


# -- an administrator's database


def test_a_user_who_may_not_make_roles_is_told_what_to_ask_for(cluster: Cluster) -> None:
    """Everything works, unlocked; once the administrator did as told, the lock holds."""
    with databases.copied(cluster) as url, databases.administering(cluster) as admin:
        name = str(make_url(url).database)
        admin.execute("CREATE ROLE plain LOGIN")
        _hand_over(cluster, name)
        engine = create_engine(url.replace("://tracker@", "://plain@"))
        try:
            lock = row_security.ensure(engine)
            assert lock.problems == (f"there is no role {lock.role}",)
            with Session(engine) as session:
                row_security.enter(session, 1)
                assert TEAM not in session.info
                session.execute(select(Team))
            admin.execute(row_security.remedy(lock, "plain"))
            assert row_security.ensure(engine).holds
            with engine.connect() as connection:
                _become(connection, 1)
                assert teams_seen(connection, "boxes") == set()
        finally:
            engine.dispose()
            with databases.administering(cluster, name) as there:
                there.execute("REASSIGN OWNED BY plain TO tracker; DROP OWNED BY plain")
                there.execute(f'DROP OWNED BY "{lock.role}"')
            admin.execute(f'DROP ROLE "{lock.role}"')
            admin.execute("DROP ROLE plain")


def _hand_over(cluster: Cluster, name: str) -> None:
    with databases.administering(cluster, name) as there:
        there.execute("GRANT CREATE ON SCHEMA public TO plain")
        found = there.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
        )
        for (table,) in found.fetchall():
            there.execute(psycopg.sql.SQL("ALTER TABLE {} OWNER TO plain").format(psycopg.sql.Identifier(table)))


def test_a_schema_of_ones_own_is_behind_the_lock_too(cluster: Cluster) -> None:
    """As administrators set a database up for a user: in a schema that is called as they are."""
    with databases.copied(cluster) as url, databases.administering(cluster) as admin:
        name = str(make_url(url).database)
        admin.execute("CREATE ROLE plain LOGIN")
        _hand_over(cluster, name)
        engine = create_engine(url.replace("://tracker@", "://plain@"))
        try:
            with databases.administering(cluster, name) as there:
                there.execute("ALTER SCHEMA public RENAME TO plain; ALTER SCHEMA plain OWNER TO plain")
                there.execute("REVOKE ALL ON SCHEMA plain FROM PUBLIC")
            lock = row_security.ensure(engine)
            admin.execute(row_security.remedy(lock, "plain"))
            with engine.connect() as connection:  # the role is there, and may nothing yet
                assert any("may not use the schema plain" in one for one in row_security.look(connection).problems)
            lock = row_security.ensure(engine)
            assert lock.problems == ()
            with Session(engine) as session:
                row_security.enter(session, 1)
                assert session.info[TEAM] == 1
                assert session.scalars(select(Team)).all() == []
                session.execute(text("SELECT nextval(pg_get_serial_sequence('boxes', 'id'))"))
            with engine.begin() as connection:
                connection.execute(text(f'REVOKE USAGE ON SEQUENCE boxes_id_seq FROM "{lock.role}"'))
                assert any("boxes_id_seq" in one for one in row_security.look(connection).problems)
        finally:
            engine.dispose()
            with databases.administering(cluster, name) as there:
                there.execute("REASSIGN OWNED BY plain TO tracker; DROP OWNED BY plain")
                there.execute(f'DROP OWNED BY "{lock.role}"')
            admin.execute(f'DROP ROLE "{lock.role}"')
            admin.execute("DROP ROLE plain")


def test_a_lock_that_was_off_is_looked_at_again(
    engine: Engine, sessions: Sessions, two: tuple[User, User], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter((0.0, 10.0, 10.0 + row_security.AGAIN, 11.0 + row_security.AGAIN))
    monkeypatch.setattr(row_security, "monotonic", lambda: next(times))
    monkeypatch.setitem(row_security._locks, engine, row_security.Lock("", ("taken off",)))
    monkeypatch.delitem(row_security._asked, engine, raising=False)
    with sessions() as session:
        assert [row_security.lock_of(session).holds for _ in range(4)] == [False, False, True, True]


def test_nobody_goes_behind_the_lock_within_a_savepoint(sessions: Sessions, two: tuple[User, User]) -> None:
    with sessions() as session, session.begin_nested(), pytest.raises(AssertionError):
        row_security.enter(session, two[0].team_id)


@pytest.mark.parametrize("database", ["pg_things", "PG_THINGS", "ü" * 31, "x" * 63, "tracker"])
def test_the_role_of_any_database_can_be_made(engine: Engine, database: str) -> None:
    role = row_security.role_name(database)
    assert len(role.encode()) <= 63
    with engine.connect() as connection:
        connection.execute(text(f'CREATE ROLE "{role}"'))
        assert connection.scalar(text("SELECT count(*) FROM pg_roles WHERE rolname = :role"), {"role": role}) == 1
        connection.rollback()


def test_a_role_that_is_too_strong_is_no_lock(cluster: Cluster) -> None:
    with databases.copied(cluster) as url, databases.administering(cluster) as admin:
        engine = create_engine(url)
        lock = row_security.ensure(engine)
        admin.execute(f'ALTER ROLE "{lock.role}" BYPASSRLS')
        with engine.connect() as connection:
            assert not row_security.look(connection).holds
        engine.dispose()
