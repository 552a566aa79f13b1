"""Conversations are the union of the team's copies, whatever the order in which they come in."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests.tracker.domain import a_box, a_team, conversation_of
from tracker import conversations, filing, mailboxes, people
from tracker.conversations import Conversation, Incoming
from tracker.filing import Filing
from tracker.mailboxes import Mailbox
from tracker.messages import Copy, Message

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)


def incoming(message_id: str, thread: str, *, minute: int = 0, content: str = "", gmail_id: str = "") -> Incoming:
    """A mail with nothing in it but what holds conversations together."""
    moment = NOW + timedelta(minutes=minute)
    message = {
        "identity": hashlib.sha256(f"{message_id}{content}".encode()).digest(),
        "kin": None,
        "rfc822_message_id": message_id,
        "sent_at": moment,
        "subject": f"About {message_id}",
        "sender_normalized": "charlie@outside.example",
        "sender_address": "charlie@outside.example",
    }
    copy = {
        "gmail_id": gmail_id or f"{thread}-{message_id}{content}",
        "gmail_thread_id": thread,
        "label_ids": ["INBOX"],
        "history_id": 1,
        "internal_date": moment,
        "size_estimate": 100,
        "headers": [],
    }
    return Incoming(message, [], copy)


def some_mailboxes(session: Session, number: int) -> list[Mailbox]:
    """A team with mailboxes."""
    alice = a_team(session)
    return [mailboxes.connect(session, alice, f"box{index}@team.example", b"", NOW) for index in range(number)]


def shape(session: Session) -> set[frozenset[tuple[str, str]]]:
    """Which copies are together, in names that don't depend on the order of arrival."""
    groups: dict[int, set[tuple[str, str]]] = {}
    query = select(Message.conversation_id, Mailbox.address, Copy.gmail_id).join(
        Copy, Copy.message_id == Message.id
    )
    for conversation_id, address, gmail_id in session.execute(query.join(Mailbox, Mailbox.id == Copy.mailbox_id)):
        groups.setdefault(conversation_id, set()).add((address, gmail_id))
    return {frozenset(group) for group in groups.values()}


def components(mails: list[tuple[int, Incoming]]) -> set[frozenset[tuple[str, str]]]:
    """The same, worked out the slow and obvious way."""
    groups: list[tuple[set[object], set[tuple[str, str]]]] = []
    for box, mail in mails:
        nodes: set[object] = {(box, mail.copy["gmail_thread_id"]), mail.message["rfc822_message_id"]}
        names = {(f"box{box}@team.example", mail.copy["gmail_id"])}
        for other in [group for group in groups if group[0] & nodes]:
            groups.remove(other)
            nodes |= other[0]
            names |= other[1]
        groups.append((nodes, names))
    return {frozenset(names) for _, names in groups}


arrivals = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from("abcdefgh"), st.sampled_from("xyzw")),
    min_size=1,
    max_size=14,
    unique_by=lambda arrival: arrival[:2],
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrived=arrivals, data=st.data())
def test_any_order_and_any_batches_give_the_same_union(
    session: Session, arrived: list[tuple[int, str, str]], data: st.DataObject
) -> None:
    mails = [(box, incoming(name, thread)) for box, name, thread in data.draw(st.permutations(arrived))]
    session.rollback()  # of the example before
    boxes = some_mailboxes(session, 3)
    while mails:
        size = data.draw(st.integers(1, len(mails)))
        helping, mails = mails[:size], mails[size:]
        for number, box in enumerate(boxes):
            chosen = [mail for index, mail in helping if index == number]
            conversations.take_in(session, box.team_id, box.id, chosen)
    expected = components([(box, incoming(name, thread)) for box, name, thread in arrived])
    assert shape(session) == expected
    assert session.scalar(select(func.count()).select_from(Conversation)) == len(expected)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrived=arrivals, data=st.data())
def test_deleting_leaves_what_would_have_been_without_the_deleted(
    session: Session, arrived: list[tuple[int, str, str]], data: st.DataObject
) -> None:
    session.rollback()  # of the example before
    mails = [(box, incoming(name, thread)) for box, name, thread in arrived]
    boxes = some_mailboxes(session, 3)
    for box, mail in mails:
        conversations.take_in(session, boxes[box].team_id, boxes[box].id, [mail])
    doomed = data.draw(
        st.lists(st.sampled_from(mails), unique_by=lambda pair: (pair[0], pair[1].copy["gmail_id"]))
    )
    for box, mail in doomed:
        conversations.drop_copies(session, boxes[box].id, [mail.copy["gmail_id"]])
    names = {(box, mail.copy["gmail_id"]) for box, mail in doomed}
    left = [(box, mail) for box, mail in mails if (box, mail.copy["gmail_id"]) not in names]
    assert shape(session) == components(left)
    assert session.scalar(select(func.count()).select_from(Conversation)) == len(components(left))


def test_taking_in_again_changes_nothing(session: Session) -> None:
    (box,) = some_mailboxes(session, 1)
    mails = [incoming("a", "x"), incoming("b", "x"), incoming("c", "y")]
    first = conversations.take_in(session, box.team_id, box.id, mails)
    again = conversations.take_in(session, box.team_id, box.id, mails)
    assert len(first.new_message_ids) == 3
    assert again.new_message_ids == []
    assert session.scalar(select(func.count()).select_from(Copy)) == 3


def test_two_copies_of_one_mail_are_one_message(session: Session) -> None:
    one, two = some_mailboxes(session, 2)
    conversations.take_in(session, one.team_id, one.id, [incoming("a", "x")])
    taken = conversations.take_in(session, two.team_id, two.id, [incoming("a", "q")])
    assert taken.new_message_ids == []
    assert session.scalar(select(func.count()).select_from(Message)) == 1
    assert session.scalar(select(func.count()).select_from(Copy)) == 2


def test_a_forged_message_id_does_not_make_its_holder_a_holder_of_the_original(session: Session) -> None:
    one, two = some_mailboxes(session, 2)
    conversations.take_in(session, one.team_id, one.id, [incoming("secret", "x", content="the plan")])
    conversations.take_in(session, two.team_id, two.id, [incoming("secret", "q", content="a lure")])
    held = select(Message.identity).join(Copy).where(Copy.mailbox_id == two.id)
    assert session.scalars(held).all() == [incoming("secret", "q", content="a lure").identity]


def test_box_links_follow_a_merge(session: Session) -> None:
    one, two = some_mailboxes(session, 2)
    viewer = people.system_viewer(one.team_id, "test")
    conversations.take_in(session, one.team_id, one.id, [incoming("a", "x")])
    conversations.take_in(session, two.team_id, two.id, [incoming("b", "q")])
    box = a_box(session, viewer, "Acme")
    filing.file(session, viewer, conversation_of(session, "b"), box)
    conversations.take_in(session, two.team_id, two.id, [incoming("a", "q")])  # the bridge
    whole = conversation_of(session, "a")
    assert whole.id == conversation_of(session, "b").id
    assert [row.state for row in filing.of_box(session, box.id)] == ["filed"]
    assert filing.of_box(session, box.id)[0].conversation_id == whole.id


@pytest.mark.parametrize("reverse", [False, True])
def test_a_persons_no_outlives_a_merge_with_a_rules_yes(session: Session, reverse: bool) -> None:
    (mailbox,) = some_mailboxes(session, 1)
    viewer = people.system_viewer(mailbox.team_id, "test")
    mails = [incoming("a", "x"), incoming("b", "y")]
    for mail in reversed(mails) if reverse else mails:
        conversations.take_in(session, mailbox.team_id, mailbox.id, [mail])
    box = a_box(session, viewer, "Acme")
    said_no, ruled = conversation_of(session, "a"), conversation_of(session, "b")
    filing.file(session, viewer, said_no, box)
    filing.remove(session, viewer, said_no, box)
    decision = filing.Decision(ruled.id, box.id, box.pipeline_id, filing.FILED, "contact", "because")
    filing.decide_by_rule(session, mailbox.team_id, [decision], viewer)
    conversations.take_in(session, mailbox.team_id, mailbox.id, [incoming("a", "y", gmail_id="bridge")])
    assert session.scalars(select(Filing.state)).all() == ["removed"]


def test_a_conversation_that_comes_apart_keeps_its_box_in_each_part(session: Session) -> None:
    (mailbox,) = some_mailboxes(session, 1)
    viewer = people.system_viewer(mailbox.team_id, "test")
    bridge = incoming("a", "y", gmail_id="bridge")
    conversations.take_in(session, mailbox.team_id, mailbox.id, [incoming("a", "x"), incoming("b", "y"), bridge])
    box = a_box(session, viewer, "Acme")
    filing.file(session, viewer, conversation_of(session, "a"), box)
    conversations.drop_copies(session, mailbox.id, ["bridge"])
    assert conversation_of(session, "a").id != conversation_of(session, "b").id
    assert len(filing.of_box(session, box.id)) == 2


def test_a_conversation_tells_its_first_subject_and_last_date(session: Session) -> None:
    (mailbox,) = some_mailboxes(session, 1)
    mails = [incoming("late", "x", minute=9), incoming("early", "x", minute=1)]
    conversations.take_in(session, mailbox.team_id, mailbox.id, mails)
    found = conversation_of(session, "late")
    session.refresh(found)
    assert (found.subject, found.message_count) == ("About early", 2)
    assert found.last_message_at == NOW + timedelta(minutes=9)
