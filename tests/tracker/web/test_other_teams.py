"""Keys of another team, in whatever form or address they come: they name nothing here, and nothing changes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from config import teams
from tests.tracker.domain import NOW, a_box, pipeline, stage
from tests.tracker.web.conftest import Team
from tracker import fields, imports, people, pipelines, tasks, views
from tracker.boxes import Box
from tracker.contacts import Contact
from tracker.events import Event
from tracker.fields import Field
from tracker.imports import Import
from tracker.people import User
from tracker.pipelines import Pipeline, Stage
from tracker.tasks import Task
from tracker.views import SavedView


@dataclass
class Room:
    """A team's pipeline with a thing of each kind."""

    user: User
    pipeline: Pipeline
    stage: Stage
    field: Field
    box: Box
    contact: Contact
    task: Task
    view: SavedView
    file: Import


def furnished(write: Session, user: User, name: str) -> Room:
    viewer = people.viewer_of(user, "test")
    sales = pipeline(write, user.team_id)
    box = a_box(write, viewer, name, f"anna@{name}.test", at="Lead")
    write.flush()
    return Room(
        user,
        sales,
        stage(write, sales, "Won"),
        fields.add(write, viewer, sales.id, "Remark", "text"),
        box,
        box.contacts[0],
        tasks.create(write, viewer, "Call", box=box, due_on=NOW.date(), now=NOW),
        views.save(write, viewer, sales, "Mine", {"sort": "name"}, shared=True),
        imports.upload(write, viewer, sales, "a.csv", b"Name\nX\n", fields.of_pipeline(write, sales.id)),
    )


@pytest.fixture
def ours(write: Session, team: Team) -> Room:
    return furnished(write, write.merge(team.alice), "ours")


@pytest.fixture
def theirs(write: Session, ours: Room) -> Room:
    eve = teams.found(write, "Others", "eve@others.example", "Eve")
    made = furnished(write, eve, "theirs")
    write.commit()
    return made


def test_no_page_of_theirs_is_there(browser: FlaskClient, ours: Room, theirs: Room) -> None:
    there = f"/p/{theirs.pipeline.key}"
    here = f"/p/{ours.pipeline.key}"
    addresses = [
        there, f"{there}/table", f"{there}/table.csv", f"{there}/table/rows", f"{there}/import",
        f"{there}/deleted", f"{there}/settings", f"{there}/settings/fields", f"{there}/settings/rules",
        f"{there}/settings/stages", f"{there}/stages/{theirs.stage.key}", f"{here}/stages/{theirs.stage.key}",
        f"{here}/views/{theirs.view.key}", f"{here}/import/{theirs.file.key}",
        f"{here}/import/{theirs.file.key}/wrong.csv", f"{here}/table/cells/{theirs.box.key}/name",
        f"/contacts/{theirs.contact.key}", f"/contacts/{theirs.contact.key}/mail",
        f"/contacts/merge?one={ours.contact.key}&other={theirs.contact.key}",
        f"/b/{ours.box.key}/merge?other={theirs.box.key}",
    ]  # fmt: skip
    assert {one: browser.get(one).status_code for one in addresses} == dict.fromkeys(addresses, 404)
    assert browser.get(f"{here}/views/{ours.view.key}").status_code == 302  # ours are


def test_nothing_of_theirs_is_changed_or_taken(
    browser: FlaskClient, write: Session, ours: Room, theirs: Room
) -> None:
    here, there = f"/p/{ours.pipeline.key}", f"/p/{theirs.pipeline.key}"
    posts: list[tuple[str, dict[str, str]]] = [
        (f"{there}/boxes", {"name": "Spy"}),
        (f"{there}/move", {"box": theirs.box.key, "stage": theirs.stage.key, "version": "1"}),
        (f"{here}/move", {"box": theirs.box.key, "stage": ours.stage.key, "version": "1"}),
        (f"{here}/move", {"box": ours.box.key, "stage": theirs.stage.key, "version": "1"}),
        (f"{here}/boxes", {"name": "Spy", "stage": theirs.stage.key}),
        (f"/b/{ours.box.key}/stage", {"stage": theirs.stage.key, "version": "1"}),
        (f"{here}/table/cells/{ours.box.key}/stage", {"value": theirs.stage.key, "was": ""}),
        (f"{here}/table/cells/{ours.box.key}/owner", {"value": theirs.user.key, "was": ""}),
        (f"{here}/table/cells/{ours.box.key}/f.{theirs.field.key}", {"value": "x", "was": ""}),
        (f"{here}/table/boxes", {"box": f"{ours.box.key}:1", "action": "move", "stage": theirs.stage.key}),
        (f"{here}/table/boxes", {"box": f"{ours.box.key}:1", "action": "assign", "owner": theirs.user.key}),
        (f"{here}/views/{theirs.view.key}", {"name": "Stolen"}),
        (f"{here}/views/{theirs.view.key}/delete", {}),
        (f"{here}/import/{theirs.file.key}/map", {"column-0": "name"}),
        (f"{here}/import/{theirs.file.key}/run", {}),
        (f"{here}/settings/stages/{theirs.stage.key}", {"name": "x"}),
        (f"{here}/settings/stages/{theirs.stage.key}/remove", {}),
        (f"{here}/settings/fields/{theirs.field.key}", {"name": "x"}),
        (f"{here}/settings/fields/{theirs.field.key}/remove", {}),
        (f"{here}/settings/rules/moving", {"sent": theirs.stage.key}),
        (f"{there}/settings/archive", {}),
        ("/pipelines/new", {"template": f"copy-{theirs.pipeline.key}"}),
        ("/contacts/merge", {"one": ours.contact.key, "other": theirs.contact.key}),
        ("/contacts/distinct", {"one": ours.contact.key, "other": theirs.contact.key}),
        (f"/contacts/{theirs.contact.key}", {"name": "x"}),
        (f"/b/{ours.box.key}/contacts/{theirs.contact.key}/remove", {}),
        ("/followups/done", {"item": f"task {theirs.task.key}"}),
        ("/followups/done", {"item": f"box {theirs.box.key} sleeping"}),
        ("/followups/move", {"choice": f"{theirs.stage.key} 1 box {ours.box.key}"}),
    ]
    before = write.scalar(select(func.count()).select_from(Event))
    taken = [
        (address, data) for address, data in posts if not 400 <= browser.post(address, data=data).status_code < 500
    ]
    assert taken == []
    write.rollback()
    assert write.scalar(select(func.count()).select_from(Event)) == before
    assert write.scalar(select(func.count()).select_from(Box)) == 2


def test_a_field_that_names_somebody_names_nobody_of_theirs(
    browser: FlaskClient, write: Session, ours: Room, theirs: Room
) -> None:
    viewer = people.viewer_of(ours.user, "test")
    for kind, key in (("contact", theirs.contact.key), ("person", theirs.user.key)):
        field = fields.add(write, viewer, ours.pipeline.id, f"Their {kind}", kind)
        write.commit()
        answer = browser.post(f"/b/{ours.box.key}/fields", data={f"field-{field.key}": key})
        assert answer.status_code == 422
    file = b"Name,Their contact\nSpy,anna@theirs.test\n"
    made = imports.upload(write, viewer, ours.pipeline, "b.csv", file, fields.of_pipeline(write, ours.pipeline.id))
    imports.set_mapping(write, made, made.mapping, fields.of_pipeline(write, ours.pipeline.id))
    write.commit()
    assert browser.post(f"/p/{ours.pipeline.key}/import/{made.key}/run").status_code == 422
    assert pipelines.by_key(write, ours.user.team_id, theirs.pipeline.key) is None
