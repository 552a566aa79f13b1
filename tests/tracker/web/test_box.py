"""A box's page, and everything that can be changed on it."""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from tests.tracker.domain import NOW, a_box, a_contact, pipeline, stage
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import a_mail, browser_of, counted, some_mail
from tracker import activities, boxes, fields, filing, links, tasks
from tracker.activities import ActivityKind
from tracker.boxes import Box
from tracker.db import Sessions, lock_team
from tracker.fields import Field


def field(write: Session, box: Box, name: str) -> Field:
    return next(one for one in fields.of_pipeline(write, box.pipeline_id) if one.name == name)


def again(write: Session, box: Box) -> Box:
    write.expire_all()
    return write.get_one(Box, box.id)


def test_tells_mail_and_events_in_one_timeline_with_reasons(
    browser: FlaskClient, team: Team, write: Session
) -> None:
    box = a_box(write, team.viewer, "Acme deal", "anna@acme.test", at="Lead")
    a_mail(
        write, team.mailbox, "The offer", sender="anna@acme.test", sender_name="Anna", text="Forty seats, please.",
        attachments=[{"filename": "Plan.pdf", "size": 20480, "inline": False}],
    )  # fmt: skip
    write.commit()
    page = browser.get(f"/b/{box.key}").text
    assert "Forty seats, please." in page
    assert "Alice Archer made this box in Lead" in page
    assert "Because anna@acme.test is a contact of this box." in page
    assert "Plan.pdf" in page
    assert "20 KB" in page


def test_shows_teammates_mail_only_once_it_is_in_a_box(app: Flask, team: Team, write: Session) -> None:
    box = a_box(write, team.viewer, "Acme deal", at="Lead")
    mail = a_mail(write, team.mailbox, "The offer", text="Our secret price")
    write.commit()
    bob = browser_of(app, team.bob)
    assert bob.get(f"/c/{mail.key}").status_code == 404
    filing.file(write, team.viewer, mail, box)
    write.commit()
    assert "Our secret price" in bob.get(f"/b/{box.key}").text
    assert bob.get(f"/c/{mail.key}").status_code == 200


def test_never_shows_internal_mail_to_others_even_when_filed(app: Flask, team: Team, write: Session) -> None:
    box = a_box(write, team.viewer, "Acme deal", at="Lead")
    mail = a_mail(
        write,
        team.mailbox,
        "Between us",
        sender="alice@team.example",
        to=["bob@team.example"],
        text="Private words",
    )
    filing.file(write, team.viewer, mail, box)
    write.commit()
    page = browser_of(app, team.bob).get(f"/b/{box.key}").text
    assert "Private words" not in page
    assert "Between us" not in page


def test_never_names_a_conversation_by_a_mail_that_may_not_be_read(app: Flask, team: Team, write: Session) -> None:
    box = a_box(write, team.viewer, "Acme deal", at="Lead")
    inside = ["bob@team.example"]
    a_mail(write, team.mailbox, "Our lowest price", sender="alice@team.example", to=inside, thread="t", at=NOW)
    mail = a_mail(
        write, team.mailbox, "An offer", sender="anna@acme.test", thread="t", at=NOW + timedelta(hours=1)
    )
    filing.file(write, team.viewer, mail, box)
    write.commit()
    bob = browser_of(app, team.bob)
    pages = [bob.get(f"/b/{box.key}").text, bob.get(f"/c/{mail.key}").text]
    assert all("An offer" in page and "Our lowest price" not in page for page in pages)
    assert "Our lowest price" in browser_of(app, team.alice).get(f"/c/{mail.key}").text


def test_takes_as_many_queries_with_much_in_it_as_with_little(
    browser: FlaskClient, team: Team, write: Session, app: Flask
) -> None:
    used = app.extensions["gmail_sync"].services.sessions.kw["bind"]
    box = a_box(write, team.viewer, "Acme deal", "anna@acme.test", at="Lead")
    counts: list[dict[str, int]] = []
    browser.get("/inbox")  # the lock between teams is looked at once a process
    for numbers in (range(5), range(5, 25)):
        for number in numbers:
            pdf = {"filename": f"Plan {number}.pdf", "size": 20480, "inline": False}
            a_mail(write, team.mailbox, f"Mail {number}", sender="anna@acme.test", attachments=[pdf])
            contact = a_contact(write, team.viewer, f"contact{number}@acme.test")
            boxes.add_contact(write, team.viewer, box, contact)
            people_ = [team.alice, team.bob]
            call = ActivityKind.CALL
            activities.add(
                write, team.viewer, box, call, "@Bob Baker", contact_keys=[contact.key], people=people_, now=NOW
            )
            made = tasks.create(write, team.viewer, f"Task {number}", box=box, now=NOW)
            if number % 2:
                tasks.complete(write, team.viewer, made, NOW)
            links.link(write, team.viewer, box, a_box(write, team.viewer, f"Other {number}"))
        write.commit()
        counts.append({})
        for show in ("all", "mail", "notes", "tasks", "changes"):
            with counted(used) as statements:
                assert browser.get(f"/b/{box.key}?show={show}").status_code == 200
            counts[-1][show] = len(statements)
    few, many = counts
    assert all(many[show] <= few[show] for show in few), (few, many)
    assert max(few.values()) <= 46  # some of them are other rooms': panels, reads, the bell


def test_the_timeline_goes_on_page_by_page(browser: FlaskClient, team: Team, write: Session) -> None:
    box = a_box(write, team.viewer, "Acme deal", "anna@acme.test", at="Lead")
    each = {"subject": "Mail", "sender": "anna@acme.test", "thread": "one"}
    mails = (  # some at the very same instant
        {**each, "text": f"Mail {number:02}.", "at": NOW - timedelta(hours=number // 7)} for number in range(90)
    )
    some_mail(write, team.mailbox, mails)
    write.commit()
    address, seen = f"/b/{box.key}", []
    while address:
        page = browser.get(address, headers={"HX-Request": "true"} if "after" in address else {}).text
        seen += [number for number in range(90) if f'message-peek">Mail {number:02}.' in page]
        found = re.search(r'rel="next" href="([^"]+)"', page)
        address = html.unescape(found[1]) if found else ""
    assert sorted(seen) == list(range(90))


def test_is_renamed(browser: FlaskClient, team: Team, write: Session) -> None:
    box = a_box(write, team.viewer, "Acme deal", at="Lead")
    write.commit()
    browser.post(f"/b/{box.key}/name", data={"name": "  Acme   2027 "})
    assert again(write, box).name == "Acme 2027"
    refused = browser.post(f"/b/{box.key}/name", data={"name": " ", "_place": "name"})
    assert refused.status_code == 422
    assert "A box needs a name" in refused.text


def test_is_given_to_a_teammate(browser: FlaskClient, team: Team, write: Session) -> None:
    box = a_box(write, team.viewer, "Acme deal", at="Lead")
    write.commit()
    browser.post(f"/b/{box.key}/owner", data={"owner": team.bob.key})
    assert again(write, box).owner_id == team.bob.id
    browser.post(f"/b/{box.key}/owner", data={"owner": ""})
    assert again(write, box).owner_id is None


def test_gets_an_organization_that_is_made_if_new(browser: FlaskClient, team: Team, write: Session) -> None:
    box = a_box(write, team.viewer, "Deal", at="Lead")
    write.commit()
    browser.post(f"/b/{box.key}/organization", data={"organization": "Globex", "autobox_domain": "on"})
    found = again(write, box)
    assert found.organization is not None
    assert (found.organization.name, found.autobox_domain) == ("Globex", True)
    assert "set the organization to Globex" in browser.get(f"/b/{box.key}").text


def test_gets_and_loses_contacts(browser: FlaskClient, team: Team, write: Session) -> None:
    box = a_box(write, team.viewer, "Deal", at="Lead")
    mail = a_mail(write, team.mailbox, "Earlier", sender="anna@acme.test")
    write.commit()
    browser.post(f"/b/{box.key}/contacts", data={"address": "Anna Ito <anna@acme.test>"})
    contact = again(write, box).contacts[0]
    assert contact.name == "Anna Ito"
    assert filing.of_conversations(write, [mail.id])[mail.id][0].state == filing.FILED
    browser.post(f"/b/{box.key}/contacts/{contact.key}/remove")
    assert again(write, box).contacts == []


@pytest.mark.parametrize(
    ("typed", "said"), [("nonsense", "Expected an address"), ("bob@team.example", "team&#39;s own")]
)
def test_refuses_contacts_that_are_none(
    browser: FlaskClient, team: Team, write: Session, typed: str, said: str
) -> None:
    box = a_box(write, team.viewer, "Deal", at="Lead")
    write.commit()
    answer = browser.post(f"/b/{box.key}/contacts", data={"address": typed, "_place": "contacts"})
    assert answer.status_code == 422
    assert said in answer.text


def inputs_in(page: str) -> dict[str, str]:
    """What a browser would send of the form of fields."""
    form = re.search(
        r'<header class="box-head".*?</header>.*<div id="fields" class="fields">.*?</section>', page, re.S
    )
    assert form is not None
    sent = {"_place": "fields"}
    for tag in re.findall(r"<input[^>]*>", form.group()):
        attributes = dict(re.findall(r'(\w[\w-]*)="([^"]*)"', tag))
        if not attributes.get("name", "").startswith(("field-", "was-")):
            continue
        if attributes.get("type") == "checkbox":
            if " checked" in tag:
                sent[attributes["name"]] = "on"
        else:
            sent[attributes["name"]] = html.unescape(attributes.get("value", ""))
    for name, options in re.findall(r'<select id="[^"]*" name="([^"]+)"[^>]*>(.*?)</select>', form.group(), re.S):
        chosen = re.search(r'<option(?: value="([^"]*)")? selected>([^<]*)', options)
        if name.startswith("field-"):
            sent[name] = html.unescape(chosen[1] or chosen[2]) if chosen else ""
    for name, typed in re.findall(
        r'<textarea id="[^"]*" name="(field-[^"]+)"[^>]*>(.*?)</textarea>', form.group(), re.S
    ):
        sent[name] = html.unescape(typed)
    return sent


def form_of(who: FlaskClient, box: Box) -> dict[str, str]:
    """The form of fields as somebody has it open."""
    return inputs_in(who.get(f"/b/{box.key}").text)


class TestFields:
    def test_are_saved_together(self, browser: FlaskClient, team: Team, write: Session) -> None:
        box = a_box(write, team.viewer, "Deal", at="Lead")
        value, close = field(write, box, "Value"), field(write, box, "Expected close")
        write.commit()
        data = {f"field-{value.key}": "1.250,50 EUR", f"field-{close.key}": "2026-12-24", "_place": "fields"}
        browser.post(f"/b/{box.key}/fields", data=data)
        values = again(write, box).values
        assert values[value.key] == {"amount": "1250.50", "currency": "EUR"}
        page = browser.get(f"/b/{box.key}").text
        assert "1,250.50 EUR" in page
        assert "set Expected close to 24 Dec" in page

    def test_wrong_ones_are_told_beside_each_and_none_is_saved(
        self, browser: FlaskClient, team: Team, write: Session
    ) -> None:
        box = a_box(write, team.viewer, "Deal", at="Lead")
        value, close = field(write, box, "Value"), field(write, box, "Expected close")
        write.commit()
        data = {f"field-{value.key}": "a lot", f"field-{close.key}": "2026-12-24", "_place": "fields"}
        answer = browser.post(f"/b/{box.key}/fields", data=data)
        assert answer.status_code == 422
        assert f'id="refused-field-{value.key}"' in answer.text
        assert 'value="a lot"' in answer.text
        assert again(write, box).values == {}

    def test_are_written_only_where_the_person_changed_them(
        self, app: Flask, browser: FlaskClient, team: Team, write: Session
    ) -> None:
        box = a_box(write, team.viewer, "Deal", at="Lead")
        value, close = field(write, box, "Value"), field(write, box, "Expected close")
        boxes.set_value(write, team.viewer, box, value, "100 EUR")
        write.commit()
        bob = browser_of(app, team.bob)
        alices, bobs = form_of(browser, box), form_of(bob, box)
        alices[f"field-{value.key}"] = "200 EUR"
        bobs[f"field-{close.key}"] = "2026-12-24"
        assert browser.post(f"/b/{box.key}/fields", data=alices).status_code == 303
        assert bob.post(f"/b/{box.key}/fields", data=bobs).status_code == 303
        values = again(write, box).values
        assert values[value.key]["amount"] == "200"
        assert values[close.key] == "2026-12-24"
        assert browser.get(f"/b/{box.key}").text.count("set Value to €100") == 1

    def test_that_a_teammate_changed_meanwhile_are_told_and_replaced_only_knowingly(
        self, app: Flask, browser: FlaskClient, team: Team, write: Session
    ) -> None:
        box = a_box(write, team.viewer, "Deal", at="Lead")
        value, close = field(write, box, "Value"), field(write, box, "Expected close")
        write.commit()
        bob = browser_of(app, team.bob)
        alices, bobs = form_of(browser, box), form_of(bob, box)
        alices |= {f"field-{value.key}": "200 EUR", f"field-{close.key}": "2026-12-24"}
        bobs[f"field-{value.key}"] = "300 EUR"
        browser.post(f"/b/{box.key}/fields", data=alices)
        told = bob.post(f"/b/{box.key}/fields", data=bobs)
        assert told.status_code == 409
        assert "Since you opened the page this became “200 EUR”; save again to replace that" in told.text
        assert again(write, box).values[value.key]["amount"] == "200"
        shown = inputs_in(told.text)
        assert shown[f"field-{value.key}"] == "300 EUR"
        assert shown[f"field-{close.key}"] == "2026-12-24"
        assert bob.post(f"/b/{box.key}/fields", data=shown).status_code == 303
        assert again(write, box).values[value.key]["amount"] == "300"

    def test_changed_to_the_same_by_both_are_no_conflict(
        self, app: Flask, browser: FlaskClient, team: Team, write: Session
    ) -> None:
        box = a_box(write, team.viewer, "Deal", at="Lead")
        close = field(write, box, "Expected close")
        write.commit()
        bob = browser_of(app, team.bob)
        alices, bobs = form_of(browser, box), form_of(bob, box)
        for form, who in ((alices, browser), (bobs, bob)):
            form[f"field-{close.key}"] = "2026-12-24"
            assert who.post(f"/b/{box.key}/fields", data=form).status_code == 303

    def test_of_every_type_survive_a_save_of_another(
        self, browser: FlaskClient, team: Team, write: Session
    ) -> None:
        box = a_box(write, team.viewer, "Deal", "anna@acme.test", at="Lead")
        samples = {
            "text": "first\nsecond", "number": "3", "money": "1234567.5 USD", "date": "2026-12-24",
            "dropdown": "a", "tags": "x, y", "checkbox": "yes", "person": team.bob.key,
            "contact": "anna@acme.test", "organization": "Acme", "url": "example.com",
        }  # fmt: skip
        for kind, sample in samples.items():
            made = fields.add(write, team.viewer, box.pipeline_id, f"A {kind}", kind, ["a"])
            boxes.set_value(write, team.viewer, box, made, sample)
        write.commit()
        before = again(write, box).values
        form = form_of(browser, box) | {f"field-{field(write, box, 'Source').key}": "connection"}
        form |= {f"field-{field(write, box, 'A text').key}": "first\r\nsecond"}  # as a browser sends it
        write.commit()
        assert browser.post(f"/b/{box.key}/fields", data=form).status_code == 303
        after = again(write, box).values
        assert {key: after[key] for key in before} == before
        assert len(after) == len(before) + 1
        form = form_of(browser, box)
        del form[f"field-{field(write, box, 'A checkbox').key}"]
        write.commit()
        browser.post(f"/b/{box.key}/fields", data=form)
        assert len(again(write, box).values) == len(before)

    def test_set_at_once_by_two_sessions_are_both_kept(
        self, team: Team, write: Session, sessions: Sessions
    ) -> None:
        box = a_box(write, team.viewer, "Deal", at="Lead")
        value, close = field(write, box, "Value"), field(write, box, "Expected close")
        boxes.set_value(write, team.viewer, box, value, "100 EUR")
        write.commit()
        with sessions() as one, sessions() as other:
            ones, others = one.get_one(Box, box.id), other.get_one(Box, box.id)
            boxes.set_value(one, team.viewer, ones, close, "2026-12-24")
            one.commit()
            boxes.set_value(other, team.viewer, others, value, None)
            assert others.values == {close.key: "2026-12-24"}
            other.commit()
        found = again(write, box)
        assert found.values == {close.key: "2026-12-24"}
        assert found.version == 1


def waits_for_the_team(
    write: Session, team: Team, post: Callable[[], object], meanwhile: Callable[[], object]
) -> None:
    """While a sync holds the team's lock the POST waits, and then sees what the sync did."""
    lock_team(write, team.alice.team_id)
    poster = threading.Thread(target=post)
    poster.start()
    poster.join(0.4)
    assert poster.is_alive()
    meanwhile()
    write.commit()
    poster.join(10)
    assert not poster.is_alive()


def test_a_contact_that_a_sync_makes_at_the_same_time_is_one(
    browser: FlaskClient, team: Team, write: Session
) -> None:
    box = a_box(write, team.viewer, "Deal", at="Lead")
    write.commit()
    answers: list[int] = []
    waits_for_the_team(
        write,
        team,
        lambda: answers.append(
            browser.post(f"/b/{box.key}/contacts", data={"address": "anna@acme.test"}).status_code
        ),
        lambda: a_contact(write, team.viewer, "anna@acme.test"),
    )
    assert answers == [303]
    assert [one.name for one in again(write, box).contacts] == ["Anna"]


def test_a_new_boxes_contact_that_a_sync_makes_at_the_same_time_is_one(
    browser: FlaskClient, team: Team, write: Session
) -> None:
    there = f"/p/{pipeline(write, team.alice.team_id).key}/boxes"
    write.commit()
    answers: list[int] = []
    waits_for_the_team(
        write,
        team,
        lambda: answers.append(browser.post(there, data={"address": "anna@acme.test"}).status_code),
        lambda: a_contact(write, team.viewer, "anna@acme.test"),
    )
    assert answers == [303]


def test_making_a_contact_waits_for_the_other_who_makes_it(team: Team, write: Session, sessions: Sessions) -> None:
    made = a_contact(write, team.viewer, "anna@acme.test")
    found: list[int] = []

    def other() -> None:
        with sessions() as session, session.begin():
            found.append(a_contact(session, team.viewer, "anna@acme.test").id)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join(0.4)
    assert found == []
    write.commit()
    thread.join(10)
    assert found == [made.id]


def test_taking_out_waits_for_a_sync(browser: FlaskClient, team: Team, write: Session) -> None:
    box = a_box(write, team.viewer, "Acme deal", "anna@acme.test", at="Lead")
    mail = a_mail(write, team.mailbox, "Private matter", sender="anna@acme.test", thread="one")
    write.commit()
    address = f"/b/{box.key}/conversations/{mail.key}/remove"
    waits_for_the_team(write, team, lambda: browser.post(address), lambda: None)
    assert filing.of_conversations(write, [mail.id])[mail.id][0].state == filing.REMOVED


def test_a_conversation_is_taken_out_for_good(browser: FlaskClient, team: Team, write: Session) -> None:
    box = a_box(write, team.viewer, "Acme deal", "anna@acme.test", at="Lead")
    mail = a_mail(write, team.mailbox, "Private matter", sender="anna@acme.test", thread="one")
    write.commit()
    assert "Private matter" in browser.get(f"/b/{box.key}").text
    browser.post(f"/b/{box.key}/conversations/{mail.key}/remove")
    a_mail(write, team.mailbox, "Re: Private matter", sender="anna@acme.test", thread="one")
    write.commit()
    assert "Private matter" not in browser.get(f"/b/{box.key}").text


def test_is_archived_and_brought_back(browser: FlaskClient, team: Team, write: Session) -> None:
    box = a_box(write, team.viewer, "Acme deal", at="Lead")
    write.commit()
    browser.post(f"/b/{box.key}/archive")
    assert "Acme deal" not in browser.get(f"/p/{box.pipeline.key}").text.split("<main")[1].split("</h3>", 1)[-1]
    assert again(write, box).archived_at is not None
    browser.post(f"/b/{box.key}/archive")
    assert again(write, box).archived_at is None


def test_moves_without_scripts(browser: FlaskClient, team: Team, write: Session) -> None:
    box = a_box(write, team.viewer, "Acme deal", at="Lead")
    won = stage(write, box.pipeline, "Won")
    write.commit()
    page = browser.post(f"/b/{box.key}/stage", data={"stage": won.key, "version": "1"}, follow_redirects=True).text
    assert "Moved to Won" in page
    assert "moved it from Lead to Won" in page


def test_a_contact_is_shown_and_corrected(browser: FlaskClient, team: Team, write: Session) -> None:
    box = a_box(write, team.viewer, "Acme deal", "anna@acme.test", at="Lead")
    contact = box.contacts[0]
    write.commit()
    assert "anna@acme.test" in browser.get(f"/contacts/{contact.key}").text
    browser.post(f"/contacts/{contact.key}", data={"name": "Anna Ito", "phone": "+81 3 1234", "location": "Tokyo"})
    page = browser.get(f"/contacts/{contact.key}").text
    assert all(words in page for words in ("Anna Ito", "+81 3 1234", "Tokyo", "Acme deal"))
    assert browser.post(f"/contacts/{contact.key}", data={"name": ""}).status_code == 422
