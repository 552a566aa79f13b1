"""What must not stop, lose or double mail: refusals, changes of mind in the middle, later releases, forgeries."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from gmail_sync import errors, fetch, history, parse, sync, wanted
from gmail_sync.check import Found
from gmail_sync.client import Gmail, Got
from gmail_sync.sandbox import Fault
from gmail_sync.session import Sync
from tests.gmail_sync.syncing import ALICE, BOB, CHARLIE, Team, in_gmail, mail, stored
from tests.tracker.domain import a_box
from tracker import conversations, filing, mailboxes, people, sharing
from tracker.conversations import Conversation
from tracker.db import transaction, utc_now
from tracker.filing import Filing
from tracker.jobs import Again
from tracker.mailboxes import Mailbox, State
from tracker.messages import Copy, Message
from tracker.people import Viewer

LONG = (
    "The price for four hundred units is 12.40 each, delivered to Hamburg before the end of the month. "
    "We hold it until Friday. "
)


def viewer(team: Team, address: str) -> Viewer:
    """A teammate at the web pages."""
    with team.sessions() as session:
        user = people.by_address(session, address)
        assert user is not None
        return people.viewer_of(user, "web")


def test_pushes_that_gmail_refuses_stop_no_reading_and_are_told(team: Team) -> None:
    box = team.sandbox.mailbox(ALICE)
    box.insert(mail())
    pushed = team.with_services(pubsub_topic="projects/wrong/topics/gmail")
    mailbox = pushed.connect(ALICE)
    refusal = Fault(kind="status", method="watch", status=403, reason="forbidden", message="not you")
    fault = team.sandbox.faults.add(refusal)
    pushed.sync(mailbox)
    pushed.sync(mailbox)
    with team.sessions() as session:
        assert stored(session, mailbox) == in_gmail(box)
    assert "no notifications" in team.read(mailbox).trouble
    assert fault.hits == 1  # and not again for an hour


def test_a_message_that_gmail_refuses_is_kept_in_mind_told_and_fetched_later(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = team.sandbox.mailbox(ALICE)
    box.insert(mail())
    mailbox = team.connect(ALICE)

    def refuse(_: Gmail, threads: list[str], messages: list[str]) -> Iterator[Got]:
        for id_ in (*threads, *messages):
            yield Got(id_, error=errors.Permanent("Gmail refused (403): a reason of next year"))

    monkeypatch.setattr(Gmail, "get", refuse)
    later = utc_now()
    for minutes in range(0, 240, 20):
        moved = team.with_services(now=lambda at=later + timedelta(minutes=minutes): at)
        moved.sync(mailbox)
    told = mailboxes.health(team.read(mailbox), later + timedelta(minutes=220), team.services.silence)
    assert told.level == "late"
    assert "a reason of next year" in told.text
    monkeypatch.undo()
    team.with_services(now=lambda: later + timedelta(hours=6)).sync(mailbox)
    with team.sessions() as session:
        assert stored(session, mailbox) == in_gmail(box)
    assert team.read(mailbox).trouble == ""


def test_a_mailbox_that_gmail_refuses_as_a_whole_is_left_alone_and_says_why(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailbox = team.connect(ALICE)
    team.sync(mailbox)

    def refuse(*_: object) -> None:
        raise errors.Permanent("Gmail refused (400): failedPrecondition")

    monkeypatch.setattr(Gmail, "history", refuse)
    sync.sync_mailbox(team.services, mailbox.id)
    now = utc_now()
    told = mailboxes.health(team.read(mailbox), now, team.services.silence)
    assert "failedPrecondition" in told.text
    with team.sessions() as session:
        assert mailboxes.due(session, now + timedelta(minutes=3), timedelta(0)) == []
        assert mailboxes.due(session, now + timedelta(minutes=6), timedelta(0)) == [mailbox.id]


def test_disconnecting_stops_a_reading_that_is_under_way(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(450):
        team.sandbox.mailbox(ALICE).insert(mail(subject=f"{number}", Message_ID=f"<{number}@x.example>"))
    mailbox = team.connect(ALICE)
    real, held = fetch.fetch_some, []

    def fetch_some(session: Sync) -> int:
        count = real(session, 0)
        if not held:
            with transaction(team.sessions) as database:
                assert mailboxes.move(database, mailbox.id, State.DISCONNECTED, reason=None, now=utc_now())
                held.append(len(stored(database, mailbox)))
        return count

    monkeypatch.setattr(fetch, "fetch_some", fetch_some)
    team.sync(mailbox)
    with team.sessions() as session:
        assert 0 < len(stored(session, mailbox)) == held[0] < 450


def test_an_old_runs_refusal_says_nothing_about_new_credentials(team: Team) -> None:
    mailbox = team.connect(ALICE)

    def reconnected_meanwhile(_: Sync) -> None:
        team.connect(ALICE)
        raise errors.AuthRevoked("the old token")

    sync._guarded(team.services, mailbox.id, reconnected_meanwhile)
    assert team.read(mailbox).state == State.CONNECTED


def test_a_mailbox_that_goes_leaves_nothing_that_stops_the_others(team: Team) -> None:
    raw = mail(to=f"{ALICE}, {BOB}", Message_ID="<1@x.example>")
    reply = mail(subject="Re: Hello", to=BOB, Message_ID="<2@x.example>", References="<1@x.example>")
    team.sandbox.mailbox(ALICE).insert(raw)
    team.sandbox.mailbox(BOB).insert(raw)
    team.sandbox.mailbox(BOB).insert(reply)
    alices, bobs = team.connect(ALICE), team.connect(BOB)
    team.sync(alices)
    team.sync(bobs)
    with transaction(team.sessions) as session:
        session.delete(session.get_one(Mailbox, bobs.id))
    box = team.sandbox.mailbox(ALICE)
    box.delete(box.message_ids()[0])
    team.sync(alices)
    with team.sessions() as session:
        assert session.scalar(select(func.count()).select_from(Conversation)) == 0


def test_a_release_that_reads_the_same_bytes_differently_doubles_nothing(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = team.sandbox.mailbox(ALICE)
    box.insert(mail(Message_ID="<1@x.example>"))
    mailbox = team.connect(ALICE)
    team.sync(mailbox)
    real = parse._identity
    monkeypatch.setattr(parse, "_identity", lambda *told: hashlib.sha256(real(*told)).digest())
    for number in (2, 3):
        box.insert(mail(subject="Re: Hello", Message_ID=f"<{number}@x.example>", References="<1@x.example>"))
    team.sync(mailbox)  # brings the whole thread, the first mail again
    with team.sessions() as session:
        assert session.scalars(select(Conversation.message_count)).all() == [3]
        assert session.scalar(select(func.count()).select_from(Message)) == 3
    for id_ in list(box.message_ids()):
        box.delete(id_)
    team.sync(mailbox)
    with team.sessions() as session:
        assert session.scalar(select(func.count()).select_from(Message)) == 0


def test_more_differences_than_postgresql_takes_parameters_are_mended(team: Team) -> None:
    mailbox = team.connect(ALICE)
    many = [f"{number:016x}" for number in range(66_000)]
    with transaction(team.sessions) as session:
        wanted.want(session, mailbox.team_id, mailbox.id, [(id_, id_) for id_ in many])
        assert wanted.waiting(session, mailbox.id)[0] == 66_000
        assert conversations.drop_copies(session, mailbox.id, many) == 0
        wanted.settle(session, mailbox.id, many)
        assert wanted.waiting(session, mailbox.id)[0] == 0


def test_comparing_two_comparisons_takes_time_in_proportion() -> None:
    ids = tuple(f"{number:016x}" for number in range(100_000))
    found = Found(0, 0, ids, ())
    assert found.confirmed_by(found) == found  # in quadratic time this would take minutes


def test_a_history_record_that_makes_no_sense_is_passed_over_and_has_the_mailbox_checked(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = team.sandbox.mailbox(ALICE)
    mailbox = team.connect(ALICE)
    team.sync(mailbox)
    team.check(mailbox)
    box.insert(mail())
    real = history.fold
    odd = [{}, {"id": "x"}, {"id": "1", "messagesAdded": [{"message": {}}]}, {"id": "2", "labelsAdded": [None]}]
    monkeypatch.setattr(history, "fold", lambda records: real([*odd, *records]))
    team.sync(mailbox)
    with team.sessions() as session:
        assert stored(session, mailbox) == in_gmail(box)
    assert team.read(mailbox).checked_at is None


def test_the_same_mail_changed_on_its_way_is_in_the_same_conversation(team: Team) -> None:
    footer = "\n--\nYou get this as a member of sales@team.example\n"
    name = {"Message_ID": "<1@outside.example>"}
    team.sandbox.mailbox(ALICE).insert(mail(text=LONG * 2, **name))
    team.sandbox.mailbox(BOB).insert(mail(text=LONG * 2 + footer, List_Id="<sales.team.example>", **name))
    for address in (ALICE, BOB):
        team.sync(team.connect(address))
    with team.sessions() as session:
        assert session.scalar(select(func.count()).select_from(Conversation)) == 1
        assert session.scalar(select(func.count()).select_from(Message)) == 2


def test_a_forged_message_id_opens_nobodys_thread(team: Team) -> None:
    secret = {"Message_ID": "<secret@clinic.example>"}
    alices, bobs = team.connect(ALICE), team.connect(BOB)
    team.sandbox.mailbox(ALICE).insert(mail("doctor@clinic.example", ALICE, "Your results", LONG, **secret))
    team.sync(alices)
    team.sandbox.mailbox(BOB).insert(mail(CHARLIE, BOB, "Anything", "x" * 200, **secret))
    team.sync(bobs)
    bob = viewer(team, BOB)
    with transaction(team.sessions) as session:
        lure = session.scalars(
            select(Conversation).join(Message, Message.conversation_id == Conversation.id)
            .where(Message.subject == "Anything")
        ).one()  # fmt: skip
        filing.file(session, bob, lure, a_box(session, bob, "A trap"))
    with team.sessions() as session:
        assert session.scalars(select(Message.subject).where(sharing.may_read(bob))).all() == ["Anything"]


def test_a_persons_word_is_not_lost_in_a_merge_that_happens_at_the_same_moment(team: Team) -> None:
    mailbox = team.connect(ALICE)
    box = team.sandbox.mailbox(ALICE)
    box.insert(mail(subject="One", Message_ID="<1@x.example>"))
    box.insert(mail(subject="Two", Message_ID="<2@x.example>"))
    team.sync(mailbox)
    alice = viewer(team, ALICE)
    with transaction(team.sessions) as session:
        two = session.scalars(select(Conversation).where(Conversation.subject == "Two")).one()
        deal = a_box(session, alice, "Deal")
        filing.file(session, alice, two, deal)
    rows = {copy.gmail_id: copy for copy in _copies(team)}
    first, second = (conversations.Incoming(_message(team, copy), [], _columns(copy)) for copy in rows.values())
    bridge = conversations.Incoming(first.message, [], {**second.copy, "gmail_id": "bridge"})
    with team.sessions() as page:
        filing.remove(page, alice, page.get_one(Conversation, two.id), page.get_one(type(deal), deal.id))

        def merge() -> None:
            with transaction(team.sessions) as session:
                conversations.take_in(session, mailbox.team_id, mailbox.id, [bridge])

        merging = threading.Thread(target=merge)
        merging.start()
        merging.join(0.7)
        assert merging.is_alive()  # it waits for the person's transaction
        page.commit()
        merging.join(20)
    with team.sessions() as session:
        assert session.scalars(select(Filing.state)).all() == ["removed"]
        assert session.scalar(select(func.count()).select_from(Conversation)) == 1


def _copies(team: Team) -> list[Copy]:
    with team.sessions() as session:
        return list(session.scalars(select(Copy).order_by(Copy.id)))


def _columns(copy: Copy) -> dict[str, object]:
    names = ("gmail_id", "gmail_thread_id", "label_ids", "history_id", "internal_date", "size_estimate", "headers")
    return {name: getattr(copy, name) for name in names}


def _message(team: Team, copy: Copy) -> dict[str, object]:
    with team.sessions() as session:
        row = session.get_one(Message, copy.message_id)
        return {
            name: getattr(row, name)
            for name in ("identity", "kin", "rfc822_message_id", "sent_at", "sender_normalized", "subject")
        }


def test_a_job_put_off_does_not_keep_the_next_one_waiting(team: Team, database_url: str) -> None:
    from sqlalchemy import text

    from tracker.jobs import Jobs

    jobs = Jobs(database_url)
    try:
        assert jobs.defer(sync.JOB, lock=sync.lock(1), seconds=900, mailbox_id=1)
        assert sync.wake(jobs, 1)
    finally:
        jobs.close()
    with team.sessions() as session:
        worker = session.scalar(text("INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING id"))
        found = text("SELECT (procrastinate_fetch_job_v2(NULL, :worker)).id")
        assert session.scalar(found, {"worker": worker}) is not None


def test_a_customers_thread_that_began_before_what_is_read_offers_no_box(team: Team) -> None:
    mailbox = team.connect(ALICE)
    raw = mail(ALICE, CHARLIE, "Re: Our order", References="<before@outside.example>")
    team.sandbox.mailbox(ALICE).insert(raw, label_ids=("SENT",))
    team.sync(mailbox)
    with team.sessions() as session:
        assert session.scalars(select(Filing)).all() == []


def test_waiting_longer_than_patience_is_left_to_the_queue(team: Team) -> None:
    mailbox = team.connect(ALICE)
    team.sandbox.faults.add(
        Fault(kind="status", method="getProfile", status=429, reason="rateLimitExceeded", retry_after=90)
    )
    with pytest.raises(Again) as put_off:
        sync.sync_mailbox(team.services, mailbox.id)
    assert 60 < put_off.value.seconds <= 91
