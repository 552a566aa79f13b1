"""The embedded server: in odd folders, after odd ends, under other users."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from config import postgres
from config.postgres import Cluster, PostgresError
from tests.config.running import environment, tracker
from tracker.db import make_engine, plain_url
from tracker.jobs import Jobs

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the server to somebody else")


def answers(cluster: Cluster) -> bool:
    """Whether SQLAlchemy and libpq both reach the database by its address."""
    engine = make_engine(cluster.url)
    with engine.connect() as connection, psycopg.connect(plain_url(cluster.url)) as plain:
        found = connection.scalar(text("SELECT 1")), plain.execute("SELECT 1").fetchone()
    engine.dispose()
    return found == (1, (1,))


@pytest.mark.parametrize("name", ["my sales + 100% ü", 'R&D #1, o\'hara "$HOME" `id`'])
def test_a_folder_may_have_any_name(folder: Path, name: str) -> None:
    with postgres.embedded(folder / name / "var", fsync=False) as cluster:
        assert cluster.data.is_relative_to(folder / name)
        assert answers(cluster)
        Jobs(cluster.url).close()
        done = tracker(environment(folder / name / "var"), "status", "--json")
        assert (done.returncode, done.stderr) == (0, "")
    assert not postgres.running(cluster)


def test_the_address_quotes_an_odd_path() -> None:
    cluster = Cluster(Path("/bin"), Path("/x/data"), Path("/my sales + 100%/ü"), None)
    assert cluster.url.endswith("?host=/my%20sales%20%2B%20100%25/%C3%BC")


def test_a_pid_file_whose_number_is_another_processs_now_does_not_keep_it_from_starting(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "SOCKET_SECONDS", 0.5)
    with postgres.embedded(folder / "var", fsync=False) as cluster:
        pid_file = cluster.data / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
    # The server's own user: pg_ctl asks whether it could send that process a signal.
    other = subprocess.Popen(["sleep", "60"], user=cluster.user.pw_uid if cluster.user else None)
    try:
        pid_file.write_text("\n".join([str(other.pid), *lines[1:], ""]))
        pid_file.chmod(0o644)
        assert cluster.run("pg_ctl", "status", "-D", "data", check=False).returncode == 0
        assert not postgres.running(cluster)
        with postgres.embedded(folder / "var", fsync=False) as again:
            assert answers(again)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_server_that_does_not_answer_is_said_with_its_last_words(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres.embedded(folder / "var", fsync=False) as cluster:
        pass
    monkeypatch.setattr(postgres, "running", lambda _: True)
    with pytest.raises(PostgresError, match=r"(?s)does not answer.*database system is shut down"):
        postgres.start(cluster)


@as_root
def test_a_database_keeps_its_user_when_another_would_be_chosen_now(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "UNPRIVILEGED_USERS", ("nobody",))
    with postgres.embedded(folder / "var", fsync=False) as cluster, psycopg.connect(plain_url(cluster.url)) as c:
        c.execute("CREATE TABLE kept ()")
    monkeypatch.setattr(postgres, "UNPRIVILEGED_USERS", ("daemon",))  # as if somebody had added a better one
    with postgres.embedded(folder / "var", fsync=False) as cluster, psycopg.connect(plain_url(cluster.url)) as c:
        assert cluster.user is not None
        assert cluster.user.pw_name == "nobody"
        assert c.execute("SELECT count(*) FROM kept").fetchone() == (0,)


@as_root
def test_root_takes_over_the_database_of_somebody_whose_folder_is_private(folder: Path) -> None:
    private = folder / "home"
    private.mkdir(mode=0o700)
    nobody = pwd.getpwnam("nobody")
    os.chown(private, nobody.pw_uid, nobody.pw_gid)
    home = private / "var" / "postgres"
    (home / "data").mkdir(parents=True)
    (home / "data" / "PG_VERSION").write_text("9\n")
    for path in (private / "var", home, home / "data"):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    found = postgres.locate(private / "var")
    assert found.data == home / "data"
    assert found.user == nobody


@as_root
def test_a_database_of_somebody_else_is_never_to_be_removed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "UNPRIVILEGED_USERS", ("nobody",))
    postgres.locate(folder / "var")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(PostgresError) as refused:
        postgres.locate(folder / "var")
    assert "belongs to nobody: run as nobody or as root" in str(refused.value)
    assert "remove" not in str(refused.value)


@as_root
def test_a_database_whose_user_is_gone_is_said(folder: Path) -> None:
    data = folder / "var" / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("17\n")
    os.chown(data, 54321, 54321)
    with pytest.raises(PostgresError, match="user 54321, who does not exist"):
        postgres.locate(folder / "var")
