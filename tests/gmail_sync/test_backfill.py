"""The first reading of a mailbox: everything, once, at the lowest price."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from gmail_sync import backfill, client, fetch, wanted
from gmail_sync.sandbox import Fault, Sandbox
from gmail_sync.sync import sync_mailbox
from tests.gmail_sync.syncing import ALICE, BOB, Team, grouped, in_gmail, mail, stored
from tracker.db import transaction
from tracker.events import Event
from tracker.jobs import Again
from tracker.mailboxes import Backfill
from tracker.messages import Copy, Message

OWNER = "yyyy@spamassassin.taint.org"


def fill(team: Team, threads: int, *, size: int = 1) -> None:
    """Threads of `size` mails each in Alice's mailbox."""
    box = team.sandbox.mailbox(ALICE)
    for number in range(threads):
        first = None
        for reply in range(size):
            name = f"<{number}.{reply}@outside.example>"
            raw = mail(subject=f"Topic {number}", Message_ID=name)
            first = box.insert(raw, thread_id=first) if first else box.insert(raw)


def floor(team: Team, address: str) -> int:
    """The fewest quota units that bring a mailbox: each thread the cheaper way, and the listing."""
    box = team.sandbox.mailbox(address)
    fetching = sum(min(40, 20 * len(ids)) for ids in box.threads().values())
    pages = -(-len(box.message_ids()) // 500)
    return fetching + 5 * max(1, pages)


def test_all_of_a_real_mailbox_arrives_once_in_its_threads_at_the_lowest_price(team: Team, ham: Path) -> None:
    team.sandbox.add_user(OWNER)
    assert team.sandbox.load_mbox(ham, OWNER) == 4150
    mailbox = team.connect(OWNER)
    team.sync(mailbox)
    box = team.sandbox.mailbox(OWNER)
    with team.sessions() as session:
        assert stored(session, mailbox) == in_gmail(box)
        assert session.scalar(select(func.count()).select_from(Copy)) == 4150
        assert grouped(session, mailbox) == {frozenset(ids) for ids in box.threads().values()}
        arrivals = session.scalar(select(func.count()).where(Event.kind.like("message.%")))
        assert arrivals == session.scalar(select(func.count()).select_from(Message))
        assert session.scalar(select(func.count()).where(Message.unreadable)) == 0
    assert team.sandbox.stats.units_total(OWNER) <= floor(team, OWNER) * 1.01
    assert team.read(mailbox).backfill == Backfill.DONE
    report = team.check(mailbox)
    assert (report.gmail, report.stored, report.missing, report.extra) == (4150, 4150, 0, 0)


def test_a_thread_is_fetched_the_cheaper_way(team: Team) -> None:
    fill(team, 3, size=1)
    fill(team, 0)
    box = team.sandbox.mailbox(ALICE)
    long = box.insert(mail(subject="Long", Message_ID="<l0@outside.example>"))
    thread = next(thread for thread, ids in box.threads().items() if long in ids)
    for number in range(1, 5):
        box.insert(mail(subject="Long", Message_ID=f"<l{number}@outside.example>"), thread_id=thread)
    team.sync(team.connect(ALICE))
    units = team.sandbox.stats.units(ALICE)
    assert (units["messages.get"], units["threads.get"]) == (3 * 20, 40)


def test_what_is_held_already_is_not_fetched_again(team: Team) -> None:
    fill(team, 10)
    mailbox = team.connect(ALICE)
    team.sync(mailbox)
    spent = team.sandbox.stats.units(ALICE)["messages.get"]
    with transaction(team.sessions) as session:
        session.get_one(type(mailbox), mailbox.id).backfill = Backfill.WANTED.value
    team.sync(mailbox)
    assert team.sandbox.stats.units(ALICE)["messages.get"] == spent


def test_the_newest_mail_comes_first(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "UNDER_WAY", 1)
    box = team.sandbox.mailbox(ALICE)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for day in range(120):
        raw = mail(subject=f"Day {day}", Message_ID=f"<d{day}@outside.example>")
        box.insert(raw, internal_date=start + timedelta(days=day))
    mailbox = team.connect(ALICE)
    team.sandbox.faults.add(
        Fault(kind="status", method="messages.get", status=503, reason="backendError", skip=50)
    )
    with pytest.raises(Again):
        sync_mailbox(team.with_services(patience=0.0).services, mailbox.id)
    with team.sessions() as session:
        arrived = set(session.scalars(select(Message.subject)))
    assert arrived == {f"Day {day}" for day in range(70, 120)}


def test_drafts_spam_and_trash_are_left_out(team: Team) -> None:
    box = team.sandbox.mailbox(ALICE)
    for label in ("SPAM", "TRASH", "DRAFT"):
        box.insert(mail(subject=label, Message_ID=f"<{label}@outside.example>"), label_ids=(label,))
    box.insert(mail(subject="kept", Message_ID="<kept@outside.example>"))
    mailbox = team.connect(ALICE)
    team.sync(mailbox)
    with team.sessions() as session:
        assert session.scalars(select(Message.subject)).all() == ["kept"]


def test_mail_that_arrives_while_the_mailbox_is_listed_is_not_lost(team: Team) -> None:
    fill(team, 5)
    mailbox = team.connect(ALICE)
    with team.services.open(mailbox.id) as sync:
        backfill.start(sync)
        backfill.list_mailbox(sync)
    team.sandbox.deliver(mail(subject="meanwhile"), [ALICE])
    team.sync(mailbox)
    with team.sessions() as session:
        assert stored(session, mailbox) == in_gmail(team.sandbox.mailbox(ALICE))


def test_a_listing_goes_on_where_it_was_cut_off(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAGE_SIZE", 50)
    fill(team, 110)
    mailbox = team.connect(ALICE)
    team.sandbox.faults.add(
        Fault(kind="status", method="messages.list", status=503, reason="backendError", skip=2)
    )
    with pytest.raises(Again):
        sync_mailbox(team.with_services(patience=0.0).services, mailbox.id)
    team.sandbox.faults.clear()
    listed = team.sandbox.stats.calls(ALICE)["messages.list"]
    with team.sessions() as session:
        assert wanted.listed_count(session, mailbox.id) == 100
    unblock(team)
    team.sync(mailbox)
    assert team.sandbox.stats.calls(ALICE)["messages.list"] == listed + 1
    with team.sessions() as session:
        assert len(stored(session, mailbox)) == 110


def test_a_page_token_that_is_no_longer_good_starts_the_listing_anew(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PAGE_SIZE", 50)
    fill(team, 60)
    mailbox = team.connect(ALICE)
    with team.services.open(mailbox.id) as sync:
        backfill.start(sync)
    with transaction(team.sessions) as session:
        row = session.get_one(type(mailbox), mailbox.id)
        row.backfill_page = "a token of yesterday"
    team.sync(mailbox)
    with team.sessions() as session:
        assert stored(session, mailbox) == in_gmail(team.sandbox.mailbox(ALICE))


def test_only_the_last_days_are_read_when_asked_so(team: Team) -> None:
    box = team.sandbox.mailbox(ALICE)
    now = team.services.now()
    for days in (1, 20, 40, 400):
        raw = mail(subject=f"{days} days", Message_ID=f"<{days}@outside.example>")
        box.insert(raw, internal_date=now - timedelta(days=days))
    some = team.with_services(backfill_days=30)
    mailbox = some.connect(ALICE)
    some.sync(mailbox)
    with team.sessions() as session:
        assert set(session.scalars(select(Message.subject))) == {"1 days", "20 days"}
    assert some.check(mailbox).clean


def test_progress_tells_how_far_it_is_and_how_long_it_takes(team: Team) -> None:
    fill(team, 30)
    mailbox = team.connect(ALICE)
    with team.services.open(mailbox.id) as sync:
        backfill.start(sync)
        backfill.list_mailbox(sync)
    with team.sessions() as session:
        told = backfill.progress(session, team.read(mailbox), per_minute=600)
    assert (told.done, told.total) == (0, 30)
    assert told.left == timedelta(minutes=30 * 20 / (600 * 0.9))
    team.sync(mailbox)
    with team.sessions() as session:
        told = backfill.progress(session, team.read(mailbox), per_minute=600)
    assert (told.done, told.total, told.left) == (30, 30, timedelta(0))


def test_units_are_counted_by_method_as_gmail_counts_them(team: Team) -> None:
    from gmail_sync import budget

    fill(team, 12)
    mailbox = team.connect(ALICE)
    team.sync(mailbox)
    with team.sessions() as session:
        counted = budget.spent_by(session, mailbox)
    assert counted == {name: units for name, units in team.sandbox.stats.units(ALICE).items() if units}


def test_two_mailboxes_with_the_same_mail_share_one_message(team: Team) -> None:
    raw = mail(to=f"{ALICE}, {BOB}", Message_ID="<both@outside.example>")
    team.sandbox.deliver(raw, [ALICE, BOB])
    for address in (ALICE, BOB):
        team.sync(team.connect(address))
    with team.sessions() as session:
        assert session.scalar(select(func.count()).select_from(Message)) == 1
        kinds = Counter(session.scalars(select(Event.kind)))
    assert kinds["message.received"] == 1


def unblock(team: Team) -> None:
    """Let the time pass that Gmail asked to wait."""
    from sqlalchemy import update

    from gmail_sync.budget import Spent

    with transaction(team.sessions) as session:
        session.execute(update(Spent).values(blocked_until=None))


def test_an_empty_mailbox_is_up_to_date_at_once(team: Team, sandbox: Sandbox) -> None:
    mailbox = team.connect(BOB)
    team.sync(mailbox)
    read = team.read(mailbox)
    assert (read.backfill, read.backfill_total) == (Backfill.DONE, 0)
    assert read.synced_at is not None
