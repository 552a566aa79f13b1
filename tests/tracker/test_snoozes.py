"""Putting conversations and boxes off: until when, and what brings them back before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from tests.tracker.domain import NOW, a_box
from tests.tracker.test_search import House
from tests.tracker.web.factories_web import ALICE, a_mail
from tracker import people, snoozes
from tracker.conversations import Conversation
from tracker.snoozes import FOREVER, SnoozeError
from tracker.web import rows
from tracker.web.rows import Listing

LATER = NOW + timedelta(hours=2)


@pytest.fixture
def house(session: Session) -> House:
    """A team with two mailboxes."""
    return House(session)


def shown(house: House, listing: Listing = Listing.UNFILED, now: datetime = NOW) -> list[str]:
    found = rows.inbox(house.session, house.viewer, listing, None, now)
    return [row.subject for row in found.rows]


def put_off(house: House, mail: Conversation, until: datetime) -> snoozes.Before:
    seen = rows.newest(house.session, house.viewer, [mail.id])
    return snoozes.put_off(house.session, house.viewer, {mail.id: seen[mail.id]}, until)


def test_out_of_sight_until_its_time(house: House) -> None:
    put_off(house, a_mail(house.session, house.mailbox, "A"), LATER)
    assert shown(house) == []
    assert shown(house, Listing.ANSWER) == []
    assert shown(house, Listing.ALL) == ["A"]
    assert shown(house, Listing.SNOOZED) == ["A"]
    assert shown(house, now=LATER) == ["A"]
    assert shown(house, Listing.SNOOZED, LATER) == []


@pytest.mark.parametrize("until", [LATER, FOREVER])
def test_new_mail_brings_it_back(house: House, until: datetime) -> None:
    put_off(house, a_mail(house.session, house.mailbox, "A", thread="one", at=NOW - timedelta(hours=1)), until)
    a_mail(house.session, house.mailbox, "Re: A", thread="one", at=NOW)
    assert shown(house) == ["A"]
    assert shown(house, Listing.SNOOZED) == []


def test_mail_that_came_while_the_page_was_open_is_not_hidden_with_it(house: House) -> None:
    mail = a_mail(house.session, house.mailbox, "A", thread="one", at=NOW - timedelta(hours=1))
    seen = rows.newest(house.session, house.viewer, [mail.id])
    a_mail(house.session, house.mailbox, "Re: A", thread="one", at=NOW)
    snoozes.put_off(house.session, house.viewer, {mail.id: seen[mail.id]}, FOREVER)
    assert shown(house) == ["A"]


def test_neither_ones_own_answer_nor_mail_of_a_teammates_mailbox_brings_it_back(house: House) -> None:
    mail = a_mail(
        house.session, house.mailbox, "A", thread="one", at=NOW - timedelta(hours=1), message_id="a@x.test"
    )
    put_off(house, mail, FOREVER)
    a_mail(house.session, house.mailbox, "Mine", sender=ALICE, thread="one", labels=("SENT",), at=NOW)
    assert shown(house) == []
    a_mail(house.session, house.bobs, "A", thread="b", at=NOW - timedelta(hours=1), message_id="a@x.test")
    a_mail(house.session, house.bobs, "Re: A", thread="b", at=NOW)
    assert shown(house) == []


def test_the_copy_that_comes_after_a_teammates_brings_it_back(house: House) -> None:
    """Bob's mailbox was read first, so the message was there already when Alice's copy came."""
    put_off(house, a_mail(house.session, house.mailbox, "A", thread="one", at=NOW - timedelta(hours=1)), FOREVER)
    a_mail(house.session, house.bobs, "Re: A", thread="b", at=NOW, message_id="re@x.test")
    assert shown(house) == []
    a_mail(house.session, house.mailbox, "Re: A", thread="one", at=NOW, message_id="re@x.test")
    assert shown(house) == ["A"]


def test_is_its_users_own(house: House) -> None:
    mail = a_mail(house.session, house.mailbox, "A", message_id="a@x.test")
    a_mail(house.session, house.bobs, "A", message_id="a@x.test")
    put_off(house, mail, FOREVER)
    bob = people.viewer_of(house.bob, "test")
    assert [row.subject for row in rows.inbox(house.session, bob, Listing.UNFILED, None, NOW).rows] == ["A"]


def test_restored_as_it_was(house: House) -> None:
    mail = a_mail(house.session, house.mailbox, "A")
    first = put_off(house, mail, LATER)
    second = put_off(house, mail, FOREVER)
    assert shown(house, now=LATER) == []
    snoozes.restore(house.session, house.viewer, snoozes.Snooze.conversation_id, second)
    assert shown(house) == []
    assert shown(house, now=LATER) == ["A"]
    snoozes.restore(house.session, house.viewer, snoozes.Snooze.conversation_id, first)
    assert shown(house) == ["A"]


def test_a_box_put_off_twice_has_the_later_word(house: House) -> None:
    box = a_box(house.session, house.viewer, "Acme")
    snoozes.put_off_boxes(house.session, house.viewer, [box.id], LATER)
    before = snoozes.put_off_boxes(house.session, house.viewer, [box.id], FOREVER)
    assert [(id_, until) for id_, until, _ in before] == [(box.id, LATER)]


class TestTimes:
    SUNDAY = datetime(2026, 11, 22, 8, tzinfo=UTC)

    def test_are_those_of_the_users_day(self) -> None:
        offered = {one.value: one.at for one in snoozes.choices("America/New_York", self.SUNDAY)}
        assert offered["later"] == datetime(2026, 11, 22, 22, tzinfo=UTC)
        assert offered["tomorrow"] == datetime(2026, 11, 23, 13, tzinfo=UTC)
        assert offered["week"] == datetime(2026, 11, 29, 13, tzinfo=UTC)
        assert "monday" not in offered  # tomorrow says it already

    def test_late_in_the_evening_there_is_no_later_today(self) -> None:
        late = datetime(2026, 11, 22, 22, 30, tzinfo=UTC)
        assert "later" not in {one.value for one in snoozes.choices("UTC", late)}

    def test_a_day_in_words(self) -> None:
        assert snoozes.time_of("day", "24 nov", "UTC", self.SUNDAY) == datetime(2026, 11, 24, 8, tzinfo=UTC)
        assert snoozes.time_of("monday", "", "UTC", self.SUNDAY) == datetime(2026, 11, 23, 8, tzinfo=UTC)

    @pytest.mark.parametrize("day", ["", "someday", "yesterday", "today", "2199-01-01"])
    def test_other_words_are_refused(self, day: str) -> None:
        with pytest.raises(SnoozeError):
            snoozes.time_of("day", day, "UTC", self.SUNDAY)
