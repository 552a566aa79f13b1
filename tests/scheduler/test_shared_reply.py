"""A teammate who was never CC'd answers out of their own mailbox, and everybody's next mails stay together."""

from __future__ import annotations

from email.message import EmailMessage

import pytest
from sqlalchemy import select

from scheduler import looking
from scheduler.outbox import About
from tests.gmail_sync.syncing import ALICE, BOB
from tests.scheduler.sending import Office
from tracker import conversations
from tracker.conversations import Conversation, Thread
from tracker.db import transaction
from tracker.mailboxes import Mailbox
from tracker.messages import Copy, Message

DORA = "dora@outside.example"
FIRST = "question@outside.example"


def from_dora(office: Office, to: str, message_id: str, text: str, **headers: str) -> None:
    """Dora writes to one of us alone."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = DORA, to, headers.pop("subject", "Re: Offer")
    message["Message-ID"], message["Date"] = f"<{message_id}>", "Tue, 24 Nov 2026 08:00:00 +0000"
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content(text)
    office.sandbox.deliver(message.as_bytes(), [to])


def grouped(office: Office) -> list[set[str]]:
    """The Message-IDs of each conversation."""
    with office.team.sessions() as session:
        found: dict[int, set[str]] = {}
        for id_, name in session.execute(
            select(Message.conversation_id, Message.subject + ": " + Message.snippet)
        ):
            found.setdefault(id_, set()).add(name)
        assert set(found) == set(session.scalars(select(Conversation.id)))
        return list(found.values())


@pytest.fixture
def bobs(office: Office) -> Mailbox:
    """Bob's mailbox."""
    return office.team.connect(BOB)


def answered(office: Office, alices: Mailbox, bobs: Mailbox) -> str:
    """Dora wrote to Alice alone, and Bob answered Dora; the Gmail thread that his answer began."""
    from_dora(office, ALICE, FIRST, "How much are forty seats?", subject="Offer")
    office.team.sync(alices)
    with office.team.sessions() as session:
        about = About(conversation=session.scalars(select(Conversation)).one())
    email = office.prepared(
        bobs, to=DORA, subject="Re: Offer", text="Forty cost nine hundred.", about=about,
        in_reply_to=FIRST, references=(FIRST,),
    )  # fmt: skip
    office.clock.advance(hours=1)
    office.dispatch()
    assert office.state(email) == "sent"
    office.team.sync(bobs)
    with transaction(office.team.sessions) as session:
        looking.arrive(session)
    thread = office.read(email).sent_thread_id
    assert thread is not None
    return thread


def test_an_answer_joins_the_conversation_that_it_answers(office: Office, alices: Mailbox, bobs: Mailbox) -> None:
    answered(office, alices, bobs)
    (together,) = grouped(office)
    assert len(together) == 2


def test_what_comes_after_joins_without_cc(office: Office, alices: Mailbox, bobs: Mailbox) -> None:
    answered(office, alices, bobs)
    with office.team.sessions() as session:
        sent = session.scalars(select(Message.rfc822_message_id).where(Message.sender_normalized == BOB)).one()
    from_dora(office, BOB, "next@outside.example", "Agreed.", In_Reply_To=f"<{sent}>", References=f"<{sent}>")
    office.team.sync(bobs)
    from_dora(office, ALICE, "also@outside.example", "And thanks.", References=f"<{FIRST}>", subject="Re: Offer")
    office.team.sync(alices)
    (together,) = grouped(office)
    assert len(together) == 4


def test_it_stays_joined_when_another_mail_is_deleted_and_not_when_the_answered_one_is(
    office: Office, alices: Mailbox, bobs: Mailbox
) -> None:
    answered(office, alices, bobs)
    from_dora(office, ALICE, "also@outside.example", "And thanks.", References=f"<{FIRST}>", subject="Re: Offer")
    office.team.sync(alices)
    with transaction(office.team.sessions) as session:
        ids = dict(
            session.execute(
                select(Message.rfc822_message_id, Copy.gmail_id).join(Copy, Copy.message_id == Message.id)
            ).all()
        )
    with transaction(office.team.sessions) as session:
        conversations.drop_copies(session, alices.id, [ids["also@outside.example"]])
    assert len(grouped(office)) == 1
    with transaction(office.team.sessions) as session:
        conversations.drop_copies(session, alices.id, [ids[FIRST]])
    assert len(grouped(office)) == 1  # Bob's alone is left
    with office.team.sessions() as session:
        assert session.scalars(select(Thread.answers_id)).all() == [None]


def test_a_strangers_references_join_nothing(office: Office, alices: Mailbox, bobs: Mailbox) -> None:
    from_dora(office, ALICE, FIRST, "How much are forty seats?", subject="Offer")
    from_dora(
        office, BOB, "forged@outside.example", "Let me in.", References=f"<{FIRST}>", In_Reply_To=f"<{FIRST}>"
    )
    office.team.sync(alices)
    office.team.sync(bobs)
    with transaction(office.team.sessions) as session:
        looking.arrive(session)
    assert len(grouped(office)) == 2
