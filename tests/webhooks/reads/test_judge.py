"""The thread of the worker: at once when it hears, soon when it does not, and again when the database is back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from tests.tracker.domain import NOW, a_team
from tests.tracker.web.conftest import Team
from tests.webhooks.reading import SENT, a_hit, a_tracked_mail
from tests.webhooks.reads.sent_mail import a_sent_mail
from tracker.db import Sessions, plain_url
from tracker.events import Event
from webhooks import judge as judging
from webhooks import own_side
from webhooks.hits import CHANNEL
from webhooks.judge import NAME, Judge
from webhooks.tracks import TrackedEmail, TrackedLink
from webhooks.verdicts.news import CLICKED, HOLD


@pytest.fixture
def judge(sessions: Sessions, database_url: str) -> Iterator[Judge]:
    made = Judge(sessions, database_url, lambda: NOW)
    yield made
    made.stop()


def a_mail(sessions: Sessions) -> int:
    with sessions() as session, session.begin():
        return a_tracked_mail(session, a_team(session)).id


def knock(sessions: Sessions, mail_id: int, hours: int, *, tell: bool = True) -> None:
    """A hit, as the door writes it."""
    with sessions() as session, session.begin():
        mail = session.get_one(TrackedEmail, mail_id)
        a_hit(session, mail, SENT + timedelta(hours=hours), rules=0, verdict=None, why=None)
        if tell:
            session.execute(text(f"NOTIFY {CHANNEL}"))


def views(sessions: Sessions, mail_id: int) -> int:
    with sessions() as session:
        return session.get_one(TrackedEmail, mail_id).views


def within(seconds: float, true: Callable[[], bool]) -> float:
    """How long it took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds
        time.sleep(0.005)
    return time.monotonic() - began


def listening(engine: Engine) -> bool:
    query = text("SELECT count(*) FROM pg_stat_activity WHERE application_name = :name AND state = 'idle'")
    with engine.connect() as connection:
        return bool(connection.scalar(query, {"name": NAME}))


def test_a_hit_is_judged_at_once_and_without_a_word_soon(
    sessions: Sessions, engine: Engine, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail = a_mail(sessions)
    judge.start()
    within(10, lambda: listening(engine))
    time.sleep(0.3)  # it looks around first
    knock(sessions, mail, 1)
    took = within(5, lambda: views(sessions, mail) == 1)
    assert took < 0.4, "it heard of it, and did not only look"
    knock(sessions, mail, 5, tell=False)
    within(6, lambda: views(sessions, mail) == 2)


def test_it_goes_on_when_its_connection_was_cut(
    sessions: Sessions, engine: Engine, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "PAUSES", (0.05,))
    mail = a_mail(sessions)
    judge.start()
    within(10, lambda: listening(engine))
    with engine.connect() as connection:
        cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = :name"
        assert connection.scalar(text(cut), {"name": NAME}) == 1
    knock(sessions, mail, 1)
    within(6, lambda: views(sessions, mail) == 1)


def test_a_report_that_comes_a_moment_after_the_hit_takes_the_read_back(
    sessions: Sessions, database_url: str, team: Team, write: Session
) -> None:
    mail, conversation = a_sent_mail(write, team)
    hit = a_hit(write, mail, NOW, rules=0, verdict=None, why=None)
    write.commit()
    judge = Judge(sessions, database_url, lambda: NOW + timedelta(seconds=1))
    judge.step()
    assert views(sessions, mail.id) == 1
    own_side.seen(write, team.alice.id, conversation.id, NOW + timedelta(seconds=1))
    write.commit()
    judge.look_around()
    assert views(sessions, mail.id) == 0
    write.refresh(hit)
    assert hit.verdict == "own"


def test_a_report_has_the_mail_judged_again_at_once(
    sessions: Sessions, database_url: str, team: Team, write: Session
) -> None:
    mail, conversation = a_sent_mail(write, team)
    a_hit(write, mail, NOW, rules=0, verdict=None, why=None)
    write.commit()
    judge = Judge(sessions, database_url, lambda: NOW + timedelta(seconds=1))
    judge.step()
    with psycopg.connect(plain_url(database_url), autocommit=True) as listening:
        listening.execute(f"LISTEN {CHANNEL}")
        own_side.seen(write, team.alice.id, conversation.id, NOW + timedelta(seconds=1))
        write.commit()
        assert list(listening.notifies(timeout=2, stop_after=1))
    judge.step()
    assert views(sessions, mail.id) == 0


def test_a_step_ends_though_hits_come_without_an_end(
    judge: Judge, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "STEP", 0.05)
    monkeypatch.setattr(judging.reads, "judge_some", lambda *_: 1)
    began = time.monotonic()
    assert judge.step() > 1
    assert time.monotonic() - began < 2
    assert judge._is_due()


def test_a_click_that_was_held_is_told_without_another_word(
    sessions: Sessions, engine: Engine, database_url: str
) -> None:
    with sessions() as session, session.begin():
        mail = a_tracked_mail(session, a_team(session), links=["https://acme.test/a", "https://acme.test/b"]).id
    judge = Judge(sessions, database_url, lambda: datetime.now(UTC))
    judge.start()
    try:
        within(10, lambda: listening(engine))
        time.sleep(0.3)
        with sessions() as session, session.begin():
            link = session.scalars(select(TrackedLink.id)).first()
            at = datetime.now(UTC)
            a_hit(
                session, session.get_one(TrackedEmail, mail), at, kind="click", link_id=link, rules=0,
                agent="Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
                address="203.0.113.9",
            )  # fmt: skip
            session.execute(text(f"NOTIFY {CHANNEL}"))

        def told() -> bool:
            with sessions() as session:
                return bool(session.scalars(select(Event).where(Event.kind == CLICKED)).all())

        within(3, told)
        assert HOLD <= datetime.now(UTC) - at < HOLD + timedelta(seconds=0.5)
    finally:
        judge.stop()


def test_it_stops_soon(judge: Judge) -> None:
    judge.start()
    began = time.monotonic()
    judge.stop()
    assert time.monotonic() - began < 2
