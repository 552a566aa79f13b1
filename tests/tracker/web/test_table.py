"""The table of a pipeline."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from config import teams
from tests.tracker.domain import NOW, a_box, pipeline, stage
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import a_mail, browser_of, counted
from tracker import boxes, columns, fields
from tracker.boxes import Box
from tracker.columns import Column, Holds
from tracker.fields import Field
from tracker.pipelines import Pipeline

HTMX = {"HX-Request": "true"}


@pytest.fixture
def sales(team: Team, write: Session) -> Pipeline:
    return pipeline(write, team.alice.team_id)


def a_field(write: Session, sales: Pipeline, name: str) -> Field:
    return next(one for one in fields.of_pipeline(write, sales.id) if one.name == name)


def a_worth(write: Session, team: Team, box: Box, value: str) -> None:
    boxes.set_value(write, team.viewer, box, a_field(write, box.pipeline, "Value"), value)


def names(page: str) -> list[str]:
    return re.findall(r"data-row-main>([^<]*)<", page)


def shown(browser: FlaskClient, sales: Pipeline, query: str = "") -> list[str]:
    answer = browser.get(f"/p/{sales.key}/table{query}")
    assert answer.status_code == 200, answer.text[:300]
    return names(answer.text)


def cell(browser: FlaskClient, box: Box, column: str, value: str, was: str = "") -> Any:
    address = f"/p/{box.pipeline.key}/table/cells/{box.key}/{column}"
    return browser.post(address, data={"value": value, "was": was}, headers=HTMX)


def test_shows_the_boxes_the_newest_first(
    browser: FlaskClient, team: Team, write: Session, sales: Pipeline
) -> None:
    for number in range(3):
        a_box(write, team.viewer, f"Deal {number}", at="Lead")
    gone = a_box(write, team.viewer, "Put away")
    boxes.archive(write, team.viewer, gone, NOW)
    write.commit()
    assert shown(browser, sales) == ["Deal 2", "Deal 1", "Deal 0"]


def test_sorts_by_a_column_and_a_second_one(
    browser: FlaskClient, team: Team, write: Session, sales: Pipeline
) -> None:
    for name, at, worth in (("B", "Lead", "5"), ("A", "Lead", ""), ("C", "Won", "30"), ("D", "Lead", "100")):
        a_worth(write, team, a_box(write, team.viewer, name, at=at), worth)
    write.commit()
    assert shown(browser, sales, "?sort=name") == ["A", "B", "C", "D"]
    assert shown(browser, sales, "?sort=-value") == ["D", "C", "B", "A"]
    assert shown(browser, sales, "?sort=value") == ["B", "C", "D", "A"]  # what is empty comes last either way
    assert shown(browser, sales, "?sort=-stage,name") == ["C", "A", "B", "D"]
    assert shown(browser, sales, "?sort=nonsense,-name") == ["D", "C", "B", "A"]


def test_goes_through_all_rows_page_by_page(
    browser: FlaskClient, team: Team, write: Session, sales: Pipeline
) -> None:
    for number in range(110):
        box = a_box(write, team.viewer, f"Deal {number:03}", at="Lead" if number % 3 else "Won")
        if number % 20 == 0:
            a_worth(write, team, box, str(number % 7 * 100))
    write.commit()
    page = browser.get(f"/p/{sales.key}/table?sort=-value,name&group=stage").text
    seen, pages = names(page), 1
    while more := re.search(r'rel="next" href="([^"]+)"', page):
        page = browser.get(more.group(1).replace("&amp;", "&"), headers=HTMX).text
        seen += names(page)
        pages += 1
    assert sorted(seen) == [f"Deal {number:03}" for number in range(110)]
    assert pages == 3


def test_a_made_up_place_is_a_bad_request(
    browser: FlaskClient, team: Team, write: Session, sales: Pipeline
) -> None:
    a_box(write, team.viewer, "Deal")
    write.commit()
    for made_up in ("x", "e30", "W10", "WyIiLFsieCJdLCJrIl0", "WyIiLFsiMjAyNi0xMS0yMSJdLCJrIl0"):
        assert browser.get(f"/p/{sales.key}/table/rows?after={made_up}", headers=HTMX).status_code == 400


def test_groups_with_heads_and_counts_over_pages(
    browser: FlaskClient, team: Team, write: Session, sales: Pipeline
) -> None:
    for number in range(60):
        a_box(write, team.viewer, f"Deal {number}", at="Lead" if number < 55 else "Won")
    write.commit()
    page = browser.get(f"/p/{sales.key}/table?group=stage").text
    heads = re.findall(r'class="group-name">.*?</svg>([^<]+) <span class="quiet number">(\d+)', page)
    assert heads == [("Lead", "55")]
    more = re.search(r'rel="next" href="([^"]+)"', page)
    assert more
    page = browser.get(more.group(1).replace("&amp;", "&"), headers=HTMX).text
    heads = re.findall(r'class="group-name">.*?</svg>([^<]+) <span class="quiet number">(\d+)', page)
    assert heads == [("Won", "5")]  # Lead goes on without a second head


def test_groups_by_a_field_of_choices(browser: FlaskClient, team: Team, write: Session, sales: Pipeline) -> None:
    source = a_field(write, sales, "Source")
    for name, choice in (("A", source.options[1]), ("B", source.options[0]), ("C", None)):
        boxes.set_value(write, team.viewer, a_box(write, team.viewer, name), source, choice)
    write.commit()
    page = browser.get(f"/p/{sales.key}/table?group=f.{source.key}").text
    assert re.findall(r'class="group-name">([^<]+?) <', page) == [*source.options[:2], "No Source"]
    assert names(page) == ["B", "A", "C"]


def test_filters_by_what_boxes_have_and_by_fields(
    browser: FlaskClient, team: Team, write: Session, sales: Pipeline
) -> None:
    close, source = a_field(write, sales, "Expected close"), a_field(write, sales, "Source")
    reason = a_field(write, sales, "Reason lost")
    for name, day, choice, words in (
        ("A", "2026-12-01", source.options[0], "Too slow"),
        ("B", "2026-12-20", source.options[1], "100% too dear"),
        ("C", None, None, None),
    ):
        box = a_box(write, team.viewer, name, at="Lead")
        boxes.set_value(write, team.viewer, box, close, day)
        boxes.set_value(write, team.viewer, box, source, choice)
        boxes.set_value(write, team.viewer, box, reason, words)
    write.commit()
    assert shown(browser, sales, f"?sort=name&f.{close.key}.from=2026-12-02") == ["B"]
    assert shown(browser, sales, f"?sort=name&f.{close.key}.to=2026-12-01") == ["A"]
    assert shown(browser, sales, f"?sort=name&f.{source.key}={source.options[0]}&f.{source.key}=-") == ["A", "C"]
    assert shown(browser, sales, f"?f.{reason.key}=TOO SLOW") == ["A"]
    assert shown(browser, sales, f"?f.{reason.key}=100%25") == ["B"]
    assert shown(browser, sales, "?owner=nobody") == []
    page = browser.get(f"/p/{sales.key}/table?f.{close.key}.from=soon").text
    assert "“soon” is no date" in page
    assert names(page) == ["C", "B", "A"]


def test_shows_the_chosen_columns_in_their_order(
    browser: FlaskClient, team: Team, write: Session, sales: Pipeline
) -> None:
    a_box(write, team.viewer, "Deal", "anna@acme.test")
    close = a_field(write, sales, "Expected close")
    write.commit()
    page = browser.get(f"/p/{sales.key}/table?cols=f.{close.key},mails,organization").text
    heads = re.findall(r'<th scope="col"[^>]*data-col="([^"]+)"', page)
    assert heads == ["name", f"f.{close.key}", "mails", "organization"]
    assert "Acme" in page


def test_magic_columns_say_what_mail_says(
    browser: FlaskClient, team: Team, write: Session, sales: Pipeline
) -> None:
    a_box(write, team.viewer, "Waiting for us", "dana@acme.test", at="Lead")
    a_mail(write, team.mailbox, "Question", sender="dana@acme.test")
    a_box(write, team.viewer, "Silent", at="Lead")
    write.commit()
    page = browser.get(f"/p/{sales.key}/table?cols=owes,mails,freshness,last_received&sort=owes").text
    assert names(page) == ["Waiting for us", "Silent"]
    first, second = re.findall(r"<tr data-row.*?</tr>", page, re.DOTALL)
    assert "we do" in first
    assert re.search(r'data-col="mails"[^>]*>1<', first)
    assert "we do" not in second
    assert shown(browser, sales, "?owes=us") == ["Waiting for us"]


def test_a_registered_column_is_loaded_once_for_the_page(
    browser: FlaskClient, team: Team, write: Session, sales: Pipeline
) -> None:
    for number in range(3):
        a_box(write, team.viewer, f"Deal {number}")
    write.commit()
    calls: list[int] = []

    def load(_: Session, ids: Any) -> dict[int, int]:
        calls.append(len(ids))
        return dict.fromkeys(ids, 42)

    columns.register(Column("reads", "Reads", Holds.COUNT, load=load))
    try:
        page = browser.get(f"/p/{sales.key}/table?cols=reads").text
    finally:
        columns._registered.clear()
    assert page.count(">42<") == 3
    assert calls == [3]


def test_takes_as_many_queries_for_50_boxes_as_for_5(
    browser: FlaskClient, team: Team, write: Session, sales: Pipeline, app: Flask
) -> None:
    used = app.extensions["gmail_sync"].services.sessions.kw["bind"]
    every = ",".join(columns.of_pipeline(fields.of_pipeline(write, sales.id), []))
    address = f"/p/{sales.key}/table?group=organization&cols={every}"

    def some(numbers: range) -> None:
        for number in numbers:
            a_box(write, team.viewer, f"Deal {number}", f"person{number}@firm{number}.test", at="Lead")
        write.commit()

    some(range(5))
    browser.get(address)
    with counted(used) as few:
        assert len(names(browser.get(address).text)) == 5
    some(range(5, 60))
    with counted(used) as many:
        assert len(names(browser.get(address).text)) == 50
    assert len(many) <= len(few) <= 25


class TestEditing:
    @pytest.mark.parametrize(
        ("name", "given", "stored"),
        [
            ("Value", "1250.50 usd", {"amount": "1250.50", "currency": "USD"}),
            ("Expected close", "2026-12-24", "2026-12-24"),
            ("Reason lost", "Two\r\nlines", "Two\nlines"),
        ],
    )
    def test_a_field(
        self, browser: FlaskClient, team: Team, write: Session, sales: Pipeline, name: str, given: str, stored: Any
    ) -> None:
        box = a_box(write, team.viewer, "Deal")
        field = a_field(write, sales, name)
        write.commit()
        key = "value" if name == "Value" else f"f.{field.key}"
        assert browser.get(f"/p/{sales.key}/table/cells/{box.key}/{key}").status_code == 200
        answer = cell(browser, box, key, given)
        assert answer.status_code == 200
        assert f'id="row-{box.key}"' in answer.text
        write.refresh(box)
        assert box.values == {field.key: stored}

    def test_its_own_columns(self, browser: FlaskClient, team: Team, write: Session, sales: Pipeline) -> None:
        box = a_box(write, team.viewer, "Deal", at="Lead")
        won = stage(write, sales, "Won")
        write.commit()
        cell(browser, box, "name", "Better deal", "Deal")
        cell(browser, box, "stage", won.key, box.stage.key)
        cell(browser, box, "owner", team.bob.key, team.alice.key)
        cell(browser, box, "organization", "Acme Corp")
        answer = cell(browser, box, "contacts", "Dana <dana@acme.test>, eli@acme.test")
        assert answer.status_code == 200
        write.refresh(box)
        write.expire(box)
        assert (box.name, box.stage.name, box.owner and box.owner.name) == ("Better deal", "Won", "Bob Baker")
        assert box.organization
        assert box.organization.name == "Acme Corp"
        assert {one.addresses[0].address for one in box.contacts} == {"dana@acme.test", "eli@acme.test"}
        was = "dana@acme.test, eli@acme.test"
        cell(browser, box, "contacts", "eli@acme.test", was)
        write.expire(box)
        assert [one.addresses[0].address for one in box.contacts] == ["eli@acme.test"]

    def test_what_does_not_fit_is_told_beside_it_and_kept(
        self, browser: FlaskClient, team: Team, write: Session, sales: Pipeline
    ) -> None:
        box = a_box(write, team.viewer, "Deal")
        write.commit()
        answer = cell(browser, box, "value", "much <b>")
        assert answer.status_code == 422
        assert 'value="much &lt;b&gt;"' in answer.text
        assert 'role="alert"' in answer.text
        assert cell(browser, box, "name", "  ", "Deal").status_code == 422
        assert cell(browser, box, "contacts", "nobody").status_code == 422
        assert cell(browser, box, "contacts", team.bob.address).status_code == 422
        write.refresh(box)
        assert box.values == {}

    def test_a_teammates_change_meanwhile_is_told_and_can_be_replaced(
        self, browser: FlaskClient, team: Team, write: Session, sales: Pipeline
    ) -> None:
        box = a_box(write, team.viewer, "Deal")
        a_worth(write, team, box, "10 EUR")
        write.commit()
        a_worth(write, team, box, "20 EUR")
        write.commit()
        answer = cell(browser, box, "value", "30 EUR", was="10 EUR")
        assert answer.status_code == 409
        assert "Meanwhile this became “20 EUR”" in answer.text
        assert 'value="30 EUR"' in answer.text
        assert 'name="was" value="20 EUR"' in answer.text
        assert cell(browser, box, "value", "30 EUR", was="20 EUR").status_code == 200

    def test_only_what_is_there_and_may_be_edited(
        self, app: Flask, browser: FlaskClient, team: Team, write: Session, sales: Pipeline
    ) -> None:
        box = a_box(write, team.viewer, "Deal")
        stranger = teams.found(write, "Others", "eve@other.example", "Eve")
        theirs = pipeline(write, stranger.team_id)
        write.commit()
        for column in ("created", "owes", "f.nonsense", "name\x00"):
            assert cell(browser, box, column, "x").status_code == 404
        eve = browser_of(app, stranger)
        assert eve.get(f"/p/{sales.key}/table").status_code == 404
        assert cell(eve, box, "name", "Mine").status_code == 404
        assert eve.post(f"/p/{theirs.key}/table/cells/{box.key}/name", data={"value": "x"}).status_code == 404


class TestSeveralAtOnce:
    def ticks(self, *found: Box) -> list[str]:
        return [f"{box.key}:{box.version}" for box in found]

    def test_move_and_undo(self, browser: FlaskClient, team: Team, write: Session, sales: Pipeline) -> None:
        found = [a_box(write, team.viewer, f"Deal {n}", at="Lead") for n in range(3)]
        won = stage(write, sales, "Won")
        write.commit()
        entered = found[0].stage_entered_at
        data = {"action": "move", "stage": won.key, "box": self.ticks(*found[:2])}
        page = browser.post(f"/p/{sales.key}/table/boxes?sort=name", data=data, follow_redirects=True)
        assert "2 boxes moved to Won" in page.text
        write.expire_all()
        assert [box.stage.name for box in found] == ["Won", "Won", "Lead"]
        token = re.search(r'name="token" value="(\d+)"', page.text)
        assert token
        page = browser.post(f"/p/{sales.key}/table/undo", data={"token": token.group(1)}, follow_redirects=True)
        assert "2 boxes as before" in page.text
        write.expire_all()
        assert {box.stage.name for box in found} == {"Lead"}
        assert found[0].stage_entered_at == entered

    def test_what_a_teammate_moved_meanwhile_stays(
        self, browser: FlaskClient, team: Team, write: Session, sales: Pipeline
    ) -> None:
        found = [a_box(write, team.viewer, f"Deal {n}", at="Lead") for n in range(2)]
        ticks = self.ticks(*found)
        boxes.move(write, team.viewer, found[0], stage(write, sales, "Negotiating"), now=NOW)
        write.commit()
        data = {"action": "move", "stage": stage(write, sales, "Won").key, "box": ticks}
        page = browser.post(f"/p/{sales.key}/table/boxes", data=data, follow_redirects=True).text
        assert "1 box moved to Won; Deal 0 changed meanwhile and stayed" in page
        write.expire_all()
        assert [box.stage.name for box in found] == ["Negotiating", "Won"]

    def test_assign_and_archive_and_take_back(
        self, browser: FlaskClient, team: Team, write: Session, sales: Pipeline
    ) -> None:
        found = [a_box(write, team.viewer, f"Deal {n}", at="Lead") for n in range(2)]
        write.commit()
        ticks = self.ticks(*found)
        for data, words in (
            ({"action": "assign", "owner": team.bob.key}, "Bob Baker has 2 boxes now"),
            ({"action": "archive"}, "2 boxes archived"),
        ):
            page = browser.post(f"/p/{sales.key}/table/boxes", data={**data, "box": ticks}, follow_redirects=True)
            assert words in page.text
            token = re.search(r'name="token" value="(\d+)"', page.text)
            assert token
            write.expire_all()
            assert all((box.owner_id == team.bob.id) or box.archived_at for box in found)
            browser.post(f"/p/{sales.key}/table/undo", data={"token": token.group(1)})
            write.expire_all()
            assert all(box.owner_id == team.alice.id and box.archived_at is None for box in found)

    def test_nobody_takes_back_what_another_did(
        self, app: Flask, browser: FlaskClient, team: Team, write: Session, sales: Pipeline
    ) -> None:
        box = a_box(write, team.viewer, "Deal")
        write.commit()
        data = {"action": "archive", "box": self.ticks(box)}
        page = browser.post(f"/p/{sales.key}/table/boxes", data=data, follow_redirects=True).text
        token = re.search(r'name="token" value="(\d+)"', page)
        assert token
        bob = browser_of(app, team.bob)
        answer = bob.post(f"/p/{sales.key}/table/undo", data={"token": token.group(1), "_place": "boxes"})
        assert answer.status_code == 422
        assert "too late" in answer.text

    def test_nothing_ticked(self, browser: FlaskClient, sales: Pipeline, write: Session) -> None:
        write.commit()
        answer = browser.post(f"/p/{sales.key}/table/boxes", data={"action": "archive", "_place": "boxes"})
        assert answer.status_code == 422
        assert "Tick the boxes first" in answer.text


class TestViews:
    def test_is_kept_opened_changed_and_deleted(
        self, browser: FlaskClient, team: Team, write: Session, sales: Pipeline
    ) -> None:
        for name in ("A", "B"):
            a_box(write, team.viewer, name)
        write.commit()
        base = f"/p/{sales.key}"
        saved = browser.post(f"{base}/views?sort=name&cols=name,mails", data={"name": "By name"})
        opened = browser.get(saved.headers["Location"])
        page = browser.get(opened.headers["Location"]).text
        assert "sort=name" in opened.headers["Location"]
        assert names(page) == ["A", "B"]
        assert re.search(r'aria-current="page">By name', page)
        view = saved.headers["Location"].rpartition("/")[2]
        page = browser.get(f"{base}/table?view={view}&sort=-name&cols=name,mails").text
        assert "Save changes" in page
        browser.post(f"{base}/views/{view}?sort=-name&cols=name,mails", data={"what": "look"})
        assert "sort=-name" in browser.get(f"{base}/views/{view}").headers["Location"]
        browser.post(f"{base}/views/{view}", data={"name": "Backwards"})
        assert "Backwards" in browser.get(f"{base}/table").text
        browser.post(f"{base}/views/{view}/delete")
        assert browser.get(f"{base}/views/{view}").status_code == 404

    def test_private_ones_are_nobody_elses_and_shared_ones_stay_their_owners(
        self, app: Flask, browser: FlaskClient, team: Team, write: Session, sales: Pipeline
    ) -> None:
        write.commit()
        base, bob = f"/p/{sales.key}", browser_of(app, team.bob)
        mine = browser.post(f"{base}/views", data={"name": "Mine"}).headers["Location"]
        ours = browser.post(f"{base}/views", data={"name": "Ours", "shared": "on"}).headers["Location"]
        page = bob.get(f"{base}/table").text
        assert "Ours" in page
        assert "Mine<" not in page
        assert bob.get(mine).status_code == 404
        assert bob.post(f"{mine}/delete").status_code == 404
        assert bob.get(ours).status_code == 302
        answer = bob.post(ours, data={"name": "Bob's", "_place": "view"})
        assert answer.status_code == 422
        assert "only they or an admin change it" in answer.text
        bobs = bob.post(f"{base}/views", data={"name": "Bob's", "shared": "on"}).headers["Location"]
        assert browser.post(bobs, data={"name": "Tidied", "shared": "on"}).status_code == 303  # Alice is an admin

    def test_needs_a_name_of_its_own(self, browser: FlaskClient, sales: Pipeline, write: Session) -> None:
        write.commit()
        base = f"/p/{sales.key}/views"
        browser.post(base, data={"name": "Hot"})
        for name, words in (("", "1 to 60"), ("x" * 61, "1 to 60"), ("hot", "already")):
            answer = browser.post(base, data={"name": name, "_place": "view"})
            assert answer.status_code == 422
            assert words in answer.text


class TestAsFile:
    def test_has_all_rows_of_the_present_look(
        self, browser: FlaskClient, team: Team, write: Session, sales: Pipeline
    ) -> None:
        for number in range(60):
            a_box(write, team.viewer, f"Deal {number:02}", at="Lead" if number else "Won")
        write.commit()
        lead = stage(write, sales, "Lead")
        answer = browser.get(f"/p/{sales.key}/table.csv?stage={lead.key}&sort=name&cols=name,stage")
        assert answer.data.startswith(b"\xef\xbb\xbfBox key,Name,Stage\r\n")
        rows = list(csv.reader(io.StringIO(answer.data.decode("utf-8-sig"))))
        assert [row[1] for row in rows[1:]] == [f"Deal {number:02}" for number in range(1, 60)]
        assert "attachment" in answer.headers["Content-Disposition"]
        assert not browser.get(f"/p/{sales.key}/table.csv?bom=0").data.startswith(b"\xef\xbb\xbf")

    def test_no_cell_is_a_formula(self, browser: FlaskClient, team: Team, write: Session, sales: Pipeline) -> None:
        evil = ["=1+1", "+SUM(A1)", "-2+3", "@x", "'=x"]
        for name in evil:
            a_box(write, team.viewer, name)
        write.commit()
        text = browser.get(f"/p/{sales.key}/table.csv?cols=name&bom=0").text
        found = [row[1] for row in csv.reader(io.StringIO(text))][1:]
        assert sorted(found) == sorted(f"'{name}" for name in evil)
