"""An answer in the tracked mail's conversation is the surest sign of a read."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from tests.tracker.domain import NOW
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import BOB
from tests.webhooks.reading import ANNA, SENT, TOM, a_hit
from tests.webhooks.reads.sent_mail import a_sent_mail, an_answer
from tracker.messages import Message
from webhooks import reads
from webhooks.answers import Round

LATER = SENT + timedelta(hours=5)


@pytest.mark.parametrize(
    ("sender", "by"),
    [
        (ANNA, "recipient"),
        (TOM, "colleague"),
        ("anna@elsewhere.test", ""),
        (BOB, ""),
    ],
)
def test_an_answer_of_a_recipient_or_a_colleague_is_certain(
    write: Session, team: Team, sender: str, by: str
) -> None:
    mail, _ = a_sent_mail(write, team)
    an_answer(write, team, sender, LATER)
    found = Round().step(write, NOW)
    assert (found, mail.answered_by) == (int(bool(by)), by)
    assert (mail.confidence, mail.answered_at) == (("certain", LATER) if by else ("none", None))


def test_people_of_a_mail_service_are_no_colleagues(write: Session, team: Team) -> None:
    a_sent_mail(write, team, "anna@gmail.com")
    an_answer(write, team, "somebody@gmail.com", LATER)
    assert Round().step(write, NOW) == 0


def test_neither_mail_before_it_nor_an_automatic_one_is_an_answer(write: Session, team: Team) -> None:
    a_sent_mail(write, team)
    an_answer(write, team, ANNA, SENT - timedelta(hours=1))
    assert Round().step(write, NOW) == 0
    an_answer(write, team, ANNA, LATER)
    write.execute(
        update(Message).where(Message.sent_at == LATER).values(automatic="an auto-reply", auto_reply=True)
    )
    assert Round().step(write, NOW) == 0


def test_an_answer_is_noted_once_and_outlives_what_is_judged_later(write: Session, team: Team) -> None:
    mail, _ = a_sent_mail(write, team)
    an_answer(write, team, ANNA, LATER)
    assert [Round().step(write, NOW), Round().step(write, NOW)] == [1, 0]
    a_hit(write, mail, rules=0, verdict=None, agent="curl/8.4.0")
    reads.judge_some(write, NOW)
    write.refresh(mail)
    assert (mail.confidence, mail.why, mail.hits) == ("certain", "it was answered", 1)


def test_an_answer_that_was_there_before_the_mail_had_its_conversation_is_found(
    write: Session, team: Team
) -> None:
    round_ = Round()
    mail, conversation = a_sent_mail(write, team)
    mail.conversation_id = None
    an_answer(write, team, ANNA, LATER)
    write.commit()
    assert round_.step(write, NOW) == 0
    mail.conversation_id = conversation.id
    write.commit()
    assert round_.step(write, NOW) == 1


def test_the_log_tells_where_to_look_however_many_mails_wait(
    write: Session, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webhooks.answers.SWEPT", 1)
    mail, _ = a_sent_mail(write, team)
    for number in range(3):
        a_sent_mail(write, team, subject=f"Another {number}")
    write.commit()
    round_ = Round()
    round_.step(write, NOW)
    an_answer(write, team, ANNA, LATER)
    write.commit()
    assert round_.step(write, NOW) == 1
    assert write.scalar(select(Message.id).where(Message.sent_at == LATER)) is not None
    assert mail.answered_at == LATER
