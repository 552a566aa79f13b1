"""Sessions: how long they last, who ends them, and that open pages hear of it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from tests.tracker.domain import NOW, a_team
from tests.tracker.web.conftest import Team
from tests.tracker.web.conftest import app as app
from tests.tracker.web.conftest import team as team
from tests.webhooks.live.streams import Stream, cookies, door, opened, running
from tracker import people
from tracker import sessions as noun
from tracker.db import Sessions, transaction, utc_now
from tracker.people import PeopleError, Role, User
from tracker.sessions import UNUSED, program
from webhooks.live import Live


def begin(session: Session, user: User) -> str:
    return noun.begin(session, user, address="192.0.2.1", agent="", now=NOW)


def test_a_session_ends_after_thirty_days_unused_and_not_while_it_is_used(session: Session) -> None:
    alice = a_team(session)
    token = begin(session, alice)
    at = NOW + UNUSED - timedelta(minutes=1)
    found = noun.signed_in(session, token, at)
    assert found is not None
    assert noun.signed_in(session, token, NOW + UNUSED) is None
    noun.seen(session, found[0], "192.0.2.2", at)
    session.expire_all()
    assert noun.signed_in(session, token, NOW + UNUSED) is not None
    assert noun.of_user(session, alice.id, at)[0].address == "192.0.2.2"


def test_that_it_is_used_is_written_once_in_five_minutes(session: Session) -> None:
    alice = a_team(session)
    token = begin(session, alice)
    for minutes, seen in ((1, 0), (5, 5), (9, 5), (10, 10)):
        now = NOW + timedelta(minutes=minutes)
        found = noun.signed_in(session, token, now)
        assert found is not None
        noun.seen(session, found[0], "", now)
        session.expire_all()
        assert found[0].seen_at == NOW + timedelta(minutes=seen)


def test_who_is_being_removed_gets_no_session(session: Session) -> None:
    alice = a_team(session)
    bob = people.add_user(session, alice.team_id, "bob@team.example")
    people.remove(session, people.viewer_of(alice, "test"), bob, NOW)
    with pytest.raises(PermissionError):
        begin(session, bob)


def test_others_sessions_are_not_ones_own_to_end(session: Session) -> None:
    alice = a_team(session)
    bob = people.add_user(session, alice.team_id, "bob@team.example")
    stranger = people.add_user(session, people.create_team(session, "Others").id, "s@x.test", role=Role.ADMIN)
    token = begin(session, alice)
    key = noun.of_user(session, alice.id, NOW)[0].key
    for other in (bob, stranger):
        viewer = people.viewer_of(other, "test")
        assert not noun.end(session, viewer, key, NOW)
        with pytest.raises(PermissionError):
            noun.end_all(session, viewer, alice, NOW)
    assert noun.signed_in(session, token, NOW) is not None


def test_two_admins_who_demote_each_other_leave_one(session: Session, sessions: Sessions) -> None:
    """In two transactions at once: the second waits for the first, and is refused."""
    with transaction(sessions) as setting_up:
        alice = a_team(setting_up)
        zoe = people.add_user(setting_up, alice.team_id, "zoe@team.example", role=Role.ADMIN)
    with sessions() as one, sessions() as other:
        people.change_role(one, people.viewer_of(alice, "test"), one.get_one(User, zoe.id), Role.MEMBER)
        one.flush()

        async def second() -> None:
            def demote() -> None:
                people.change_role(
                    other, people.viewer_of(zoe, "test"), other.get_one(User, alice.id), Role.MEMBER
                )

            waiting = asyncio.create_task(asyncio.to_thread(demote))
            await asyncio.sleep(0.2)
            assert not waiting.done()
            await asyncio.to_thread(one.commit)
            with pytest.raises(PeopleError, match="only admin"):
                await waiting

        asyncio.run(second())
        other.rollback()
    assert [user.name for user in people.of_team(session, alice.team_id) if user.role == Role.ADMIN] == ["Alice"]


def test_the_stream_of_an_ended_session_ends_at_once_and_others_go_on(
    app: Flask, engine: Engine, team: Team, sessions: Sessions
) -> None:
    stream = door(app, engine)
    stolen, kept, bobs = (cookies(app, one) for one in (team.alice, team.alice, team.bob))

    def end_first() -> None:
        with transaction(sessions) as session:
            first = min(noun.of_user(session, team.alice.id, utc_now()), key=lambda one: one.id)
            viewer = people.viewer_of(session.get_one(User, team.alice.id), "test")
            assert noun.end(session, viewer, first.key, utc_now())

    async def work() -> None:
        async with (
            opened(stream, stolen, "tasks") as thief, opened(stream, kept, "tasks") as alice,
            opened(stream, bobs, "tasks") as bob,
        ):  # fmt: skip
            await asyncio.to_thread(end_first)
            await thief.until(lambda: thief.over)
            assert not alice.over
            assert not bob.over
        assert await status_of(stream, stolen) == 401

    running(stream, work)


async def status_of(stream: Live, cookie: str) -> int:
    """What a page with this cookie is told when it asks for the stream, and is refused."""
    headers = [(b"host", b"tracker.example.com"), (b"cookie", cookie.encode())]
    scope = {"type": "http", "method": "GET", "path": "/live", "query_string": b"topics=tasks", "headers": headers}
    made = Stream(stream, scope)
    await stream(scope, made.receive, made.send)
    return made.status


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/140 Safari/537.36 Edg/140", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile Safari/604.1", "Safari on iPhone"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Chrome/140.0.0.0 Safari/537.36", "Chrome on a Mac"),
        ("curl/8", "An unknown program"), ("", "An unknown program"), ("<script>", "An unknown program"),
    ],
)  # fmt: skip
def test_a_browser_in_words(agent: str, words: str) -> None:
    assert program(agent) == words
