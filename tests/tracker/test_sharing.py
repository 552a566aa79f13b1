"""Who may read which message: generous in a shared box, closed elsewhere."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.gmail_sync.syncing import ALICE, BOB, CHARLIE, Team, mail
from tests.tracker.domain import a_box, conversation_of
from tracker import conversations, filing, people, sharing
from tracker.db import transaction
from tracker.filing import Filing
from tracker.messages import Copy, Message
from tracker.people import Viewer


@pytest.fixture
def alice(team: Team) -> Viewer:
    """Alice, who holds two mails: one with an outsider, one between teammates."""
    mailbox = team.connect(ALICE)
    team.connect(BOB)
    box = team.sandbox.mailbox(ALICE)
    box.insert(mail(sender=CHARLIE, to=ALICE, Message_ID="<outside@x.example>"))
    box.insert(mail(sender=BOB, to=ALICE, subject="Between us", Message_ID="<internal@x.example>"))
    box.insert(mail(sender=CHARLIE, subject="Gone", Message_ID="<trash@x.example>"))
    team.sync(mailbox)
    box.trash(box.message_ids()[0])
    team.sync(mailbox)
    return viewer(team, ALICE)


def viewer(team: Team, address: str) -> Viewer:
    """A teammate at the web pages."""
    with team.sessions() as session:
        user = people.by_address(session, address)
        assert user is not None
        return people.viewer_of(user, "web")


def readable(session: Session, who: Viewer) -> set[str]:
    """The Message-IDs that somebody may read."""
    return set(session.scalars(select(Message.rfc822_message_id).where(sharing.may_read(who))))


def share(team: Team, who: Viewer, *names: str) -> None:
    """Put conversations into a box."""
    with transaction(team.sessions) as session:
        box = a_box(session, who, "Shared")
        for name in names:
            filing.file(session, who, conversation_of(session, name), box)


def test_ones_own_mail_is_seen_whole_but_for_trash(team: Team, alice: Viewer) -> None:
    with team.sessions() as session:
        assert readable(session, alice) == {"outside@x.example", "internal@x.example"}


def test_a_teammate_sees_nothing_of_it_unless_it_is_in_a_box(team: Team, alice: Viewer) -> None:
    with team.sessions() as session:
        assert readable(session, viewer(team, BOB)) == set()


def test_in_a_box_a_teammate_reads_mail_with_outsiders_and_nothing_internal(team: Team, alice: Viewer) -> None:
    share(team, alice, "outside@x.example", "internal@x.example", "trash@x.example")
    with team.sessions() as session:
        assert readable(session, viewer(team, BOB)) == {"outside@x.example"}


def test_what_is_taken_out_of_the_box_is_closed_again(team: Team, alice: Viewer) -> None:
    share(team, alice, "outside@x.example")
    with transaction(team.sessions) as session:
        decided = session.scalars(select(Filing)).one()
        assert decided.box is not None
        filing.remove(session, alice, conversation_of(session, "outside@x.example"), decided.box)
    with team.sessions() as session:
        assert readable(session, viewer(team, BOB)) == set()


def test_another_team_sees_nothing(team: Team, alice: Viewer) -> None:
    share(team, alice, "outside@x.example")
    with transaction(team.sessions) as session:
        from config import teams

        zoe = people.viewer_of(teams.found(session, "Others", "zoe@other.example", "Zoe"), "web")
        assert readable(session, zoe) == set()


def test_the_gate_asks_its_own_question_whatever_the_page_joins(team: Team, alice: Viewer) -> None:
    share(team, alice, "outside@x.example")
    bob = viewer(team, BOB)
    joined = (
        select(Message.rfc822_message_id)
        .join(Copy, Copy.message_id == Message.id)
        .outerjoin(Filing, Filing.conversation_id == Message.conversation_id)
        .where(sharing.may_read(bob))
    )
    with team.sessions() as session:
        assert set(session.scalars(joined)) == {"outside@x.example"}


def test_a_lure_under_a_known_message_id_opens_nothing(team: Team, alice: Viewer) -> None:
    """Bob is sent a mail that bears the Message-ID of Alice's: he reads his lure, not her mail."""
    team.sandbox.mailbox(BOB).insert(
        mail(sender=CHARLIE, to=BOB, text="A lure", Message_ID="<internal@x.example>")
    )
    with team.sessions() as session:
        from tracker import mailboxes

        theirs = mailboxes.by_address(session, BOB)
        assert theirs is not None
    team.sync(theirs)
    with team.sessions() as session:
        query = select(Message.text).where(sharing.may_read(viewer(team, BOB)))
        assert [text.strip() for text in session.scalars(query)] == ["A lure"]
        assert conversations.count_of(session, theirs.id) == 1
