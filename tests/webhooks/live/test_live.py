"""The live stream: who hears of what, that nothing is missed, and that nothing piles up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psycopg
import pytest
from flask import Flask
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from config import teams
from tests.tracker.domain import NOW, a_box, stage
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import BOB, a_mail, counted
from tests.webhooks.live.streams import cookies, door, opened, running
from tracker import boxes, events, people, topics
from tracker.boxes import Box
from tracker.db import Sessions, plain_url, transaction
from tracker.topics import Watch
from webhooks import live, live_hub, live_listen
from webhooks.live import Live


@pytest.fixture
def alices(app: Flask, team: Team) -> str:
    """Alice's cookie."""
    return cookies(app, team.alice)


@pytest.fixture
def stream(app: Flask, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Live:
    """The stream's door; it doesn't dawdle."""
    monkeypatch.setattr(live, "PACE", 0.02)
    return door(app, engine)


@pytest.fixture
def box(sessions: Sessions, team: Team) -> Box:
    """Alice's box at Lead."""
    with transaction(sessions) as session:
        made = a_box(session, team.viewer, "Acme", at="Lead")
        assert (made.stage.name, made.pipeline.name) == ("Lead", "Sales")
        return made


def move(sessions: Sessions, team: Team, key: str, to: str) -> None:
    """A teammate moves a box."""
    with transaction(sessions) as session:
        found = boxes.by_key(session, team.alice.team_id, key)
        assert found is not None
        viewer = people.viewer_of(session.get_one(people.User, team.bob.id), "test")
        boxes.move(session, viewer, found, stage(session, found.pipeline, to), now=NOW)


async def in_thread(work: Callable[..., None], *arguments: object) -> None:
    """What other processes do."""
    await asyncio.to_thread(work, *arguments)


def test_a_move_is_told_to_those_who_watch_the_box_its_pipeline_or_either_stage(
    stream: Live,
    alices: str,
    team: Team,
    box: Box,
    sessions: Sessions,
) -> None:
    with sessions() as session:
        found = boxes.by_key(session, team.alice.team_id, box.key)
        assert found is not None
        lead, won, lost = (stage(session, found.pipeline, name).key for name in ("Lead", "Won", "Revisit"))

    async def work() -> None:
        watched = [f"box:{box.key}", f"pipeline:{box.pipeline.key}", f"stage:{lead}", f"stage:{won}"]
        async with opened(stream, alices, ",".join([*watched, f"stage:{lost}", "tasks"])) as page:
            assert page.status == 200
            await in_thread(move, sessions, team, box.key, "Won")
            assert await page.kinds(2) == ["hello", "change"]
            assert sorted(page.topics()) == sorted(watched)

    running(stream, work)


def test_what_is_rolled_back_is_not_told(
    stream: Live,
    alices: str,
    team: Team,
    box: Box,
    sessions: Sessions,
) -> None:
    def half() -> None:
        with sessions() as session:
            found = boxes.by_key(session, team.alice.team_id, box.key)
            assert found is not None
            boxes.rename(session, team.viewer, found, "Never")
            session.rollback()
            events.record(session, team.alice.team_id, "task.added")
            session.commit()

    async def work() -> None:
        async with opened(stream, alices, f"box:{box.key},tasks") as page:
            await in_thread(half)
            await page.kinds(2)
            assert page.topics() == ["tasks"]

    running(stream, work)


def test_another_teams_boxes_are_never_told(
    stream: Live,
    app: Flask,
    alices: str,
    team: Team,
    box: Box,
    sessions: Sessions,
) -> None:
    with transaction(sessions) as session:
        stranger = teams.found(session, "Others", "stranger@others.example", "Stranger")

    async def work() -> None:
        watched = f"box:{box.key},pipeline:{box.pipeline.key},inbox,tasks"
        async with (
            opened(stream, cookies(app, stranger), watched) as theirs,
            opened(stream, alices, watched) as own,
        ):
            await in_thread(move, sessions, team, box.key, "Won")
            await own.until(own.topics)
            await asyncio.sleep(0.1)
            assert theirs.said == [("hello", "")]

    running(stream, work)


def test_that_mail_came_is_told_to_its_owner_alone(
    stream: Live,
    app: Flask,
    alices: str,
    team: Team,
    sessions: Sessions,
) -> None:
    def arrive() -> None:
        with transaction(sessions) as session:
            a_mail(session, session.merge(team.bobs), to=[BOB])

    async def work() -> None:
        asked = f"inbox,inbox:{team.bob.key}"  # only one's own can be asked for
        async with opened(stream, alices, asked) as alice, opened(stream, cookies(app, team.bob), "inbox") as bob:
            await in_thread(arrive)
            await bob.until(bob.topics)
            assert bob.topics() == ["inbox"]
            await asyncio.sleep(0.1)
            assert alice.said == [("hello", "")]

    running(stream, work)


def test_a_copy_that_is_no_new_message_is_told_to_its_owner(
    stream: Live,
    alices: str,
    team: Team,
    sessions: Sessions,
) -> None:
    with transaction(sessions) as session:
        conversation = a_mail(session, session.merge(team.mailbox))

    def change() -> None:
        with transaction(sessions) as session:
            topics.mail_changed(session, [conversation.id])

    async def work() -> None:
        async with opened(stream, alices, "inbox") as page:
            await in_thread(change)
            await page.until(page.topics)

    running(stream, work)


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"cookie": ""}, 401), ({"cookie": "tracker_session=forged"}, 401), ({"origin": "https://evil.example"}, 403),
     ({"origin": "http://["}, 403),
     ({"sec_fetch_site": "cross-site"}, 403)],
)  # fmt: skip
def test_strangers_and_other_sites_are_refused(
    stream: Live, alices: str, headers: dict[str, str], status: int
) -> None:
    async def work() -> None:
        given = {"cookie": alices, **headers}
        async with opened(stream, given.pop("cookie"), "tasks", **given) as page:
            assert page.status == status
            assert page.over
        assert not stream.hub.everybody()

    running(stream, work)


def test_the_own_origin_and_somebody_who_left_the_team(
    stream: Live,
    alices: str,
    team: Team,
    sessions: Sessions,
) -> None:
    async def work() -> None:
        async with opened(stream, alices, "tasks", origin="https://tracker.example.com") as page:
            assert page.status == 200
        with transaction(sessions) as session:
            session.execute(text("DELETE FROM mailboxes"))
            session.execute(text("DELETE FROM users WHERE id = :id"), {"id": team.alice.id})
        async with opened(stream, alices, "tasks") as page:
            assert page.status == 401

    running(stream, work)


@pytest.mark.parametrize("asked", ["", "nonsense", "box:*", "box:a b", "inbox:somebody", "*", "box:'; drop--"])
def test_made_up_topics_are_none(stream: Live, alices: str, asked: str) -> None:
    async def work() -> None:
        async with opened(stream, alices, asked) as page:
            assert page.status == 400

    running(stream, work)


def test_a_burst_is_one_message_and_a_page_that_does_not_read_costs_nothing(
    stream: Live,
    alices: str,
    team: Team,
    box: Box,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live, "PACE", 0.3)
    told = frozenset({f"box:{box.key}", "tasks", "contact:somebody"})

    async def work() -> None:
        async with opened(stream, alices, f"box:{box.key},tasks") as page:
            stream.hub.publish(team.alice.team_id, told)
            await page.kinds(2)
            for _ in range(1000):
                stream.hub.publish(team.alice.team_id, told)
            await page.kinds(3)
            await asyncio.sleep(0.4)
            assert [kind for kind, _ in page.said] == ["hello", "change", "change"]
            page.stuck = True
            for _ in range(1000):
                stream.hub.publish(team.alice.team_id, told)
                await asyncio.sleep(0)
            (there,) = stream.hub.everybody()
            assert len(there.topics) <= 2
            page.stuck = False

    monkeypatch.setattr(live, "PATIENCE", 0.2)
    running(stream, work)


def test_a_page_that_does_not_read_is_given_up(
    stream: Live,
    alices: str,
    team: Team,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live, "PATIENCE", 0.1)

    async def work() -> None:
        async with opened(stream, alices, "tasks") as page:
            page.stuck = True
            stream.hub.publish(team.alice.team_id, frozenset({"tasks"}))
            async with asyncio.timeout(5):
                while stream.hub.everybody():
                    await asyncio.sleep(0.02)

    running(stream, work)


def test_a_lost_connection_to_the_database_comes_back_and_pages_look_again(
    stream: Live, alices: str, team: Team, box: Box, sessions: Sessions, engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(live_listen, "PAUSES", (0.3,))

    def cut() -> None:
        with psycopg.connect(plain_url(engine.url.render_as_string(hide_password=False))) as connection:
            killed = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = %s AND datname = current_database()",
                [live_listen.NAME],
            ).fetchall()
            assert killed == [(True,)]

    async def work() -> None:
        async with opened(stream, alices, f"box:{box.key}") as page:
            await in_thread(cut)
            await in_thread(move, sessions, team, box.key, "Won")  # heard by nobody
            assert await page.kinds(2) == ["hello", "refresh"]
            await in_thread(move, sessions, team, box.key, "Revisit")
            assert await page.kinds(3) == ["hello", "refresh", "change"]

    running(stream, work)


def test_a_page_that_was_away_learns_what_it_missed_and_looks_at_everything_if_that_is_not_known(
    stream: Live,
    alices: str,
    team: Team,
    box: Box,
    sessions: Sessions,
) -> None:
    async def work() -> None:
        await asyncio.sleep(0.2)
        await in_thread(move, sessions, team, box.key, "Won")
        while not stream.hub.journal:
            await asyncio.sleep(0.01)
        async with opened(stream, alices, f"box:{box.key},tasks", age=0.1) as page:
            assert await page.kinds(2) == ["hello", "change"]
            assert page.topics() == [f"box:{box.key}"]
        for age in (3600.0, float("nan"), -1.0):
            async with opened(stream, alices, f"box:{box.key}", age=age) as page:
                assert await page.kinds(2) == ["hello", "refresh"]

    running(stream, work)


def test_a_stream_beats_and_ends_after_its_time(
    stream: Live, alices: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "BEAT", 0.05)
    monkeypatch.setattr(live, "LIFE", 0.4)

    async def work() -> None:
        async with opened(stream, alices, "tasks") as page:
            assert await page.kinds(3) == ["hello", "beat", "beat"]
            await page.until(lambda: page.over)
        assert not stream.hub.everybody()

    running(stream, work)


def test_of_too_many_streams_of_one_user_the_oldest_is_sent_to_poll(
    stream: Live,
    app: Flask,
    alices: str,
    team: Team,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_hub, "USER_LIMIT", 2)

    async def work() -> None:
        async with (
            opened(stream, cookies(app, team.bob), "tasks") as bob,
            opened(stream, alices, "tasks") as first,
            opened(stream, alices, "tasks") as second,
            opened(stream, alices, "tasks") as third,
        ):
            await first.until(lambda: first.over)
            assert first.said[-1][0] == "poll"
            assert not any(page.over for page in (second, third, bob))

    running(stream, work)


def test_streams_end_when_the_server_stops(stream: Live, alices: str) -> None:
    async def work() -> None:
        async with opened(stream, alices, "tasks") as page:
            await stream.stop()
            await page.until(lambda: page.over)

    running(stream, work)


def test_a_stream_asks_no_thread_and_no_connection(stream: Live, alices: str, engine: Engine) -> None:
    async def work() -> None:
        pages = [opened(stream, alices, "tasks") for _ in range(live_hub.USER_LIMIT)]
        for page in pages:
            await page.__aenter__()
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        for page in reversed(pages):
            await page.__aexit__(None, None, None)

    running(stream, work)


def test_a_transaction_tells_all_its_topics_at_once_with_few_questions(
    team: Team,
    sessions: Sessions,
    engine: Engine,
) -> None:
    with sessions() as session:
        made = [a_box(session, team.viewer, f"Box {number}") for number in range(20)]
        conversation = a_mail(session, session.merge(team.mailbox))
        events.record(session, team.alice.team_id, "conversation.filed", conversation_id=conversation.id)
        session.flush()
        with counted(engine) as statements:
            session.commit()
    assert len(statements) == 5  # filed where, held by whom, which boxes, whose mailboxes; and the telling
    assert ["pg_notify" in one for one in statements] == [False, False, False, False, True]
    assert len(made) == 20


def test_a_persons_change_costs_two_statements_at_its_commit(
    team: Team,
    box: Box,
    sessions: Sessions,
    engine: Engine,
) -> None:
    with sessions() as session:
        found = boxes.by_key(session, team.alice.team_id, box.key)
        assert found is not None
        boxes.rename(session, team.viewer, found, "Other")
        boxes.assign(session, team.viewer, found, None)
        session.flush()
        with counted(engine) as statements:
            session.commit()
    assert len(statements) == 2


def test_a_savepoint_tells_nothing_of_its_own(team: Team, sessions: Sessions, engine: Engine) -> None:
    with sessions() as session:
        with counted(engine) as statements, session.begin_nested():
            events.record(session, team.alice.team_id, "task.added")
        assert not [one for one in statements if "pg_notify" in one]
        with counted(engine) as statements:
            session.commit()
        assert [one for one in statements if "pg_notify" in one]


def test_too_many_names_become_one_for_all_of_a_kind() -> None:
    told = topics.payload(7, [f"box:{number:016}" for number in range(5000)] + ["pipeline:p", "inbox:alice"])
    assert told == "7 box:* inbox:alice pipeline:p"
    _, names = topics.parse(told)
    assert Watch.of("alice", "box:abc,pipeline:q,inbox").hits(names) == {"box:abc", "inbox"}
    assert Watch.of("bob", "inbox,contact:abc").hits(names) == set()
    assert len(topics.payload(7, [f"{kind}:{n:030}" for kind in ("box", "stage") for n in range(500)])) < 8000


def test_a_name_in_an_event_is_no_topic_whatever_its_letters() -> None:
    told = topics.Changed()
    told.add([{"team_id": 7, "kind": "box.created", "data": {"stage": "先方に tasks", "box": "a-key"}}])
    assert told.named[7] == {"box:a-key"}


def test_what_is_gone_concerns_nobody(team: Team, session: Session) -> None:
    changed = topics.Changed(conversations={10**9}, boxes={10**9}, mailboxes={10**9}, users={10**9})
    assert topics.resolve(session, changed) == {}
