"""From what arrived to rows of hits: each once, with its largest count, whoever takes it in and in what pieces."""

from __future__ import annotations

import threading
from datetime import timedelta
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, insert, select, text
from sqlalchemy.orm import Session

from tests.tracker.domain import NOW, a_team
from tests.webhooks.reading import a_tracked_mail
from tracker.db import Sessions
from webhooks import hit_intake
from webhooks.hits import ARRIVALS, Hit
from webhooks.tracks import TrackedEmail


def arrives(session: Session, mail: TrackedEmail, *arrivals: tuple[int, int]) -> None:
    """Hits by the numbers that are their keys, each with a count of repetitions."""
    rows = [
        {
            "team_id": mail.team_id, "tracked_email_id": mail.id, "key": UUID(int=key), "kind": "open",
            "at": NOW + timedelta(seconds=key), "headers": {}, "repeats": repeats,
        }
        for key, repeats in arrivals
    ]  # fmt: skip
    if rows:
        session.execute(insert(ARRIVALS), rows)


def left(session: Session) -> int:
    """How many were not taken in."""
    return session.scalar(select(func.count()).select_from(ARRIVALS)) or 0


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.one_of(st.tuples(st.integers(0, 9), st.integers(0, 5)), st.integers(1, 4)), max_size=40))
def test_each_is_kept_once_with_its_largest_count(session: Session, steps: list[tuple[int, int] | int]) -> None:
    session.rollback()
    mail = a_tracked_mail(session, a_team(session))
    expected: dict[int, int] = {}
    for step in steps:
        if isinstance(step, int):
            hit_intake.take_in_some(session, step)
        else:
            arrives(session, mail, step)
            expected[step[0]] = max(step[1], expected.get(step[0], 0))
    while hit_intake.take_in_some(session, 3):
        pass
    assert left(session) == 0
    found = {one.key.int: one for one in session.scalars(select(Hit).execution_options(populate_existing=True))}
    assert {key: one.repeats for key, one in found.items()} == expected
    assert all(one.rules == 0 and one.at == NOW + timedelta(seconds=key) for key, one in found.items())
    session.rollback()


def test_of_mail_that_is_gone_nothing_is_taken_in(session: Session) -> None:
    alice = a_team(session)
    gone, stays = a_tracked_mail(session, alice), a_tracked_mail(session, alice)
    arrives(session, gone, (1, 0))
    arrives(session, stays, (2, 0))
    session.execute(delete(TrackedEmail).where(TrackedEmail.id == gone.id))
    assert hit_intake.take_in_some(session) == 2
    assert [one.key.int for one in session.scalars(select(Hit))] == [2]
    assert left(session) == 0


def test_only_what_was_asked_for_is_taken_in(session: Session) -> None:
    alice = a_team(session)
    one, other = a_tracked_mail(session, alice), a_tracked_mail(session, alice)
    arrives(session, one, (1, 0), (2, 0))
    arrives(session, other, (3, 0))
    assert hit_intake.take_in(session, [one.id]) == 2
    assert hit_intake.take_in(session, []) == 0
    assert left(session) == 1


def test_several_take_in_at_once(sessions: Sessions) -> None:
    with sessions() as session, session.begin():
        mail = a_tracked_mail(session, a_team(session))
        for number in range(6):  # each hit six times, so that they hold the same ones
            arrives(session, mail, *((key, number) for key in range(200)))

    def work() -> None:
        with sessions() as session:
            while hit_intake.take_in_some(session, 50):
                session.commit()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with sessions() as session:
        assert left(session) == 0
        repeats = session.scalars(select(Hit.repeats)).all()
        assert repeats == [5] * 200


def test_it_waits_for_whoever_has_the_same_at_hand(sessions: Sessions) -> None:
    """What is erased must not come back from somebody's hands."""
    with sessions() as session, session.begin():
        mail = a_tracked_mail(session, a_team(session))
        arrives(session, mail, (1, 0))
    with sessions() as judge, sessions() as erasing:
        assert hit_intake.take_in_some(judge) == 1
        assert hit_intake.take_in_some(erasing) == 0
        erasing.execute(text("SET LOCAL lock_timeout = '5s'"))
        eraser = threading.Thread(target=lambda: hit_intake.take_in(erasing, [mail.id]))
        eraser.start()
        eraser.join(0.3)
        assert eraser.is_alive()
        judge.commit()
        eraser.join(10)
        assert erasing.scalars(select(Hit.repeats)).all() == [0]
