"""`tracker up --demo`: everything from nothing, and what a newcomer sees of it."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import postgres
from tests.config.running import Running, Visitor, answers, environment, free_port, told, tracker

ADMIN = "alice@juniper.example"


@pytest.fixture
def env(folder: Path) -> dict[str, str]:
    """A demo on ports of its own."""
    return environment(folder / "var", port=free_port(), sandbox_port=free_port())


@pytest.fixture
def demo(env: dict[str, str], folder: Path) -> Iterator[Running]:
    """A running demo."""
    running = Running(env, "up", "--demo", log=folder / "up.log")
    yield running
    running.stop(signal.SIGTERM)


def url(env: dict[str, str]) -> str:
    """The demo's address."""
    return f"http://127.0.0.1:{env['TRACKER_PORT']}"


def stages_of_connections(visitor: Visitor) -> dict[str, int]:
    """How many boxes each stage of Connections holds, as its board says."""
    home = visitor.get("/")
    found = re.search(r'href="(/p/[^"/]+)"[^>]*>(?:\s|<[^>]*>)*Connections', home)
    assert found is not None, home
    page = visitor.get(found[1])
    pattern = r'<h2 id="stage-[^"]+"[^>]*>([^<]+)</h2>.*?data-count>([\d,]+)<'
    return {name: int(count) for name, count in re.findall(pattern, page, re.DOTALL)}


@pytest.mark.timeout(240)
def test_a_newcomer_sees_boxes_and_one_that_moves_and_keeps_it_all_after_a_restart(
    env: dict[str, str], demo: Running, folder: Path
) -> None:
    demo.wait_for(lambda: answers(f"{url(env)}/healthz"), 60)
    demo.wait_for(lambda: "Tracker is at" in demo.log.read_text(), 60)
    visitor = Visitor(url(env))
    visitor.sign_in(ADMIN)
    before = demo.wait_for(lambda: stages_of_connections(visitor), 60)
    assert sum(before.values()) == 14

    def moved() -> bool:
        return stages_of_connections(visitor)["Connected"] > before["Connected"]

    demo.wait_for(moved, 90, every=1.0)  # an answer came in, and its box moved itself
    demo.wait_for(lambda: "Share this conversation" in visitor.get("/sharing/requests"), 30)  # a teammate asks

    again = tracker(env, "up", "--demo")
    assert again.returncode == 1
    assert "already" in again.stderr
    assert str(demo.process.pid) in again.stderr

    assert demo.stop(signal.SIGINT) == 0
    assert "Traceback" not in demo.log.read_text()
    kept = told(env, "status", "--json")
    assert [row["health"] for row in kept["mailboxes"]] != []
    second = Running(env, "up", "--demo", log=folder / "second.log")
    try:
        second.wait_for(lambda: "Tracker is at" in second.log.read_text(), 60)
        visitor = Visitor(url(env))
        visitor.sign_in(ADMIN)
        assert sum(stages_of_connections(visitor).values()) == 14
        assert stages_of_connections(visitor)["Connected"] > before["Connected"]
    finally:
        second.stop(signal.SIGTERM)


def test_a_taken_port_is_said(env: dict[str, str]) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(env["TRACKER_PORT"])))
        taken.listen()
        done = tracker(env, "up", "--demo")
    assert done.returncode == 1
    assert "TRACKER_PORT" in done.stderr


def test_a_wrong_setting_is_said(env: dict[str, str]) -> None:
    done = tracker({**env, "TRACKER_BACKFILL_DAYS": "all"}, "up")
    assert done.returncode == 1
    assert "TRACKER_BACKFILL_DAYS" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have a folder that its server's user can't reach")
def test_root_in_a_private_folder_gets_a_server_elsewhere_with_a_link_to_it(folder: Path) -> None:
    private = folder / "private"
    private.mkdir(mode=0o700)
    with postgres.embedded(private / "var", fsync=False) as cluster:
        assert postgres.running(cluster)
    link = private / "var" / "postgres"
    assert link.is_symlink()
    import shutil

    shutil.rmtree(link.resolve())


def test_the_embedded_server_is_stopped_by_its_last_user(folder: Path) -> None:
    with postgres.embedded(folder / "var", fsync=False) as outer:
        assert tracker(environment(folder / "var"), "status", "--json").returncode == 0
        assert postgres.running(outer)
    assert not postgres.running(outer)


def test_data_of_another_postgresql_version_is_not_touched(folder: Path) -> None:
    with postgres.embedded(folder / "var", fsync=False) as cluster:
        pass
    (cluster.data / "PG_VERSION").write_text("9\n")
    with pytest.raises(postgres.PostgresError, match="pg_dumpall"), postgres.embedded(folder / "var"):
        pytest.fail("started on foreign data")
