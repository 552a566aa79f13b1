"""What was answered is stored: after kill -9, with the database stopped under load, when told to stop."""

from __future__ import annotations

import random
import time
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import delete
from sqlalchemy.orm import Session

from config import postgres
from config.postgres import Cluster
from tests.tracker.domain import NOW
from tests.webhooks.doors.serving import (
    NOBODY,
    Load,
    Server,
    Tracked,
    agents_in,
    ask,
    each_is_stored_once,
    hits,
    track,
    until,
)
from tracker.db import Sessions, plain_url
from webhooks.hit_journal import Journal
from webhooks.hit_record import a_hit
from webhooks.hits import ARRIVALS, CHANNEL, Hit


def paths(tracked: Tracked) -> list[str]:
    """Of pixels and links both."""
    return [f"/t/{one}.gif" for one in tracked.pixels] + [f"/l/{one}" for one in tracked.links]


def kill_under_load(server: Server, sessions: Sessions, times: int) -> None:
    """kill -9 so many times; after each, all that was answered is there."""
    rng, tracked = random.Random(times), track(sessions, 300)
    with sessions() as session:
        for number in range(times):
            if number:
                server.start()
            with Load(server.port, paths(tracked)) as load:
                load.some(150)
                time.sleep(rng.random() / 10)
                server.kill()
            each_is_stored_once(session, load)
            session.execute(delete(Hit))
            session.execute(delete(ARRIVALS))
            session.commit()
    assert "Traceback" not in server.words


def test_killed_under_load_no_answered_hit_is_lost(server: Server, sessions: Sessions) -> None:
    kill_under_load(server, sessions, 3)


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_killed_twenty_times(server: Server, sessions: Sessions) -> None:
    kill_under_load(server, sessions, 20)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_the_database_stops_and_starts_under_load(
    server: Server, sessions: Sessions, session: Session, cluster: Cluster, mode: str
) -> None:
    tracked = track(sessions, 300)
    for path in paths(tracked)[300:]:
        ask(server.port, path)  # known from now on
    with sessions() as other:
        other.execute(delete(Hit))
        other.execute(delete(ARRIVALS))
        other.commit()
    with Load(server.port, paths(tracked)) as load:
        load.some(100)
        try:
            cluster.run("pg_ctl", "stop", "-m", mode, "-w", "-D", "data")
            load.some(300)
            assert server.journals()
        finally:
            postgres.start(cluster, fsync=False)
        load.some(300)
        if mode == "immediate":
            server.kill()  # and whatever it had in the journal is the next one's
            server.start()
            load.some(100)
    session.connection().invalidate()
    session.rollback()
    until(lambda: not server.journals(), 30)
    each_is_stored_once(session, load)
    assert "Traceback" not in server.words


def test_told_to_stop_it_keeps_what_it_was_asked(server: Server, sessions: Sessions, session: Session) -> None:
    tracked = track(sessions, 300)
    with Load(server.port, paths(tracked)) as load:
        load.some(200)
        server.stop()
        load._ending.set()
    each_is_stored_once(session, load)
    assert server.journals() == []


def test_without_a_database_links_that_are_known_work_and_others_ask_for_patience(
    sessions: Sessions, session: Session, tmp_path: Path, database_url: str, cluster: Cluster
) -> None:
    tracked = track(sessions, 2)
    server = Server(database_url, tmp_path).start()
    try:
        assert ask(server.port, f"/l/{tracked.links[0]}")[0] == 302
        cluster.run("pg_ctl", "stop", "-m", "fast", "-w", "-D", "data")
        status, headers, body = ask(server.port, f"/l/{tracked.links[1]}", User_Agent="second")
        assert (status, headers["retry-after"]) == (503, "30")
        assert b"again" in body
        assert ask(server.port, f"/l/{tracked.links[0]}")[1]["location"] == tracked.urls[0]
        assert ask(server.port, f"/t/{tracked.pixels[0]}.gif")[0] == 200
        assert ask(server.port, f"/t/{NOBODY}.gif")[0] == 200
        server.kill()
        assert "second" in agents_in(server.journals()[0])
    finally:
        postgres.start(cluster, fsync=False)
        server.kill()
    session.connection().invalidate()
    session.rollback()
    with server.journals()[0].open("ab") as torn:
        torn.write(b"0123abcd {half a re")
    server.start()
    until(lambda: not server.journals(), 30)
    server.kill()
    came = {(one.kind, one.agent) for one in hits(session)}
    assert came == {("click", None), ("click", "second"), ("open", None)}
    assert "torn" in server.words


def test_a_journal_is_taken_in_once_with_the_times_when_hits_came(
    sessions: Sessions, session: Session, tmp_path: Path, database_url: str
) -> None:
    token = track(sessions).pixels[0]
    made = [a_hit("open", token, NOW, None, f"agent {n}", {}, None) for n in range(700)]
    for _ in range(2):  # as if whoever took it in was killed before it could remove it
        journal = Journal(tmp_path / "hits")
        journal.append([one.line() for one in made])
        made[0].repeats += 1
        journal.append([made[0].line()])
        journal.close()
    with psycopg.connect(plain_url(database_url), autocommit=True) as listening:
        listening.execute(f"LISTEN {CHANNEL}")
        server = Server(database_url, tmp_path).start()
        until(lambda: not server.journals(), 30)
        server.kill()
        assert next(listening.notifies(timeout=10, stop_after=1)).channel == CHANNEL
    found = hits(session)
    assert {one.at for one in found} == {NOW}
    assert sorted(one.repeats for one in found) == [0] * 699 + [2]
