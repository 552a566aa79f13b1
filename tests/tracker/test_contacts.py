"""Contacts and organizations: corrected by hand, listed, found by place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.tracker.domain import NOW, a_box, a_contact, a_team, pipeline
from tracker import boxes, contacts, directory, fields, organizations, phones
from tracker.contacts import Contact, ContactError
from tracker.directory import Search
from tracker.events import Event
from tracker.organizations import OrganizationError
from tracker.people import Viewer, viewer_of


@pytest.fixture
def viewer(session: Session) -> Viewer:
    """Alice, admin of a new team."""
    return viewer_of(a_team(session), "test")


def addresses(contact: Contact) -> list[str]:
    return [one.address for one in contact.addresses]


def told(session: Session) -> list[str]:
    """The kinds of the last events, the newest first."""
    return list(session.scalars(select(Event.kind).order_by(Event.id.desc()).limit(5)))


class TestByHand:
    def test_a_contact_takes_the_organization_of_the_addresss_domain(
        self, session: Session, viewer: Viewer
    ) -> None:
        made = contacts.add(session, viewer, "", "Anna Berg <anna@mail.acme.test>")
        assert made.name == "Anna Berg"
        assert made.organization is not None
        assert made.organization.name == "Acme"
        assert told(session)[0] == "contact.created"

    def test_a_contact_needs_no_address(self, session: Session, viewer: Viewer) -> None:
        assert addresses(contacts.add(session, viewer, "  Anna   Berg ")) == []

    @pytest.mark.parametrize(
        ("name", "address", "words"),
        [
            ("", "", "needs a name or an address"),
            ("Anna", "nonsense", "Expected one address"),
            ("Anna", "a@x.test, b@x.test", "Expected one address"),
            ("Alice", "ALICE@team.example", "the team's own"),
            ("Anna", "dana@acme.test", "Dana's; merge the two"),
            ("x" * 201, "", "1 to 200 characters"),
        ],
    )
    def test_what_makes_no_sense_is_refused(
        self, session: Session, viewer: Viewer, name: str, address: str, words: str
    ) -> None:
        a_contact(session, viewer, "dana@acme.test")
        with pytest.raises(ContactError, match=words):
            contacts.add(session, viewer, name, address)

    def test_addresses_are_added_made_main_and_removed(self, session: Session, viewer: Viewer) -> None:
        anna = a_contact(session, viewer, "anna@acme.test")
        for more in ("anna@home.test", "a.berg@acme.test"):
            contacts.add_address(session, viewer, anna, more)
        contacts.make_main(session, viewer, anna, "A.Berg@acme.test")
        assert addresses(anna) == ["a.berg@acme.test", "anna@acme.test", "anna@home.test"]
        contacts.remove_address(session, viewer, anna, "a.berg@acme.test")
        assert addresses(anna) == ["anna@acme.test", "anna@home.test"]
        assert told(session)[:2] == ["contact.address_removed", "contact.main_address"]
        assert contacts.by_address(session, viewer.team_id, "a.berg@acme.test") is None

    def test_the_last_address_stays(self, session: Session, viewer: Viewer) -> None:
        anna = a_contact(session, viewer, "anna@acme.test")
        with pytest.raises(ContactError, match="only address"):
            contacts.remove_address(session, viewer, anna, "anna@acme.test")
        with pytest.raises(ContactError, match="gone"):
            contacts.make_main(session, viewer, anna, "else@acme.test")

    def test_an_event_says_what_was_changed_and_nothing_if_nothing_was(
        self, session: Session, viewer: Viewer
    ) -> None:
        anna = a_contact(session, viewer, "anna@acme.test")
        contacts.change(session, viewer, anna, title=" Head  of sales ", phone="+49 30 901820; +49 30 901820")
        assert (anna.title, anna.phone) == ("Head of sales", "+4930901820")
        before = session.scalars(select(Event.id)).all()
        contacts.change(session, viewer, anna, title="Head of sales")
        assert session.scalars(select(Event.id)).all() == before
        with pytest.raises(ContactError):
            contacts.change(session, viewer, anna, name=" ")


class TestOrganizations:
    def test_domains_are_added_in_their_registrable_form_and_removed(
        self, session: Session, viewer: Viewer
    ) -> None:
        acme = organizations.add(session, viewer, "Acme")
        for typed in ("https://www.acme.co.uk/about", "Anna@Mail.ACME.de", "@acme.test"):
            organizations.add_domain(session, viewer, acme, typed)
        assert organizations.domains(session, [acme.id])[acme.id] == ["acme.co.uk", "acme.de", "acme.test"]
        organizations.remove_domain(session, viewer, acme, "acme.de")
        assert organizations.domains(session, [acme.id])[acme.id] == ["acme.co.uk", "acme.test"]

    @pytest.mark.parametrize(
        ("typed", "words"),
        [
            ("gmail.com", "Anybody can have"),
            ("a@yahoo.com", "Anybody can have"),
            ("com", "Expected a mail domain"),
            ("", "Expected a mail domain"),
            ("10.0.0.1", "Expected a mail domain"),
            ("x" * 300 + ".test", "Expected a mail domain"),
            ("beta.test", "is a domain of Beta"),
        ],
    )
    def test_a_domain_that_says_nothing_is_refused(
        self, session: Session, viewer: Viewer, typed: str, words: str
    ) -> None:
        organizations.add(session, viewer, "Beta", "beta.test")
        acme = organizations.add(session, viewer, "Acme")
        with pytest.raises(OrganizationError, match=words):
            organizations.add_domain(session, viewer, acme, typed)

    def test_a_name_is_there_once(self, session: Session, viewer: Viewer) -> None:
        organizations.add(session, viewer, "Acme")
        with pytest.raises(OrganizationError, match="already"):
            organizations.add(session, viewer, "ACME")

    @pytest.mark.parametrize("website", ["javascript:alert(1)", "https://", "https://[::1", 'https://a.test/"x'])
    def test_a_website_is_a_web_address(self, session: Session, viewer: Viewer, website: str) -> None:
        acme = organizations.add(session, viewer, "Acme")
        organizations.change(session, viewer, acme, website="acme.test/en")
        assert acme.website == "https://acme.test/en"
        with pytest.raises(OrganizationError, match="web address"):
            organizations.change(session, viewer, acme, website=website)


class TestPhones:
    def test_numbers_with_a_country_are_stored_in_one_form(self) -> None:
        assert phones.parse("+49 (30) 901-820, 0049, ext 12 \n +4930901820") == ["+4930901820", "0049", "ext 12"]
        assert phones.shown("+4930901820") == "+49 30 901820"
        assert phones.shown("ext 12") == "ext 12"

    @given(st.text(max_size=80))
    def test_whatever_is_typed_reads_the_same_again(self, typed: str) -> None:
        stored = phones.parse(typed)
        assert phones.parse(phones.SEPARATOR.join(stored)) == stored
        assert [phones.parse(phones.shown(one)) for one in stored] == [[one] for one in stored]


def names(session: Session, viewer: Viewer, **wanted: Any) -> list[str]:
    found, _ = directory.contacts(session, viewer.team_id, Search(**wanted))
    return [entry.contact.name for entry in found]


class TestDirectory:
    def test_contacts_are_found_by_what_is_known_of_them(self, session: Session, viewer: Viewer) -> None:
        anna, boris = a_contact(session, viewer, "anna@acme.test"), a_contact(session, viewer, "boris@beta.test")
        contacts.change(session, viewer, anna, name="Anna Berg", title="CEO", location="Umeå, Sweden")
        contacts.change(session, viewer, boris, name="Boris 100%")
        a_box(session, viewer, "Deal", "boris@beta.test")
        for text in ("berg anna", "ceo", "acme.test", "ACME", "umeå"):
            assert names(session, viewer, text=text) == ["Anna Berg"], text
        assert names(session, viewer, text="%") == ["Boris 100%"]
        assert names(session, viewer, organization="beta") == ["Boris 100%"]
        assert names(session, viewer, place="swe") == ["Anna Berg"]
        assert names(session, viewer, has_box="open") == ["Boris 100%"]
        assert names(session, viewer, has_box="none") == ["Anna Berg"]

    @pytest.mark.parametrize("sort", [directory.BY_NAME, directory.BY_MAIL])
    def test_every_contact_is_on_one_page(self, session: Session, viewer: Viewer, sort: str) -> None:
        for number in range(7):
            a_box(session, viewer, f"Deal {number}", f"same{number}@acme.test")
            a_contact(session, viewer, f"same{number + 50}@acme.test")
        seen: list[str] = []
        after = ""
        while True:
            found, after = directory.contacts(session, viewer.team_id, Search(sort=sort), after, limit=3)
            seen += [entry.contact.key for entry in found]
            if not after:
                break
        assert len(seen) == len(set(seen)) == 14

    def test_a_place_is_the_persons_else_the_organizations_else_a_boxs(
        self, session: Session, viewer: Viewer
    ) -> None:
        for address in ("anna@acme.test", "bea@acme.test", "cora@gamma.test", "dora@delta.test"):
            a_contact(session, viewer, address)
        by_name = {one.name: one for one in session.scalars(select(Contact))}
        contacts.change(session, viewer, by_name["Anna"], location="  oslo ")
        acme = by_name["Bea"].organization
        assert acme is not None
        organizations.change(session, viewer, acme, location="Oslo, Norway")
        box = a_box(session, viewer, "Hello", "cora@gamma.test", into="Connections")
        column = next(
            one
            for one in fields.of_pipeline(session, pipeline(session, viewer.team_id, "Connections").id)
            if one.name == "Location"
        )
        boxes.set_value(session, viewer, box, column, "Bergen, Norway")
        found, more = directory.places(session, viewer.team_id)
        assert [(place.key, place.people) for place in found] == [("bergen", 1), ("oslo", 2)]
        assert not more
        assert names(session, viewer, place_key="oslo") == ["Anna", "Bea"]
        assert names(session, viewer, place_key="bergen") == ["Cora"]
        assert [place.key for place in directory.places(session, viewer.team_id, "norw")[0]] == ["bergen", "oslo"]

    def test_places_page(self, session: Session, viewer: Viewer) -> None:
        for number in range(5):
            person = a_contact(session, viewer, f"p{number}@acme.test")
            contacts.change(session, viewer, person, location=f"Town {number}")
        first, after = directory.places(session, viewer.team_id, limit=3)
        rest, end = directory.places(session, viewer.team_id, after=after, limit=3)
        assert [place.key for place in [*first, *rest]] == [f"town {number}" for number in range(5)]
        assert not end

    def test_a_contacts_boxes_come_with_the_listed_ones_first(self, session: Session, viewer: Viewer) -> None:
        made = [a_box(session, viewer, f"Deal {number}", "anna@acme.test") for number in range(5)]
        boxes.archive(session, viewer, made[4], NOW)
        made[0].deleted_at = NOW
        session.flush()
        anna = made[0].contacts[0]
        first, after = directory.boxes_of(session, anna, limit=2)
        rest, end = directory.boxes_of(session, anna, after, limit=2)
        assert [box.name for box in [*first, *rest]] == ["Deal 3", "Deal 2", "Deal 1", "Deal 4"]
        assert not end
        entry = directory.entry(session, anna)
        assert (entry.box_count, len(entry.boxes)) == (3, 2)
