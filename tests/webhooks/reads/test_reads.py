"""Hits in the database become readings and events, in whatever order and pieces they come."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from tests.tracker.domain import NOW, a_box, a_team
from tests.webhooks.reading import PROXY, SENT, a_hit, a_tracked_mail
from tracker.db import Sessions
from tracker.events import Event
from tracker.people import User, viewer_of
from webhooks import own_side, reads
from webhooks.bells import telling, words
from webhooks.bells.notices import Notification
from webhooks.hits import Hit
from webhooks.tracks import TrackedEmail, TrackedLink
from webhooks.verdicts import RULES, agents
from webhooks.verdicts.news import CLICKED, HOLD, READ

CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36"
LINKS = ("https://acme.test/pricing", "https://docs.acme.test/", "https://acme.test/team")
NEW: dict[str, Any] = {"verdict": None, "why": None, "rules": 0}


@pytest.fixture
def alice(session: Session) -> User:
    return a_team(session)


def new_hit(session: Session, mail: TrackedEmail, after: timedelta = timedelta(hours=1), **more: Any) -> Hit:
    """A hit as the door writes it."""
    return a_hit(session, mail, SENT + after, **{**NEW, **more})


def told(session: Session) -> list[Event]:
    return list(session.scalars(select(Event).where(Event.kind.in_((READ, CLICKED))).order_by(Event.id)))


def test_an_open_through_gmails_proxy_is_told_once_with_its_box_and_no_address(
    session: Session, alice: User
) -> None:
    box = a_box(session, viewer_of(alice, "test"), "Acme")
    mail = a_tracked_mail(session, alice, box_id=box.id)
    hit = new_hit(session, mail)
    assert reads.judge_some(session, NOW) == 1
    assert reads.judge_some(session, NOW) == 0
    session.expire_all()
    assert (mail.confidence, mail.via, mail.views, mail.hits, mail.rules) == (
        "likely",
        "Gmail’s proxy",
        1,
        1,
        RULES,
    )
    assert (hit.verdict, hit.rules) == ("proxy", RULES)
    event = told(session)[0]
    assert (event.kind, event.box_id, event.actor, event.user_id) == (READ, box.id, "system", None)
    assert event.data == {
        "tracked": mail.key, "confidence": "likely", "via": "Gmail’s proxy", "views": 1, "first": True,
        "again_after_days": None, "recipients": 1,
    }  # fmt: skip
    new_hit(session, mail, timedelta(hours=1, minutes=5))
    new_hit(session, mail, timedelta(hours=9))
    assert reads.judge_some(session, NOW) == 1
    assert len(told(session)) == 1
    assert mail.views == 2


def test_a_click_is_told_with_the_host_alone(session: Session, alice: User) -> None:
    mail = a_tracked_mail(session, alice, links=LINKS)
    link = session.scalars(select(TrackedLink).where(TrackedLink.position == 1)).one()
    new_hit(session, mail, kind="click", link_id=link.id, agent=CHROME, address="203.0.113.9")
    reads.judge_some(session, NOW)
    event = told(session)[0]
    assert (event.kind, event.data["host"], event.data["first"]) == (CLICKED, "docs.acme.test", True)
    assert (mail.confidence, mail.clicked) == ("certain", 1)


def test_machines_tell_nothing(session: Session, alice: User) -> None:
    mail = a_tracked_mail(session, alice, links=LINKS)
    new_hit(session, mail, agent=agents.GMAIL_PREFETCH)
    new_hit(session, mail, agent="Mozilla/5.0", address="17.58.101.1")
    new_hit(session, mail, kind="click", agent="curl/8.4.0")
    assert reads.judge_some(session, NOW) == 1
    assert told(session) == []
    assert (mail.confidence, mail.views) == ("machine", 0)


def test_what_came_before_anybody_knew_that_it_went_out_is_judged_again(session: Session, alice: User) -> None:
    mail = a_tracked_mail(session, alice)
    mail.sent_at = None
    new_hit(session, mail, timedelta(minutes=10))
    assert reads.judge_some(session, NOW) == 1
    assert (mail.confidence, told(session)) == ("machine", [])
    assert reads.judge_some(session, NOW) == 0
    mail.sent_at = SENT
    session.flush()
    assert reads.judge_some(session, NOW) == 1
    assert (mail.confidence, mail.rules) == ("likely", RULES)
    assert len(told(session)) == 1


def test_what_is_learnt_of_the_own_side_later_is_taken_into_account(session: Session, alice: User) -> None:
    mail = a_tracked_mail(session, alice, links=LINKS)
    at = timedelta(hours=1)
    new_hit(session, mail, at, kind="click", agent=CHROME, address="93.184.216.34")
    reads.judge_some(session, NOW)
    assert mail.confidence == "certain"
    own_side.note(session, alice.team_id, alice.id, "93.184.216.34", SENT + at)
    reads.again(session, [mail.id])
    assert reads.judge_some(session, NOW) == 1
    session.refresh(mail)
    assert (mail.confidence, mail.clicked) == ("machine", 0)


def test_older_rules_are_judged_anew_and_nothing_rings(session: Session, alice: User, monkeypatch: Any) -> None:
    mail = a_tracked_mail(session, alice)
    raw = new_hit(session, mail)
    bare = new_hit(session, mail, timedelta(days=3))
    reads.judge_some(session, NOW)
    session.execute(
        update(Hit).where(Hit.id == bare.id).values(forgotten=True, agent=None, address=None, headers={})
    )
    session.execute(update(Hit).where(Hit.id == raw.id).values(verdict="bot", why="an older rule"))
    monkeypatch.setattr(reads, "RULES", RULES + 1)
    assert reads.rejudge_some(session, NOW) == 1
    assert reads.rejudge_some(session, NOW) == 0
    session.expire_all()
    assert (raw.verdict, raw.rules, bare.verdict, bare.rules) == ("proxy", RULES + 1, "proxy", RULES + 1)
    assert (mail.views, mail.rules, len(told(session))) == (2, RULES + 1, 1)


def test_what_older_rules_missed_is_not_told_by_the_next_machine(
    session: Session, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail = a_tracked_mail(session, alice)
    a_hit(session, mail, verdict="bot", rules=RULES)
    mail.hits, mail.rules = 1, RULES
    monkeypatch.setattr(reads, "RULES", RULES + 1)
    assert reads.rejudge_some(session, NOW) == 1
    new_hit(session, mail, timedelta(days=60), agent="curl/8.4.0")
    assert reads.judge_some(session, NOW + timedelta(days=60)) == 1
    assert (mail.confidence, told(session)) == ("likely", [])


def test_a_cold_click_is_told_by_whoever_comes_when_it_was_held_long_enough(session: Session, alice: User) -> None:
    mail = a_tracked_mail(session, alice, links=LINKS)
    link = session.scalars(select(TrackedLink).where(TrackedLink.position == 1)).one()
    hit = new_hit(session, mail, kind="click", link_id=link.id, agent=CHROME, address="203.0.113.9")
    assert reads.judge_some(session, hit.at + timedelta(milliseconds=50)) == 1
    assert (mail.clicked, told(session)) == (1, [])
    due = reads.next_tell_at(session, hit.at)
    assert due == hit.at + HOLD
    assert reads.judge_some(session, due - timedelta(milliseconds=1)) == 0
    assert reads.judge_some(session, due) == 1
    assert [one.kind for one in told(session)] == [CLICKED]
    assert reads.judge_some(session, due) == 0


def test_what_rang_for_a_scanner_is_taken_back(session: Session, alice: User) -> None:
    mail = a_tracked_mail(session, alice, links=LINKS)
    links = session.scalars(select(TrackedLink.id).order_by(TrackedLink.position)).all()

    def click(number: int) -> Hit:
        after = timedelta(seconds=300 + number)
        return new_hit(
            session, mail, after, kind="click", link_id=links[number], agent=CHROME, address="192.0.2.1"
        )

    click(0)
    reads.judge_some(session, NOW)
    telling.tell(session, told(session), NOW)
    ring = session.scalars(select(Notification)).one()
    assert (ring.kind, ring.seen_at) == ("clicked", None)
    assert [one.notification for one in words.say(session, [ring], {alice.id: alice})] == [ring]
    click(1), click(2)
    reads.judge_some(session, NOW)
    assert (ring.seen_at, ring.listed, ring.desktop, ring.email) == (NOW, False, False, False)
    telling.tell(session, told(session), NOW)
    assert session.scalars(select(Notification)).all() == [ring], "its event was read late: nobody is told"
    ring.seen_at = None
    assert words.say(session, [ring], {alice.id: alice}) == [], "nor is it pushed"


def test_more_than_a_thousand_requests_are_counted_and_not_judged(session: Session, alice: User) -> None:
    mail = a_tracked_mail(session, alice)
    first = new_hit(session, mail)
    session.execute(
        text(
            "INSERT INTO hits (key, tracked_email_id, team_id, kind, at, agent, address)"
            " SELECT gen_random_uuid(), :mail, :team, 'open', CAST(:at AS timestamptz) + n * interval '1 second',"
            " :agent, '66.249.84.1' FROM generate_series(1, 1200) AS n"
        ),
        {"mail": mail.id, "team": mail.team_id, "at": first.at, "agent": PROXY},
    )
    assert reads.judge_some(session, NOW) == 1
    assert reads.judge_some(session, NOW) == 0
    session.refresh(mail)
    assert (mail.hits, mail.views) == (1201, 1)
    late = new_hit(session, mail, timedelta(minutes=59))  # a journal brings it, and it is the first now
    assert reads.judge_some(session, NOW) == 1
    session.expire_all()
    assert (late.verdict, mail.hits) == ("proxy", 1202)


def test_two_workers_do_not_judge_the_same_mail(sessions: Sessions) -> None:
    with sessions() as session, session.begin():
        mail = a_tracked_mail(session, a_team(session))
        new_hit(session, mail)
    with sessions() as one, sessions() as other:
        assert reads.judge_some(one, NOW) == 1
        assert reads.judge_some(other, NOW) == 0
        one.rollback()
        assert reads.judge_some(other, NOW) == 1


def test_a_hit_that_comes_while_its_mail_is_judged_waits_for_nobody(sessions: Sessions) -> None:
    with sessions() as session, session.begin():
        mail = a_tracked_mail(session, a_team(session))
        new_hit(session, mail)
    with sessions() as judging, sessions() as door:
        reads.judge_some(judging, NOW)
        door.execute(text("SET LOCAL lock_timeout = '500ms'"))
        new_hit(door, mail, timedelta(hours=5))
        door.commit()
        judging.commit()
        assert reads.judge_some(judging, NOW) == 1


def test_the_judge_takes_rows_in_the_order_in_which_the_door_does(sessions: Sessions) -> None:
    with sessions() as session, session.begin():
        mail = a_tracked_mail(session, a_team(session))
        for number in range(20):  # the last key came first
            new_hit(session, mail, timedelta(hours=9, minutes=-number)).key = UUID(int=number)

    def judge() -> None:
        with sessions() as session, session.begin():
            reads.judge_some(session, NOW)

    lock = text("SELECT id FROM hits WHERE key = :key FOR NO KEY UPDATE")
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    judging = threading.Thread(target=judge)
    with sessions() as door, sessions() as watching:
        door.execute(text("SET LOCAL lock_timeout = '1s'"))
        door.execute(lock, {"key": UUID(int=0)})
        judging.start()
        try:
            until = time.monotonic() + 10
            while not watching.scalar(waiting) and time.monotonic() < until:
                time.sleep(0.01)
            door.execute(lock, {"key": UUID(int=19)})
        finally:
            door.rollback()
            judging.join()


def test_the_number_of_questions_does_not_grow_with_mails(
    session: Session, alice: User, count_queries: Any
) -> None:
    def some(count: int) -> int:
        for _ in range(count):
            mail = a_tracked_mail(session, alice, links=LINKS)
            new_hit(session, mail)
            new_hit(session, mail, kind="click", agent=CHROME, address="203.0.113.9")
        session.flush()
        with count_queries() as statements:
            assert reads.judge_some(session, NOW) == count
        return len([one for one in statements if not one.startswith(("UPDATE tracked_emails", "INSERT", "COPY"))])

    assert some(3) == some(12)


# -- the law: whatever the order and the pieces

SPECS = st.lists(
    st.tuples(
        st.sampled_from([-30, 2, 15, 40, 600, 3_600, 3_700, 7_200, 86_400, 9 * 86_400, 20 * 86_400]),
        st.sampled_from([PROXY, CHROME, agents.GMAIL_PREFETCH, "Mozilla/5.0", "curl/8.4.0"]),
        st.sampled_from(["66.249.84.1", "203.0.113.9"]),
        st.sampled_from([None, 0, 1, 2]),
    ),
    min_size=1,
    max_size=9,
    unique=True,
)


@given(specs=SPECS, data=st.data())
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_pieces_in_any_order_leave_the_database_as_all_at_once(
    session: Session, alice: User, specs: list[tuple[int, str, str, int | None]], data: st.DataObject
) -> None:
    whole = _state_after(session, alice, [list(enumerate(specs))])
    order = data.draw(st.permutations(list(enumerate(specs))))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(order)), max_size=4)))
    pieces = [order[start:end] for start, end in zip([0, *cuts], [*cuts, len(order)], strict=True)]
    assert _state_after(session, alice, pieces) == whole


def _state_after(session: Session, alice: User, pieces: Sequence[Sequence[tuple[int, Any]]]) -> Any:
    """What is kept after the hits came in these pieces; and nothing was told twice."""
    savepoint = session.begin_nested()
    try:
        mail = a_tracked_mail(session, alice, links=LINKS)
        links = session.scalars(select(TrackedLink.id).order_by(TrackedLink.position)).all()
        for piece in pieces:
            for number, (seconds, agent, address, link) in piece:
                clicked = {"kind": "click", "link_id": links[link]} if link is not None else {}
                hit = new_hit(session, mail, timedelta(seconds=seconds), agent=agent, address=address, **clicked)
                hit.key = UUID(int=number)
            reads.judge_some(session, NOW)
        session.expire_all()
        _nothing_was_told_twice(session)
        hits = session.scalars(select(Hit).order_by(Hit.key)).all()
        return (
            [(one.key, one.verdict, one.why, one.rules) for one in hits],
            (mail.confidence, mail.why, mail.via, mail.views, mail.clicked, mail.hits, mail.rules),
            (mail.first_view_at, mail.last_view_at),
        )
    finally:
        savepoint.rollback()


def _nothing_was_told_twice(session: Session) -> None:
    happened = [(one.kind, one.at) for one in told(session)]
    assert len(happened) == len(set(happened))
    readers = set(session.scalars(select(Hit.at).where(Hit.verdict.in_(("proxy", "person")))))
    for kind in (READ, CLICKED):  # another first one only after what turned out to be none
        assert sum(one.data["first"] for one in told(session) if one.kind == kind and one.at in readers) <= 1
