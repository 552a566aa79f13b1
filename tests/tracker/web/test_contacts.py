"""The pages of contacts: listed, looked at, corrected, merged."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from tests.tracker.domain import a_box, a_contact
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import a_mail, browser_of, counted
from tracker import boxes, contacts, filing, people
from tracker.contacts import Contact, Organization
from tracker.tasks import Task
from tracker.web import contact as contact_page
from tracker.web.contact import ContactPanel

HTMX = {"HX-Request": "true"}
JSON = {"Accept": "application/json"}


@pytest.fixture
def anna(write: Session, team: Team) -> Contact:
    """Anna of Acme, in a box."""
    a_box(write, team.viewer, "Acme deal", "anna@acme.test")
    found = contacts.by_address(write, team.alice.team_id, "anna@acme.test")
    assert found is not None
    write.commit()
    return found


def read(write: Session, contact: Contact) -> Contact:
    """As it is now."""
    write.commit()
    write.expire_all()
    return write.get_one(Contact, contact.id)


class TestList:
    def test_shows_filters_and_offers_to_add(self, browser: FlaskClient, anna: Contact, write: Session) -> None:
        page = browser.get("/contacts").text
        assert 'aria-current="page" data-key="g c"' in page
        assert "anna@acme.test" in page
        assert "Acme deal" in page
        assert "Nobody like that" in browser.get("/contacts?text=zzz").text
        rows = browser.get("/contacts?has_box=open&sort=mail", headers=HTMX).text
        assert rows.lstrip().startswith('<div id="contact-rows"')

    def test_pages_by_itself_and_asks_as_much_for_many_as_for_few(
        self, browser: FlaskClient, team: Team, write: Session, engine: Engine
    ) -> None:
        for number in range(3):
            a_box(write, team.viewer, f"Deal {number}", f"p{number:02}@acme.test")
        write.commit()
        browser.get("/contacts")
        with counted(engine) as few:
            browser.get("/contacts?sort=mail")
        for number in range(3, 60):
            a_contact(write, team.viewer, f"p{number:02}@acme.test")
        write.commit()
        with counted(engine) as many:
            first = browser.get("/contacts?sort=mail").text
        assert len(few) == len(many) <= 12
        more = re.search(r'hx-get="([^"]*after[^"]*)"', first)
        assert more is not None
        rest = browser.get(more[1].replace("&amp;", "&"), headers=HTMX).text
        assert "<html" not in rest
        assert first.count('class="person-row"') + rest.count('class="person-row"') == 60

    def test_a_contact_is_added_by_hand(self, browser: FlaskClient, team: Team, write: Session) -> None:
        data = {
            "name": "Bea Brown",
            "address": "bea@beta.test",
            "organization": "Beta Ltd",
            "_place": "new-contact",
        }
        page = browser.post("/contacts", data=data, follow_redirects=True).text
        assert "Bea Brown is a contact now" in page
        assert "Beta Ltd" in page
        again = browser.post("/contacts", data=data)
        assert again.status_code == 422
        assert "Bea Brown&#39;s; merge the two" in again.text
        assert 'value="bea@beta.test"' in again.text

    @pytest.mark.parametrize(
        "query", ["text=%00", "after=%00x", "sort=odd", "has_box=9", "at=%25", f"text={999 * 'x'}"]
    )
    def test_made_up_arguments_find_what_they_find(self, browser: FlaskClient, anna: Contact, query: str) -> None:
        assert browser.get(f"/contacts?{query}").status_code == 200
        assert browser.get(f"/contacts/places?{query}").status_code == 200
        assert browser.get(f"/contacts/duplicates?{query}").status_code == 200


class TestPage:
    def test_has_everything_known(
        self, browser: FlaskClient, team: Team, write: Session, anna: Contact, engine: Engine
    ) -> None:
        a_mail(write, team.mailbox, "The offer", sender="anna@acme.test")
        box = write.scalars(select(boxes.Box)).one()
        write.add(Task(team_id=box.team_id, box_id=box.id, title="Call her back"))
        contacts.change(write, team.viewer, anna, title="CEO", phone="+49 30 901820", notes="Likes tea")
        write.commit()
        page = browser.get(f"/contacts/{anna.key}").text
        for words in (
            "CEO",
            "Acme deal",
            "The offer",
            "Call her back",
            "+49 30 901820",
            "Likes tea",
            "tel:+4930901820",
        ):
            assert words in page, words

    def test_asks_as_much_for_much_mail_as_for_little(
        self, browser: FlaskClient, team: Team, write: Session, anna: Contact, engine: Engine
    ) -> None:
        a_mail(write, team.mailbox, "One", sender="anna@acme.test")
        write.commit()
        browser.get(f"/contacts/{anna.key}")
        with counted(engine) as few:
            browser.get(f"/contacts/{anna.key}")
        for number in range(25):
            a_mail(write, team.mailbox, f"Mail {number}", sender="anna@acme.test")
            a_box(write, team.viewer, f"Deal {number}", "anna@acme.test")
        write.commit()
        browser.get(f"/contacts/{anna.key}")  # where she is is worked out once for new mail
        with counted(engine) as many:
            page = browser.get(f"/contacts/{anna.key}").text
        assert len(few) == len(many) <= 23
        older = re.search(r'hx-get="(/contacts/[^"]*/mail[^"]*)"', page)
        assert older is not None
        rest = browser.get(older[1].replace("&amp;", "&"), headers=HTMX).text
        assert page.count('class="mail-line"') + rest.count('class="mail-line"') == 26

    def test_shows_only_mail_that_the_viewer_may_read(
        self, app: Flask, team: Team, write: Session, anna: Contact
    ) -> None:
        a_mail(write, team.mailbox, "Filed offer", sender="anna@acme.test")
        private = a_mail(write, team.mailbox, "Private word", sender="anna@acme.test")
        box = write.scalars(select(boxes.Box)).one()
        filing.remove(write, team.viewer, private, box)
        write.commit()
        of_bob = browser_of(app, team.bob).get(f"/contacts/{anna.key}").text
        assert "Filed offer" in of_bob
        assert "Private word" not in of_bob
        assert "Private word" in browser_of(app, team.alice).get(f"/contacts/{anna.key}").text

    def test_is_corrected_field_by_field(self, browser: FlaskClient, write: Session, anna: Contact) -> None:
        browser.post(f"/contacts/{anna.key}", data={"title": "CEO"})
        assert browser.post(f"/contacts/{anna.key}", data={"location": "Oslo"}, headers=JSON).json == {
            "saved": True
        }
        browser.post(f"/contacts/{anna.key}", data={"organization": "Beta"})
        now = read(write, anna)
        assert (now.title, now.location, now.name) == ("CEO", "Oslo", "Anna")
        assert now.organization is not None
        assert now.organization.name == "Beta"
        browser.post(f"/contacts/{anna.key}", data={"organization": ""})
        assert read(write, anna).organization is None

    def test_a_refusal_stands_by_what_was_typed(self, browser: FlaskClient, anna: Contact) -> None:
        answer = browser.post(f"/contacts/{anna.key}", data={"name": " ", "_place": "edit-name"})
        assert answer.status_code == 422
        assert 'id="refused-edit-name"' in answer.text
        wrong = browser.post(
            f"/contacts/{anna.key}/addresses", data={"address": "alice@team.example", "_place": "new-address"}
        )
        assert wrong.status_code == 422
        assert "own addresses" in wrong.text
        assert 'value="alice@team.example"' in wrong.text

    def test_addresses_are_added_made_main_and_removed_and_mail_follows(
        self, browser: FlaskClient, team: Team, write: Session, anna: Contact
    ) -> None:
        old = a_mail(write, team.mailbox, "From home", sender="anna@home.test")
        write.commit()
        there = f"/contacts/{anna.key}/addresses"
        browser.post(there, data={"address": "Anna <anna@home.test>"})
        box = write.scalars(select(boxes.Box)).one()
        assert [one.conversation_id for one in filing.of_box(write, box.id)] == [old.id]
        browser.post(f"{there}/main", data={"address": "anna@home.test"})
        assert read(write, anna).addresses[0].address == "anna@home.test"
        browser.post(f"{there}/remove", data={"address": "anna@acme.test"})
        assert [one.address for one in read(write, anna).addresses] == ["anna@home.test"]

    def test_rooms_above_add_their_panels(self, app: Flask, browser: FlaskClient, anna: Contact) -> None:
        panel = ContactPanel("Time zone", lambda _, contact: f"<p>Where {contact.name} is it is late</p>")
        contact_page.register_contact_panel(app, panel)
        contact_page.register_contact_panel(app, ContactPanel("Left out", lambda _, __: None))
        page = browser.get(f"/contacts/{anna.key}").text
        assert "Where Anna is it is late" in page
        assert "Left out" not in page

    def test_its_lists_can_be_fetched_again(self, browser: FlaskClient, anna: Contact) -> None:
        page = browser.get(f"/contacts/{anna.key}").text
        address = re.search(r'data-live="contact:([^"]+)" data-live-url="([^"]+)"', page)
        assert address is not None
        assert address[1] == anna.key
        part = browser.get(address[2], headers=HTMX).text
        assert 'id="contact-lists"' in part
        assert "<html" not in part


class TestPlaces:
    def test_who_is_in_town(self, browser: FlaskClient, team: Team, write: Session, anna: Contact) -> None:
        contacts.change(write, team.viewer, anna, location="Oslo, Norway")
        write.commit()
        assert "Oslo" in browser.get("/contacts/places").text
        page = browser.get("/contacts/places?at=oslo").text
        assert "In Oslo" in page
        assert "Acme deal" in page
        assert "Add a task" in page
        assert "Nobody is there any more" in browser.get("/contacts/places?at=bergen").text


class TestDuplicates:
    @pytest.fixture
    def double(self, write: Session, team: Team, anna: Contact) -> Contact:
        """Anna again, by another address."""
        made = a_contact(write, team.viewer, "anna.b@acme.test")
        contacts.change(write, team.viewer, made, name="Anna", phone="+49 30 901820")
        write.commit()
        return made

    def test_are_shown_compared_and_merged(
        self, browser: FlaskClient, write: Session, anna: Contact, double: Contact
    ) -> None:
        gone = double.key
        page = browser.get("/contacts/duplicates").text
        assert "Both are called Anna and work at Acme" in page
        compared = browser.get(f"/contacts/merge?one={anna.key}&other={double.key}").text
        assert "+49 30 901820" in compared
        data = {
            "one": anna.key, "other": double.key, "name": "Anna Berg", "main": "anna.b@acme.test", "phones": "1",
            "phone": ["+4930901820"],
        }  # fmt: skip
        assert "is one contact now" in browser.post("/contacts/merge", data=data, follow_redirects=True).text
        now = read(write, anna)
        assert (now.name, now.phone) == ("Anna Berg", "+4930901820")
        assert [one.address for one in now.addresses] == ["anna.b@acme.test", "anna@acme.test"]
        assert browser.get(f"/contacts/{gone}").headers["Location"] == f"/contacts/{anna.key}"
        assert "No duplicates" in browser.get("/contacts/duplicates").text

    def test_told_apart_they_are_not_shown_again(
        self, browser: FlaskClient, anna: Contact, double: Contact
    ) -> None:
        browser.post("/contacts/distinct", data={"one": double.key, "other": anna.key})
        assert "No duplicates" in browser.get("/contacts/duplicates").text

    def test_a_refusal_shows_the_comparison_again(
        self, browser: FlaskClient, anna: Contact, double: Contact
    ) -> None:
        data = {"one": anna.key, "other": double.key, "name": "x" * 300, "_place": "merge"}
        answer = browser.post("/contacts/merge", data=data)
        assert answer.status_code == 422
        assert 'id="refused-merge"' in answer.text

    def test_any_two_can_be_merged(self, browser: FlaskClient, anna: Contact, double: Contact) -> None:
        page = browser.get(f"/contacts/{anna.key}/merge?with=anna.b").text
        assert f"other={double.key}" in page
        assert "Nobody else" in browser.get(f"/contacts/{anna.key}/merge?with=zzz").text

    @pytest.mark.parametrize("address", ["/contacts/merge", "/contacts/distinct", "/organizations/merge"])
    def test_one_with_nobody_is_not_found(self, browser: FlaskClient, anna: Contact, address: str) -> None:
        for other in (anna.key, "nobody", "\x00"):
            assert browser.post(address, data={"one": anna.key, "other": other}).status_code == 404

    def test_guests_merge_nothing(self, app: Flask, team: Team, anna: Contact, double: Contact) -> None:
        gina = browser_of(app, team.gina)
        data = {"one": anna.key, "other": double.key}
        assert gina.post("/contacts/merge", data=data).status_code == 403
        assert gina.post("/contacts/distinct", data=data).status_code == 403


class TestOrganizations:
    def test_are_listed_added_and_corrected(self, browser: FlaskClient, write: Session, anna: Contact) -> None:
        assert "acme.test" in browser.get("/organizations").text
        page = browser.post("/organizations", data={"name": "Beta", "domain": "beta.test"}, follow_redirects=True)
        assert "Beta is here now" in page.text
        beta = write.scalars(select(Organization).where(Organization.name == "Beta")).one()
        there = f"/organizations/{beta.key}"
        browser.post(there, data={"website": "beta.test", "notes": "Old friends"})
        wrong = browser.post(f"{there}/domains", data={"domain": "gmail.com", "_place": "new-domain"})
        assert wrong.status_code == 422
        assert "Anybody can have an address at gmail.com" in wrong.text
        browser.post(f"{there}/domains", data={"domain": "beta.example"})
        browser.post(f"{there}/domains/remove", data={"domain": "beta.test"})
        page = browser.get(there).text
        assert "https://beta.test" in page
        assert "Old friends" in page
        assert "beta.example" in page

    def test_has_its_people_boxes_and_mail(
        self, browser: FlaskClient, team: Team, write: Session, anna: Contact
    ) -> None:
        a_mail(write, team.mailbox, "The offer", sender="anna@acme.test")
        write.commit()
        acme = write.scalars(select(Organization)).one()
        page = browser.get(f"/organizations/{acme.key}").text
        for words in ("anna@acme.test", "Acme deal", "The offer"):
            assert words in page

    def test_are_merged(self, browser: FlaskClient, team: Team, write: Session, anna: Contact) -> None:
        other = a_contact(write, team.viewer, "bea@acme.example")
        assert other.organization is not None
        acme = write.scalars(select(Organization).order_by(Organization.id)).first()
        assert acme is not None
        write.commit()
        assert "Domains that look alike: acme.test and acme.example" in browser.get("/contacts/duplicates").text
        data = {"one": acme.key, "other": other.organization.key}
        gone = other.organization.key
        assert "Are these one" in browser.get("/organizations/merge", query_string=data).text
        browser.post("/organizations/merge", data={**data, "name": "Acme"})
        assert browser.get(f"/organizations/{gone}").headers["Location"] == f"/organizations/{acme.key}"
        assert "bea@acme.example" in browser.get(f"/organizations/{acme.key}").text


def test_another_teams_contacts_are_not_there(browser: FlaskClient, write: Session, anna: Contact) -> None:
    theirs = people.create_team(write, "Others")
    viewer = people.system_viewer(theirs.id, "test")
    other = contacts.add(write, viewer, "Secret Person", "secret@other.test")
    key, company = other.key, other.organization
    assert company is not None
    write.commit()
    assert browser.get(f"/contacts/{key}").status_code == 404
    assert browser.post(f"/contacts/{key}", data={"name": "Mine"}).status_code == 404
    assert browser.get(f"/organizations/{company.key}").status_code == 404
    assert browser.post("/contacts/merge", data={"one": anna.key, "other": key}).status_code == 404
    assert "Secret" not in browser.get("/contacts").text
