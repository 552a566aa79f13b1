"""Which box a thread is in, and why: rules through the mail that they judge, people through their own word."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.utils import parsedate_to_datetime

import pytest
from sqlalchemy import select

from tests.gmail_sync.syncing import ALICE, BOB, CHARLIE, Team, mail
from tests.tracker.domain import a_box, a_contact, conversation_of, pipeline, stage
from tracker import autobox, boxes, filing, people, pipelines
from tracker.boxes import Box
from tracker.conversations import Conversation
from tracker.db import transaction
from tracker.events import Event
from tracker.filing import Filing, FilingError
from tracker.mailboxes import Mailbox
from tracker.people import Viewer, system_viewer

EARLIER = datetime(2026, 11, 1, 9, tzinfo=UTC)  # before the mail below was sent
LATER = "Mon, 16 Nov 2026 10:00:00 +0100"


@pytest.fixture
def mailbox(team: Team) -> Mailbox:
    """Alice's mailbox, connected and empty."""
    connected = team.connect(ALICE)
    team.sync(connected)
    return connected


@pytest.fixture
def viewer(mailbox: Mailbox) -> Viewer:
    """Work in the name of the system."""
    return system_viewer(mailbox.team_id, "test")


def make_box(team: Team, viewer: Viewer, name: str, *addresses: str, into: str = "Sales", at: str = "") -> str:
    """A box, committed; its key."""
    with transaction(team.sessions) as session:
        return a_box(session, viewer, name, *addresses, into=into, at=at or None, now=EARLIER).key


def receive(team: Team, mailbox: Mailbox, raw: bytes, *, sent: bool = False) -> None:
    """A mail comes in (or was sent by Alice), and is synced."""
    label_ids = ("SENT",) if sent else ("INBOX", "UNREAD")
    date = parsedate_to_datetime(message_from_bytes(raw)["Date"])
    team.sandbox.mailbox(ALICE).insert(raw, label_ids=label_ids, internal_date=date)
    team.sync(mailbox)


def decisions(team: Team) -> list[tuple[str, str, str]]:
    """Box (or pipeline), state and reason of each decision."""
    with team.sessions() as session:
        rows = session.scalars(select(Filing).order_by(Filing.id)).all()
        return [
            (row.box.name if row.box else f"new in {row.pipeline.name}", row.state, row.reason) for row in rows
        ]


def stage_of(team: Team, key: str) -> str:
    """The stage that a box stands in."""
    with team.sessions() as session:
        return session.scalars(select(Box).where(Box.key == key)).one().stage.name


def test_a_thread_with_a_boxs_contact_joins_that_box_and_says_why(
    team: Team, mailbox: Mailbox, viewer: Viewer
) -> None:
    make_box(team, viewer, "Acme", "anna@acme.example")
    receive(team, mailbox, mail(sender="Anna <Anna@Acme.example>"))
    assert decisions(team) == [("Acme", "filed", "because Anna@Acme.example is a contact of this box")]


def test_one_decision_a_pipeline(team: Team, mailbox: Mailbox, viewer: Viewer) -> None:
    make_box(team, viewer, "Deal", "anna@acme.example")
    make_box(team, viewer, "Anna", "anna@acme.example", into="Connections")
    receive(team, mailbox, mail(sender="anna@acme.example"))
    assert sorted(row[:2] for row in decisions(team)) == [("Anna", "filed"), ("Deal", "filed")]


def test_where_several_boxes_match_it_is_a_suggestion(team: Team, mailbox: Mailbox, viewer: Viewer) -> None:
    make_box(team, viewer, "First deal", "anna@acme.example")
    make_box(team, viewer, "Second deal", "anna@acme.example")
    receive(team, mailbox, mail(sender="anna@acme.example"))
    assert [row[:2] for row in decisions(team)] == [("First deal", "suggested"), ("Second deal", "suggested")]


def test_a_closed_box_does_not_match(team: Team, mailbox: Mailbox, viewer: Viewer) -> None:
    make_box(team, viewer, "Over", "anna@acme.example", at="Won")
    make_box(team, viewer, "Going", "anna@acme.example")
    receive(team, mailbox, mail(sender="anna@acme.example"))
    assert [row[:2] for row in decisions(team)] == [("Going", "filed")]


def test_an_organizations_domain_matches_only_if_the_box_says_so(
    team: Team, mailbox: Mailbox, viewer: Viewer
) -> None:
    key = make_box(team, viewer, "Acme", "anna@acme.example")
    receive(team, mailbox, mail(sender="otto@acme.example", Message_ID="<1@acme.example>"))
    assert decisions(team) == []
    with transaction(team.sessions) as session:
        box = session.scalars(select(Box).where(Box.key == key)).one()
        boxes.set_autobox_domain(session, viewer, box, True)
    receive(team, mailbox, mail(sender="otto@acme.example", subject="Again", Message_ID="<2@acme.example>"))
    (decided,) = decisions(team)
    assert decided[:2] == ("Acme", "filed")
    assert "acme.example" in decided[2]


def test_a_free_mail_provider_is_no_organization(team: Team, mailbox: Mailbox, viewer: Viewer) -> None:
    key = make_box(team, viewer, "Private", "anna@gmail.com")
    with transaction(team.sessions) as session:
        box = session.scalars(select(Box).where(Box.key == key)).one()
        boxes.set_autobox_domain(session, viewer, box, True)
    receive(team, mailbox, mail(sender="somebody.else@gmail.com"))
    assert decisions(team) == []


@pytest.mark.parametrize(
    "headers",
    [{"List_Id": "<news.acme.example>"}, {"Auto_Submitted": "auto-generated"}, {"Precedence": "bulk"}],
)
def test_automatic_mail_never_matches(
    team: Team, mailbox: Mailbox, viewer: Viewer, headers: dict[str, str]
) -> None:
    make_box(team, viewer, "Acme", "anna@acme.example")
    receive(team, mailbox, mail(sender="anna@acme.example", **headers))
    assert decisions(team) == []


def test_the_teams_own_addresses_never_match(team: Team, mailbox: Mailbox, viewer: Viewer) -> None:
    make_box(team, viewer, "Ourselves", BOB)
    team.connect(BOB)
    receive(team, mailbox, mail(sender=BOB, to=ALICE))
    assert decisions(team) == []


def test_a_removed_thread_is_not_filed_there_again_by_a_rule(team: Team, mailbox: Mailbox, viewer: Viewer) -> None:
    make_box(team, viewer, "Acme", "anna@acme.example")
    receive(team, mailbox, mail(sender="anna@acme.example", Message_ID="<1@acme.example>"))
    with transaction(team.sessions) as session:
        box = session.scalars(select(Box)).one()
        filing.remove(session, viewer, session.scalars(select(Conversation)).one(), box)
    receive(
        team, mailbox,
        mail(sender="anna@acme.example", subject="Re: Hello", References="<1@acme.example>", text="Again"),
    )  # fmt: skip
    assert [row[:2] for row in decisions(team)] == [("Acme", "removed")]


def test_a_person_may_put_back_what_was_removed(team: Team, mailbox: Mailbox, viewer: Viewer) -> None:
    make_box(team, viewer, "Acme", "anna@acme.example")
    receive(team, mailbox, mail(sender="anna@acme.example"))
    with transaction(team.sessions) as session:
        box, conversation = session.scalars(select(Box)).one(), session.scalars(select(Conversation)).one()
        filing.remove(session, viewer, conversation, box)
        filing.file(session, viewer, conversation, box)
    assert [row[:2] for row in decisions(team)] == [("Acme", "filed")]


def test_tagging_by_hand_withdraws_the_suggestions(team: Team, mailbox: Mailbox, viewer: Viewer) -> None:
    make_box(team, viewer, "First deal", "anna@acme.example")
    make_box(team, viewer, "Second deal", "anna@acme.example")
    receive(team, mailbox, mail(sender="anna@acme.example"))
    with transaction(team.sessions) as session:
        second = session.scalars(select(Box).where(Box.name == "Second deal")).one()
        filing.file(session, viewer, session.scalars(select(Conversation)).one(), second)
    assert [row[:2] for row in decisions(team)] == [("Second deal", "filed")]


def test_a_declined_suggestion_stays_declined(team: Team, mailbox: Mailbox, viewer: Viewer) -> None:
    make_box(team, viewer, "First deal", "anna@acme.example")
    make_box(team, viewer, "Second deal", "anna@acme.example")
    receive(team, mailbox, mail(sender="anna@acme.example", Message_ID="<1@acme.example>"))
    with transaction(team.sessions) as session:
        for suggestion in session.scalars(select(Filing)).all():
            filing.dismiss(session, viewer, suggestion)
    with transaction(team.sessions) as session, pytest.raises(FilingError):
        filing.dismiss(session, viewer, session.scalars(select(Filing).limit(1)).one())
    raw = mail(sender="anna@acme.example", subject="Re: Hello", References="<1@acme.example>", text="Again")
    receive(team, mailbox, raw)
    assert {row[1] for row in decisions(team)} == {"dismissed"}


def test_an_answer_moves_a_connection_and_says_why(team: Team, mailbox: Mailbox, viewer: Viewer) -> None:
    key = make_box(team, viewer, "Anna", "anna@acme.example", into="Connections", at="Contacted")
    receive(team, mailbox, mail(sender="anna@acme.example"))
    assert stage_of(team, key) == "Connected"
    with team.sessions() as session:
        moved = session.scalars(select(Event).where(Event.kind == "box.moved")).one()
        assert (moved.actor, moved.data["why"]) == ("rule", "because anna@acme.example answered")


def test_an_out_of_office_reply_moves_nothing(team: Team, mailbox: Mailbox, viewer: Viewer) -> None:
    key = make_box(team, viewer, "Anna", "anna@acme.example", into="Connections", at="Contacted")
    receive(team, mailbox, mail(sender="anna@acme.example", Auto_Submitted="auto-replied"))
    assert stage_of(team, key) == "Contacted"


def test_mail_never_moves_a_box_back(team: Team, mailbox: Mailbox, viewer: Viewer) -> None:
    key = make_box(team, viewer, "Anna", "anna@acme.example", into="Connections", at="Contact back")
    receive(team, mailbox, mail(sender="anna@acme.example", Message_ID="<1@acme.example>"))
    raw = mail(
        sender=ALICE, to="anna@acme.example", subject="Re: Hello", References="<1@acme.example>", date=LATER
    )
    receive(team, mailbox, raw, sent=True)
    assert stage_of(team, key) == "Contact back"


def test_mail_from_before_a_person_moved_the_box_says_nothing_new(
    team: Team, mailbox: Mailbox, viewer: Viewer
) -> None:
    key = make_box(team, viewer, "Anna", "anna@acme.example", into="Connections", at="Connected")
    with transaction(team.sessions) as session:
        box = session.scalars(select(Box).where(Box.key == key)).one()
        back = stage(session, box.pipeline, "Contacted")
        boxes.move(session, viewer, box, back, now=datetime(2026, 11, 10, tzinfo=UTC))
    receive(team, mailbox, mail(sender="anna@acme.example"))  # of 3 November
    assert stage_of(team, key) == "Contacted"
    receive(team, mailbox, mail(sender="anna@acme.example", subject="New", date=LATER))
    assert stage_of(team, key) == "Connected"


def test_a_pipeline_that_does_not_move_itself_stays_as_it_is(team: Team, mailbox: Mailbox, viewer: Viewer) -> None:
    key = make_box(team, viewer, "Anna", "anna@acme.example", into="Connections", at="Contacted")
    with transaction(team.sessions) as session:
        found = pipeline(session, viewer.team_id, "Connections")
        pipelines.change(session, viewer, found, moves_itself=False)
    receive(team, mailbox, mail(sender="anna@acme.example"))
    assert stage_of(team, key) == "Contacted"


@pytest.mark.parametrize("choice", ["off", "suggest", "create"])
def test_a_new_conversation_with_an_unknown_person_offers_a_box(
    team: Team, mailbox: Mailbox, viewer: Viewer, choice: str
) -> None:
    with transaction(team.sessions) as session:
        found = pipeline(session, viewer.team_id, "Connections")
        pipelines.change(session, viewer, found, new_conversation=choice)
    now = (datetime.now(UTC) + timedelta(minutes=5)).strftime("%a, %d %b %Y %H:%M:%S +0000")
    receive(team, mailbox, mail(sender=ALICE, to="Anna Ash <anna@acme.example>", date=now), sent=True)
    reason = f"because {ALICE} wrote first to anna@acme.example, who is in no box yet"
    expected = {
        "off": [],
        "suggest": [("new in Connections", "suggested", reason)],
        "create": [("Anna Ash", "filed", reason)],
    }
    assert decisions(team) == expected[choice]


def test_mail_from_before_the_mailbox_was_connected_makes_no_boxes(
    team: Team, mailbox: Mailbox, viewer: Viewer
) -> None:
    with transaction(team.sessions) as session:
        found = pipeline(session, viewer.team_id, "Connections")
        pipelines.change(session, viewer, found, new_conversation="create")
    receive(team, mailbox, mail(sender=ALICE, to="anna@acme.example"), sent=True)
    assert [row[1] for row in decisions(team)] == ["suggested"]


def test_somebody_who_wrote_to_us_first_offers_no_box(team: Team, mailbox: Mailbox) -> None:
    receive(team, mailbox, mail(sender=CHARLIE))
    assert decisions(team) == []


def test_a_box_from_a_thread_is_filled_from_the_mail(team: Team, mailbox: Mailbox) -> None:
    text = "Hello Alice,\n\nyes, let us talk.\n\n--\nAnna Ash\nAcme GmbH\nTel. +49 30 23125 123\n"
    raw = mail(sender="Anna Ash <anna@acme.example>", to=f"{ALICE}, otto@acme.example", text=text)
    receive(team, mailbox, raw)
    with transaction(team.sessions) as session:
        user = people.by_address(session, ALICE)
        assert user is not None
        viewer = people.viewer_of(user, "web")
        conversation = session.scalars(select(Conversation)).one()
        made = autobox.new_box(
            session, viewer, pipeline(session, user.team_id, "Connections"), conversation, now=EARLIER
        )
        key = made.key
    with team.sessions() as session:
        box = session.scalars(select(Box).where(Box.key == key)).one()
        assert box.name == "Acme – Anna Ash"
        assert box.owner_id == user.id
        assert sorted(contact.addresses[0].normalized for contact in box.contacts) == [
            "anna@acme.example",
            "otto@acme.example",
        ]
        anna = next(contact for contact in box.contacts if contact.name == "Anna Ash")
        assert anna.phone == "+493023125123"
        assert anna.organization is not None
        assert anna.organization.name == "Acme"
    assert stage_of(team, key) == "Connected"
    assert decisions(team) == [("Acme – Anna Ash", "filed", "because the box was made from it")]


def test_older_threads_with_its_contact_join_a_new_box(team: Team, mailbox: Mailbox, viewer: Viewer) -> None:
    receive(team, mailbox, mail(sender="anna@acme.example", subject="One", Message_ID="<1@acme.example>"))
    receive(team, mailbox, mail(sender="anna@acme.example", subject="Two", Message_ID="<2@acme.example>"))
    with transaction(team.sessions) as session:
        first = conversation_of(session, "1@acme.example")
        autobox.new_box(session, viewer, pipeline(session, viewer.team_id), first, now=EARLIER)
    assert [row[1] for row in decisions(team)] == ["filed", "filed"]


def test_a_box_of_another_team_cannot_be_filed_into(team: Team, mailbox: Mailbox, viewer: Viewer) -> None:
    receive(team, mailbox, mail())
    with transaction(team.sessions) as session:
        from config import teams

        other = teams.found(session, "Others", "zoe@other.example", "Zoe")
        theirs = a_box(session, system_viewer(other.team_id, "test"), "Theirs")
        with pytest.raises(FilingError):
            filing.file(session, viewer, session.scalars(select(Conversation)).one(), theirs)


def test_a_rule_that_meets_a_persons_move_gives_way(team: Team, mailbox: Mailbox, viewer: Viewer) -> None:
    """The rule read the box just before a person moved it: the conditional UPDATE touches no row."""
    make_box(team, viewer, "Anna", "anna@acme.example", into="Connections", at="Contacted")
    receive(team, mailbox, mail(sender="anna@acme.example", Auto_Submitted="auto-replied"))
    with team.sessions() as stale, stale.begin():
        box = stale.scalars(select(Box)).one()
        target = stage(stale, box.pipeline, "Connected")
        with transaction(team.sessions) as session:
            theirs = session.scalars(select(Box)).one()
            back = stage(session, theirs.pipeline, "Contact back")
            boxes.move(session, viewer, theirs, back, now=EARLIER)
        with pytest.raises(boxes.BoxConflict):
            boxes.move(stale, viewer, box, target, now=EARLIER)
    with transaction(team.sessions) as session:
        assert a_contact(session, viewer, "anna@acme.example").name


def test_contact_added_to_a_box_brings_in_their_threads(team: Team, mailbox: Mailbox, viewer: Viewer) -> None:
    receive(team, mailbox, mail(sender="anna@acme.example"))
    key = make_box(team, viewer, "Acme")
    with transaction(team.sessions) as session:
        box = session.scalars(select(Box).where(Box.key == key)).one()
        boxes.add_contact(session, viewer, box, a_contact(session, viewer, "anna@acme.example"))
        autobox.consider_box(session, box, EARLIER)
    assert [row[:2] for row in decisions(team)] == [("Acme", "filed")]
