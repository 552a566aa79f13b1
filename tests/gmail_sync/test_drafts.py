"""The writing gate: drafts are created, found again, changed, sent once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from gmail_sync import drafts
from gmail_sync.budget import NoBudget
from gmail_sync.client import Gmail
from gmail_sync.errors import NotFound, Permanent, Transient
from gmail_sync.sandbox import Fault
from tests.gmail_sync.syncing import ALICE, BOB, Team, mail


@pytest.fixture
def gmail(team: Team) -> Iterator[Gmail]:
    """Alice's door."""
    door = team.services.door(team.connect(ALICE), NoBudget())
    yield door
    door.close()


def letter(subject: str = "Offer", to: str = BOB) -> bytes:
    """A raw mail of Alice's."""
    return mail(ALICE, to, subject=subject)


def long_ago() -> datetime:
    """Before this test."""
    return datetime.now(UTC) - timedelta(minutes=5)


def test_a_draft_keeps_its_id_and_changes_its_message(gmail: Gmail) -> None:
    first = drafts.create(gmail, letter(), "k1")
    second = drafts.update(gmail, first.id, letter("Better"), "k1")
    assert (second.id, second.thread_id) == (first.id, first.thread_id)
    assert second.message_id != first.message_id
    assert drafts.standing(gmail, first.id) == second
    assert b"Subject: Better" in drafts.read(gmail, first.id)


def test_a_draft_is_sent_once_and_is_gone_then(gmail: Gmail, team: Team) -> None:
    draft = drafts.create(gmail, letter(), "k1")
    gmail_id, thread_id = drafts.send(gmail, draft.id)
    assert thread_id == draft.thread_id
    assert drafts.standing(gmail, draft.id) is None
    with pytest.raises(NotFound):
        drafts.send(gmail, draft.id)
    assert len(team.sandbox.mailbox(BOB).message_ids()) == 1
    sent = drafts.headers(gmail, [gmail_id])[gmail_id]
    assert (sent.key, sent.subject, sent.recipients) == ("k1", "Offer", (BOB,))
    assert (sent.rfc822_message_id or "").endswith("@mail.gmail.com")


@pytest.mark.parametrize("kind", ["drop", "lost_answer", "status"])
def test_a_send_is_asked_once_whatever_comes_of_it(gmail: Gmail, team: Team, kind: str) -> None:
    draft = drafts.create(gmail, letter(), "k1")
    fault = team.sandbox.faults.add(Fault(kind, "drafts.send", status=503))  # type: ignore[arg-type]
    with pytest.raises(Transient):
        drafts.send(gmail, draft.id)
    assert fault.hits == 1
    gone = drafts.standing(gmail, draft.id) is None
    assert gone == (kind == "lost_answer") == (len(team.sandbox.mailbox(BOB).message_ids()) == 1)
    trace = drafts.Trace("k1", draft.thread_id, "Offer", frozenset({BOB}), long_ago())
    assert (drafts.find_sent(gmail, trace) is not None) == gone


def test_a_draft_whose_creation_was_not_answered_is_found_by_its_key(gmail: Gmail, team: Team) -> None:
    drafts.create(gmail, letter(), "other")
    team.sandbox.faults.add(Fault("lost_answer", "drafts.create", times=1))
    with pytest.raises(Transient):
        drafts.create(gmail, letter(), "k1")
    found = drafts.with_key(gmail, "k1", datetime.now(UTC))
    assert found is not None
    assert drafts.with_key(gmail, "nobody's", datetime.now(UTC)) is None


def test_deleting_twice_is_as_good_as_once(gmail: Gmail) -> None:
    draft = drafts.create(gmail, letter(), "k1")
    drafts.delete(gmail, draft.id)
    drafts.delete(gmail, draft.id)
    assert list(drafts.all_of(gmail)) == []


def test_all_drafts_are_listed_page_by_page(gmail: Gmail) -> None:
    made = {drafts.create(gmail, letter(str(number)), str(number)).id for number in range(5)}
    first, token = drafts.page(gmail, limit=2)
    assert (len(first), bool(token)) == (2, True)
    assert {draft.id for draft in drafts.all_of(gmail)} == made


def test_what_gmail_refuses_is_permanent(gmail: Gmail) -> None:
    draft = drafts.create(gmail, letter(to="nobody"), "k1")
    with pytest.raises(Permanent, match="Invalid To header"):
        drafts.send(gmail, draft.id)
    assert drafts.standing(gmail, draft.id) is not None
