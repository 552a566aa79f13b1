"""Notes, calls and meetings, with @mention; links between boxes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.tracker.domain import NOW, a_box, a_team
from tracker import activities, boxes, links, mentions, people
from tracker.activities import Activity, ActivityError, ActivityKind
from tracker.boxes import Box
from tracker.events import Event
from tracker.links import LinkError
from tracker.mentions import Person
from tracker.people import User, Viewer

BOB = Person("k-bob", "Bob Baker", "bob@team.example")
BEA = Person("k-bea", "Bea Brown", "bea@team.example")
TWIN = Person("k-twin", "Bob Baker", "robert@team.example")
NOTE = ActivityKind.NOTE


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("@Bob Baker look", "@{k-bob} look"),
        ("ask @bob, please", "ask @{k-bob}, please"),
        ("(@bea)", "(@{k-bea})"),
        ("@bob@team.example!", "@{k-bob}!"),
        ("mail bob@team.example", "mail bob@team.example"),
        ("mail x@bob.example", "mail x@bob.example"),
        ("@bobby", "@bobby"),
        ("@bob-x", "@bob-x"),
        ("@BOB BAKER", "@{k-bob}"),
        ("@nobody", "@nobody"),
    ],
)
def test_mentions_are_kept_as_keys(typed: str, stored: str) -> None:
    assert mentions.store(typed, [BOB, BEA])[0] == stored


def test_of_two_with_one_name_the_address_says_which() -> None:
    assert mentions.store("@Bob Baker @bob", [BOB, TWIN]) == ("@Bob Baker @bob", [])
    assert mentions.store("@robert@team.example", [BOB, TWIN]) == ("@{k-twin}", ["k-twin"])
    assert mentions.handles([BOB, TWIN, BEA])["k-twin"] == "robert@team.example"


def test_a_mention_follows_its_user_to_a_new_name() -> None:
    stored, _ = mentions.store("Ask @Bob Baker today", [BOB])
    told = mentions.pieces(stored, {"k-bob": "Robert Baker"})
    assert [(piece.text, piece.key) for piece in told] == [
        ("Ask ", None), ("Robert Baker", "k-bob"), (" today", None)
    ]  # fmt: skip
    assert mentions.pieces(stored, {})[1].text == "somebody"


@given(st.text(alphabet="@{}Bob aker-_k\n", max_size=60))
def test_what_is_typed_again_mentions_the_same(text: str) -> None:
    stored, keys = mentions.store(text, [BOB, BEA])
    again = mentions.store(mentions.typed(stored, mentions.handles([BOB, BEA])), [BOB, BEA])
    assert set(keys) <= set(again[1])


@pytest.fixture
def alice(session: Session) -> User:
    """The team's admin."""
    return a_team(session)


@pytest.fixture
def viewer(alice: User) -> Viewer:
    """Alice at work."""
    return people.viewer_of(alice, "test")


@pytest.fixture
def bob(session: Session, alice: User) -> User:
    """A teammate."""
    return people.add_user(session, alice.team_id, "bob@team.example", name="Bob Baker")


@pytest.fixture
def box(session: Session, viewer: Viewer) -> Box:
    """One of Alice's."""
    return a_box(session, viewer, "Acme deal", "anna@acme.test")


def mentioned(session: Session) -> list[str]:
    query = select(Event.data["user"].astext).where(Event.kind == "user.mentioned").order_by(Event.id)
    return list(session.scalars(query))


def test_each_who_is_mentioned_is_told_once(
    session: Session, viewer: Viewer, alice: User, bob: User, box: Box
) -> None:
    both = [alice, bob]
    note = activities.add(session, viewer, box, NOTE, "@Bob Baker and @bob", people=both, now=NOW)
    assert mentioned(session) == [bob.key]
    activities.change(session, viewer, note, "@Bob Baker, and @Alice", people=both, now=NOW)
    assert mentioned(session) == [bob.key, alice.key]
    assert note.edited_at == NOW


def test_what_is_removed_leaves_nothing_but_that_it_was(session: Session, viewer: Viewer, box: Box) -> None:
    anna = box.contacts[0].key
    call = activities.add(
        session, viewer, box, ActivityKind.CALL, "secret words", minutes=5, contact_keys=[anna, "x"], now=NOW
    )
    assert call.contact_keys == [anna]
    activities.remove(session, viewer, call, NOW)
    session.flush()
    session.expire_all()
    left = session.get_one(Activity, call.id)
    assert (left.text, left.contact_keys, left.mentions, left.minutes) == ("", [], [], None)
    assert activities.by_key(session, viewer.team_id, call.key) is None
    told = session.execute(select(Event.kind, Event.data).where(Event.kind.startswith("call."))).all()
    assert [kind for kind, _ in told] == ["call.added", "call.removed"]
    assert "secret" not in str(told)
    with pytest.raises(ActivityError):
        activities.change(session, viewer, left, "again", now=NOW)


def test_only_ones_own_is_changed(session: Session, viewer: Viewer, bob: User, box: Box) -> None:
    note = activities.add(session, viewer, box, NOTE, "mine", now=NOW)
    bobs = people.viewer_of(bob, "test")
    with pytest.raises(ActivityError, match="Only whoever wrote it"):
        activities.change(session, bobs, note, "his", now=NOW)
    with pytest.raises(ActivityError, match="Only whoever wrote it"):
        activities.remove(session, bobs, note, NOW)


@pytest.mark.parametrize(
    ("text", "minutes"), [("", None), ("\x00 ", None), ("x" * 20_001, None), ("x", 0), ("x", 1441)]
)
def test_refuses_what_is_empty_or_too_long(
    session: Session, viewer: Viewer, box: Box, text: str, minutes: int | None
) -> None:
    with pytest.raises(ActivityError):
        activities.add(session, viewer, box, NOTE, text, minutes=minutes, now=NOW)


def test_a_meeting_takes_place_when_it_did(session: Session, viewer: Viewer, box: Box) -> None:
    earlier = NOW - timedelta(days=2)
    made = activities.add(session, viewer, box, ActivityKind.MEETING, "", at=earlier, minutes=45, now=NOW)
    assert (made.at, made.created_at, made.minutes) == (earlier, NOW, 45)


def test_links_go_both_ways_once_and_are_taken_away(session: Session, viewer: Viewer, box: Box) -> None:
    other = a_box(session, viewer, "Anna Ito", into="Connections")
    assert links.link(session, viewer, other, box)
    assert not links.link(session, viewer, box, other)
    assert [one.name for one in links.of_box(session, box.id)] == ["Anna Ito"]
    assert [one.name for one in links.of_box(session, other.id)] == ["Acme deal"]
    boxes.delete(session, viewer, other, NOW)
    session.flush()
    assert links.of_box(session, box.id) == []
    boxes.undelete(session, viewer, other)
    session.flush()
    assert links.unlink(session, viewer, box, other)
    assert not links.unlink(session, viewer, box, other)
    assert links.of_box(session, other.id) == []
    with pytest.raises(LinkError):
        links.link(session, viewer, box, box)
