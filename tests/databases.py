"""The databases of a test process's own PostgreSQL server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import psycopg
from psycopg import sql

from config import postgres
from config.postgres import Cluster

TEMPLATE = "tracker_template"
#: Above this, rows are not deleted one by one, and what they leave behind does not slow the next tests down.
MANY_BYTES = 4 << 20
numbers = count()


def administering(server: Cluster, database: str = "postgres") -> psycopg.Connection[Any]:
    """A connection of the server's superuser; each statement is its own transaction."""
    return psycopg.connect(host=str(server.sockets), user=postgres.OWNER, dbname=database, autocommit=True)


def address(server: Cluster, database: str) -> str:
    """SQLAlchemy's address of one of the server's databases."""
    return server.url.replace(f"/{postgres.DATABASE}?", f"/{database}?")


def copy(server: Cluster, template: str, name: str) -> None:
    """Make a database that is a copy of another, to which nobody is connected.

    File by file: to write each page to the log first, as is the default, takes four times as long.
    """
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
    with administering(server) as connection:
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))


@contextmanager
def copied(server: Cluster, template: str = TEMPLATE) -> Iterator[str]:
    """The address of a new database that is a copy of another, gone afterwards."""
    name = f"copied_{next(numbers)}"
    copy(server, template, name)
    try:
        yield address(server, name)
    finally:
        with administering(server) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def empty(server: Cluster, database: str) -> None:
    """Make a database as new: nobody is connected to it, no table holds a row, ids begin at 1."""
    with administering(server, database) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        found = connection.execute(
            "SELECT relname, pg_relation_size(oid) FROM pg_class "
            "WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'alembic_version'"
        ).fetchall()
        tables = [sql.Identifier(name) for name, _ in found]
        if max(size for _, size in found) > MANY_BYTES:
            connection.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(tables)))
        else:  # ten times as fast, while there is little in them; neither foreign keys nor triggers are asked
            deletes = [sql.SQL("DELETE FROM {}").format(table) for table in tables]
            connection.execute("SET session_replication_role = replica")
            connection.execute(sql.SQL("; ").join(deletes))
        connection.execute("SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'")
