"""Pipelines, their stages and fields: changed without losing anything."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from config.teams import templates
from tests.tracker.domain import NOW, a_box, a_contact, a_team, pipeline, stage
from tracker import boxes, fields, pipelines
from tracker.boxes import BoxConflict, BoxError
from tracker.events import Event
from tracker.fields import FieldError
from tracker.people import Viewer, viewer_of
from tracker.pipelines import PipelineError


@pytest.fixture
def viewer(session: Session) -> Viewer:
    """Alice, admin of a new team."""
    return viewer_of(a_team(session), "test")


def test_a_new_team_starts_with_connections_and_sales(session: Session, viewer: Viewer) -> None:
    assert [found.name for found in pipelines.of_team(session, viewer.team_id)] == ["Connections", "Sales"]
    names = [one.name for one in pipeline(session, viewer.team_id, "Sales").stages]
    assert names == ["Prospect", "Lead", "Qualified", "Negotiating", "Won", "Lost & Rejected", "Revisit"]


def test_the_others_can_be_added(session: Session, viewer: Viewer) -> None:
    for template in templates():
        if not template.starts:
            pipelines.add(session, viewer, template)
    names = [found.name for found in pipelines.of_team(session, viewer.team_id)]
    assert names == ["Connections", "Sales", "Opportunities", "Prospecting"]


@pytest.mark.parametrize("template", templates(), ids=lambda template: template.slug)
def test_every_shipped_stage_tells_what_to_do(template: pipelines.Template) -> None:
    for told in template.stages:
        assert told.objective
        assert told.actions
        assert told.exit_criteria
        assert told.kind in ("open", "won", "lost")
    assert {"won": 100, "lost": 0}.items() >= {
        told.kind: told.probability for told in template.stages if told.kind != "open"
    }.items()


def test_stages_are_added_renamed_coloured_and_reordered(session: Session, viewer: Viewer) -> None:
    sales = pipeline(session, viewer.team_id)
    demo = pipelines.add_stage(session, viewer, sales, "Demo", color="#123456")
    pipelines.change_stage(session, viewer, demo, name="Demo given", color="#abcdef", probability=55)
    keys = [one.key for one in pipelines.of_pipeline(session, sales.id)]
    pipelines.reorder_stages(session, viewer, sales, [keys[-1], *keys[:-1]])
    first = pipelines.of_pipeline(session, sales.id)[0]
    assert (first.name, first.color, first.probability) == ("Demo given", "#abcdef", 55)


@pytest.mark.parametrize(
    "change",
    [{"name": " "}, {"color": "red"}, {"kind": "maybe"}, {"probability": 101}, {"enters_on": "whim"}],
)
def test_a_stage_that_makes_no_sense_is_refused(session: Session, viewer: Viewer, change: dict[str, Any]) -> None:
    with pytest.raises(PipelineError):
        pipelines.change_stage(
            session, viewer, stage(session, pipeline(session, viewer.team_id), "Lead"), **change
        )


def test_an_order_that_lacks_a_stage_is_refused(session: Session, viewer: Viewer) -> None:
    sales = pipeline(session, viewer.team_id)
    keys = [one.key for one in sales.stages]
    with pytest.raises(PipelineError):
        pipelines.reorder_stages(session, viewer, sales, keys[1:])


def test_removing_a_stage_with_boxes_asks_where_they_go_and_loses_none(session: Session, viewer: Viewer) -> None:
    sales = pipeline(session, viewer.team_id)
    lead, qualified = stage(session, sales, "Lead"), stage(session, sales, "Qualified")
    kept = [a_box(session, viewer, f"Deal {number}", at="Lead") for number in range(3)]
    boxes.archive(session, viewer, kept[2], NOW)
    session.flush()
    with pytest.raises(PipelineError, match="3 boxes"):
        boxes.remove_stage(session, viewer, lead, None, NOW)
    with pytest.raises(PipelineError):
        boxes.remove_stage(session, viewer, lead, lead, NOW)
    boxes.remove_stage(session, viewer, lead, qualified, NOW)
    assert {box.stage_id for box in kept} == {qualified.id}
    assert "Lead" not in [one.name for one in pipelines.of_pipeline(session, sales.id)]


def test_the_last_stage_stays(session: Session, viewer: Viewer) -> None:
    connections = pipeline(session, viewer.team_id, "Connections")
    for one in pipelines.of_pipeline(session, connections.id)[:-1]:
        boxes.remove_stage(session, viewer, one, None, NOW)
    with pytest.raises(PipelineError):
        boxes.remove_stage(session, viewer, pipelines.of_pipeline(session, connections.id)[0], None, NOW)


def test_a_removed_field_comes_back_with_its_values(session: Session, viewer: Viewer) -> None:
    box = a_box(session, viewer, "Deal")
    value = next(one for one in fields.of_pipeline(session, box.pipeline_id) if one.name == "Value")
    boxes.set_value(session, viewer, box, value, "1250 EUR")
    fields.remove(session, viewer, value)
    assert value not in fields.of_pipeline(session, box.pipeline_id)
    with pytest.raises(FieldError):
        boxes.set_value(session, viewer, box, value, "1 EUR")
    fields.restore(session, viewer, value)
    assert box.values[value.key] == {"amount": "1250", "currency": "EUR"}


def test_fields_are_reordered(session: Session, viewer: Viewer) -> None:
    sales = pipeline(session, viewer.team_id)
    keys = [one.key for one in fields.of_pipeline(session, sales.id)]
    fields.reorder(session, viewer, sales.id, keys[::-1])
    assert [one.key for one in fields.of_pipeline(session, sales.id)] == keys[::-1]


GOOD = [
    ("text", "  hello ", "hello"),
    ("number", "1,250.5", "1250.5"),
    ("number", "1.250,5", "1250.5"),
    ("number", "1,000", "1000"),
    ("number", -3, "-3"),
    ("money", "1250.50 usd", {"amount": "1250.50", "currency": "USD"}),
    ("money", "€ 1.250,50", {"amount": "1250.50", "currency": "EUR"}),
    ("money", {"amount": 5, "currency": "JPY"}, {"amount": "5", "currency": "JPY"}),
    ("date", "2026-11-24", "2026-11-24"),
    ("tags", "red, green,red", ["red", "green"]),
    ("checkbox", "on", True),
    ("checkbox", "no", False),
    ("url", "example.com/x", "https://example.com/x"),
    ("dropdown", "TWO", "two"),
    ("person", "alice@team.example", ...),
    ("contact", "anna@acme.example", ...),
    ("organization", "acme", ...),
]
BAD = [
    ("text", "x" * 10_001),
    ("number", "many"),
    ("number", "1e400"),
    ("number", "1e-999999"),
    ("money", {"amount": "1e-20000", "currency": "EUR"}),
    ("number", "NaN"),
    ("money", "5 EURO"),
    ("date", "24.11.2026"),
    ("tags", ",".join(map(str, range(60)))),
    ("checkbox", "perhaps"),
    ("url", "javascript:alert(1)"),
    ("url", "https://[::1"),
    ("dropdown", "three"),
    ("person", "mallory@elsewhere.example"),
    ("contact", "nobody"),
    ("organization", "nobody"),
]


@pytest.fixture
def field(session: Session, viewer: Viewer) -> Callable[[str], fields.Field]:
    """Makes a field of a type in Sales."""
    a_contact(session, viewer, "anna@acme.example")
    sales = pipeline(session, viewer.team_id)

    def make(kind: str) -> fields.Field:
        return fields.add(session, viewer, sales.id, f"A {kind}", kind, ["one", "two"])

    return make


@pytest.mark.parametrize(("kind", "value", "stored"), GOOD)
def test_a_good_value_is_stored_in_its_form(
    session: Session, field: Callable[[str], fields.Field], kind: str, value: Any, stored: Any
) -> None:
    parsed = fields.parse(session, field(kind), value)
    assert parsed == stored or (stored is ... and isinstance(parsed, str))


@pytest.mark.parametrize(("kind", "value"), BAD)
def test_a_bad_value_is_refused_in_words(
    session: Session, field: Callable[[str], fields.Field], kind: str, value: Any
) -> None:
    with pytest.raises(FieldError, match=r"Expected|At most"):
        fields.parse(session, field(kind), value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from([kind.value for kind in fields.FieldType]), value=st.text(max_size=40) | st.integers())
def test_whatever_is_typed_is_stored_or_refused(
    session: Session, field: Callable[[str], fields.Field], kind: str, value: Any
) -> None:
    try:
        parsed = fields.parse(session, field(kind), value)
    except FieldError:
        return
    assert parsed is None or fields.parse(session, field(kind), parsed) == parsed


@pytest.mark.parametrize(
    ("name", "kind", "options"), [("", "text", []), ("X", "song", []), ("X", "dropdown", [" "])]
)
def test_a_field_that_makes_no_sense_is_refused(
    session: Session, viewer: Viewer, name: str, kind: str, options: list[str]
) -> None:
    with pytest.raises(FieldError):
        fields.add(session, viewer, pipeline(session, viewer.team_id).id, name, kind, options)


def test_a_box_starts_in_the_first_stage_and_tells_its_story(session: Session, viewer: Viewer) -> None:
    box = a_box(session, viewer, " A   deal ", "anna@acme.example")
    boxes.move(session, viewer, box, stage(session, box.pipeline, "Lead"), now=NOW + timedelta(days=2))
    assert (box.name, box.stage.name) == ("A deal", "Lead")
    assert box.stage_entered_at == NOW + timedelta(days=2)
    kinds = session.scalars(select(Event.kind).where(Event.box_id == box.id).order_by(Event.id)).all()
    assert kinds == ["box.created", "box.contact_added", "box.moved"]


def test_a_box_cannot_go_to_another_pipelines_stage(session: Session, viewer: Viewer) -> None:
    box = a_box(session, viewer, "Deal")
    elsewhere = stage(session, pipeline(session, viewer.team_id, "Connections"), "Connected")
    with pytest.raises(BoxError):
        boxes.move(session, viewer, box, elsewhere, now=NOW)


def test_of_two_moves_at_once_the_second_is_told(session: Session, viewer: Viewer) -> None:
    box = a_box(session, viewer, "Deal")
    lead, qualified = stage(session, box.pipeline, "Lead"), stage(session, box.pipeline, "Qualified")
    seen = box.version
    boxes.move(session, viewer, box, lead, now=NOW)
    box.version = seen
    with session.no_autoflush, pytest.raises(BoxConflict):
        boxes.move(session, viewer, box, qualified, now=NOW)


def test_a_name_of_nothing_is_refused(session: Session, viewer: Viewer) -> None:
    with pytest.raises(BoxError):
        a_box(session, viewer, " \x00 ")


def test_searching_names_takes_no_wildcards(session: Session, viewer: Viewer) -> None:
    a_box(session, viewer, "100% sure")
    a_box(session, viewer, "Something else")
    assert [box.name for box in boxes.named_like(session, viewer.team_id, "%")] == ["100% sure"]
