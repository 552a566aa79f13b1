"""The thread's box in the panel: its stage, owner and fields, why it is there, taking the thread out."""

from __future__ import annotations

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from tests.gmail_sync.addon.house import House, Mail
from tests.gmail_sync.addon.quick import house
from tests.gmail_sync.syncing import ALICE, BOB
from tests.tracker.domain import a_box, pipeline, stage
from tests.tracker.web.factories_web import counted
from tracker import access, boxes, fields, filing, merging, people, pipelines, tasks
from tracker.boxes import Box
from tracker.db import transaction, utc_now
from tracker.events import Event
from tracker.filing import Filing
from tracker.people import Role

__all__ = ["house"]


def filed(house: House, name: str = "Outside deal", *, into: str = "Sales", sent: Mail | None = None) -> Mail:
    """A mail of Charlie's to Alice, in a box."""
    sent = sent or house.mail()
    with transaction(house.sessions) as session:
        box = a_box(session, house.viewer(), name, into=into, now=utc_now())
        filing.file(session, house.viewer(), house.conversation(session, sent), box)
    return sent


def box_of(session: Session, name: str = "Outside deal") -> Box:
    """The box of this name."""
    return session.scalars(select(Box).where(Box.name == name)).one()


def test_a_filed_thread_shows_its_box_with_stage_owner_and_the_reason(house: House) -> None:
    sent = filed(house)
    panel = house.panel().open(sent.gmail_id)
    with house.sessions() as session:
        box = box_of(session)
        stages = [one.name for one in pipelines.of_pipeline(session, box.pipeline_id)]
        assert panel.options("Stage") == stages
        assert panel.chosen("Stage") == [box.stage.name]
        assert panel.chosen("Owner") == [house.user().name]
        assert panel.link("Outside deal").endswith(f"/b/{box.key}")
    assert f"{house.user().name} put it here." in panel.text


def test_choosing_a_stage_moves_the_box_at_once(house: House) -> None:
    panel = house.panel().open(filed(house).gmail_id)
    panel.choose("Stage", "Proposal" if "Proposal" in panel.options("Stage") else panel.options("Stage")[2])
    chosen = panel.chosen("Stage")
    assert "moved to" in panel.says
    with house.sessions() as session:
        box = box_of(session)
        assert [box.stage.name] == chosen
        moved = session.scalars(select(Event).where(Event.kind == "box.moved", Event.box_id == box.id)).one()
        assert (moved.user_id, moved.actor) == (house.user().id, "person")


def test_a_teammates_move_meanwhile_is_told_and_stands(house: House) -> None:
    panel = house.panel().open(filed(house).gmail_id)
    names = panel.options("Stage")
    with transaction(house.sessions) as session:
        box = box_of(session)
        there = stage(session, box.pipeline, names[1])
        boxes.move(session, house.viewer(BOB), box, there, now=utc_now())
    panel.choose("Stage", names[2])
    assert "meanwhile" in panel.says
    assert house.user(BOB).name in panel.says
    assert panel.chosen("Stage") == [names[1]]
    panel.choose("Stage", names[2])  # the card was shown again: now the person knows
    with house.sessions() as session:
        assert box_of(session).stage.name == names[2]


def test_a_stage_that_is_none_or_another_pipelines_moves_nothing(house: House) -> None:
    panel = house.panel().open(filed(house).gmail_id)
    before = panel.chosen("Stage")
    with house.sessions() as session:
        box = box_of(session)
        other = next(one for one in pipelines.of_team(session, box.team_id) if one.id != box.pipeline_id)
        key = pipelines.of_pipeline(session, other.id)[0].key
    for given in ("", "nonsense", "x" * 3000, "\x00", key):
        panel.press("box.move", {panel.choice("Stage")["name"]: [given]})
        assert "gone" in panel.says
        assert panel.chosen("Stage") == before


def test_the_owner_is_one_of_those_who_see_the_box(house: House) -> None:
    sent = filed(house)
    with transaction(house.sessions) as session:
        team_id = house.viewer().team_id
        gina = people.add_user(session, team_id, "gina@client.example", name="Gina", role=Role.GUEST)
        dan = people.add_user(session, team_id, "dan@team.example", name="Dan")
    panel = house.panel().open(sent.gmail_id)
    assert set(panel.options("Owner")) == {"Nobody", "Dan", house.user().name, house.user(BOB).name}
    panel.choose("Owner", "Dan")
    assert "Dan has" in panel.says
    panel.press("box.assign", {panel.choice("Owner")["name"]: [gina.key]})
    assert "Choose somebody who sees" in panel.says
    with house.sessions() as session:
        assert box_of(session).owner_id == dan.id
    panel.choose("Owner", "Nobody")
    with house.sessions() as session:
        assert box_of(session).owner_id is None


def test_fields_are_told_and_changed_by_their_type(house: House) -> None:
    sent = filed(house)
    with transaction(house.sessions) as session:
        box, viewer = box_of(session), house.viewer()
        added = {
            kind: fields.add(session, viewer, box.pipeline_id, f"A {kind}", kind, ["Red", "Blue"])
            for kind in ("text", "number", "money", "date", "dropdown", "tags", "checkbox", "person", "url")
        }
        boxes.set_value(session, viewer, box, added["money"], "12500 EUR")
        boxes.set_value(session, viewer, box, added["dropdown"], "Red")
        keys = {kind: one.key for kind, one in added.items()}
    panel = house.panel().open(sent.gmail_id)
    assert "€12,500\nA money" in panel.text
    panel.press("Edit fields")
    assert panel.input("A money")["value"] == "12,500 EUR"
    assert panel.options("A dropdown") == ["–", "Red", "Blue"]
    given = {
        "text": "First line\r\nsecond", "number": "3,5", "date": "2026-12-24", "dropdown": "-", "tags": "a, b",
        "checkbox": "yes", "person": house.user(BOB).key, "url": "acme.test",
    }  # fmt: skip
    panel.press("Save", {f"field-{keys[kind]}": [value] for kind, value in given.items()})
    assert panel.says == "Saved"
    with house.sessions() as session:
        values = box_of(session).values
        assert {kind: values.get(key) for kind, key in keys.items()} == {
            "text": "First line\nsecond", "number": "3.5", "money": {"amount": "12500", "currency": "EUR"},
            "date": "2026-12-24", "dropdown": None, "tags": ["a", "b"], "checkbox": True,
            "person": house.user(BOB).key, "url": "https://acme.test",
        }  # fmt: skip
    assert f"{house.user(BOB).name}\nA person" in panel.text
    panel.press("Edit fields").press("Save")
    assert panel.says == "Nothing was changed"


def test_a_wrong_value_is_told_by_its_field_and_nothing_is_set(house: House) -> None:
    sent = filed(house)
    with transaction(house.sessions) as session:
        box, viewer = box_of(session), house.viewer()
        number = fields.add(session, viewer, box.pipeline_id, "Seats", "number").key
        note = fields.add(session, viewer, box.pipeline_id, "Remark", "text").key
    panel = house.panel().open(sent.gmail_id).press("Edit fields")
    panel.press("Save", {f"field-{number}": ["many"], f"field-{note}": ["kept as typed"]})
    assert "Seats: Expected a number" in panel.text
    assert panel.input("Seats")["value"] == "many"
    assert panel.input("Remark")["value"] == "kept as typed"
    with house.sessions() as session:
        assert box_of(session).values == {}
    panel.press("Save", {f"field-{number}": ["7"]})
    assert panel.says == "Saved"
    with house.sessions() as session:
        assert box_of(session).values == {number: "7", note: "kept as typed"}


def test_what_a_teammate_set_meanwhile_is_told_and_replaced_only_when_saved_again(house: House) -> None:
    sent = filed(house)
    with transaction(house.sessions) as session:
        box, viewer = box_of(session), house.viewer()
        seats = fields.add(session, viewer, box.pipeline_id, "Seats", "number")
        other = fields.add(session, viewer, box.pipeline_id, "Other", "number")
    panel = house.panel().open(sent.gmail_id).press("Edit fields")
    with transaction(house.sessions) as session:
        boxes.set_value(session, house.viewer(BOB), box_of(session), seats, "5")
        boxes.set_value(session, house.viewer(BOB), box_of(session), other, "1")
    panel.press("Save", {f"field-{seats.key}": ["7"]})
    assert "Since this card was shown this became “5”" in panel.text
    with house.sessions() as session:
        assert box_of(session).values == {seats.key: "5", other.key: "1"}
    panel.press("Save")
    with house.sessions() as session:
        assert box_of(session).values == {seats.key: "7", other.key: "1"}


def test_a_thread_is_taken_out_and_put_back(house: House) -> None:
    panel = house.panel().open(filed(house).gmail_id)
    panel.press("Take it out")
    assert "Taken out of Outside deal" in panel.says
    assert "Stage" not in panel.text
    with house.sessions() as session:
        assert session.scalars(select(Filing)).one().state == filing.REMOVED
    panel.press("Put it back")
    assert panel.chosen("Stage")
    with house.sessions() as session:
        assert session.scalars(select(Filing)).one().state == filing.FILED


def test_a_box_that_was_put_away_is_looked_at_and_not_changed(house: House) -> None:
    sent = filed(house)
    panel = house.panel().open(sent.gmail_id)
    with transaction(house.sessions) as session:
        boxes.archive(session, house.viewer(), box_of(session), utc_now())
    panel.choose("Stage", panel.options("Stage")[1])
    assert "put away" in panel.says
    panel.open(sent.gmail_id)
    assert "Sales, put away" in panel.text
    assert "Open in Tracker" in panel.buttons
    assert "Take it out" not in panel.buttons
    with transaction(house.sessions) as session:
        boxes.restore(session, house.viewer(), box_of(session))
        box_of(session).pipeline.archived_at = utc_now()
    panel.open(sent.gmail_id)
    assert "Sales, put away" in panel.text
    assert "Add task" not in panel.buttons
    panel.press("Another box…")
    assert "Outside deal" not in panel.text
    with transaction(house.sessions) as session:
        boxes.delete(session, house.viewer(), box_of(session), utc_now())
    panel.open(sent.gmail_id)
    assert "Outside deal" not in panel.text


def test_a_merged_box_leads_to_what_it_became(house: House) -> None:
    sent = filed(house)
    panel = house.panel().open(sent.gmail_id)
    with transaction(house.sessions) as session:
        kept = a_box(session, house.viewer(), "Kept", now=utc_now())
        merging.merge(session, house.viewer(), kept, box_of(session), now=utc_now())
    panel.choose("Stage", panel.options("Stage")[1])
    assert "Kept" in panel.text + panel.says


def test_a_box_that_one_may_not_see_is_not_there(house: House) -> None:
    """Bob has the mail too; the box that Alice put it into is hers."""
    sent = house.mail(to=f"{ALICE}, {BOB}", message_id="both@outside.example")
    bobs = house.mail(BOB, to=f"{ALICE}, {BOB}", message_id="both@outside.example")
    assert bobs.conversation_id == sent.conversation_id
    filed(house, "Secret plan", sent=sent)
    with transaction(house.sessions) as session:
        box = box_of(session, "Secret plan")
        key = box.key
        access.open_to(session, house.viewer(), box, access.PEOPLE)
    panel = house.panel(BOB).open(bobs.gmail_id)
    assert "Secret plan" not in panel.text
    assert "Put it into a box" in panel.text
    for name in ("box.move", "box.assign", "box.fields", "box.save_fields", "box.take_out", "tag.file"):
        panel.do(name, box=key)
        assert panel.says == "There is no such box any more; open the mail again"
    assert house.panel().open(sent.gmail_id).link("Secret plan")


def test_opening_a_thread_asks_no_more_with_more_of_everything(house: House, engine: Engine) -> None:
    sent = filed(house)
    panel = house.panel()
    panel.open(sent.gmail_id)
    with counted(engine) as few:
        panel.open(sent.gmail_id)
    for number in range(3):
        filed(house, f"Box {number}", into="Connections" if number else "Sales", sent=sent)
    with transaction(house.sessions) as session:
        viewer = house.viewer()
        for number in range(30):
            a_box(session, viewer, f"Elsewhere {number}", now=utc_now())
        sales = pipeline(session, viewer.team_id)
        for number in range(10):
            fields.add(session, viewer, sales.id, f"Field {number}", "number")
        for number in range(5):
            box = box_of(session)
            tasks.create(session, viewer, f"Task {number}", box=box, assignee_id=house.user(BOB).id, now=utc_now())
        for number in range(20):
            people.add_user(session, viewer.team_id, f"member{number}@team.example", name=f"Member {number}")
        for field in fields.of_pipeline(session, sales.id)[-10:]:
            boxes.set_value(session, viewer, box_of(session), field, "1")
    for number in range(3):
        house.mail(subject=f"Other thread {number}")
    with counted(engine) as many:
        panel.open(sent.gmail_id)
    assert "Box 2" in panel.text
    assert "Task 4" in panel.text
    assert len(many) == len(few), [one for one in many if one not in few]
    assert len(few) <= 45
