"""What is found, by whom, and how far is looked."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from config import teams
from tests.tracker.domain import NOW, a_box
from tests.tracker.web.factories_web import ALICE, BOB, a_mail, a_mailbox, some_mail
from tracker import filing, people, search
from tracker.messages import Message
from tracker.people import Viewer
from tracker.search import Place, parse
from tracker.sharing import may_read

TODAY = date(2026, 11, 22)
FILE = {"filename": "a.pdf", "size": 1, "mime_type": "application/pdf"}


class House:
    """Alice and Bob, each with a mailbox."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.alice = teams.found(session, "Test team", ALICE, "Alice Archer")
        self.bob = people.add_user(session, self.alice.team_id, BOB, name="Bob Baker")
        self.mailbox, self.bobs = a_mailbox(session, self.alice), a_mailbox(session, self.bob)
        self.viewer = people.viewer_of(self.alice, "test")

    def found(self, typed: str, viewer: Viewer | None = None, limit: int = 50) -> list[str]:
        """The subjects of the mail that is found."""
        wanted = parse(typed, TODAY)
        page = search.find_mail(self.session, viewer or self.viewer, wanted, limit)
        return [hit.message.subject for hit in page.hits]


@pytest.fixture
def house(session: Session) -> House:
    """A team with two mailboxes."""
    return House(session)


def test_reads_what_is_typed() -> None:
    wanted = parse(
        'from:anna "price list" -draft in:sales has:attachment before:2026-08-02 after:2026/08/01 war', TODAY
    )
    assert wanted.senders == ("anna",)
    assert wanted.phrases == ("price list",)
    assert wanted.without == ("draft",)
    assert wanted.pipelines == ("sales",)
    assert wanted.attachment
    assert wanted.after == datetime(2026, 8, 1, tzinfo=UTC)
    assert wanted.before == datetime(2026, 8, 2, tzinfo=UTC)
    assert (wanted.words, wanted.prefix) == ((), "war")
    assert parse("one two ", TODAY).words == ("one", "two")


def test_days_begin_where_the_reader_is() -> None:
    assert parse("after:2026-08-01", TODAY, "Asia/Tokyo").after == datetime(2026, 7, 31, 15, tzinfo=UTC)


def test_what_is_not_understood_is_said() -> None:
    assert parse("before:someday", TODAY).problems == ("before: expects a day such as before:2026-08-01",)
    assert parse("has:money", TODAY).problems == ("has: knows only has:attachment",)


class TestMail:
    def test_by_whole_words_and_the_beginning_of_the_last(self, house: House) -> None:
        a_mail(house.session, house.mailbox, "A", text="The warehouse in Hamburg is full")
        a_mail(house.session, house.mailbox, "B", text="A house of cards")
        assert house.found("hamburg ware") == ["A"]
        assert house.found("ware hamburg") == []
        assert house.found("HOUSE") == ["B"]

    def test_phrases_and_words_left_out(self, house: House) -> None:
        a_mail(house.session, house.mailbox, "A", text="the price list of May")
        a_mail(house.session, house.mailbox, "B", text="the list of each price")
        assert house.found('"price list"') == ["A"]
        assert house.found("price -may ") == ["B"]

    def test_letters_beyond_ascii_in_either_case(self, house: House) -> None:
        a_mail(house.session, house.mailbox, "A", text="Überfällig seit Mai")
        assert house.found("überfällig") == ["A"]
        assert house.found("Überf") == ["A"]

    def test_by_sender_recipient_attachment_and_day(self, house: House) -> None:
        at = NOW - timedelta(days=10)
        a_mail(house.session, house.mailbox, "A", sender="anna@acme.test", sender_name="Anna Ames", at=at)
        a_mail(
            house.session,
            house.mailbox,
            "B",
            sender="ben@beta.test",
            to=(ALICE, "zoe@zeta.test"),
            attachments=[FILE],
        )
        assert house.found("from:anna ") == ["A"]
        assert house.found("from:acme.test ") == ["A"]
        assert house.found("from:anna@acme.test ") == ["A"]
        assert house.found("from:ames good") == ["A"]
        assert house.found("to:zeta.test ") == ["B"]
        assert house.found("to:zoe@zeta.test ") == ["B"]
        assert house.found("has:attachment ") == ["B"]
        assert house.found(f"before:{at.date() + timedelta(days=1)} ") == ["A"]
        assert house.found(f"after:{at.date() + timedelta(days=1)} ") == ["B"]

    def test_in_a_pipeline(self, house: House) -> None:
        box = a_box(house.session, house.viewer, "Acme")
        mail = a_mail(house.session, house.mailbox, "A", text="cobalt")
        a_mail(house.session, house.mailbox, "B", text="cobalt")
        filing.file(house.session, house.viewer, mail, box)
        assert house.found("in:sales cobalt") == ["A"]
        assert house.found("in:sales ") == ["A"]
        assert house.found("in:connections cobalt") == []

    def test_a_common_word_is_looked_for_in_the_newest_and_goes_on(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(search, "RARE", 5)
        monkeypatch.setattr(search, "WINDOW", 10)
        mails = ({"subject": f"{n:02}", "text": "cobalt", "at": NOW - timedelta(hours=n)} for n in range(25))
        some_mail(house.session, house.mailbox, mails)
        wanted, seen, place = parse("cobalt", TODAY), [], None
        while True:
            page = search.find_mail(house.session, house.viewer, wanted, 4, place)
            seen += [hit.message.subject for hit in page.hits]
            place = page.more
            if place is None:
                break
        assert seen == [f"{number:02}" for number in range(25)]

    def test_says_how_far_it_looked(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(search, "WINDOW", 10)
        mails = ({"subject": f"{n:02}", "attachments": [FILE] if n == 20 else []} for n in range(25))
        some_mail(house.session, house.mailbox, mails)
        first = search.find_mail(house.session, house.viewer, parse("has:attachment", TODAY), 4)
        assert first.hits == []
        assert first.searched_to is not None
        assert first.more is not None
        second = search.find_mail(house.session, house.viewer, parse("has:attachment", TODAY), 4, first.more)
        third = search.find_mail(house.session, house.viewer, parse("has:attachment", TODAY), 4, second.more)
        assert [hit.message.subject for hit in (*second.hits, *third.hits)] == ["20"]
        assert (third.more, third.searched_to) == (None, None)

    def test_a_conversation_is_found_once_by_its_newest_mail(self, house: House) -> None:
        for number in range(3):
            a_mail(
                house.session,
                house.mailbox,
                f"Re {number}",
                text="cobalt",
                thread="one",
                at=NOW + timedelta(hours=number),
            )
        assert house.found("cobalt") == ["Re 2"]


@pytest.mark.parametrize("seed", [*range(2), *(pytest.param(n, marks=pytest.mark.soak) for n in range(2, 12))])
@pytest.mark.parametrize("common", [False, True])
def test_everybody_finds_all_that_they_may_read_and_nothing_else(
    house: House, seed: int, common: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever mail there is, whoever holds it, filed or not, in whichever way it is looked for."""
    if common:
        monkeypatch.setattr(search, "RARE", 0)
    dice = random.Random(seed)
    words = ("cobalt", "nickel", "zinc")
    box = a_box(house.session, house.viewer, "Shared")
    for number in range(40):
        mail = a_mail(
            house.session,
            dice.choice((house.mailbox, house.bobs)),
            f"Mail {number}",
            sender=dice.choice((ALICE, BOB, "charlie@acme.test")),
            to=dice.choice(((ALICE,), (BOB,), ("dana@beta.test",), (ALICE, BOB))),
            text=" ".join(dice.sample(words, 2)),
            labels=dice.choice((("INBOX",), ("SENT",), ("TRASH",), ("DRAFT",))),
            thread=dice.choice((f"t{number}", "shared", "other")),
        )
        if dice.random() < 0.3:
            filing.file(house.session, house.viewer, mail, box)
    house.session.flush()
    for user in (house.alice, house.bob):
        viewer = people.viewer_of(user, "test")
        for word in words:
            fits = select(Message.conversation_id).where(
                may_read(viewer), Message.search.op("@@")(func.to_tsquery("simple", word))
            )
            page = search.find_mail(house.session, viewer, parse(word, TODAY), 100)
            assert page.more is None
            assert {hit.message.conversation_id for hit in page.hits} == set(house.session.scalars(fits))
            readable = set(house.session.scalars(select(Message.id).where(may_read(viewer))))
            assert {hit.message.id for hit in page.hits} <= readable


class TestNames:
    def test_boxes_called_so_come_first(self, house: House) -> None:
        for name in ("Acme renewal", "Acme", "The acme of it"):
            a_box(house.session, house.viewer, name)
        found = search.find_boxes(house.session, house.viewer, parse("acme", TODAY), 5)
        assert [box.name for box in found] == ["Acme", "Acme renewal", "The acme of it"]

    def test_boxes_that_are_put_away_or_another_teams_are_not_found(self, house: House) -> None:
        from tracker import boxes

        gone = a_box(house.session, house.viewer, "Acme gone")
        boxes.archive(house.session, house.viewer, gone, NOW)
        others = teams.found(house.session, "Others", "zoe@other.example", "Zoe")
        a_box(house.session, people.viewer_of(others, "test"), "Acme of others")
        house.session.flush()
        assert search.find_boxes(house.session, house.viewer, parse("acme", TODAY), 5) == []

    def test_contacts_by_name_and_address_organizations_by_name_and_domain(self, house: House) -> None:
        a_box(house.session, house.viewer, "Deal", "anna.ames@wolfram.test")
        for typed in ("anna", "anna.ames@wolf", "ames"):
            found = search.find_contacts(house.session, house.viewer, parse(typed, TODAY), 5)
            assert [contact.addresses[0].address for contact in found] == ["anna.ames@wolfram.test"], typed
        for typed in ("wolf", "wolfram.te"):
            found_ = search.find_organizations(house.session, house.viewer, parse(typed, TODAY), 5)
            assert [one.name for one in found_] == ["Wolfram"], typed

    def test_a_place_of_another_teams_conversation_leads_nowhere(self, house: House) -> None:
        a_mail(house.session, house.mailbox, "A", text="cobalt")
        page = search.find_mail(
            house.session, house.viewer, parse("cobalt", TODAY), 5, Place(NOW - timedelta(days=99), "x")
        )
        assert page.hits == []
