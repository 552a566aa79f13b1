"""Fixtures that all tests share: a real PostgreSQL with a fresh database for each test, and the sandbox."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from jinja2.bccache import Bucket, BytecodeCache
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from werkzeug.routing import Rule

import config.tables  # noqa: F401 - makes the metadata whole
from config import postgres
from config.postgres import Cluster
from gmail_sync.sandbox import Sandbox, keys
from tests import databases
from tests.gmail_sync.syncing import ALICE, BOB, Team, make_team
from tests.sandbox_fixtures import api, clock, make_sandbox, sandbox  # noqa: F401
from tracker import migrations, row_security
from tracker.db import Sessions, make_engine, make_sessions

KEPT = "kept"  #: the database that the tests of a process use one after the other


def pytest_collection_finish() -> None:
    """Let the garbage collector leave alone what stays: libraries and tests took a third of all time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5000, 20, 20)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits for Chromium is asked once more when it fails, and the run says so: a machine that is busy for a
    quarter of a minute is no fault of ours."""
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.flaky(reruns=1))


class Compiled(BytecodeCache):
    """Templates as Python's bytecode, by name and content."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Take it from here, if it is here."""
        if bucket.key in self.kept:
            bucket.bytecode_from_string(self.kept[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep it."""
        self.kept[bucket.key] = bucket.bytecode_to_string()


@pytest.fixture(scope="session", autouse=True)
def _compiled_templates() -> None:
    """Applications that are made for one test each compile the templates once for all."""
    Flask.jinja_options = {"bytecode_cache": Compiled()}


@pytest.fixture(scope="session", autouse=True)
def _compiled_routes() -> None:
    """Nor each address anew: that took half of an application's making."""
    compiled = Rule._compile_builder
    kept: dict[tuple[object, ...], Any] = {}

    def cached(rule: Rule, append_unknown: bool = True) -> Any:
        key = (rule.rule, rule.host, rule.subdomain, repr(rule.defaults), append_unknown)
        if key not in kept:
            kept[key] = compiled(rule, append_unknown)
        return kept[key]

    Rule._compile_builder = cached  # type: ignore[method-assign]


@pytest.fixture(scope="session", autouse=True)
def _one_signing_key() -> None:
    """The sandboxes of a test process keep one RSA key: making and checking one takes 0.2 s."""
    checked = cache(keys.serialization.load_pem_private_key)
    keys._make = cache(keys._make)
    keys.serialization = SimpleNamespace(**{**vars(keys.serialization), "load_pem_private_key": checked})


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A PostgreSQL server of this test process, with a migrated database to copy from."""
    folder = tmp_path_factory.mktemp("postgres")
    for parent in [folder, *folder.parents]:
        if parent.name.startswith(("pytest-", "popen-")):
            parent.chmod(0o755)  # root hands the server to an unprivileged user, who has to get there
    with postgres.embedded(folder, fsync=False) as server:
        with databases.administering(server) as connection:
            for name in (databases.TEMPLATE, KEPT):  # of a folder of the same name that somebody deleted
                connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE {databases.TEMPLATE}")
        engine = make_engine(databases.address(server, databases.TEMPLATE))
        migrations.upgrade(engine)
        engine.dispose()
        yield server


@pytest.fixture(scope="session")
def kept_database(cluster: Cluster) -> str:
    """The name of the database that the tests of this process use one after the other."""
    databases.copy(cluster, databases.TEMPLATE, KEPT)
    engine = make_engine(databases.address(cluster, KEPT))
    row_security.ensure(engine)  # roles are named for their database
    engine.dispose()
    return KEPT


@pytest.fixture
def database_url(cluster: Cluster, kept_database: str) -> str:
    """A migrated database as new; what a test leaves in it is gone before the next."""
    databases.empty(cluster, kept_database)
    return databases.address(cluster, kept_database)


@pytest.fixture(scope="session")
def kept_engine(cluster: Cluster, kept_database: str) -> Engine:
    """An engine on that database; what SQLAlchemy has compiled for one test is good for the next."""
    return make_engine(databases.address(cluster, kept_database))


@pytest.fixture
def engine(database_url: str, kept_engine: Engine) -> Iterator[Engine]:
    """An engine on the test's database."""
    yield kept_engine
    kept_engine.dispose()


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
