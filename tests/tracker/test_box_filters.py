"""Box filters: read from an address, said in words, asked of the database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from tests.tracker.domain import NOW, a_box, a_team, pipeline, stage
from tracker import boxes, contacts, fields, people
from tracker.box_filters import BoxFilter
from tracker.boxes import Box
from tracker.facts import BoxFacts
from tracker.fields import Field
from tracker.people import User, Viewer
from tracker.pipelines import Pipeline


@dataclass(slots=True)
class Room:
    """A team's Sales pipeline."""

    session: Session
    alice: User
    bob: User
    viewer: Viewer
    sales: Pipeline
    tags: Field

    def box(self, name: str, *addresses: str, at: str = "Lead", now: datetime = NOW, **values: Any) -> Box:
        box = a_box(self.session, self.viewer, name, *addresses, at=at, now=now)
        columns = {field.name.lower(): field for field in fields.of_pipeline(self.session, self.sales.id)}
        for field, value in values.items():
            boxes.set_value(self.session, self.viewer, box, columns[field], value)
        return box

    def mail(self, box: Box, sent: int | None = None, received: int | None = None) -> None:
        """The last mails were so many days ago."""
        found = self.session.get_one(BoxFacts, box.id)
        found.last_sent_at = None if sent is None else NOW - timedelta(days=sent)
        found.last_received_at = None if received is None else NOW - timedelta(days=received)
        found.last_mail_at = max(filter(None, (found.last_sent_at, found.last_received_at)))
        self.session.flush()

    def found(self, zone: str = "UTC", now: datetime = NOW, **args: Any) -> set[str]:
        columns = fields.of_pipeline(self.session, self.sales.id)
        conditions = BoxFilter.parse(args).conditions(self.viewer, now, columns, ZoneInfo(zone))
        query = select(Box.name).outerjoin(BoxFacts, BoxFacts.box_id == Box.id)
        return set(self.session.scalars(query.where(Box.pipeline_id == self.sales.id, *conditions)))


@pytest.fixture
def room(session: Session) -> Iterator[Room]:
    """Alice looks at Sales, which has tags."""
    alice = a_team(session)
    bob = people.add_user(session, alice.team_id, "bob@team.example", name="Bob Baker")
    viewer, sales = people.viewer_of(alice, "test"), pipeline(session, alice.team_id)
    return Room(session, alice, bob, viewer, sales, fields.add(session, viewer, sales.id, "Tags", "tags"))


def test_an_address_says_the_same_again() -> None:
    args: MultiDict[str, str] = MultiDict(
        [("owner", "me"), ("owner", "k1"), ("tag", "hot"), ("stage", "s"), ("from", "2026-01-02"),
         ("min", "1,000.50"), ("q", "  acme   corp "), ("owes", "us"), ("sleeping", "on")]
    )  # fmt: skip
    found = BoxFilter.parse(args)
    assert found.owners == ("me", "k1")
    assert (found.created_from, found.at_least) == (date(2026, 1, 2), Decimal("1000.50"))
    assert found.text == "acme corp"
    assert BoxFilter.parse(found.params()) == found
    assert BoxFilter.parse({"created": "month", "to": "2026-01-02"}).params() == {"created": "month"}
    assert not BoxFilter.parse({"q": "", "owner": "", "owes": "", "created": ""})


@pytest.mark.parametrize(
    "args",
    [
        {"from": "yesterday", "min": "a lot"}, {"min": "NaN"}, {"max": "1e400"}, {"max": "1e-999999"},
        {"owes": "everybody"},
        {"created": "century"}, {"owner": ["\x00"]}, {"q": "\x00"}, {"from": "9999-99-99"}, {"sleeping": "maybe"},
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_left_out(args: dict[str, Any]) -> None:
    assert not BoxFilter.parse(args)


def test_says_what_could_not_be_read() -> None:
    assert BoxFilter.parse({"from": "soon"}).problems == ("“soon” is no date such as 2026-11-24",)


def test_parts_in_words_each_with_the_address_without_it(room: Room) -> None:
    lead = stage(room.session, room.sales, "Lead")
    args = {"owner": ["me", "nobody"], "stage": lead.key, "min": "1000", "to": "2026-11-30", "sleeping": "1"}
    chips = BoxFilter.parse(args).chips([room.bob], [lead])
    assert [chip.words for chip in chips] == [
        "Owner: me", "Owner: nobody", "Stage: Lead", "Created: up to 30 Nov 2026", "Value: from 1,000", "Sleeping",
    ]  # fmt: skip
    assert chips[0].without["owner"] == ["nobody"]
    assert "sleeping" not in chips[-1].without
    assert chips[-1].without["min"] == "1000"


class TestOwner:
    def test_several_me_and_nobody(self, room: Room) -> None:
        mine, bobs, free = room.box("Mine"), room.box("Bob's"), room.box("Free")
        boxes.assign(room.session, room.viewer, bobs, room.bob)
        boxes.assign(room.session, room.viewer, free, None)
        room.session.flush()
        assert mine.owner_id == room.alice.id
        assert room.found(owner="me") == {"Mine"}
        assert room.found(owner=["nobody", room.bob.key]) == {"Bob's", "Free"}
        assert room.found(owner="a key that nobody has") == set()


def test_by_tag_of_the_pipelines_own_fields(room: Room) -> None:
    room.box("Hot", tags="hot, big")
    room.box("Cold", tags="cold")
    room.box("Said", **{"reason lost": "hot"})
    assert room.found(tag="hot") == {"Hot"}
    assert room.found(tag=["hot", "cold"]) == {"Hot", "Cold"}
    fields.remove(room.session, room.viewer, room.tags)
    assert room.found(tag="hot") == set()


def test_by_stage(room: Room) -> None:
    room.box("A", at="Lead")
    room.box("B", at="Won")
    assert room.found(stage=stage(room.session, room.sales, "Won").key) == {"B"}


def test_by_value_in_whatever_currency(room: Room) -> None:
    for name, value in (("Small", "10 EUR"), ("Middle", "500 USD"), ("Large", "9000 EUR")):
        room.box(name, value=value)
    room.box("None")
    assert room.found(min="100") == {"Middle", "Large"}
    assert room.found(min="10", max="500") == {"Small", "Middle"}


class TestCreated:
    @pytest.mark.parametrize(
        ("period", "first"),
        [("week", "2026-11-16"), ("month", "2026-11-01"), ("quarter", "2026-10-01"), ("year", "2026-01-01")],
    )
    def test_in_the_present_period(self, room: Room, period: str, first: str) -> None:
        begins = datetime.fromisoformat(first).replace(tzinfo=UTC)
        room.box("In", now=begins)
        room.box("Before", now=begins - timedelta(seconds=1))
        assert room.found(created=period) == {"In"}

    def test_between_days_both_included(self, room: Room) -> None:
        for day in (1, 2, 3, 4):
            room.box(f"Day {day}", now=datetime(2026, 11, day, 23, 30, tzinfo=UTC))
        assert room.found(**{"from": "2026-11-02", "to": "2026-11-03"}) == {"Day 2", "Day 3"}
        assert room.found(**{"from": "0001-01-01", "to": "9999-12-31"}) == {"Day 1", "Day 2", "Day 3", "Day 4"}

    def test_days_begin_where_the_viewer_lives(self, room: Room) -> None:
        room.box("Late", now=datetime(2026, 11, 2, 23, 30, tzinfo=UTC))
        assert room.found(**{"from": "2026-11-03"}) == set()
        assert room.found("Europe/Berlin", **{"from": "2026-11-03"}) == {"Late"}
        assert room.found("Pacific/Kiritimati", **{"from": "0001-01-01", "to": "9999-12-31"}) == {"Late"}


class TestText:
    @pytest.mark.parametrize("text", ["acme", "ACM", "rob acm", "dana", "dana acm", "dana@acme.test", "dana@ac"])
    def test_finds_words_of_name_contact_organization_and_address(self, room: Room, text: str) -> None:
        box = room.box("Robots for everybody", "dana@acme.test")
        room.box("Another", "eve@else.test")
        assert box.organization is not None
        assert box.organization.name == "Acme"
        assert room.found(q=text) == {"Robots for everybody"}

    @pytest.mark.parametrize("text", ["'", "a:*", "!!!", "(", "\\", "a & b |", "%", "<->", "O'Brien"])
    def test_takes_any_sign_as_a_sign(self, room: Room, text: str) -> None:
        room.box("O'Brien Brewing")
        assert room.found(q=text) <= {"O'Brien Brewing"}
        assert room.found(q="o'brien") == {"O'Brien Brewing"}

    def test_of_signs_alone_is_looked_for_in_names(self, room: Room) -> None:
        room.box("C++ course")
        room.box("A % of it")
        assert room.found(q="++") == {"C++ course"}
        assert room.found(q="%") == {"A % of it"}

    def test_finds_no_contact_of_another_team(self, room: Room) -> None:
        from config import teams

        other = teams.found(room.session, "Others", "eve@other.example", "Eve")
        made = contacts.organization_named(room.session, other.team_id, "Zebra")
        room.box("Ours").organization_id = made.id  # as no verb would
        room.session.flush()
        assert room.found(q="zebra") == set()


class TestWhoOwesAnAnswer:
    def test_we_do_where_their_mail_is_the_last(self, room: Room) -> None:
        asked, answered, silent = room.box("Asked"), room.box("Answered"), room.box("Silent")
        room.mail(asked, sent=5, received=2)
        room.mail(answered, sent=1, received=2)
        room.mail(silent, received=9)
        room.box("No mail")
        assert room.found(owes="us") == {"Asked", "Silent"}
        assert room.found(owes="them") == {"Answered"}

    def test_nobody_is_waited_for_where_all_is_said(self, room: Room) -> None:
        for at in ("Won", "Lost & Rejected", "Lead"):
            room.mail(room.box(at, at=at), sent=3)
        assert room.found(owes="them") == {"Lead"}


def test_a_box_sleeps_after_its_stages_own_days_without_mail_or_move(room: Room) -> None:
    for number, at in enumerate(("Lead", "Qualified")):
        stage(room.session, room.sales, at).sleep_days = 10 * (number + 1)
    stage(room.session, room.sales, "Won").sleep_days = None
    long_ago = NOW - timedelta(days=15)
    room.box("Lead, 15 days", now=long_ago)
    room.box("Qualified, 15 days", at="Qualified", now=long_ago)
    room.box("Won, 15 days", at="Won", now=long_ago)
    room.mail(room.box("Lead with mail", now=long_ago), sent=3)
    room.mail(room.box("Lead with old mail", now=long_ago), received=11)
    room.box("New lead", now=NOW - timedelta(days=9))
    assert room.found(sleeping="1") == {"Lead, 15 days", "Lead with old mail"}
