"""Follow-ups: what is in them, why, and what can be done with them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from tests.tracker.domain import a_box, stage
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import ALICE, a_mail, browser_of, counted
from tracker import boxes, fields, filing, pipelines, tasks
from tracker.boxes import Box
from tracker.fields import Field
from tracker.tasks import Task

JSON = {"Accept": "application/json"}


def now() -> datetime:
    return datetime.now(UTC)


def today(days: int = 0) -> date:
    return now().date() + timedelta(days=days)


def a_field(write: Session, box: Box, name: str) -> Field:
    return next(one for one in fields.of_pipeline(write, box.pipeline_id) if one.name == name)


def revisit(write: Session, team: Team, name: str, day: date) -> Box:
    box = a_box(write, team.viewer, name, at="Revisit", now=now())
    boxes.set_value(write, team.viewer, box, a_field(write, box, "Revisit on"), day.isoformat())
    return box


def sleeper(write: Session, team: Team, name: str = "Sleeper") -> Box:
    box = a_box(write, team.viewer, name, at="Lead", now=now() - timedelta(days=40))
    box.stage.sleep_days = 21
    return box


def lists(page: str) -> dict[str, str]:
    """The sections of the page by their part."""
    pieces = page.split('aria-labelledby="part-')[1:]
    return {piece.split('"')[0]: piece for piece in pieces}


class TestNewTask:
    def test_is_set_for_today_unless_a_day_is_given(self, browser: FlaskClient) -> None:
        page = browser.post("/followups/tasks", data={"title": "Water the figs"}, follow_redirects=True).text
        assert "Task set, due today" in page
        assert "Water the figs" in lists(page)["due"]
        later = browser.post(
            "/followups/tasks", data={"title": "Prune them", "due": "tomorrow"}, follow_redirects=True
        )
        assert "Task set, due tomorrow" in later.text
        assert "Prune them" not in lists(later.text)["due"]

    @pytest.mark.parametrize("given", [{"title": " "}, {"title": "Water the figs", "due": "someday"}])
    def test_is_refused_beside_the_form_with_what_was_typed(
        self, browser: FlaskClient, given: dict[str, str]
    ) -> None:
        refused = browser.post("/followups/tasks", data={"_place": "new-task", **given})
        assert refused.status_code == 422
        assert 'id="refused-new-task"' in refused.text
        assert f'value="{given["title"]}"' in refused.text


def test_nothing_is_done_with_a_box_that_was_deleted_meanwhile(
    browser: FlaskClient, team: Team, write: Session
) -> None:
    box = sleeper(write, team)
    task = tasks.create(write, team.viewer, "Call", box=box, due_on=today(), now=now())
    boxes.delete(write, team.viewer, box, now())
    write.commit()
    for item in (f"box {box.key} sleeping", f"task {task.key}"):
        refused = browser.post("/followups/done", data={"item": item, "_place": "followups"})
        assert refused.status_code == 422
        assert "Sleeper was deleted meanwhile" in refused.text


class TestWhatIsThere:
    def test_a_day_to_come_back_that_has_come(self, browser: FlaskClient, team: Team, write: Session) -> None:
        revisit(write, team, "Come back", today(-3))
        revisit(write, team, "Not yet", today(1))
        write.commit()
        due = lists(browser.get("/followups").text)["due"]
        assert "Come back" in due
        assert "Revisit on: " in due
        assert "3 days ago" in due
        assert "Overdue" in due
        assert "Not yet" not in browser.get("/followups").text

    def test_tasks_of_today_and_before(self, browser: FlaskClient, team: Team, write: Session) -> None:
        for title, day in (("Call today", today()), ("Call before", today(-1)), ("Call later", today(2))):
            tasks.create(write, team.viewer, title, due_on=day, now=now())
        write.commit()
        due = lists(browser.get("/followups").text)["due"]
        assert due.index("Overdue") < due.index("Call before") < due.index(">Today<") < due.index("Call today")
        assert "Call later" not in due

    def test_mail_that_waits_for_more_than_two_days(
        self, browser: FlaskClient, team: Team, write: Session
    ) -> None:
        for name, days in (("Waits", 3), ("Fresh", 1)):
            box = a_box(write, team.viewer, name, now=now())
            mail = a_mail(write, team.mailbox, name, at=now() - timedelta(days=days))
            filing.file(write, team.viewer, mail, box)
        answered = a_box(write, team.viewer, "Answered", now=now())
        mail = a_mail(write, team.mailbox, at=now() - timedelta(days=5), thread="x")
        filing.file(write, team.viewer, mail, answered)
        a_mail(write, team.mailbox, sender=ALICE, to=("c@x.test",), at=now() - timedelta(days=4), thread="x")
        write.commit()
        found = browser.get("/followups").text
        assert "Their mail waits for an answer for 3 days" in lists(found)["answer"]
        assert "Fresh" not in found
        assert "Answered" not in found

    def test_boxes_that_sleep_or_have_no_day(self, browser: FlaskClient, team: Team, write: Session) -> None:
        sleeper(write, team)
        a_box(write, team.viewer, "Dayless", at="Revisit", now=now() - timedelta(days=9))
        write.commit()
        found = lists(browser.get("/followups").text)
        assert "No mail and no move for 40 days; in Lead, 21 are enough" in found["sleeping"]
        assert "In Revisit for 9 days" in found["undated"]

    def test_what_is_planned_does_not_sleep(self, browser: FlaskClient, team: Team, write: Session) -> None:
        box = sleeper(write, team)
        write.commit()
        assert "Sleeper" in browser.get("/followups").text
        tasks.create(write, team.viewer, "Call", box=box, due_on=today(3), now=now())
        write.commit()
        assert "Sleeper" not in browser.get("/followups").text

    def test_a_box_stands_in_one_list(self, browser: FlaskClient, team: Team, write: Session) -> None:
        box = sleeper(write, team, "Everything")
        filing.file(write, team.viewer, a_mail(write, team.mailbox, at=now() - timedelta(days=35)), box)
        boxes.set_value(write, team.viewer, box, a_field(write, box, "Revisit on"), today().isoformat())
        write.commit()
        assert list(lists(browser.get("/followups").text)) == ["due"]

    def test_ones_own_or_the_whole_teams(self, app: Flask, team: Team, write: Session) -> None:
        revisit(write, team, "Of Alice", today())
        write.commit()
        bob = browser_of(app, team.bob)
        assert "Of Alice" not in bob.get("/followups").text
        assert "Of Alice" in bob.get("/followups?whose=team").text

    def test_a_pipeline_that_was_put_away_asks_for_nothing(
        self, browser: FlaskClient, team: Team, write: Session
    ) -> None:
        box = sleeper(write, team)
        tasks.create(write, team.viewer, "Call them", box=box, due_on=today(), now=now())
        away = sleeper(write, team, "Other sleeper")
        write.commit()
        assert "Call them" in browser.get("/followups").text
        assert "Other sleeper" in browser.get("/followups").text
        pipelines.archive(write, team.viewer, away.pipeline, now())
        write.commit()
        assert lists(browser.get("/followups").text) == {}

    def test_nothing_due(self, browser: FlaskClient) -> None:
        assert "Nothing is due" in browser.get("/followups").text

    def test_the_day_begins_here_if_anything_is_due(
        self, browser: FlaskClient, team: Team, write: Session
    ) -> None:
        assert browser.get("/").headers["Location"] == "/inbox"
        revisit(write, team, "Due", today())
        write.commit()
        assert browser.get("/").headers["Location"] == "/followups"

    @pytest.mark.parametrize("part", ["due", "answer", "undated", "sleeping"])
    def test_each_list_goes_on_page_by_page(
        self, part: str, browser: FlaskClient, team: Team, write: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from tracker.web import followups as page

        monkeypatch.setattr(page, "PAGE", 3)
        for number in range(7):
            name = f"Box {number}."
            if part == "due":
                revisit(write, team, name, today(-(number % 3)))
                tasks.create(write, team.viewer, f"Task {number}.", due_on=today(), now=now())
            elif part == "answer":
                box = a_box(write, team.viewer, name, now=now())
                filing.file(write, team.viewer, a_mail(write, team.mailbox, at=now() - timedelta(days=4)), box)
            elif part == "undated":
                a_box(write, team.viewer, name, at="Revisit", now=now() - timedelta(days=9))
            else:
                sleeper(write, team, name)
        write.commit()
        address, seen = f"/followups?list={part}", []
        while address:
            found = browser.get(address).text.split("<main")[1]
            seen += [number for number in range(7) if f"Box {number}." in found]
            more = 'rel="next" href="' in found
            address = found.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&") if more else ""
        assert sorted(seen) == list(range(7))

    @pytest.mark.parametrize("query", ["list=x", "list=due&after=x", "list=answer&after=never~box~k"])
    def test_addresses_that_are_made_up(self, browser: FlaskClient, query: str) -> None:
        assert browser.get(f"/followups?{query}").status_code in (400, 404)

    def test_as_many_queries_for_much_as_for_little(
        self, browser: FlaskClient, team: Team, write: Session, app: Flask
    ) -> None:
        used = app.extensions["gmail_sync"].services.sessions.kw["bind"]

        def fill(number: int) -> None:
            revisit(write, team, f"Due {number}", today())
            sleeper(write, team, f"Sleeper {number}")
            tasks.create(write, team.viewer, f"Task {number}", due_on=today(), now=now())

        fill(0)
        write.commit()
        with counted(used) as few:
            browser.get("/followups")
        for number in range(1, 9):
            fill(number)
        write.commit()
        with counted(used) as many:
            assert "Sleeper 7" in browser.get("/followups").text
        assert len(few) == len(many)
        assert len(many) <= 24


def act(browser: FlaskClient, address: str, **data: str) -> dict[str, str]:
    answer = browser.post(address, data={**data, "_place": "followups"}, headers=JSON)
    assert answer.status_code == 200, answer.text
    told: dict[str, str] = answer.json
    return told


def undo(browser: FlaskClient, told: dict[str, str]) -> None:
    assert browser.post("/undo", data={"ticket": told["undo"]}, headers=JSON).status_code == 200


class TestWhatIsDone:
    def test_a_task(self, browser: FlaskClient, team: Team, write: Session) -> None:
        task = tasks.create(write, team.viewer, "Call", due_on=today(), now=now())
        write.commit()
        told = act(browser, "/followups/done", item=f"task {task.key}")
        assert "Call" not in browser.get("/followups").text
        undo(browser, told)
        assert "Call" in browser.get("/followups").text

    def test_a_day(self, browser: FlaskClient, team: Team, write: Session) -> None:
        box = revisit(write, team, "Come back", today())
        field = a_field(write, box, "Revisit on")
        write.commit()
        told = act(browser, "/followups/done", item=f"box {box.key} due {field.key}")
        write.expire_all()
        assert field.key not in box.values
        undo(browser, told)
        write.expire_all()
        assert box.values[field.key] == today().isoformat()

    def test_a_box_that_sleeps_rests_until_mail(self, browser: FlaskClient, team: Team, write: Session) -> None:
        box = sleeper(write, team)
        write.commit()
        told = act(browser, "/followups/done", item=f"box {box.key} sleeping ")
        assert "Sleeper" not in browser.get("/followups").text
        undo(browser, told)
        assert "Sleeper" in browser.get("/followups").text
        act(browser, "/followups/done", item=f"box {box.key} sleeping ")
        filing.file(write, team.viewer, a_mail(write, team.mailbox, at=now() - timedelta(days=4)), box)
        write.commit()
        assert "Sleeper" in lists(browser.get("/followups").text)["answer"]

    def test_snoozed(self, browser: FlaskClient, app: Flask, team: Team, write: Session) -> None:
        box = revisit(write, team, "Come back", today())
        task = tasks.create(write, team.viewer, "Call", due_on=today(-1), now=now())
        write.commit()
        later = act(browser, "/followups/snooze", choice=f"tomorrow box {box.key} due ")
        shift = act(browser, "/followups/snooze", choice=f"week task {task.key}")
        assert "Nothing is due" in browser.get("/followups").text
        assert "Come back" in browser_of(app, team.bob).get("/followups?whose=team").text
        write.expire_all()
        assert write.get_one(Task, task.id).due_on == today(7)
        undo(browser, later)
        undo(browser, shift)
        found = browser.get("/followups").text
        assert "Come back" in found
        assert "Call" in found

    def test_moved(self, browser: FlaskClient, team: Team, write: Session) -> None:
        box = sleeper(write, team)
        to = stage(write, box.pipeline, "Qualified")
        write.commit()
        told = act(browser, "/followups/move", choice=f"{to.key} {box.version} box {box.key} sleeping ")
        assert "Sleeper" not in browser.get("/followups").text
        write.expire_all()
        assert box.stage.name == "Qualified"
        stale = {"choice": f"{to.key} 0 box {box.key} sleeping ", "_place": "followups"}
        assert browser.post("/followups/move", data=stale, headers=JSON).status_code == 409
        undo(browser, told)
        write.expire_all()
        assert box.stage.name == "Lead"

    def test_without_scripts_leads_back(self, browser: FlaskClient, team: Team, write: Session) -> None:
        task = tasks.create(write, team.viewer, "Call", due_on=today(), now=now())
        write.commit()
        data = {"item": f"task {task.key}", "_next": "/followups?whose=team"}
        page = browser.post("/followups/done", data=data, follow_redirects=True)
        assert "Task done" in page.text
        assert 'name="ticket"' in page.text

    def test_what_is_another_teams_is_not_there(self, browser: FlaskClient, write: Session) -> None:
        from config import teams
        from tracker import people

        others = people.viewer_of(teams.found(write, "Others", "zoe@other.example", "Zoe"), "test")
        box, task = a_box(write, others, "Theirs"), tasks.create(write, others, "Theirs", now=now())
        write.commit()
        for item in (f"box {box.key} sleeping ", f"task {task.key}", "box x", "", "\x00"):
            assert browser.post("/followups/done", data={"item": item}, headers=JSON).status_code == 404
