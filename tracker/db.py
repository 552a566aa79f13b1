"""The database: the declarative base, engines and sessions. The lowest floor."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from psycopg.sql import SQL, Identifier
from psycopg.types.json import Jsonb
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Engine,
    ForeignKey,
    MetaData,
    Text,
    any_,
    create_engine,
    insert,
    literal,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import (
    DeclarativeBase,
    InstrumentedAttribute,
    Mapped,
    Session,
    mapped_column,
    sessionmaker,
)

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}

Sessions = sessionmaker[Session]
TEAM = "team_id"  #: in a session's `info`: the team that it is locked to; see `row_security`


class Base(DeclarativeBase):
    """The root of every table of every slice."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it so
        int: BigInteger(),
        datetime: DateTime(timezone=True),
        str: Text(),
        dict[str, Any]: JSONB(),
        list[dict[str, Any]]: JSONB(),
        list[str]: ARRAY(Text()),
    }


def new_key() -> str:
    """An opaque key to know an object by outside: 96 random bits, safe in an address.

    It never begins with a dash, which a command line would take for an option.
    """
    while (made := secrets.token_urlsafe(12)).startswith("-"):
        pass
    return made


def utc_now() -> datetime:
    """The real clock; handed in wherever time matters, so that tests can set another."""
    return datetime.now(UTC)


class Identified:
    """A bigint id for inside."""

    id: Mapped[int] = mapped_column(primary_key=True)


class Keyed(Identified):
    """An id for inside and a random key for outside."""

    key: Mapped[str] = mapped_column(unique=True, default=new_key)


class OfTeam:
    """Every row belongs to a team. Tables that are listed by team say so in an index of their own."""

    team_id: Mapped[int] = mapped_column(ForeignKey("teams.id", ondelete="CASCADE"))


def make_engine(url: str, *, pool_size: int = 10) -> Engine:
    """An engine whose connections are checked before use, so that a restarted server goes unnoticed.

    Without PostgreSQL's just-in-time compiler: it spends seconds on compiling questions that take milliseconds.
    """
    return create_engine(
        url,
        pool_pre_ping=True,
        pool_size=pool_size,
        max_overflow=20,
        connect_args={"connect_timeout": 10, "options": "-c jit=off"},
    )


def make_sessions(engine: Engine) -> Sessions:
    """A factory of sessions. One caller opens one, and commits once; nouns never commit."""
    return sessionmaker(engine, expire_on_commit=False)


@contextmanager
def transaction(sessions: Sessions) -> Iterator[Session]:
    """One session, committed at the end of the block, rolled back on an exception."""
    with sessions() as session, session.begin():
        yield session


SIGHT = "sight"  #: in `Session.info`: whose eyes it has; see `tracker.sight`


@contextmanager
def everything(session: Session) -> Iterator[None]:
    """Read all there is for a while: rules have to know boxes that the person before them may not see.

    What is learnt so is never shown. See `tracker.sight`, which gates what a session reads.
    """
    session.flush()
    before = session.info.get(SIGHT)
    session.info[SIGHT] = None
    try:
        yield
        session.flush()
    finally:
        session.info[SIGHT] = before


def lock_team(session: Session, team_id: int) -> None:
    """Take the team's lock until the end of the transaction.

    Mail of several mailboxes is applied by several workers at once; the union of conversations is only right
    when they do so one after the other. The lock is held for writing rows, never across the network.
    """
    session.execute(text("SELECT pg_advisory_xact_lock(1001, :team)"), {"team": team_id})


#: From so many rows on a COPY is cheaper than as many inserts.
MANY = 4


def insert_many(session: Session, model: type[Base], rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows that name the same columns; defaults that Python knows are not filled in.

    By COPY, which takes a tenth of the time that the driver needs for as many statements (the first reading of a
    mailbox is mostly this). Its errors are psycopg's own. PostgreSQL knows no COPY behind row-level security.
    """
    if len(rows) < MANY or TEAM in session.info:
        if rows:
            session.execute(insert(model.__table__), rows)  # type: ignore[arg-type]
        return
    columns = [model.__table__.c[name] for name in rows[0]]
    converted = [(column.name, Jsonb if isinstance(column.type, JSONB) else _as_it_is) for column in columns]
    statement = SQL("COPY {} ({}) FROM STDIN").format(
        Identifier(model.__tablename__), SQL(", ").join(Identifier(column.name) for column in columns)
    )
    connection: Any = session.connection().connection.driver_connection
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row([convert(row[name]) for name, convert in converted])


def _as_it_is(value: Any) -> Any:
    return value


def new_ids(session: Session, model: type[Base], number: int) -> Sequence[int]:
    """Ids for rows that are about to be inserted."""
    query = text("SELECT nextval(pg_get_serial_sequence(:name, 'id')) FROM generate_series(1, :number)")
    return session.scalars(query, {"name": model.__tablename__, "number": number}).all() if number else []


def among(column: InstrumentedAttribute[Any], values: Iterable[Any]) -> ColumnElement[bool]:
    """SQL: the column is one of these.

    As one array: PostgreSQL takes no more than 65,535 parameters, and a statement whose text does not depend on
    the number of values is prepared once.
    """
    return column == any_(literal(list(values), ARRAY(column.type)))


def plain_url(url: str) -> str:
    """SQLAlchemy's address as libpq reads it (`postgresql://…`)."""
    return url.replace("postgresql+psycopg://", "postgresql://", 1)
