"""The board of a pipeline."""

from __future__ import annotations

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from tests.tracker.domain import a_box, pipeline, stage
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import a_mail, browser_of, counted
from tracker import boxes, pipelines
from tracker.boxes import Box


def boxes_with_mail(write: Session, team: Team, numbers: range) -> None:
    for number in numbers:
        a_box(write, team.viewer, f"Deal {number}", f"person{number}@firm{number}.test", at="Lead")
        a_mail(write, team.mailbox, f"Mail {number}", sender=f"person{number}@firm{number}.test")
    write.commit()


def test_shows_each_stage_with_its_boxes_and_count(browser: FlaskClient, team: Team, write: Session) -> None:
    a_box(write, team.viewer, "Acme deal", "anna@acme.test", at="Negotiating")
    key = pipeline(write, team.alice.team_id).key
    write.commit()
    page = browser.get(f"/p/{key}").text
    assert "Acme deal" in page
    assert all(name in page for name in ("Prospect", "Negotiating", "Lost &amp; Rejected"))


def test_takes_as_many_queries_for_50_boxes_as_for_5(
    browser: FlaskClient, team: Team, write: Session, engine: Engine, app: Flask
) -> None:
    key = pipeline(write, team.alice.team_id).key
    used = app.extensions["gmail_sync"].services.sessions.kw["bind"]
    boxes_with_mail(write, team, range(5))
    with counted(used) as few:
        assert browser.get(f"/p/{key}").text.count('class="card"') == 5
    boxes_with_mail(write, team, range(5, 50))
    with counted(used) as many:
        assert browser.get(f"/p/{key}").text.count('class="card"') == 25
    assert len(few) == len(many)
    assert len(many) <= 12


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
    assert "<h1>Dana</h1>" in page
    assert "Before the box" in page


def test_shows_what_is_wrong_beside_the_form_and_keeps_what_was_typed(
    browser: FlaskClient, team: Team, write: Session
) -> None:
    key = pipeline(write, team.alice.team_id).key
    answer = browser.post(f"/p/{key}/boxes", data={"_place": "new-box", "name": "", "address": "no address"})
    assert answer.status_code == 422
    assert "Expected the contact" in answer.text
    assert 'value="no address"' in answer.text


class TestMoving:
    def test_by_script_answers_with_the_new_version(
        self, browser: FlaskClient, team: Team, write: Session
    ) -> None:
        box = a_box(write, team.viewer, "Deal", at="Lead")
        target = stage(write, box.pipeline, "Qualified")
        write.commit()
        answer = browser.post(
            f"/b/{box.key}/stage",
            data={"stage": target.key, "version": "1"},
            headers={"Accept": "application/json"},
        )
        assert answer.json == {"version": 2}
        write.expire_all()
        assert write.get_one(Box, box.id).stage.name == "Qualified"

    def test_a_teammate_was_faster(self, browser: FlaskClient, team: Team, write: Session) -> None:
        box = a_box(write, team.viewer, "Deal", at="Lead")
        first, second = (stage(write, box.pipeline, name) for name in ("Qualified", "Won"))
        from tests.tracker.domain import NOW

        boxes.move(write, team.viewer, box, first, now=NOW)
        write.commit()
        data = {"stage": second.key, "version": "1", "_place": "stage"}
        answer = browser.post(f"/b/{box.key}/stage", data=data, headers={"Accept": "application/json"})
        assert answer.status_code == 409
        assert "Qualified" in answer.json["error"]
        page = browser.post(f"/b/{box.key}/stage", data=data)
        assert page.status_code == 409
        assert "A teammate moved this box to Qualified" in page.text

    def test_not_into_another_pipelines_stage(self, browser: FlaskClient, team: Team, write: Session) -> None:
        box = a_box(write, team.viewer, "Deal", at="Lead")
        other = pipelines.of_pipeline(write, pipeline(write, team.alice.team_id, "Connections").id)[0]
        write.commit()
        answer = browser.post(f"/b/{box.key}/stage", data={"stage": other.key, "version": "1", "_place": "stage"})
        assert answer.status_code == 422


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
