"""Who is told of what: each thing once, to those whom it concerns, who wish it and who may read it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update
from sqlalchemy.orm import Session

from tests.tracker.domain import NOW, a_box, conversation_of, pipeline, stage
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import BOB, CHARLIE, a_mail
from tests.webhooks.bells.ringing import Ringing, tracked_mail
from tracker import activities, boxes, conversations, events, filing, mailboxes, people
from tracker.boxes import Box
from tracker.db import transaction
from tracker.mailboxes import Mailbox
from tracker.people import User
from webhooks.bells import notices, telling, wishes, words
from webhooks.bells.kinds import Channel, Kind, defaults
from webhooks.bells.notices import Notification
from webhooks.bells.wishes import Digest


@pytest.fixture
def deal(write: Session, team: Team) -> Box:
    """Alice's box."""
    made = a_box(write, team.viewer, "Acme deal", CHARLIE)
    write.commit()
    return made


def bobs(team: Team) -> people.Viewer:
    return people.viewer_of(team.bob, "test")


def sentences(ringing: Ringing, user: User) -> list[str]:
    """What a person's notifications say."""
    told = ringing.told(user)
    with transaction(ringing.sessions) as session:
        return [one.title for one in words.say(session, told, {user.id: session.get_one(User, user.id)})]


def wish(write: Session, user: User, now: Any = NOW, **changed: Any) -> None:
    kept: dict[str, Any] = {
        "channels": {kind: defaults(kind) for kind in Kind}, "quiet_pipelines": [], "quiet": None,
        "digest": Digest.NONE, "newest": 0, "now": now,
    }  # fmt: skip
    wishes.change(write, write.merge(user), **(kept | changed))
    write.commit()


# -- whom each thing concerns


def test_a_teammate_who_moves_or_gives_a_box_is_told_to_its_owner(
    write: Session, team: Team, ringing: Ringing, deal: Box
) -> None:
    boxes.move(write, bobs(team), deal, stage(write, deal.pipeline, "Qualified"), now=NOW)
    boxes.assign(write, bobs(team), deal, write.merge(team.alice))
    write.commit()
    ringing.work()
    first = deal.pipeline and next(iter(sorted(sentences(ringing, team.alice))))
    assert first == "Bob Baker gave you Acme deal"
    assert sentences(ringing, team.alice)[0].startswith("Bob Baker moved Acme deal from ")
    assert ringing.told(team.bob) == []


def test_nobody_is_told_of_what_they_did_themselves(
    write: Session, team: Team, ringing: Ringing, deal: Box
) -> None:
    boxes.move(write, team.viewer, deal, stage(write, deal.pipeline, "Qualified"), now=NOW)
    boxes.assign(write, team.viewer, deal, write.merge(team.alice))
    activities.add(
        write, team.viewer, deal, activities.ActivityKind.NOTE, "@Alice Archer, look", people=[team.alice], now=NOW
    )
    write.commit()
    ringing.work()
    assert ringing.told() == []


def test_a_rule_that_moves_a_box_is_listed_and_does_not_ring(
    write: Session, team: Team, ringing: Ringing, deal: Box
) -> None:
    boxes.move(
        write, team.viewer, deal, stage(write, deal.pipeline, "Qualified"), now=NOW, why="an answer came", rule="r"
    )
    write.commit()
    ringing.work()
    [one] = ringing.told(team.alice)
    assert (one.kind, one.listed, one.desktop) == (Kind.MOVED_BY_RULE, True, False)
    assert sentences(ringing, team.alice)[0].startswith("A rule moved Acme deal")


def test_a_mention_is_told_to_whom_it_names(write: Session, team: Team, ringing: Ringing, deal: Box) -> None:
    activities.add(
        write, team.viewer, deal, activities.ActivityKind.NOTE, "Ask @Bob Baker", people=[team.bob], now=NOW
    )
    write.commit()
    ringing.work()
    assert sentences(ringing, team.bob) == ["Alice Archer mentioned you on Acme deal"]
    assert ringing.told(team.alice) == []


def test_a_task_that_is_due_rings_for_whom_it_was_given(team: Team, ringing: Ringing, deal: Box) -> None:
    data = {"task": "t1", "title": "Call Anna", "assignee": team.bob.key}
    ringing.happen(team.alice.team_id, "task.reminded", user_id=team.bob.id, box_id=deal.id, data=data)
    ringing.work()
    assert sentences(ringing, team.bob) == ["Due: Call Anna"]


def test_a_mailbox_that_needs_attention_is_told_to_its_owner(write: Session, team: Team, ringing: Ringing) -> None:
    mailboxes.move(write, team.bobs.id, mailboxes.State.ATTENTION, reason="access was revoked", now=NOW)
    write.commit()
    ringing.work()
    assert sentences(ringing, team.bob) == [f"{BOB} needs your attention"]
    assert ringing.told(team.alice) == []


@pytest.mark.parametrize(
    ("kind", "data", "told"),
    [
        ("email.failed", {"why": "no such address"}, "“Offer” could not be sent"),
        ("email.held", {"why": "they answered"}, "“Offer” is held back"),
        ("email.uncertain", {}, "Nobody knows whether “Offer” went out"),
        ("email.cancelled", {"why": "its draft was deleted in Gmail"}, "“Offer” does not go out"),
        ("email.sent", {}, "“Offer” went out"),
        ("email.sent", {"at_once": True}, None),
        ("email.cancelled", {"why": "the sequence ended"}, None),
        ("email.queued", {}, None),
    ],
)
def test_what_becomes_of_queued_mail_is_told_to_its_mailboxs_owner(
    team: Team, ringing: Ringing, kind: str, data: dict[str, Any], told: str | None
) -> None:
    data = {"email": "e1", "subject": "Offer", "to": CHARLIE} | data
    who = {"user_id": team.bob.id, "mailbox_id": team.bobs.id}
    ringing.happen(team.alice.team_id, kind, data=data, **who)
    ringing.work()
    assert sentences(ringing, team.bob) == ([told] if told else [])
    ringing.happen(team.alice.team_id, kind, data=data | {"email": "e2"}, **who, actor=events.PERSON)
    ringing.work()  # he did that himself
    assert len(ringing.told(team.bob)) == (1 if told else 0)
    assert ringing.told(team.alice) == []


def test_an_answer_is_told_to_who_wrote_and_who_owns_the_box(write: Session, team: Team, ringing: Ringing) -> None:
    connected(write, NOW - timedelta(days=30))
    asked = tracked_mail(write, team.bob, team.bobs, subject="Our offer")
    box = a_box(write, team.viewer, "Acme deal", CHARLIE)
    conversation = conversation_of(write, _message_id(write, asked.message_id))
    filing.file(write, team.viewer, conversation, box)
    write.commit()
    ringing.work()
    answer_to(write, team.bobs, conversation.id, "Re: Our offer", sender_name="Charlie")
    ringing.work()
    assert sentences(ringing, team.bob) == ["Charlie answered “Re: Our offer”"]
    assert sentences(ringing, team.alice) == ["Charlie answered “Re: Our offer”"]
    assert {one.box_id for one in ringing.told() if one.kind == Kind.ANSWER} == {box.id}


def test_what_machines_send_and_strangers_first_mails_are_no_answers(
    write: Session, team: Team, ringing: Ringing
) -> None:
    connected(write, NOW - timedelta(days=30))
    asked = tracked_mail(write, team.alice, team.mailbox, subject="Our offer")
    conversation = conversation_of(write, _message_id(write, asked.message_id))
    a_mail(write, team.mailbox, "Buy this", at=NOW - timedelta(seconds=1))
    write.commit()
    answer_to(write, team.mailbox, conversation.id, "Out of office", automatic="Auto-Submitted")
    ringing.work()
    assert ringing.told() == []


def test_the_first_reading_of_a_mailbox_tells_nothing(write: Session, team: Team, ringing: Ringing) -> None:
    connected(write, NOW)
    asked = tracked_mail(write, team.alice, team.mailbox, subject="Our offer")
    conversation = conversation_of(write, _message_id(write, asked.message_id))
    answer_to(write, team.mailbox, conversation.id, "Re: Our offer", at=NOW - timedelta(minutes=1))
    ringing.work()
    assert ringing.told() == []


def connected(write: Session, at: Any) -> None:
    write.execute(update(Mailbox).values(created_at=at))


def _message_id(write: Session, id_: int | None) -> str:
    from tracker.messages import Message

    return str(write.get_one(Message, id_).rfc822_message_id)


def answer_to(write: Session, mailbox: Mailbox, conversation_id: int, subject: str, **more: Any) -> None:
    """An answer in the conversation: the same Gmail thread."""
    from sqlalchemy import select

    from tracker.messages import Copy, Message

    query = select(Copy.gmail_thread_id).join(Message, Message.id == Copy.message_id)
    thread = write.scalars(query.where(Message.conversation_id == conversation_id)).first()
    automatic = more.pop("automatic", None)
    if automatic:
        from tests.tracker.web import factories_web

        made = factories_web._incoming(subject, thread=str(thread), at=NOW, **more)
        made.message["automatic"] = automatic
        factories_web._arrive(write, mailbox, [made])
    else:
        a_mail(write, mailbox, subject, thread=str(thread), **({"at": NOW} | more))
    write.commit()


# -- reads


def test_one_of_several_readers_has_no_name(write: Session, team: Team, ringing: Ringing) -> None:
    to = ("anna@acme.test", "ben@acme.test", CHARLIE)
    mail = tracked_mail(write, team.alice, team.mailbox, to=to)
    write.commit()
    ringing.read(mail, confidence="certain")
    ringing.work()
    assert sentences(ringing, team.alice) == ["One of 3 read “Your proposal”"]


def test_read_again_and_clicked_are_told_in_words(write: Session, team: Team, ringing: Ringing) -> None:
    mail = tracked_mail(write, team.alice, team.mailbox)
    write.commit()
    ringing.read(mail, first=False, again_after_days=12)
    ringing.read(mail, kind="email.clicked", host="team.example")
    ringing.work()
    assert sentences(ringing, team.alice) == [
        f"{CHARLIE} probably read “Your proposal” again, after 12 days",
        f"{CHARLIE} clicked a link in “Your proposal”",
    ]
    one, other = ringing.told()
    assert one.tag == other.tag  # the click takes the read's place on the desktop


def test_the_boxs_owner_is_told_of_a_read_if_they_may_read_the_mail(
    write: Session, team: Team, ringing: Ringing, deal: Box
) -> None:
    shared = tracked_mail(write, team.bob, team.bobs, subject="Shared", box=deal)
    filing.file(write, team.viewer, conversation_of(write, _message_id(write, shared.message_id)), deal)
    # In no box, whatever its tracking says.
    private = tracked_mail(write, team.bob, team.bobs, subject="Private", box=deal, to=("dora@other.test",))
    write.commit()
    for one in (shared, private):
        ringing.read(one)
    ringing.work()
    assert sentences(ringing, team.alice) == ["Charlie probably read “Shared”"]
    assert len(ringing.told(team.bob)) == 2


def test_a_mail_that_is_not_synced_yet_is_told_to_its_sender_without_a_subject(
    write: Session, team: Team, ringing: Ringing, deal: Box
) -> None:
    mail = tracked_mail(write, team.bob, team.bobs, box=deal)
    mail.message_id = None
    write.commit()
    ringing.read(mail)
    ringing.work()
    assert sentences(ringing, team.bob) == ["Charlie probably read your mail"]
    assert ringing.told(team.alice) == []


# -- never a storm


def test_more_of_the_same_adds_to_the_row_until_it_was_seen(write: Session, team: Team, ringing: Ringing) -> None:
    mail = tracked_mail(write, team.alice, team.mailbox)
    write.commit()
    for _ in range(3):
        ringing.read(mail, kind="email.clicked", host="team.example")
        ringing.later(minutes=1)
        ringing.work()
    assert [one.count for one in ringing.told()] == [3]
    write.execute(update(Notification).values(seen_at=ringing.clock))
    write.commit()
    ringing.read(mail, kind="email.clicked", host="team.example")
    ringing.work()
    assert [one.count for one in ringing.told()] == [3, 1]
    ringing.later(hours=2)
    ringing.read(mail, kind="email.clicked", host="team.example")
    ringing.work()
    assert [one.count for one in ringing.told()] == [3, 1, 1]  # that was long ago


def test_a_bulk_change_is_one_thing_to_know(write: Session, team: Team, ringing: Ringing) -> None:
    for number in range(8):
        box = a_box(write, bobs(team), f"Deal {number}")
        boxes.assign(write, bobs(team), box, write.merge(team.alice))
    write.commit()
    ringing.work()
    assert [one.count for one in ringing.told()] == [8]
    assert sentences(ringing, team.alice) == ["Bob Baker gave you 8 boxes"]


def test_what_is_learnt_late_is_listed_without_ringing_or_no_news_at_all(
    write: Session, team: Team, ringing: Ringing
) -> None:
    ringing.switch_on(team.alice, keys())
    mails = [tracked_mail(write, team.alice, team.mailbox, subject=f"{age} h") for age in (1, 20, 100)]
    write.commit()
    for mail, age in zip(mails, (1, 20, 100), strict=True):
        ringing.clock = NOW - timedelta(hours=age)
        ringing.read(mail)
    ringing.clock = NOW
    with transaction(ringing.sessions) as session:
        telling.read_some(session, ringing.clock)
    assert len(ringing.told()) == 2
    assert len(ringing.deliveries()) == 1


def keys() -> dict[str, str]:
    from tests.webhooks.bells.services import Browser

    return Browser("https://push.example/alice").keys


# -- wishes


def test_a_kind_that_is_switched_off_is_not_told(write: Session, team: Team, ringing: Ringing) -> None:
    wish(write, team.alice, channels={kind: frozenset() for kind in Kind} | {Kind.CLICKED: {Channel.DESKTOP}})
    mail = tracked_mail(write, team.alice, team.mailbox)
    write.commit()
    ringing.read(mail)
    ringing.read(mail, kind="email.clicked")
    ringing.work()
    [one] = ringing.told()
    assert (one.kind, one.listed, one.desktop, one.email) == (Kind.CLICKED, False, True, False)


def test_a_pipeline_that_is_not_heard_is_not_told(write: Session, team: Team, ringing: Ringing, deal: Box) -> None:
    wish(write, team.alice, quiet_pipelines=[pipeline(write, team.alice.team_id).key])
    other = a_box(write, team.viewer, "Partner", into="Connections")
    write.commit()
    for box in (deal, other):
        ringing.read(tracked_mail_in(write, team, box))
    ringing.work()
    assert [one.box_id for one in ringing.told()] == [other.id]


def tracked_mail_in(write: Session, team: Team, box: Box) -> Any:
    mail = tracked_mail(write, team.alice, team.mailbox, box=box)
    write.commit()
    return mail


def test_what_is_told_in_quiet_hours_waits_for_their_end(write: Session, team: Team, ringing: Ringing) -> None:
    from datetime import time

    team.alice.time_zone = "Europe/Berlin"  # 10:00 there
    wish(write, team.alice, quiet=(time(9, 30), time(11)))
    ringing.switch_on(team.alice, keys())
    ringing.read(tracked_mail_in(write, team, a_box(write, team.viewer, "Night")))
    with transaction(ringing.sessions) as session:
        telling.read_some(session, ringing.clock)
    [waiting] = ringing.deliveries()
    assert (waiting.next_at, waiting.together) == (NOW + timedelta(hours=1), True)


# -- each once


def test_a_worker_that_dies_before_its_commit_loses_nothing(write: Session, team: Team, ringing: Ringing) -> None:
    ringing.read(tracked_mail_in(write, team, a_box(write, team.viewer, "Deal")))
    with ringing.sessions() as session:
        assert telling.read_some(session, ringing.clock) > 0
        session.rollback()  # killed
    assert ringing.told() == []
    ringing.work()
    ringing.work()
    assert len(ringing.told()) == 1


def test_while_one_worker_reads_the_others_let_it(write: Session, team: Team, ringing: Ringing) -> None:
    ringing.read(tracked_mail_in(write, team, a_box(write, team.viewer, "Deal")))
    with transaction(ringing.sessions) as session, transaction(ringing.sessions) as other:
        assert telling.read_some(session, ringing.clock) > 0
        assert telling.read_some(other, ringing.clock) == 0
    assert len(ringing.told()) == 1


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["happen", "late", "settle", "read", "die"]), min_size=4, max_size=25))
def test_each_event_is_told_once_whatever_dies_and_commits_late(
    write: Session, team: Team, ringing: Ringing, steps: list[str]
) -> None:
    """Events of transactions that commit in any order, a worker that dies at any time, batches of any size."""
    before = {one.thing for one in ringing.told()}
    number, open_ = 0, []
    for step in steps:
        if step in ("happen", "late"):
            number += 1
            session = ringing.sessions()
            data = {"task": f"{id(steps)}-{number}", "title": "T", "assignee": team.bob.key}
            events.record(session, team.alice.team_id, "task.reminded", at=ringing.clock, data=data)
            session.flush()
            open_.append(session)
            if step == "happen":
                open_.pop().commit()
        elif step == "settle" and open_:
            open_.pop(0).commit()
        elif step == "read":
            with transaction(ringing.sessions) as session:
                telling.read_some(session, ringing.clock, limit=2)
        elif step == "die":
            with ringing.sessions() as session:
                telling.read_some(session, ringing.clock, limit=3)
                session.rollback()
    for session in open_:
        session.commit()
        session.close()
    ringing.work()
    told = [one for one in ringing.told() if one.thing not in before]
    assert sorted(one.thing for one in told) == sorted(f"task:{id(steps)}-{one + 1}" for one in range(number))
    assert all(one.count == 1 for one in told)


# -- one that can't be told


def test_an_event_about_what_is_gone_keeps_no_other_back(
    write: Session, team: Team, ringing: Ringing, monkeypatch: pytest.MonkeyPatch
) -> None:
    mails = [tracked_mail(write, team.alice, team.mailbox, subject=subject) for subject in ("A", "B", "C")]
    other = a_mail(write, team.mailbox, "Other")
    write.commit()
    ringing.read(mails[0])
    conversations._merge(write, mails[0].conversation_id or 0, other.id)  # before anybody was told
    write.commit()
    gone = {"conversation_id": 987654, "box_id": 987654, "mailbox_id": team.mailbox.id}
    ringing.happen(team.alice.team_id, "email.failed", data={"email": "e", "subject": "S"}, **gone)
    ringing.work()
    assert len(ringing.told()) == 2
    row = telling._row
    bad = mails[1].key

    def failing(around: Any, told: Any, now: Any) -> Notification:
        made = row(around, told, now)
        made.conversation_id = 987654 if told.thing == f"mail:{bad}" else made.conversation_id
        return made

    monkeypatch.setattr(telling, "_row", failing)  # what was there goes between the look and the row
    for one in mails[1:]:
        ringing.read(one)
    ringing.work()
    assert [one.title for one in said(ringing, team.alice)[2:]] == [f"{CHARLIE} probably read “C”"]
    monkeypatch.setitem(words._SAYERS, Kind.TROUBLE, lambda *_: 1 / 0)
    assert len(said(ringing, team.alice)) == 2


def said(ringing: Ringing, user: User) -> list[words.Said]:
    told = ringing.told(user)
    with transaction(ringing.sessions) as session:
        return words.say(session, told, {user.id: session.get_one(User, user.id)})


def test_a_mail_where_nobody_of_ours_wrote_answers_nothing(write: Session, team: Team, ringing: Ringing) -> None:
    connected(write, NOW - timedelta(days=30))
    box = a_box(write, team.viewer, "Acme deal", CHARLIE)
    filing.file(write, team.viewer, a_mail(write, team.mailbox, "A question", at=NOW), box)
    write.commit()
    ringing.work()
    assert [one.split(" ", 1)[1] for one in sentences(ringing, team.alice)] == ["wrote “A question”"]


def test_what_was_long_ago_is_forgotten(write: Session, team: Team, ringing: Ringing) -> None:
    mails = [tracked_mail(write, team.alice, team.mailbox, subject=str(number)) for number in range(3)]
    write.commit()
    for mail in mails:
        ringing.read(mail)
    ringing.work()
    first, second, _ = ringing.told()
    write.execute(update(Notification).where(Notification.id == first.id).values(seen_at=NOW))
    write.execute(update(Notification).where(Notification.id == second.id).values(created_at=NOW - notices.KEPT))
    later = NOW + notices.SEEN_KEPT
    assert [notices.tidy(write, later + timedelta(seconds=1)) for _ in range(2)] == [2, 0]
