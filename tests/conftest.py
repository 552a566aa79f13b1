"""Fixtures that all tests share: a real PostgreSQL with a fresh database for each test, and the sandbox."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

import config.tables  # noqa: F401 - makes the metadata whole
from config import postgres
from config.postgres import Cluster
from gmail_sync.sandbox import Sandbox
from tests.gmail_sync.syncing import ALICE, BOB, Team, make_team
from tests.sandbox_fixtures import api, clock, make_sandbox, sandbox  # noqa: F401
from tracker import migrations
from tracker.db import Sessions, make_engine, make_sessions

TEMPLATE = "tracker_template"
numbers = itertools.count()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A PostgreSQL server of this test process, with a migrated database to copy from."""
    folder = tmp_path_factory.mktemp("postgres")
    for parent in [folder, *folder.parents]:
        if parent.name.startswith(("pytest-", "popen-")):
            parent.chmod(0o755)  # root hands the server to an unprivileged user, who has to get there
    with postgres.embedded(folder, fsync=False) as server:
        _admin(server, f"CREATE DATABASE {TEMPLATE}")
        engine = make_engine(_url(server, TEMPLATE))
        migrations.upgrade(engine)
        engine.dispose()
        yield server


@pytest.fixture
def database_url(cluster: Cluster) -> Iterator[str]:
    """A fresh, migrated database."""
    name = f"test_{next(numbers)}"
    _admin(cluster, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield _url(cluster, name)
    _admin(cluster, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on the test's database."""
    made = make_engine(database_url)
    yield made
    made.dispose()


@pytest.fixture
def sessions(engine: Engine) -> Sessions:
    """A factory of sessions on the test's database."""
    return make_sessions(engine)


@pytest.fixture
def session(sessions: Sessions) -> Iterator[Session]:
    """A session that the test may use freely; nothing of it is committed unless the test does."""
    with sessions() as made:
        yield made


@pytest.fixture
def team(sandbox: Sandbox, sessions: Sessions) -> Team:  # noqa: F811
    """Alice and Bob have mailboxes at the sandbox; nothing is connected yet, and there is no quota."""
    sandbox.quota.concurrent_requests = 0
    for address in (ALICE, BOB):
        sandbox.add_user(address)
    return make_team(sandbox, sessions)


@pytest.fixture(scope="session")
def ham() -> Path:
    """The mailbox of 4,150 real messages; it lies beside the project and is not part of it."""
    path = Path(__file__).parents[2] / "shared" / "mail" / "ham.mbox.gz"
    if not path.exists():
        pytest.skip("the real mailbox ../shared/mail/ham.mbox.gz is not here")
    return path


def _url(server: Cluster, database: str) -> str:
    return server.url.replace(f"/{postgres.DATABASE}?", f"/{database}?")


def _admin(server: Cluster, statement: str) -> None:
    with psycopg.connect(
        host=str(server.sockets), user=postgres.OWNER, dbname="postgres", autocommit=True
    ) as connection:
        connection.execute(statement)  # type: ignore[call-overload]
