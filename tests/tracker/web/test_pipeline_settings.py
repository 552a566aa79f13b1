"""A pipeline's settings."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from tests.tracker.domain import a_box, pipeline, stage
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import browser_of
from tracker import boxes, fields, pipelines
from tracker.boxes import Box
from tracker.pipelines import Pipeline

STAGE = {"name": "Demo", "color": "#112233", "kind": "open", "probability": "35"}
JSON = {"Accept": "application/json"}


def names(write: Session, team: Team) -> list[str]:
    write.expire_all()
    return [one.name for one in pipelines.of_pipeline(write, pipeline(write, team.alice.team_id).id)]


def address(write: Session, team: Team) -> str:
    key = pipeline(write, team.alice.team_id).key
    write.commit()
    return f"/p/{key}/settings"


class TestStages:
    def test_are_added_changed_moved_and_removed(self, browser: FlaskClient, team: Team, write: Session) -> None:
        there = address(write, team)
        assert browser.get(there).headers["Location"] == f"{there}/stages"
        browser.post(f"{there}/stages", data=STAGE)
        assert names(write, team)[-1] == "Demo"
        key = stage(write, pipeline(write, team.alice.team_id), "Demo").key
        told = {**STAGE, "name": "Trial", "objective": "They try it", "sleep_days": "12"}
        browser.post(f"{there}/stages/{key}", data=told)
        browser.post(f"{there}/stages/{key}/shift", data={"to": "up"})
        assert names(write, team)[-2] == "Trial"
        page = browser.get(f"{there}/stages").text
        assert "They try it" in page
        assert "sleeps after 12 days" in page
        browser.post(f"{there}/stages/{key}", data={**told, "sleep_days": ""})
        assert "sleeps after 12 days" not in browser.get(f"{there}/stages").text
        browser.post(f"{there}/stages/{key}/remove", data={"move_to": ""})
        assert "Trial" not in names(write, team)

    def test_removing_one_with_boxes_asks_where_they_go(
        self, browser: FlaskClient, team: Team, write: Session
    ) -> None:
        box = a_box(write, team.viewer, "Deal", at="Lead")
        lead, won = (stage(write, box.pipeline, name).key for name in ("Lead", "Won"))
        there = address(write, team)
        assert "1 box is in it" in browser.get(f"{there}/stages").text
        asked = browser.post(f"{there}/stages/{lead}/remove", data={"move_to": "", "_place": f"remove-{lead}"})
        assert asked.status_code == 422
        assert "Lead is not empty (1 boxes); choose the stage that they go to" in asked.text
        assert re.search(rf'id="drop-{lead}"[^>]* open>', asked.text)
        browser.post(f"{there}/stages/{lead}/remove", data={"move_to": won})
        write.expire_all()
        assert write.get_one(Box, box.id).stage.name == "Won"

    def test_what_is_wrong_is_told_in_the_form_that_keeps_what_was_typed(
        self, browser: FlaskClient, team: Team, write: Session
    ) -> None:
        there = address(write, team)
        answer = browser.post(f"{there}/stages", data={**STAGE, "color": "red", "_place": "new-stage"})
        assert answer.status_code == 422
        assert 'id="refused-new-stage"' in answer.text
        assert 'value="Demo"' in answer.text
        wrong = browser.post(f"{there}/stages", data={**STAGE, "sleep_days": "0", "_place": "new-stage"})
        assert "A box sleeps after 1 to 999 days, or never" in wrong.text
        for name in ("probability", "sleep_days"):
            assert browser.post(f"{there}/stages", data={**STAGE, name: "many"}).status_code == 400

    def test_a_colour_is_of_the_palette_or_ones_own(
        self, browser: FlaskClient, team: Team, write: Session
    ) -> None:
        there = address(write, team)
        for own, stored in ((False, "#12978f"), (True, "#abcdef")):
            data = {**STAGE, "color": "own" if own else "#12978f", "own_color": "#abcdef"}
            browser.post(f"{there}/stages", data=data)
            write.expire_all()
            sales = pipeline(write, team.alice.team_id)
            assert pipelines.of_pipeline(write, sales.id)[-1].color == stored

    def test_are_dragged_into_an_order(self, browser: FlaskClient, team: Team, write: Session) -> None:
        there = address(write, team)
        found = pipelines.of_pipeline(write, pipeline(write, team.alice.team_id).id)
        order = ",".join(one.key for one in reversed(found))
        write.commit()
        assert browser.post(f"{there}/stages/order", data={"order": order}, headers=JSON).status_code == 200
        assert names(write, team)[0] == "Revisit"
        stale = browser.post(f"{there}/stages/order", data={"order": "one,two"}, headers=JSON)
        assert "load the page again" in stale.json["error"]

    def test_another_pipelines_is_not_touched(self, browser: FlaskClient, team: Team, write: Session) -> None:
        other = stage(write, pipeline(write, team.alice.team_id, "Connections"), "Connected").key
        there = address(write, team)
        for verb in ("", "/shift", "/remove"):
            assert browser.post(f"{there}/stages/{other}{verb}", data=STAGE).status_code == 422


class TestFields:
    def test_are_added_changed_moved_and_removed(self, browser: FlaskClient, team: Team, write: Session) -> None:
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

    def test_a_removed_one_is_listed_and_comes_back_with_its_values(
        self, browser: FlaskClient, team: Team, write: Session
    ) -> None:
        box = a_box(write, team.viewer, "Deal", at="Lead")
        value = next(one for one in fields.of_pipeline(write, box.pipeline_id) if one.name == "Value")
        boxes.set_value(write, team.viewer, box, value, "1250 EUR")
        there = address(write, team)
        assert "Removed fields" not in browser.get(f"{there}/fields").text
        browser.post(f"{there}/fields/{value.key}/remove")
        page = browser.get(f"{there}/fields").text
        assert "Removed fields" in page
        assert "Restore Value" in page
        page = browser.post(f"{there}/fields/{value.key}/restore", follow_redirects=True).text
        assert "Value is back, with its values" in page
        assert "Removed fields" not in page
        write.expire_all()
        assert write.get_one(Box, box.id).values[value.key] == {"amount": "1250", "currency": "EUR"}

    def test_the_first_money_field_is_what_a_box_is_worth(
        self, browser: FlaskClient, team: Team, write: Session
    ) -> None:
        box = a_box(write, team.viewer, "Deal", at="Lead")
        value = next(one for one in fields.of_pipeline(write, box.pipeline_id) if one.name == "Value")
        budget = fields.add(write, team.viewer, box.pipeline_id, "Budget", "money")
        boxes.set_value(write, team.viewer, box, value, "1250 EUR")
        boxes.set_value(write, team.viewer, box, budget, "9 USD")
        there = address(write, team)

        def worth() -> tuple[Decimal | None, str | None]:
            write.expire_all()
            found = write.get_one(Box, box.id)
            return found.value_amount, found.value_currency

        assert worth() == (1250, "EUR")
        browser.post(f"{there}/fields/{value.key}/remove")
        assert worth() == (9, "USD")
        browser.post(f"{there}/fields/{value.key}/restore")
        assert worth() == (1250, "EUR")
        browser.post(f"{there}/fields/order", data={"order": budget.key}, headers=JSON)
        assert worth() == (9, "USD")


class TestRules:
    def test_are_told_in_words_and_switched(self, browser: FlaskClient, team: Team, write: Session) -> None:
        there = f"{address(write, team)}/rules"
        page = browser.get(there).text
        assert "Mail with a contact of an open box is filed in that box" in page
        lead = stage(write, pipeline(write, team.alice.team_id), "Lead").key
        write.commit()
        browser.post(f"{there}/moving", data={"answer": lead, "sent": ""})
        browser.post(f"{there}/new", data={"new_conversation": "create"})
        write.expire_all()
        found = pipeline(write, team.alice.team_id)
        assert (found.moves_itself, found.new_conversation) == (False, "create")
        assert [one.name for one in found.stages if one.enters_on] == ["Lead"]
        browser.post(f"{there}/moving", data={"moves_itself": "on", "answer": "", "sent": lead})
        write.expire_all()
        found = pipeline(write, team.alice.team_id)
        assert found.moves_itself
        assert {one.enters_on for one in found.stages} == {None, "sent"}

    def test_mail_moves_nothing_into_a_closed_stage(
        self, browser: FlaskClient, team: Team, write: Session
    ) -> None:
        won = stage(write, pipeline(write, team.alice.team_id), "Won").key
        there = f"{address(write, team)}/rules"
        answer = browser.post(f"{there}/moving", data={"sent": won, "moves_itself": "on", "_place": "moving"})
        assert answer.status_code == 422
        assert "only into open stages" in answer.text
        assert browser.post(f"{there}/new", data={"new_conversation": "perhaps"}).status_code == 422


class TestPipelines:
    def test_is_renamed(self, browser: FlaskClient, team: Team, write: Session) -> None:
        there = f"{address(write, team)}/pipeline"
        browser.post(there, data={"name": " Big  deals "})
        assert pipeline(write, team.alice.team_id, "Big deals")
        assert browser.post(there, data={"name": " ", "_place": "pipeline"}).status_code == 422

    def test_a_shipped_one_is_added(self, browser: FlaskClient, team: Team) -> None:
        assert "Prospecting" in browser.get("/pipelines/new").text
        data = {"template": "prospecting", "name": "Hunting"}
        page = browser.post("/pipelines/new", data=data, follow_redirects=True).text
        assert "Hunting is ready" in page
        assert "Discovery call" in page
        assert browser.post("/pipelines/new", data={"template": "none"}).status_code == 422

    def test_one_like_another_has_all_but_its_boxes(
        self, browser: FlaskClient, team: Team, write: Session
    ) -> None:
        a_box(write, team.viewer, "Deal", at="Lead")
        sales = pipeline(write, team.alice.team_id)
        pipelines.change(write, team.viewer, sales, moves_itself=False, new_conversation="suggest")
        pipelines.enter_on(write, team.viewer, sales, "answer", stage(write, sales, "Lead"))
        write.commit()
        browser.post("/pipelines/new", data={"template": f"copy-{sales.key}", "name": "Sales North"})
        write.expire_all()
        made = pipeline(write, team.alice.team_id, "Sales North")

        def told(of: Pipeline) -> list[object]:
            columns = ("name", "color", "kind", "probability", "sleep_days", "objective", "enters_on", "position")
            stages = [[getattr(one, name) for name in columns] for one in pipelines.of_pipeline(write, of.id)]
            kept = [(one.name, one.type, one.options) for one in fields.of_pipeline(write, of.id)]
            return [stages, kept, of.moves_itself, of.new_conversation]

        assert told(made) == told(sales)
        assert boxes.counts(write, made.id) == {}

    def test_is_archived_and_brought_back(self, browser: FlaskClient, team: Team, write: Session) -> None:
        there = address(write, team)
        browser.post(f"{there}/archive")
        page = browser.get("/pipelines/new").text
        assert "Bring back Sales" in page
        assert [one.name for one in pipelines.of_team(write, team.alice.team_id)] == ["Connections"]
        write.commit()
        assert "archived" in browser.get(f"{there}/pipeline").text
        browser.post(f"{there}/archive")
        assert [one.name for one in pipelines.of_team(write, team.alice.team_id)] == ["Connections", "Sales"]

    def test_the_last_one_stays(self, browser: FlaskClient, team: Team, write: Session) -> None:
        keys = [one.key for one in pipelines.of_team(write, team.alice.team_id)]
        write.commit()
        browser.post(f"/p/{keys[0]}/settings/archive")
        refused = browser.post(f"/p/{keys[1]}/settings/archive", data={"_place": "archive"})
        assert refused.status_code == 422
        assert "at least one pipeline" in refused.text

    def test_are_put_in_order(self, browser: FlaskClient, team: Team, write: Session) -> None:
        keys = [one.key for one in pipelines.of_team(write, team.alice.team_id)]
        write.commit()
        browser.post("/pipelines/order", data={"order": ",".join(reversed(keys))}, headers=JSON)
        assert [one.key for one in pipelines.of_team(write, team.alice.team_id)] == keys[::-1]
        write.commit()
        browser.post(f"/pipelines/{keys[0]}/shift", data={"to": "up"})
        write.expire_all()
        assert [one.key for one in pipelines.of_team(write, team.alice.team_id)] == keys
        write.commit()
        stale = browser.post("/pipelines/order", data={"order": keys[0]}, headers=JSON)
        assert "load the page again" in stale.json["error"]


@pytest.mark.parametrize("tab", ["stages", "fields", "rules", "pipeline"])
def test_guests_change_nothing(app: Flask, team: Team, write: Session, tab: str) -> None:
    there = address(write, team)
    gina = browser_of(app, team.gina)
    assert gina.get(f"{there}/{tab}").status_code == 403
    assert gina.post(f"{there}/stages", data=STAGE).status_code == 403
    assert gina.post(f"{there}/fields/any/restore").status_code == 403
    assert gina.post(f"{there}/rules/moving").status_code == 403
    assert gina.post(f"{there}/archive").status_code == 403
    assert gina.post("/pipelines/new", data={"template": "sales"}).status_code == 403
    assert gina.post("/pipelines/order", data={"order": ""}).status_code == 403


def test_deleted_boxes_are_reached_from_board_and_settings(
    browser: FlaskClient, team: Team, write: Session
) -> None:
    key = pipeline(write, team.alice.team_id).key
    for page in (f"/p/{key}", f"/p/{key}/settings/pipeline"):
        assert f'href="/p/{key}/deleted"' in browser.get(page).text, page
