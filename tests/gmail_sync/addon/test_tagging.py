"""Putting the open thread into a box: suggestions, the search, a new box; all posted as Gmail does."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.gmail_sync.addon.house import House
from tests.gmail_sync.addon.quick import house
from tests.gmail_sync.addon.test_box import box_of, filed
from tests.gmail_sync.syncing import ALICE, BOB
from tests.tracker.domain import a_box, pipeline, stage
from tracker import access, autobox, boxes, contacts, filing, pipelines
from tracker.boxes import Box
from tracker.contacts import Contact
from tracker.db import transaction, utc_now
from tracker.filing import Filing
from tracker.pipelines import NewConversation

__all__ = ["house"]

ANNA = "Anna Berg <anna@acme.test>"


def decisions(session: Session) -> list[tuple[str | None, str, str]]:
    """Box, state and who decided, of every filing."""
    query = select(Filing).order_by(Filing.id)
    return [(one.box.name if one.box else None, one.state, one.origin) for one in session.scalars(query)]


def test_a_new_box_is_proposed_with_its_name_and_made_where_it_was_chosen(house: House) -> None:
    sent = house.mail(sender=ANNA, subject="Your offer")
    panel = house.panel().open(sent.gmail_id)
    assert "Put it into a box" in panel.text
    panel.press("New box…")
    assert panel.input("Name")["value"] == "Acme – Anna Berg"
    with house.sessions() as session:  # to look is to make nothing
        assert session.scalars(select(Contact)).all() == []
        sales = pipeline(session, house.viewer().team_id)
        names = [one.name for one in pipelines.of_pipeline(session, sales.id)]
    panel.choose("Pipeline", "Sales")
    assert panel.options("Stage") == names
    assert panel.input("Name")["value"] == "Acme – Anna Berg"
    third = next(one["value"] for one in panel.choice("Stage")["items"] if one["text"] == names[2])
    panel.press("Make it", {"new-stage": [third], "new-name": ["Acme, Berlin"]})
    assert panel.says == "Acme, Berlin is new in Sales"
    assert panel.chosen("Stage") == [names[2]]
    assert "because the box was made from it" in panel.text
    with house.sessions() as session:
        box = box_of(session, "Acme, Berlin")
        assert (box.pipeline.name, box.stage.name, box.owner_id) == ("Sales", names[2], house.user().id)
        assert [one.name for one in box.contacts] == ["Anna Berg"]
        assert decisions(session) == [("Acme, Berlin", "filed", "person")]


def test_pressed_twice_it_is_made_once_and_a_name_that_is_empty_is_the_proposed_one(house: House) -> None:
    sent = house.mail(sender=ANNA)
    panel = house.panel().open(sent.gmail_id).press("New box…")
    made = panel.action("tag.create")
    form = panel.form()
    panel.act(made, form)
    panel.act(made, form)
    assert "It is in" in panel.says
    other = house.mail(sender="carl@other.test", subject="Else")
    panel.open(other.gmail_id).press("New box…").press("Make it", {"new-name": [""]})
    with house.sessions() as session:
        assert {one.name for one in session.scalars(select(Box))} == {"Acme – Anna Berg", "Other – Carl"}


def test_boxes_are_found_by_a_part_of_their_name_and_the_thread_put_there(house: House) -> None:
    sent = house.mail(sender=ANNA)
    with transaction(house.sessions) as session:
        for number in range(11):
            a_box(session, house.viewer(), f"Northern line {number}", now=utc_now())
        hers = a_box(session, house.viewer(), "Northern secret", now=utc_now())
        access.open_to(session, house.viewer(), hers, access.PEOPLE)
        gone = a_box(session, house.viewer(), "Northern gone", now=utc_now())
        boxes.delete(session, house.viewer(), gone, utc_now())
    panel = house.panel().open(sent.gmail_id)
    panel.press("Find", {"tag-find": ["northern"]})
    found = [line for line in panel.text.split("\n") if line.startswith("Northern")]
    assert len(found) == 10
    assert "There may be more" in panel.text
    assert panel.input("Find a box")["value"] == "northern"
    panel.press("Find", {"tag-find": ["northern line 9"]})
    assert len(panel.cards) == 2  # the search stands in its own place
    panel.press("Put it here")
    assert panel.says == "Filed in Northern line 9"
    assert len(panel.cards) == 1
    panel.press("Another box…")
    assert "It is in this box already" in panel.text
    panel.press("Find", {"tag-find": ["nobody is called so"]})
    assert "No box is called so" in panel.text
    panel.press("New box…")
    assert panel.input("Name")["value"] == "nobody is called so"
    for odd in ("%", "a:b -c \"d'; --\x00" + "n" * 5000):
        panel.do("tag.find", {"tag-find": [odd]})
        assert panel.status == 200
    bobs = house.mail(BOB, sender=ANNA, subject="For Bob")
    panel = house.panel(BOB).open(bobs.gmail_id)
    for typed in ("northern secret", "northern gone", ""):
        panel.do("tag.find", {"tag-find": [typed]})
        assert "Northern secret" not in panel.text
        assert "Northern gone" not in panel.text


def test_a_suggestion_is_told_with_its_reason_accepted_or_declined(house: House) -> None:
    sent = house.mail(sender=ANNA)
    with transaction(house.sessions) as session:
        viewer = house.viewer()
        for name in ("First", "Second"):  # two boxes speak for her: the rules only suggest
            box = a_box(session, viewer, name, "anna@acme.test", now=utc_now())
            autobox.consider_box(session, box, utc_now())
        session.execute(Filing.__table__.delete())
        for name in ("First", "Second"):
            decision = filing.Decision(
                sent.conversation_id, box_of(session, name).id, box.pipeline_id, "suggested", "contact",
                "because anna@acme.test is a contact of this box",
            )  # fmt: skip
            filing.decide_by_rule(session, viewer.team_id, [decision], viewer)
    panel = house.panel().open(sent.gmail_id)
    assert "Because anna@acme.test is a contact of this box" in panel.text
    panel.press("No")
    assert panel.says == "Declined; it is not suggested again"
    assert "First" not in panel.text
    late = panel.action("tag.accept")
    panel.press("Put it there")
    assert panel.says == "Filed in Second"
    assert "agreed with the suggestion" in panel.text
    panel.act(late)
    assert "no longer a suggestion" in panel.says
    with house.sessions() as session:
        assert decisions(session) == [("First", "dismissed", "person"), ("Second", "filed", "person")]


def test_the_offer_of_a_new_box_leads_to_its_form(house: House) -> None:
    with transaction(house.sessions) as session:
        connections = pipeline(session, house.viewer().team_id, "Connections")
        connections.new_conversation = NewConversation.SUGGEST.value
        for one in pipelines.of_team(session, house.viewer().team_id):
            if one is not connections:
                one.new_conversation = NewConversation.OFF.value
    sent = house.mail(sender=ALICE, to="Anna Berg <anna@acme.test>", subject="Hello Anna")
    panel = house.panel().open(sent.gmail_id)
    assert "A new box in Connections" in panel.text
    panel.press("Make it…")
    assert panel.chosen("Pipeline") == ["Connections"]
    panel.press("Make it")
    with house.sessions() as session:
        assert decisions(session) == [("Acme – Anna", "filed", "person")]
        assert "A new box in" not in panel.text


def test_a_pipeline_of_which_one_sees_single_boxes_takes_no_new_ones(house: House) -> None:
    sent = house.mail(BOB, sender=ANNA)
    with transaction(house.sessions) as session:
        viewer = house.viewer()
        sales = pipeline(session, viewer.team_id)
        access.open_to(session, viewer, sales, access.PEOPLE)
        key, first = sales.key, stage(session, sales, pipelines.of_pipeline(session, sales.id)[0].name).key
    panel = house.panel(BOB).open(sent.gmail_id).press("New box…")
    assert "Sales" not in panel.options("Pipeline")
    panel.press("Make it", {"new-pipeline": [key], "new-stage": [first], "new-name": ["Mine"]})
    assert panel.says == "Choose the pipeline for the new box"
    with house.sessions() as session:
        assert session.scalars(select(Box)).all() == []
        assert contacts.by_address(session, house.viewer().team_id, "anna@acme.test") is None


def test_what_one_took_out_oneself_is_offered_and_what_a_teammate_took_out_is_not(house: House) -> None:
    sent = filed(house)
    with transaction(house.sessions) as session:
        conversation = house.conversation(session, sent)
        filing.remove(session, house.viewer(BOB), conversation, box_of(session))
    panel = house.panel().open(sent.gmail_id)
    assert "You took it out of" not in panel.text
