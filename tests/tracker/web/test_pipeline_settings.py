"""A pipeline's settings."""

from __future__ import annotations

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from tests.tracker.domain import a_box, pipeline, stage
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import browser_of
from tracker import boxes, fields, pipelines
from tracker.boxes import Box

STAGE = {"name": "Demo", "color": "#112233", "kind": "open", "probability": "35"}


def names(write: Session, team: Team) -> list[str]:
    write.expire_all()
    return [one.name for one in pipelines.of_pipeline(write, pipeline(write, team.alice.team_id).id)]


def address(write: Session, team: Team) -> str:
    key = pipeline(write, team.alice.team_id).key
    write.commit()
    return f"/p/{key}/settings"


def test_a_stage_is_added_changed_moved_and_removed(browser: FlaskClient, team: Team, write: Session) -> None:
    there = address(write, team)
    browser.post(f"{there}/stages", data=STAGE)
    assert names(write, team)[-1] == "Demo"
    key = stage(write, pipeline(write, team.alice.team_id), "Demo").key
    browser.post(f"{there}/stages/{key}", data={**STAGE, "name": "Trial", "objective": "They try it"})
    browser.post(f"{there}/stages/{key}/shift", data={"to": "up"})
    assert names(write, team)[-2] == "Trial"
    assert "They try it" in browser.get(there).text
    browser.post(f"{there}/stages/{key}/remove", data={"move_to": ""})
    assert "Trial" not in names(write, team)


def test_removing_a_stage_with_boxes_asks_where_they_go(browser: FlaskClient, team: Team, write: Session) -> None:
    box = a_box(write, team.viewer, "Deal", at="Lead")
    lead, won = (stage(write, box.pipeline, name).key for name in ("Lead", "Won"))
    there = address(write, team)
    asked = browser.post(f"{there}/stages/{lead}/remove", data={"move_to": "", "_place": f"remove-{lead}"})
    assert asked.status_code == 422
    assert "Lead is not empty (1 boxes); choose the stage that they go to" in asked.text
    browser.post(f"{there}/stages/{lead}/remove", data={"move_to": won})
    write.expire_all()
    assert write.get_one(Box, box.id).stage.name == "Won"


def test_a_wrong_colour_is_told_beside_its_stage(browser: FlaskClient, team: Team, write: Session) -> None:
    there = address(write, team)
    answer = browser.post(f"{there}/stages", data={**STAGE, "color": "red", "_place": "new-stage"})
    assert answer.status_code == 422
    assert 'id="refused-new-stage"' in answer.text
    assert browser.post(f"{there}/stages", data={**STAGE, "probability": "many"}).status_code == 400


def test_stages_are_dragged_into_an_order(browser: FlaskClient, team: Team, write: Session) -> None:
    there = address(write, team)
    found = pipelines.of_pipeline(write, pipeline(write, team.alice.team_id).id)
    order = ",".join(one.key for one in reversed(found))
    write.commit()
    headers = {"Accept": "application/json"}
    assert browser.post(f"{there}/stages/order", data={"order": order}, headers=headers).status_code == 200
    assert names(write, team)[0] == "Revisit"
    stale = browser.post(f"{there}/stages/order", data={"order": "one,two"}, headers=headers)
    assert "load the page again" in stale.json["error"]


def test_fields_are_added_changed_moved_and_removed(browser: FlaskClient, team: Team, write: Session) -> None:
    there = address(write, team)
    browser.post(f"{there}/fields", data={"name": "Size", "type": "dropdown", "options": "small\nlarge"})
    sales = pipeline(write, team.alice.team_id)
    field = fields.of_pipeline(write, sales.id)[-1]
    assert (field.name, field.options) == ("Size", ["small", "large"])
    browser.post(f"{there}/fields/{field.key}", data={"name": "Seats", "options": "few\nmany"})
    browser.post(f"{there}/fields/{field.key}/shift", data={"to": "up"})
    write.expire_all()
    assert [one.name for one in fields.of_pipeline(write, sales.id)][-2] == "Seats"
    browser.post(f"{there}/fields/{field.key}/remove")
    write.expire_all()
    assert "Seats" not in [one.name for one in fields.of_pipeline(write, sales.id)]
    wrong = browser.post(f"{there}/fields", data={"name": "X", "type": "dropdown", "_place": "new-field"})
    assert "A dropdown needs at least one choice" in wrong.text


def test_a_removed_field_is_listed_and_comes_back_with_its_values(
    browser: FlaskClient, team: Team, write: Session
) -> None:
    box = a_box(write, team.viewer, "Deal", at="Lead")
    value = next(one for one in fields.of_pipeline(write, box.pipeline_id) if one.name == "Value")
    boxes.set_value(write, team.viewer, box, value, "1250 EUR")
    there = address(write, team)
    assert "Removed fields" not in browser.get(there).text
    browser.post(f"{there}/fields/{value.key}/remove")
    page = browser.get(there).text
    assert "Removed fields" in page.split('id="fields"')[1]
    assert "Restore Value" in page
    assert "1,250 EUR" not in browser.get(f"/b/{box.key}").text.split('id="fields"')[1]
    page = browser.post(f"{there}/fields/{value.key}/restore", follow_redirects=True).text
    assert "Value is back, with its values" in page
    assert "Removed fields" not in page
    assert 'value="1,250 EUR"' in browser.get(f"/b/{box.key}").text


def test_the_pipeline_itself_is_changed(browser: FlaskClient, team: Team, write: Session) -> None:
    there = address(write, team)
    browser.post(there, data={"name": "Deals", "new_conversation": "create"})
    write.expire_all()
    found = pipeline(write, team.alice.team_id, "Deals")
    assert (found.moves_itself, found.new_conversation) == (False, "create")


def test_a_shipped_pipeline_is_added(browser: FlaskClient, team: Team) -> None:
    assert "Prospecting" in browser.get("/pipelines/new").text
    page = browser.post(
        "/pipelines/new", data={"template": "prospecting", "name": "Hunting"}, follow_redirects=True
    ).text
    assert "Hunting is ready" in page
    assert "Discovery call" in page


def test_guests_change_nothing(app: Flask, team: Team, write: Session) -> None:
    there = address(write, team)
    gina = browser_of(app, team.gina)
    assert gina.get(there).status_code == 403
    assert gina.post(f"{there}/stages", data=STAGE).status_code == 403
    assert gina.post(f"{there}/fields/any/restore").status_code == 403
    assert gina.post("/pipelines/new", data={"template": "sales"}).status_code == 403
