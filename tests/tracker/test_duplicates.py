"""Duplicates found, told apart and merged: nothing is lost, and mail is filed as before."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.tracker.domain import NOW, a_box, a_contact, a_team, pipeline
from tests.tracker.web.factories_web import a_mail, a_mailbox
from tracker import boxes, contacts, duplicates, fields, filing, organizations, unions
from tracker.activities import Activity
from tracker.boxes import BoxContact
from tracker.contacts import Contact, ContactError
from tracker.facts import BoxFacts
from tracker.organizations import OrganizationError
from tracker.people import User, Viewer, viewer_of


@pytest.fixture
def alice(session: Session) -> User:
    """Admin of a new team."""
    return a_team(session)


@pytest.fixture
def viewer(alice: User) -> Viewer:
    """Alice."""
    return viewer_of(alice, "test")


def contact(session: Session, viewer: Viewer, address: str, name: str = "", **more: str) -> Contact:
    made = a_contact(session, viewer, address)
    contacts.change(session, viewer, made, **({"name": name} if name else {}), **more)
    return made


def found(session: Session, viewer: Viewer) -> list[tuple[str, str, str]]:
    """Pairs by their main addresses, with the reasons."""
    session.flush()
    pairs, _ = duplicates.find(session, viewer)
    return [(p.one.addresses[0].address, p.other.addresses[0].address, "; ".join(p.reasons)) for p in pairs]


class TestFinding:
    @pytest.mark.parametrize(
        ("one", "other", "reason"),
        [
            (("a@acme.test", "Anna Berg"), ("b@acme.test", "BERG, Anna"), "Both are called Anna Berg and work at"),
            (("a@acme.test", "Anna Berg"), ("b@gmail.com", "Anna Berg"), "writes from a private address"),
            (("anna@acme.test", "Anna"), ("anna@acme.example", "A. Berg"), "domains that belong together"),
            (("anna@acme.test", "Anna"), ("anna@mail.acme.test", "Bea"), "domains that belong together"),
            (("anna.berg@acme.test", "A"), ("annaberg+news@acme.test", "B"), "differ only in dots or in what"),
            (("anna@acme.test", "Anna", "+49 30 901820"), ("bea@beta.test", "Bea", "+49 (30) 901-820"),
             "The same phone number, +49 30 901820"),
        ],
    )  # fmt: skip
    def test_what_looks_like_one_person_is_told_with_its_reason(
        self, session: Session, viewer: Viewer, one: tuple[str, ...], other: tuple[str, ...], reason: str
    ) -> None:
        for address, name, *phone in (one, other):
            contact(session, viewer, address, name, phone=phone[0] if phone else "")
        pairs = found(session, viewer)
        assert [pair[:2] for pair in pairs] == [(one[0], other[0])]
        assert reason in pairs[0][2]

    def test_what_does_not_is_left_alone(self, session: Session, viewer: Viewer) -> None:
        contact(session, viewer, "anna@acme.test", "Anna")
        contact(session, viewer, "anna@beta.test", "Anna")  # a first name, another company
        contact(session, viewer, "anna@yahoo.com", "Anna Y")
        contact(session, viewer, "anna@yahoo.de", "Anna Z")  # a free-mail provider's two domains
        contact(session, viewer, "x@beta.test", "X", phone="12")
        contact(session, viewer, "y@gamma.test", "Y", phone="12")  # an extension
        assert found(session, viewer) == []

    def test_a_switchboards_number_makes_nobody_one(self, session: Session, viewer: Viewer) -> None:
        for number in range(duplicates.CROWD + 1):
            contact(session, viewer, f"p{number}@acme.test", f"P {number}", phone="+49 30 901820")
        assert found(session, viewer) == []

    def test_not_the_same_is_remembered(self, session: Session, viewer: Viewer) -> None:
        one, other = (contact(session, viewer, f"{name}@acme.test", "Anna Berg") for name in "ab")
        assert found(session, viewer)
        duplicates.say_distinct(session, viewer, other, one)
        assert found(session, viewer) == []

    def test_every_pair_is_on_one_page(self, session: Session, viewer: Viewer) -> None:
        for number in range(5):
            for name in "ab":
                contact(session, viewer, f"{name}{number}@acme.test", f"Anna {number}")
        session.flush()
        seen, after = [], ""
        while True:
            pairs, after = duplicates.find(session, viewer, after, limit=2)
            seen += [pair.one.name for pair in pairs]
            if not after:
                break
        assert sorted(seen) == [f"Anna {number}" for number in range(5)]

    def test_organizations_are_found_by_name_and_by_domain(self, session: Session, viewer: Viewer) -> None:
        organizations.add(session, viewer, "Acme GmbH", "acme.test")
        organizations.add(session, viewer, "ACME, Inc.", "acme.example")
        organizations.add(session, viewer, "Beta")
        (pair,) = duplicates.find_organizations(session, viewer)
        assert (pair.one.name, pair.other.name) == ("Acme GmbH", "ACME, Inc.")
        assert len(pair.reasons) == 2
        duplicates.say_distinct_organizations(session, viewer, pair.other, pair.one)
        assert duplicates.find_organizations(session, viewer) == []


def addresses(one: Contact) -> set[str]:
    return {row.normalized for row in one.addresses}


def boxes_of(session: Session, one: Contact) -> set[int]:
    return set(session.scalars(select(BoxContact.box_id).where(BoxContact.contact_id == one.id)))


class TestMergingContacts:
    @settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        mine=st.sets(st.integers(0, 5), min_size=1),
        theirs=st.sets(st.integers(6, 11), min_size=1),
        shared=st.sets(st.integers(0, 3)),
        of_mine=st.sets(st.integers(0, 3)),
        of_theirs=st.sets(st.integers(0, 3)),
    )
    def test_the_union_of_addresses_and_boxes_is_kept(
        self,
        session: Session,
        viewer: Viewer,
        mine: set[int],
        theirs: set[int],
        shared: set[int],
        of_mine: set[int],
        of_theirs: set[int],
    ) -> None:
        with session.begin_nested() as undone:
            kept, gone = (contacts.add(session, viewer, name) for name in ("Anna", "Anna B"))
            for who, numbers in ((kept, mine), (gone, theirs)):
                for number in numbers:
                    contacts.add_address(session, viewer, who, f"a{number}@acme.test")
            for number in range(4):
                box = a_box(session, viewer, f"Deal {number}")
                for who, numbers in ((kept, of_mine | shared), (gone, of_theirs | shared)):
                    if number in numbers:
                        boxes.add_contact(session, viewer, box, who)
            wanted = addresses(kept) | addresses(gone), boxes_of(session, kept) | boxes_of(session, gone)
            unions.merge_contacts(session, viewer, kept, gone, {}, NOW)
            assert (addresses(kept), boxes_of(session, kept)) == wanted
            assert contacts.by_key(session, viewer.team_id, gone.key) is None
            undone.rollback()

    def test_what_was_chosen_holds(self, session: Session, viewer: Viewer) -> None:
        kept = contact(session, viewer, "anna@acme.test", "Anna", title="CEO")
        gone = contact(session, viewer, "a.berg@beta.test", "Anna Berg", phone="+49 30 901820")
        assert gone.organization is not None
        chosen = {
            "name": "Anna Berg", "phone": gone.phone, "organization": gone.organization.key,
            "main": "a.berg@beta.test",
        }  # fmt: skip
        unions.merge_contacts(session, viewer, kept, gone, chosen, NOW)
        assert (kept.name, kept.title, kept.phone) == ("Anna Berg", "CEO", "+4930901820")
        assert kept.organization is not None
        assert kept.organization.name == "Beta"
        assert kept.addresses[0].address == "a.berg@beta.test"

    def test_what_named_the_one_names_the_other(self, session: Session, viewer: Viewer) -> None:
        kept, gone = contact(session, viewer, "anna@acme.test"), contact(session, viewer, "anna@beta.test")
        box = a_box(session, viewer, "Deal", "anna@beta.test")
        columns = [
            fields.add(session, viewer, box.pipeline_id, name, "contact") for name in ("Champion", "Decides")
        ]
        for column in columns:
            boxes.set_value(session, viewer, box, column, gone.key)
        call = Activity(
            team_id=viewer.team_id, box_id=box.id, kind="call", text="", at=NOW, contact_keys=["other", gone.key]
        )
        session.add(call)
        session.flush()
        unions.merge_contacts(session, viewer, kept, gone, {}, NOW)
        session.refresh(box)
        session.refresh(call)
        assert {box.values[column.key] for column in columns} == {kept.key}
        assert sorted(call.contact_keys) == sorted(["other", kept.key])
        assert unions.merged_into(session, viewer.team_id, unions.CONTACT_MERGED, gone.key) == kept.key

    def test_links_follow_a_chain_of_merges(self, session: Session, viewer: Viewer) -> None:
        one, two, three = (contact(session, viewer, f"anna@{name}.test") for name in ("a", "b", "c"))
        unions.merge_contacts(session, viewer, two, three, {}, NOW)
        unions.merge_contacts(session, viewer, one, two, {}, NOW)
        assert unions.merged_into(session, viewer.team_id, unions.CONTACT_MERGED, three.key) == one.key
        assert unions.merged_into(session, viewer.team_id, unions.CONTACT_MERGED, "nobody") is None

    def test_mail_of_both_addresses_is_filed_old_and_new(
        self, session: Session, viewer: Viewer, alice: User
    ) -> None:
        mailbox = a_mailbox(session, alice)
        box = a_box(session, viewer, "Deal", "anna@acme.test")
        gone = contact(session, viewer, "anna@private.test")
        old = a_mail(session, mailbox, "Old", sender="anna@private.test", thread="old")
        kept = contacts.by_address(session, viewer.team_id, "anna@acme.test")
        assert kept is not None
        assert filing.of_box(session, box.id) == []
        unions.merge_contacts(session, viewer, kept, gone, {}, NOW)
        new = a_mail(session, mailbox, "New", sender="anna@private.test", thread="new")
        own = a_mail(session, mailbox, "Own", sender="anna@acme.test", thread="own")
        filed = {one.conversation_id for one in filing.of_box(session, box.id)}
        assert filed == {old.id, new.id, own.id}
        assert session.scalar(select(BoxFacts.message_count).where(BoxFacts.box_id == box.id)) == 3

    def test_one_with_itself_is_refused(self, session: Session, viewer: Viewer) -> None:
        one = contact(session, viewer, "anna@acme.test")
        with pytest.raises(ContactError, match="two different"):
            unions.merge_contacts(session, viewer, one, one, {}, NOW)


class TestMergingOrganizations:
    @settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(mine=st.sets(st.integers(0, 3)), theirs=st.sets(st.integers(4, 7)), people=st.lists(st.booleans()))
    def test_the_union_of_domains_and_people_is_kept(
        self, session: Session, viewer: Viewer, mine: set[int], theirs: set[int], people: list[bool]
    ) -> None:
        with session.begin_nested() as undone:
            kept, gone = (organizations.add(session, viewer, name) for name in ("Kept", "Gone"))
            for which, numbers in ((kept, mine), (gone, theirs)):
                for number in numbers:
                    organizations.add_domain(session, viewer, which, f"d{number}.test")
            for number, is_kept in enumerate(people):
                contacts.add(session, viewer, f"P{number}", organization=kept if is_kept else gone)
            unions.merge_organizations(session, viewer, kept, gone, {})
            assert organizations.domains(session, [kept.id])[kept.id] == [
                f"d{n}.test" for n in sorted(mine | theirs)
            ]
            there = session.scalars(select(Contact.id).where(Contact.organization_id == kept.id)).all()
            assert len(there) == len(people)
            undone.rollback()

    def test_boxes_and_field_values_follow(self, session: Session, viewer: Viewer) -> None:
        kept, gone = (organizations.add(session, viewer, name) for name in ("Kept", "Gone"))
        box = a_box(session, viewer, "Hello", into="Connections")
        boxes.set_organization(session, viewer, box, gone)
        column: Any = next(
            one
            for one in fields.of_pipeline(session, pipeline(session, viewer.team_id, "Connections").id)
            if one.name == "Company"
        )
        boxes.set_value(session, viewer, box, column, "Gone")
        unions.merge_organizations(session, viewer, kept, gone, {"location": "Oslo"})
        session.refresh(box)
        assert (box.organization_id, box.values[column.key], kept.location) == (kept.id, kept.key, "Oslo")
        assert unions.merged_into(session, viewer.team_id, unions.ORGANIZATION_MERGED, gone.key) == kept.key
        with pytest.raises(OrganizationError):
            unions.merge_organizations(session, viewer, kept, kept, {})
