"""A mailbox's health is told from evidence, and its state moves along its arrows only."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import product

import pytest
from sqlalchemy.orm import Session

from tests.tracker.domain import NOW, a_team
from tracker import mailboxes, people
from tracker.mailboxes import ARROWS, Backfill, Mailbox, State

SILENCE = timedelta(seconds=60)


@pytest.fixture
def mailbox(session: Session) -> Mailbox:
    """Alice's mailbox, read and up to date."""
    found = mailboxes.connect(session, a_team(session), "alice@team.example", b"", NOW)
    found.backfill, found.synced_at = Backfill.DONE.value, NOW
    session.flush()
    session.refresh(found)
    return found


def level(mailbox: Mailbox, now: datetime = NOW) -> str:
    """How the mailbox is."""
    return mailboxes.health(mailbox, now, SILENCE).level


def test_up_to_date_is_well(mailbox: Mailbox) -> None:
    assert level(mailbox) == "ok"


def test_not_synced_for_too_long_is_late_though_nobody_complained(mailbox: Mailbox) -> None:
    assert level(mailbox, NOW + timedelta(minutes=7)) == "ok"
    assert level(mailbox, NOW + timedelta(minutes=9)) == "late"


def test_never_synced_is_not_well(mailbox: Mailbox) -> None:
    mailbox.synced_at = None
    assert level(mailbox) == "late"


def test_a_gap_is_bad(mailbox: Mailbox) -> None:
    mailbox.gap_at, mailbox.check_result = NOW, {"missing": 3}
    told = mailboxes.health(mailbox, NOW, SILENCE)
    assert (told.level, "3 missed messages" in told.text) == ("bad", True)


def test_the_first_reading_is_busy(mailbox: Mailbox) -> None:
    mailbox.backfill = Backfill.FETCHING.value
    assert level(mailbox) == "busy"


@pytest.mark.parametrize(("source", "target"), list(product(State, State)))
def test_a_state_moves_along_its_arrows_only(
    session: Session, mailbox: Mailbox, source: State, target: State
) -> None:
    mailbox.state = source.value
    session.flush()
    moved = mailboxes.move(session, mailbox.id, target, reason="why", now=NOW)
    session.refresh(mailbox)
    assert moved == (target in ARROWS[source])
    assert mailbox.state == (target if moved else source)


def test_a_wish_that_came_in_meanwhile_is_kept(session: Session, mailbox: Mailbox) -> None:
    mailboxes.want(session, mailbox.id, "pushed", NOW)
    first = NOW
    mailboxes.want(session, mailbox.id, "pushed", NOW + timedelta(seconds=1))
    assert not mailboxes.fulfil(session, mailbox.id, first, NOW)
    assert mailboxes.fulfil(session, mailbox.id, NOW + timedelta(seconds=1), NOW)


def test_what_is_due_is_a_wish_an_unfinished_reading_or_silence(session: Session, mailbox: Mailbox) -> None:
    mailboxes.fulfil(session, mailbox.id, mailbox.wanted_at, NOW)
    assert mailboxes.due(session, NOW, SILENCE) == []
    assert mailboxes.due(session, NOW + timedelta(seconds=61), SILENCE) == [mailbox.id]
    mailboxes.want(session, mailbox.id, "a person", NOW)
    assert mailboxes.due(session, NOW, SILENCE) == [mailbox.id]
    mailboxes.move(session, mailbox.id, State.ATTENTION, reason="revoked", now=NOW)
    assert mailboxes.due(session, NOW, SILENCE) == []


def test_a_check_is_due_daily_and_sooner_after_a_gap(session: Session, mailbox: Mailbox) -> None:
    day, soon = timedelta(days=1), timedelta(minutes=10)
    assert mailboxes.unchecked(session, NOW, day, soon) == [mailbox.id]
    mailbox.checked_at = NOW
    session.flush()
    assert mailboxes.unchecked(session, NOW + timedelta(minutes=11), day, soon) == []
    mailbox.gap_at = NOW
    session.flush()
    assert mailboxes.unchecked(session, NOW + timedelta(minutes=11), day, soon) == [mailbox.id]


def test_a_mailbox_has_one_owner(session: Session, mailbox: Mailbox) -> None:
    bob = people.add_user(session, mailbox.team_id, "bob@team.example")
    with pytest.raises(PermissionError):
        mailboxes.connect(session, bob, "Alice@team.example", b"", NOW)


def test_its_address_is_the_teams_own(session: Session, mailbox: Mailbox) -> None:
    assert "alice@team.example" in people.own_addresses(session, mailbox.team_id)
