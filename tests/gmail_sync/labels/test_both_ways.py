"""Labels and boxes are one, whichever side somebody uses: against the sandbox, by a phone and by Tracker."""

from __future__ import annotations

from sqlalchemy import func, select

from gmail_sync import farewell
from gmail_sync.labels import colors
from gmail_sync.labels.tables import Label, LabelMailbox, Shadow, Touch
from tests.gmail_sync.labels.world import Phone
from tests.gmail_sync.syncing import ALICE, BOB, Team, mail
from tests.tracker.domain import NOW, pipeline
from tracker import access, boxes, leaving, people, pipelines
from tracker.boxes import Box
from tracker.filing import Filing
from tracker.mailboxes import Mailbox
from tracker.people import Role, User
from tracker.pipelines import Pipeline


def test_a_label_put_on_a_phone_makes_the_box_and_puts_the_thread_into_it(phone: Phone) -> None:
    thread, other = phone.thread(), phone.thread()
    phone.on()
    assert set(phone.labels()) == {"Boxes", "Boxes/Sales", "Boxes/Connections"}
    phone.label(thread, "Boxes/Sales/Acme")
    phone.sync()
    assert phone.in_boxes(thread) == {"Acme"}
    assert phone.in_boxes(other) == set()
    phone.label(other, "boxes/sales/acme")
    phone.sync()
    assert phone.in_boxes(other) == {"Acme"}
    assert phone.is_quiet()


def test_what_is_filed_in_tracker_carries_its_label(phone: Phone) -> None:
    thread = phone.thread(messages=3)
    phone.on()
    box = phone.a_box("Acme", thread)
    phone.sync()
    assert phone.of_thread(thread) == {"Boxes/Sales/Acme"}
    assert phone.labels()["Boxes/Sales/Acme"] is not None
    assert phone.is_quiet()
    phone.take_out(thread, box)
    phone.sync()
    assert phone.of_thread(thread) == set()
    assert phone.is_quiet()


def test_a_label_taken_off_takes_the_thread_out(phone: Phone) -> None:
    thread = phone.thread()
    phone.sync()
    phone.a_box("Acme", thread)
    phone.on()
    assert phone.of_thread(thread) == {"Boxes/Sales/Acme"}
    phone.unlabel(thread, "Boxes/Sales/Acme")
    phone.sync()
    assert phone.in_boxes(thread) == set()
    assert phone.is_quiet()


def test_the_pipelines_label_alone_makes_a_box_from_the_thread(phone: Phone) -> None:
    thread = phone.thread()
    phone.on()
    phone.label(thread, "Boxes/Sales")
    phone.sync()
    (name,) = phone.in_boxes(thread)
    assert name
    assert phone.of_thread(thread) == {f"Boxes/Sales/{name}"}
    assert phone.is_quiet()


def test_a_renamed_label_renames_the_box_and_the_other_way_round(phone: Phone) -> None:
    thread = phone.thread()
    phone.sync()
    box = phone.a_box("Acme", thread)
    phone.on()
    phone.rename("Boxes/Sales/Acme", "Boxes/Sales/Acme∕Inc")
    phone.forget_list()
    phone.sync()
    assert phone.in_boxes(thread) == {"Acme/Inc"}
    with phone.tracker() as (session, viewer):
        boxes.rename(session, viewer, session.get_one(Box, box), "A/B")
    phone.sync()
    assert phone.of_thread(thread) == {"Boxes/Sales/A∕B"}
    assert phone.is_quiet()


def test_a_label_moved_under_another_pipeline_takes_its_threads_along(phone: Phone) -> None:
    thread = phone.thread()
    phone.sync()
    phone.a_box("Acme", thread)
    phone.on()
    phone.rename("Boxes/Sales/Acme", "Boxes/Connections/Acme")
    phone.forget_list()
    phone.sync()
    with phone.team.sessions() as session:
        filed = select(Pipeline.name).join(Filing, Filing.pipeline_id == Pipeline.id)
        assert session.scalars(filed.where(Filing.state == "filed")).all() == ["Connections"]
    assert phone.of_thread(thread) == {"Boxes/Connections/Acme"}
    assert phone.is_quiet()


def test_a_pipeline_renamed_on_either_side(phone: Phone) -> None:
    thread = phone.thread()
    phone.sync()
    phone.a_box("Acme", thread)
    phone.on()
    phone.rename("Boxes/Sales", "Boxes/Deals")
    phone.forget_list()
    phone.sync()
    with phone.tracker() as (session, viewer):
        found = pipeline(session, viewer.team_id, "Deals")
        pipelines.change(session, viewer, found, name="Revenue")
    phone.sync()
    assert phone.of_thread(thread) == {"Boxes/Revenue/Acme"}
    assert "Boxes/Deals" not in phone.labels()
    assert phone.is_quiet()


def test_the_colour_is_the_stages(phone: Phone) -> None:
    thread = phone.thread()
    phone.sync()
    box = phone.a_box("Acme", thread)
    phone.on()
    with phone.tracker() as (session, viewer):
        made = session.get_one(Box, box)
        for one in pipelines.of_pipeline(session, made.pipeline_id)[-2:]:
            boxes.move(session, viewer, made, one, now=NOW)
        color = made.stage.color
    phone.sync()
    assert phone.labels()["Boxes/Sales/Acme"] == colors.nearest(color)
    assert phone.is_quiet()


def test_the_root_deleted_switches_labels_off_and_touches_no_box(phone: Phone) -> None:
    thread = phone.thread()
    phone.sync()
    phone.a_box("Acme", thread)
    phone.on()
    for path in ("Boxes/Sales/Acme", "Boxes/Sales", "Boxes/Connections", "Boxes"):
        phone.delete(path)
    phone.sync()
    assert phone.in_boxes(thread) == {"Acme"}
    assert phone.setting().mode == "off"
    assert phone.is_quiet()
    assert phone.labels() == {}


def test_two_reps_with_labels_hear_of_one_another(team: Team) -> None:
    alice, bob = Phone(team), Phone(team, BOB)
    raw = mail(subject="Both", to=f"{ALICE}, {BOB}", Message_ID="<both@x.test>")
    team.sandbox.deliver(raw, [ALICE, BOB])
    alice.on()
    bob.on()
    (hers,), (his,) = alice.box.threads(), bob.box.threads()
    alice.label(hers, "Boxes/Sales/Acme")
    alice.sync()
    bob.sync()
    assert bob.of_thread(his) == {"Boxes/Sales/Acme"}
    bob.unlabel(his, "Boxes/Sales/Acme")
    bob.sync()
    alice.sync()
    assert alice.of_thread(hers) == set()
    assert alice.is_quiet()
    assert bob.is_quiet()


def test_a_box_that_is_closed_to_the_rep_is_not_named(team: Team) -> None:
    alice, bob = Phone(team), Phone(team, BOB)
    raw = mail(subject="Both", to=f"{ALICE}, {BOB}", Message_ID="<both@x.test>")
    team.sandbox.deliver(raw, [ALICE, BOB])
    alice.sync()
    bob.on()
    (hers,), (his,) = alice.box.threads(), bob.box.threads()
    box = alice.a_box("Secret", hers)
    bob.sync()
    assert bob.of_thread(his) == {"Boxes/Sales/Secret"}
    with alice.tracker() as (session, viewer):
        access.open_to(session, viewer, session.get_one(Box, box), "people")
    bob.sync()
    assert "Boxes/Sales/Secret" not in bob.labels()
    assert bob.is_quiet()
    bob.label(his, "Boxes/Sales/Secret")  # of that name, but another: the rep can't know
    bob.sync()
    with team.sessions() as session:
        assert len(session.scalars(select(Box).where(Box.name == "Secret")).all()) == 2


def test_nothing_happens_while_labels_are_off(phone: Phone) -> None:
    thread = phone.thread()
    phone.sync()
    phone.label(thread, "Boxes/Sales/Acme")
    phone.sync()
    assert phone.in_boxes(thread) == set()
    assert phone.written() == 0
    assert "labels.list" not in phone.team.sandbox.stats.calls(phone.address)


def test_of_whoever_leaves_nothing_is_kept_and_their_labels_stay(phone: Phone) -> None:
    thread = phone.thread()
    phone.on()
    phone.a_box("Acme", thread)
    phone.sync()
    with phone.tracker() as (session, viewer):
        colleague = people.add_user(session, viewer.team_id, "chloe@team.example", role=Role.ADMIN)
        leaver = session.get_one(User, viewer.user_id)
        leaving.leave(session, people.viewer_of(colleague, "web"), leaver, leaving.Choice(), NOW)
        session.get_one(Mailbox, phone.mailbox.id).credentials = None  # nothing to revoke
    farewell.say(phone.team.services, phone.mailbox.id)
    with phone.team.sessions() as session:
        for table in (Label, Shadow, Touch, LabelMailbox):
            assert session.scalar(select(func.count()).select_from(table)) == 0
    assert phone.of_thread(thread) == {"Boxes/Sales/Acme"}
