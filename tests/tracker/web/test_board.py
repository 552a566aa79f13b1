"""The board of a pipeline."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from tests.tracker.domain import NOW, a_box, pipeline, stage
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import ALICE, a_mail, browser_of, counted, some_mail
from tracker import boxes, fields, people, pipelines, tasks
from tracker.boxes import Box
from tracker.web import worth


def boxes_with_mail(write: Session, team: Team, numbers: range) -> None:
    for number in numbers:
        a_box(write, team.viewer, f"Deal {number}", f"person{number}@firm{number}.test", at="Lead")
    mails = ({"subject": f"Mail {n}", "sender": f"person{n}@firm{n}.test"} for n in numbers)
    some_mail(write, team.mailbox, mails)
    write.commit()


def test_shows_each_stage_with_its_boxes_and_count(browser: FlaskClient, team: Team, write: Session) -> None:
    a_box(write, team.viewer, "Acme deal", "anna@acme.test", at="Negotiating")
    key = pipeline(write, team.alice.team_id).key
    write.commit()
    page = browser.get(f"/p/{key}").text
    assert "Acme deal" in page
    assert all(name in page for name in ("Prospect", "Negotiating", "Lost &amp; Rejected"))


ADDRESSES = ("", "?owner=me&q=firm&owes=us&sleeping=1&created=year&min=0&tag=hot", "?owner=nobody")


def test_takes_as_many_queries_for_40_boxes_as_for_5(
    browser: FlaskClient, team: Team, write: Session, app: Flask
) -> None:
    sales = pipeline(write, team.alice.team_id)
    fields.add(write, team.viewer, sales.id, "Tags", "tags")
    used = app.extensions["gmail_sync"].services.sessions.kw["bind"]

    def asked(cards: int) -> list[list[str]]:
        found = []
        for filtered in ADDRESSES:
            with counted(used) as queries:
                shown = browser.get(f"/p/{sales.key}{filtered}").text.count("<article")
            assert shown == (0 if filtered else cards)
            found.append(list(queries))
        return found

    boxes_with_mail(write, team, range(5))
    few = asked(5)
    boxes_with_mail(write, team, range(5, 40))
    many = asked(25)
    assert [len(one) for one in few] == [len(one) for one in many]
    assert max(map(len, many)) <= 15  # one of them asks whether anything is narrowed, see `sight`
    bounded = [
        one for one in many[0] if "count(*)" in one and "notifications" in one
    ]  # the bell's, up to a hundred
    assert not [one for one in many[0] if "count(*)" in one and "OVER" not in one and one not in bounded]


def test_the_next_cards_and_a_column_read_again_take_few_queries(
    browser: FlaskClient, team: Team, write: Session, app: Flask
) -> None:
    boxes_with_mail(write, team, range(30))
    sales = pipeline(write, team.alice.team_id)
    address = f"/p/{sales.key}/stages/{stage(write, sales, 'Lead').key}"
    used = app.extensions["gmail_sync"].services.sessions.kw["bind"]
    for query, cards in (("", 25), ("?shown=27", 27), ("?shown=100000", 30)):
        with counted(used) as statements:
            page = browser.get(address + query, headers={"HX-Request": "true"}).text
        assert page.count("<article") == cards
        assert len(statements) <= 12
        assert ('data-column="' in page) == ("shown" in query)


def test_goes_through_a_long_stage_page_by_page(browser: FlaskClient, team: Team, write: Session) -> None:
    for number in range(60):
        a_box(write, team.viewer, f"Deal {number:02}.", at="Lead")
    sales = pipeline(write, team.alice.team_id)
    address = f"/p/{sales.key}/stages/{stage(write, sales, 'Lead').key}"
    write.commit()
    seen: list[str] = []
    while address:
        page = browser.get(address).text
        seen += [f"Deal {number:02}." for number in range(60) if f"Deal {number:02}." in page]
        address = (
            page.split('class="more"><a class="button plain wide" href="')[1].split('"')[0]
            if "more" in page and 'class="more"' in page
            else ""
        )
        address = address.replace("&amp;", "&")
    assert sorted(seen) == [f"Deal {number:02}." for number in range(60)]


def test_makes_a_new_box_with_a_contact_and_files_their_mail(
    browser: FlaskClient, team: Team, write: Session
) -> None:
    a_mail(write, team.mailbox, "Before the box", sender="dana@new.test")
    key = pipeline(write, team.alice.team_id).key
    write.commit()
    page = browser.post(
        f"/p/{key}/boxes", data={"_place": "new-box", "address": "Dana <dana@new.test>"}, follow_redirects=True
    ).text
    assert ">Dana</h1>" in page or ">Dana<" in page
    assert "Before the box" in page


def test_shows_what_is_wrong_beside_the_form_and_keeps_what_was_typed(
    browser: FlaskClient, team: Team, write: Session
) -> None:
    key = pipeline(write, team.alice.team_id).key
    answer = browser.post(f"/p/{key}/boxes", data={"_place": "new-box", "name": "", "address": "no address"})
    assert answer.status_code == 422
    assert "Expected the contact" in answer.text
    assert 'value="no address"' in answer.text


class TestCards:
    """What a card says."""

    def card(self, browser: FlaskClient, write: Session, team: Team, name: str) -> str:
        write.commit()
        page = browser.get(f"/p/{pipeline(write, team.alice.team_id).key}").text
        found = next(
            one for one in page.split("<article")[1:] if f">{name}</a>" in one or f"</span>{name}</a>" in one
        )
        return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", found.split("</article>")[0]))

    def test_who_owes_an_answer_and_for_how_long(self, browser: FlaskClient, team: Team, write: Session) -> None:
        now = datetime.now(UTC)
        for name, sender, days in (("Asked", "a@one.test", 3), ("Told", ALICE, 5)):
            there = "a@one.test" if name == "Asked" else "b@two.test"
            a_box(write, team.viewer, name, there, at="Lead", now=now)
            to = [ALICE] if name == "Asked" else ["b@two.test"]
            a_mail(write, team.mailbox, "Offer", sender=sender, to=to, at=now - timedelta(days=days, hours=1))
        boxes.assign(write, team.viewer, a_box(write, team.viewer, "No mail", at="Lead", now=now), None)
        assert "You owe an answer, 3 d" in self.card(browser, write, team, "Asked")
        assert "Waiting for them, 5 d" in self.card(browser, write, team, "Told")
        assert "answer" not in self.card(browser, write, team, "No mail")

    def test_a_teammates_box_waits_for_the_teammate(
        self, browser: FlaskClient, team: Team, write: Session
    ) -> None:
        box = a_box(write, team.viewer, "Deal", "a@one.test", at="Lead")
        boxes.assign(write, team.viewer, box, team.bob)
        a_mail(write, team.mailbox, "Offer", sender="a@one.test", at=datetime.now(UTC))
        assert "Bob owes an answer" in self.card(browser, write, team, "Deal")

    def test_next_task_and_how_late_it_is(self, browser: FlaskClient, team: Team, write: Session) -> None:
        today = datetime.now(UTC).date()
        box = a_box(write, team.viewer, "Deal", at="Lead")
        for title, due in (("Later", 5), ("Late", -2), ("Some time", None)):
            due_on = today + timedelta(days=due) if due is not None else None
            tasks.create(write, team.viewer, title, box=box, due_on=due_on, now=NOW)
        card = self.card(browser, write, team, "Deal")
        assert "Late 2 d late" in card
        assert "Later" not in card

    def test_the_viewers_own_unread_mail(self, app: Flask, team: Team, write: Session) -> None:
        a_box(write, team.viewer, "Deal", "a@one.test", at="Lead")
        a_mail(write, team.mailbox, "Offer", sender="a@one.test", labels=("INBOX", "UNREAD"))
        assert "Unread mail" in self.card(browser_of(app, team.alice), write, team, "Deal")
        assert "Unread mail" not in self.card(browser_of(app, team.bob), write, team, "Deal")

    def test_value_tags_people_and_sleep(self, browser: FlaskClient, team: Team, write: Session) -> None:
        long_ago = datetime.now(UTC) - timedelta(days=30)
        people_there = [f"p{number}@firm.test" for number in range(4)]
        box = a_box(write, team.viewer, "Deal", *people_there, at="Lead", now=long_ago)
        tags = fields.add(write, team.viewer, box.pipeline_id, "Tags", "tags")
        value = next(one for one in fields.of_pipeline(write, box.pipeline_id) if one.name == "Value")
        boxes.set_value(write, team.viewer, box, value, "12500 EUR")
        boxes.set_value(write, team.viewer, box, tags, "hot, big, late, odd")
        stage(write, box.pipeline, "Lead").sleep_days = 10
        card = self.card(browser, write, team, "Deal")
        for words in ("€12,500", "hot big late +1", "+2 · Firm", "30 d", "sleeping", "Owner: Alice Archer"):
            assert words in card
        stage(write, box.pipeline, "Lead").sleep_days = 40
        assert "sleeping" not in self.card(browser, write, team, "Deal")


def test_columns_say_how_many_and_how_much_by_currency(browser: FlaskClient, team: Team, write: Session) -> None:
    for number, given in enumerate(("1500 EUR", "48000 EUR", "99.90 USD", None)):
        box = a_box(write, team.viewer, f"Deal {number}", at="Lead")
        value = next(one for one in fields.of_pipeline(write, box.pipeline_id) if one.name == "Value")
        boxes.set_value(write, team.viewer, box, value, given)
    a_box(write, team.viewer, "Won one", at="Won")
    boxes.archive(write, team.viewer, a_box(write, team.viewer, "Old", at="Lead"), NOW)
    key = pipeline(write, team.alice.team_id).key
    write.commit()
    page = browser.get(f"/p/{key}").text
    lead = page.split(">Lead</h2>")[1].split("</header>")[0]
    assert ">4<" in lead
    assert 'title="€49,500, $99.90">€49.5K + $100<' in lead
    assert '<span class="badge won">won</span>' in page


class TestFilter:
    def test_shows_what_fits_and_counts_it(self, browser: FlaskClient, team: Team, write: Session) -> None:
        for number in range(30):
            a_box(write, team.viewer, f"Mine {number}", at="Lead")
        boxes.assign(write, team.viewer, a_box(write, team.viewer, "Free", at="Won"), None)
        key = pipeline(write, team.alice.team_id).key
        write.commit()
        page = browser.get(f"/p/{key}?owner=nobody").text
        assert page.count("<article") == 1
        assert ">1 box<" in re.sub(r"\s+", " ", page)
        page = browser.get(f"/p/{key}?owner=me").text
        assert "<span data-count>30</span>" in page
        assert "Clear all" in page
        more = re.search(r'class="more"><a[^>]*href="([^"]*)"', page)
        assert more is not None
        rest = browser.get(more[1].replace("&amp;", "&"), headers={"HX-Request": "true"}).text
        assert rest.count("<article") == 5

    def test_a_stages_filter_leaves_its_column(self, browser: FlaskClient, team: Team, write: Session) -> None:
        sales = pipeline(write, team.alice.team_id)
        lead = stage(write, sales, "Lead").key
        page = browser.get(f"/p/{sales.key}?stage={lead}").text
        assert page.count("data-column=") == 1

    def test_what_cannot_be_read_is_said(self, browser: FlaskClient, team: Team, write: Session) -> None:
        key = pipeline(write, team.alice.team_id).key
        page = browser.get(f"/p/{key}?min=lots&q=")
        assert page.status_code == 200
        assert "“lots” is no amount" in page.text

    def test_the_address_of_a_form_becomes_short(self, browser: FlaskClient, team: Team, write: Session) -> None:
        key = pipeline(write, team.alice.team_id).key
        sent = f"/p/{key}?q=acme&owner=me&owner=nobody&created=&from=&to=&min=&max=&owes="
        answer = browser.get(sent)
        assert answer.status_code == 302
        assert answer.location == f"/p/{key}?q=acme&owner=me&owner=nobody"
        assert browser.get(sent, headers={"HX-Request": "true"}).headers["HX-Push-Url"] == answer.location

    def test_nothing_found_says_what_to_do(self, browser: FlaskClient, team: Team, write: Session) -> None:
        a_box(write, team.viewer, "Deal", at="Lead")
        key = pipeline(write, team.alice.team_id).key
        write.commit()
        assert "Clear all filters" in browser.get(f"/p/{key}?q=zebra").text


class TestMoving:
    """By script, as the board does."""

    @pytest.fixture
    def box(self, team: Team, write: Session) -> Box:
        box = a_box(write, team.viewer, "Deal", at="Lead", now=NOW - timedelta(days=4))
        write.commit()
        return box

    def move(self, browser: FlaskClient, box: Box, to: str, version: int = 1, query: str = "") -> TestResponse:
        data = {"box": box.key, "stage": to, "version": str(version)}
        return browser.post(f"/p/{box.pipeline.key}/move{query}", data=data)

    def test_answers_with_the_new_version_and_the_columns(
        self, browser: FlaskClient, box: Box, write: Session
    ) -> None:
        target, lead = stage(write, box.pipeline, "Qualified"), box.stage
        answer = self.move(browser, box, target.key)
        assert answer.status_code == 200
        told = answer.json
        assert (told["version"], told["stage"], told["name"]) == (2, target.key, "Qualified")
        assert told["heads"][target.key]["count"] == "1"
        assert told["heads"][lead.key]["count"] == "0"
        write.expire_all()
        assert write.get_one(Box, box.id).stage.name == "Qualified"

    def test_counts_what_the_filter_leaves(
        self, browser: FlaskClient, box: Box, team: Team, write: Session
    ) -> None:
        target = stage(write, box.pipeline, "Qualified")
        boxes.assign(write, team.viewer, a_box(write, team.viewer, "Bob's", at="Qualified"), team.bob)
        write.commit()
        assert self.move(browser, box, target.key, query="?owner=me").json["heads"][target.key]["count"] == "1"

    def test_a_teammate_was_faster(self, browser: FlaskClient, box: Box, team: Team, write: Session) -> None:
        bob = people.viewer_of(team.bob, "web")
        boxes.move(write, bob, box, stage(write, box.pipeline, "Qualified"), now=NOW)
        write.commit()
        answer = self.move(browser, box, stage(write, box.pipeline, "Won").key)
        assert answer.status_code == 409
        assert answer.json == {
            "error": "Bob Baker moved Deal to Qualified meanwhile: it is there now",
            "stage": box.stage.key,
            "name": "Qualified",
            "version": 2,
        }
        write.expire_all()
        assert write.get_one(Box, box.id).stage.name == "Qualified"

    def test_both_moved_it_to_the_same_place(self, browser: FlaskClient, box: Box, write: Session) -> None:
        target = stage(write, box.pipeline, "Won")
        assert self.move(browser, box, target.key).status_code == 200
        again = self.move(browser, box, target.key)
        assert (again.status_code, again.json["version"], again.json["undo"]) == (200, 2, "")

    def test_a_teammate_put_it_away(self, browser: FlaskClient, box: Box, team: Team, write: Session) -> None:
        boxes.archive(write, team.viewer, box, NOW)
        write.commit()
        answer = self.move(browser, box, stage(write, box.pipeline, "Won").key)
        assert (answer.status_code, answer.json["gone"]) == (410, True)

    def test_not_into_another_pipelines_stage(
        self, browser: FlaskClient, box: Box, team: Team, write: Session
    ) -> None:
        other = pipelines.of_pipeline(write, pipeline(write, team.alice.team_id, "Connections").id)[0]
        assert self.move(browser, box, other.key).status_code == 422
        assert self.move(browser, box, "no stage").status_code == 422

    def test_is_taken_back_as_if_it_had_not_been(self, browser: FlaskClient, box: Box, write: Session) -> None:
        entered, lead = box.stage_entered_at, box.stage.key
        token = self.move(browser, box, stage(write, box.pipeline, "Won").key).json["undo"]
        answer = browser.post(f"/p/{box.pipeline.key}/undo", data={"token": token})
        assert (answer.status_code, answer.json["stage"], answer.json["version"]) == (200, lead, 3)
        write.expire_all()
        again = write.get_one(Box, box.id)
        assert (again.stage.key, again.stage_entered_at) == (lead, entered)
        assert browser.post(f"/p/{box.pipeline.key}/undo", data={"token": token}).status_code == 409

    def test_is_not_taken_back_over_a_teammates_move(
        self, browser: FlaskClient, box: Box, team: Team, write: Session
    ) -> None:
        token = self.move(browser, box, stage(write, box.pipeline, "Won").key).json["undo"]
        write.expire_all()
        bob = people.viewer_of(team.bob, "web")
        boxes.move(write, bob, write.get_one(Box, box.id), stage(write, box.pipeline, "Revisit"), now=NOW)
        write.commit()
        answer = browser.post(f"/p/{box.pipeline.key}/undo", data={"token": token})
        assert answer.status_code == 409
        assert "Bob Baker moved Deal to Revisit" in answer.json["error"]

    def test_is_taken_back_only_by_who_made_it(
        self, app: Flask, browser: FlaskClient, box: Box, team: Team, write: Session
    ) -> None:
        token = self.move(browser, box, stage(write, box.pipeline, "Won").key).json["undo"]
        bobs = browser_of(app, team.bob)
        assert bobs.post(f"/p/{box.pipeline.key}/undo", data={"token": token}).status_code == 422
        assert bobs.post(f"/p/{box.pipeline.key}/undo", data={"token": token[:-2]}).status_code == 422


def test_another_teams_pipeline_is_not_there(app: Flask, team: Team, write: Session) -> None:
    from config import teams

    stranger = teams.found(write, "Others", "eve@other.example", "Eve")
    key = pipeline(write, team.alice.team_id).key
    box = a_box(write, team.viewer, "Deal")
    write.commit()
    eve = browser_of(app, stranger)
    assert eve.get(f"/p/{key}").status_code == 404
    assert eve.get(f"/b/{box.key}").status_code == 404
    assert eve.post(f"/b/{box.key}/name", data={"name": "Mine"}).status_code == 404
    data = {"box": box.key, "stage": box.stage.key, "version": "1"}
    assert eve.post(f"/p/{key}/move", data=data).status_code == 404
    own = pipeline(write, stranger.team_id)
    data["stage"] = stage(write, own, "Won").key
    assert eve.post(f"/p/{own.key}/move", data=data).status_code == 410


@pytest.mark.parametrize(
    ("amount", "currency", "told", "whole"),
    [
        ("0", "EUR", "€0", "€0"), ("12.5", "EUR", "€13", "€12.50"), ("9999.49", "USD", "$9,999", "$9,999.49"),
        ("9999.5", "USD", "$10,000", "$9,999.50"), ("48250", "GBP", "£48.3K", "£48,250"),
        ("999999", "EUR", "€1M", "€999,999"), ("1250000", "CHF", "CHF 1.25M", "CHF 1,250,000"),
        ("-20000", "EUR", "−€20K", "−€20,000"), ("100000", "EUR", "€100K", "€100,000"),
        ("3.2e12", "EUR", "€3,200B", "€3,200,000,000,000"),
    ],
)  # fmt: skip
def test_money_in_short_and_in_full(amount: str, currency: str, told: str, whole: str) -> None:
    assert worth.short(Decimal(amount), currency) == told
    assert worth.worth(Decimal(amount), currency) == whole


def test_money_of_many_currencies_takes_little_room() -> None:
    amounts = {"EUR": Decimal(10), "USD": Decimal(20), "CHF": Decimal(5), "JPY": Decimal(1)}
    assert worth.together(amounts) == "$20 + €10 + 2 more"
