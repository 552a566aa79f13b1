"""What changes in Gmail changes here: once, in order, and never past a gap."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from gmail_sync import history
from gmail_sync.errors import HistoryExpired
from gmail_sync.sandbox import Fault, SandboxMailbox
from gmail_sync.session import Busy, CursorMoved
from gmail_sync.sync import sync_mailbox
from tests.gmail_sync.syncing import ALICE, Team, in_gmail, mail, stored
from tracker.db import transaction
from tracker.events import Event
from tracker.jobs import Again
from tracker.mailboxes import Mailbox, State
from tracker.messages import Copy, Message


@pytest.fixture
def box(team: Team) -> SandboxMailbox:
    """Alice's mailbox at the sandbox, with three mails."""
    found = team.sandbox.mailbox(ALICE)
    for name in "abc":
        found.insert(mail(subject=f"Mail {name}", Message_ID=f"<{name}@outside.example>"))
    return found


@pytest.fixture
def mailbox(team: Team, box: SandboxMailbox) -> Mailbox:
    """Alice's mailbox, connected and read."""
    connected = team.connect(ALICE)
    team.sync(connected)
    return team.read(connected)


def agrees(team: Team, mailbox: Mailbox, box: SandboxMailbox) -> bool:
    """Whether store and Gmail hold the same, labels too."""
    with team.sessions() as session:
        assert stored(session, mailbox) == in_gmail(box)
    return True


def test_new_mail_arrives(team: Team, mailbox: Mailbox, box: SandboxMailbox) -> None:
    team.sandbox.deliver(mail(subject="News"), [ALICE])
    team.sync(mailbox)
    assert agrees(team, mailbox, box)


def test_the_cursor_is_where_the_last_page_says(team: Team, mailbox: Mailbox, box: SandboxMailbox) -> None:
    box.history.empty_first_page = True
    team.sandbox.deliver(mail(subject="News"), [ALICE])
    team.sync(mailbox)
    assert int(team.read(mailbox).history_id or 0) == box.history_id
    assert agrees(team, mailbox, box)


def test_deleted_mail_goes(team: Team, mailbox: Mailbox, box: SandboxMailbox) -> None:
    box.delete(box.message_ids()[0])
    team.sync(mailbox)
    assert agrees(team, mailbox, box)
    with team.sessions() as session:
        assert session.scalar(select(func.count()).select_from(Message)) == 2


def test_trashed_mail_is_hidden_and_comes_back(team: Team, mailbox: Mailbox, box: SandboxMailbox) -> None:
    doomed = box.message_ids()[0]
    box.trash(doomed)
    team.sync(mailbox)
    assert agrees(team, mailbox, box)
    box.untrash(doomed)
    team.sync(mailbox)
    assert agrees(team, mailbox, box)
    assert team.sandbox.stats.calls(ALICE)["messages.get"] == 3  # it was never fetched again


def test_mail_out_of_the_spam_folder_that_was_never_here_is_fetched(
    team: Team, mailbox: Mailbox, box: SandboxMailbox
) -> None:
    lost = box.insert(mail(subject="No spam", Message_ID="<ns@outside.example>"), label_ids=("SPAM",))
    team.sync(mailbox)
    box.modify(lost, add=("INBOX",), remove=("SPAM",))
    team.sync(mailbox)
    assert agrees(team, mailbox, box)


def test_labels_follow(team: Team, mailbox: Mailbox, box: SandboxMailbox) -> None:
    first, second, _ = box.message_ids()
    box.modify(first, add=("STARRED", "UNREAD"), remove=("INBOX",))
    box.modify(second, add=("STARRED",))
    box.modify(second, remove=("STARRED",))
    team.sync(mailbox)
    assert agrees(team, mailbox, box)


def test_added_and_deleted_between_two_looks_is_never_here(
    team: Team, mailbox: Mailbox, box: SandboxMailbox
) -> None:
    brief = box.insert(mail(subject="Brief", Message_ID="<brief@outside.example>"))
    box.delete(brief)
    team.sync(mailbox)
    assert agrees(team, mailbox, box)


def test_history_over_several_pages_is_taken_in_whole(team: Team, mailbox: Mailbox, box: SandboxMailbox) -> None:
    for number in range(30):
        box.insert(mail(subject=f"More {number}", Message_ID=f"<m{number}@outside.example>"))
    for id_ in box.message_ids()[:20]:
        for _ in range(30):
            box.modify(id_, add=("STARRED",))
            box.modify(id_, remove=("STARRED",))
        box.modify(id_, add=("IMPORTANT",))
    team.sync(mailbox)
    assert team.sandbox.stats.calls(ALICE)["history.list"] > 3
    assert agrees(team, mailbox, box)


def test_a_message_that_is_not_there_yet_is_asked_for_again(
    team: Team, mailbox: Mailbox, box: SandboxMailbox
) -> None:
    team.sandbox.deliver(mail(subject="Slow"), [ALICE])
    team.sandbox.faults.add(Fault(kind="status", method="messages.get", status=404, reason="notFound", times=1))
    with pytest.raises(Again) as put_off:
        sync_mailbox(team.services, mailbox.id)
    assert 0 < put_off.value.seconds <= 3
    later = team.services.now
    from datetime import timedelta

    moved = team.with_services(now=lambda: later() + timedelta(seconds=5))
    moved.sync(mailbox)
    assert agrees(team, mailbox, box)


def test_a_message_that_stays_away_is_believed_gone(team: Team, mailbox: Mailbox, box: SandboxMailbox) -> None:
    from datetime import timedelta

    brief = box.insert(mail(subject="Brief", Message_ID="<brief@outside.example>"))
    with team.services.open(mailbox.id) as sync:
        history.catch_up(sync)  # the wish is written down
    box.delete(brief)
    real, steps = team.services.now, iter(range(0, 10_000, 60))
    moved = team.with_services(now=lambda: real() + timedelta(seconds=next(steps)))
    moved.sync(mailbox)
    assert agrees(team, mailbox, box)


def test_replaying_an_old_cursor_changes_nothing(team: Team, mailbox: Mailbox, box: SandboxMailbox) -> None:
    first = box.message_ids()[0]
    box.modify(first, add=("STARRED",))
    team.sandbox.deliver(mail(subject="News"), [ALICE])
    team.sync(mailbox)
    box.modify(first, remove=("STARRED",))
    with team.sessions() as session:
        events = session.scalar(select(func.count()).select_from(Event))
    with transaction(team.sessions) as session:
        session.get_one(Mailbox, mailbox.id).history_id = mailbox.history_id
    team.sync(mailbox)
    assert agrees(team, mailbox, box)
    with team.sessions() as session:
        assert session.scalar(select(func.count()).select_from(Event)) == events


def test_an_expired_cursor_recovers_without_a_gap(team: Team, mailbox: Mailbox, box: SandboxMailbox) -> None:
    first, second, third = box.message_ids()
    box.modify(first, add=("STARRED",), remove=("INBOX",))
    box.delete(second)
    box.trash(third)
    for number in range(5):
        box.insert(mail(subject=f"In the gap {number}", Message_ID=f"<g{number}@outside.example>"))
    box.expire_history()
    box.insert(mail(subject="After it", Message_ID="<after@outside.example>"))
    team.sync(mailbox)
    assert agrees(team, mailbox, box)
    assert int(team.read(mailbox).history_id or 0) == box.history_id
    assert team.read(mailbox).gap_at is None


def test_mail_that_comes_while_an_expired_cursor_recovers_is_not_lost(
    team: Team, mailbox: Mailbox, box: SandboxMailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gmail_sync import check

    box.expire_history()
    listed = check._list

    def list_and_receive(sync: object) -> None:
        listed(sync)  # type: ignore[arg-type]
        team.sandbox.deliver(mail(subject="Right after the listing"), [ALICE])
        box.delete(box.message_ids()[-1])

    monkeypatch.setattr(check, "_list", list_and_receive)
    team.sync(mailbox)
    monkeypatch.undo()
    assert agrees(team, mailbox, box)


def test_the_cursor_does_not_move_when_another_worker_moved_it(team: Team, mailbox: Mailbox) -> None:
    team.sandbox.deliver(mail(subject="News"), [ALICE])
    with team.services.open(mailbox.id) as sync:
        with transaction(team.sessions) as session:
            session.get_one(Mailbox, mailbox.id).history_id = 17  # type: ignore[assignment]
        with pytest.raises((CursorMoved, HistoryExpired)):
            history.catch_up(sync)
    assert int(team.read(mailbox).history_id or 0) == 17


def test_two_workers_never_sync_one_mailbox_at_the_same_time(team: Team, mailbox: Mailbox) -> None:
    with team.services.open(mailbox.id):
        with pytest.raises(Busy), team.services.open(mailbox.id):
            pytest.fail("opened twice")
        with pytest.raises(Again):
            sync_mailbox(team.services, mailbox.id)
    team.sync(mailbox)


def test_a_revoked_token_needs_attention_and_says_how_to_mend_it(
    team: Team, mailbox: Mailbox, box: SandboxMailbox
) -> None:
    from tracker import mailboxes

    box.revoke()
    team.sync(mailbox)
    read = team.read(mailbox)
    health = mailboxes.health(read, team.services.now(), team.services.silence)
    assert read.state == State.ATTENTION
    assert (health.level, health.remedy) == ("bad", "Connect the mailbox again")
    assert "revoked" in health.text
    team.sandbox.deliver(mail(subject="Meanwhile"), [ALICE])
    team.connect(ALICE)
    team.sync(mailbox)
    assert team.read(mailbox).state == State.CONNECTED
    assert agrees(team, mailbox, box)


def test_history_ids_of_64_bits_fit(team: Team) -> None:
    box = team.sandbox.mailbox(ALICE)
    team.sandbox.store.run(
        "UPDATE users SET history_id = ?, history_floor = ? WHERE address = ?", *[_pack(2**64 - 10**6)] * 2, ALICE
    )
    box.insert(mail())
    mailbox = team.connect(ALICE)
    team.sync(mailbox)
    box.insert(mail(subject="Second", Message_ID="<2@outside.example>"))
    team.sync(mailbox)
    assert int(team.read(mailbox).history_id or 0) == box.history_id > 2**63
    assert agrees(team, mailbox, box)


def _pack(number: int) -> object:
    from gmail_sync.sandbox.ids import pack

    return pack(number)


def test_a_copy_keeps_what_differs_between_mailboxes(team: Team) -> None:
    box = team.sandbox.mailbox(ALICE)
    raw = mail(sender=ALICE, to="charlie@outside.example", Bcc="dora@outside.example")
    box.insert(raw, label_ids=("SENT",))
    mailbox = team.connect(ALICE)
    team.sync(mailbox)
    with team.sessions() as session:
        copy = session.scalars(select(Copy)).one()
        assert [one["address"] for one in copy.bcc] == ["dora@outside.example"]
        assert ["Subject", "Hello"] in copy.headers
