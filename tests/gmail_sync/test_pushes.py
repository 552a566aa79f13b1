"""Pushes may be lost, doubled, late or out of order: the store ends the same."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from werkzeug.serving import make_server

from gmail_sync.sandbox import SandboxMailbox
from gmail_sync.sync import sync_mailbox
from tests.gmail_sync import processes
from tests.gmail_sync.processes import no_event_twice, until, visible_story, with_clock_ahead
from tests.gmail_sync.syncing import ALICE, Team, in_gmail, mail, stored
from tracker import mailboxes
from tracker.db import transaction
from tracker.jobs import Again
from tracker.mailboxes import Mailbox
from webhooks import gmail_push
from webhooks.gmail_push import Door, Sender

other = processes.other


@dataclass
class Follower:
    """A mailbox that is synced when a push says so, and only then."""

    team: Team
    mailbox: Mailbox
    box: SandboxMailbox
    wakes: queue.Queue[int | None]
    syncs: int = 0

    def run(self) -> None:
        """What a worker does: a sync for each wake, the same wakes in the queue being one."""
        while (mailbox_id := self.wakes.get()) is not None:
            try:
                sync_mailbox(self.team.services, mailbox_id)
                self.syncs += 1
            except Again as again:
                time.sleep(min(again.seconds, 0.05))
                self.wakes.put(mailbox_id)

    @property
    def agrees(self) -> bool:
        """Whether the store holds what Gmail does."""
        with self.team.sessions() as session:
            return stored(session, self.mailbox) == in_gmail(self.box)


@pytest.fixture
def follower(team: Team) -> Iterator[Follower]:
    """Alice's mailbox, watched, behind a real web door."""
    team = team.with_services(pubsub_topic="projects/p/topics/gmail")
    box = team.sandbox.mailbox(ALICE)
    for number in range(6):
        box.insert(new_mail(number))
    mailbox = team.connect(ALICE)
    found = Follower(team, mailbox, box, queue.Queue())
    app = Flask("door")
    server = make_server("127.0.0.1", 0, app, threaded=True)
    pushes = team.sandbox.pushes
    pushes.endpoint = f"http://127.0.0.1:{server.port}{gmail_push.PATH}"
    pushes.throttle = 0.0
    sender = Sender(team.services.google.certs_url, pushes.endpoint, pushes.service_account)
    gmail_push.init_app(app, Door(team.sessions, sender, found.wakes.put, team.services.now))
    threads = [
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True),
        threading.Thread(target=found.run, daemon=True),
    ]
    team.sync(mailbox)
    for thread in threads:
        thread.start()
    until(lambda: pushes.delivered == 1, 10, "the push that a watch begins with")
    until(lambda: team.read(mailbox).wanted_at is None, 10, "the sync that it asks for")
    pushes.delivered = 0
    yield found
    pushes.endpoint = None
    server.shutdown()
    found.wakes.put(None)
    for thread in threads:
        thread.join(10)
    server.server_close()


def new_mail(number: int) -> bytes:
    """A mail with a date of its own."""
    date = f"Tue, 03 Nov 2026 10:{number // 60:02}:{number % 60:02} +0100"
    return mail(subject=f"Topic {number}", date=date, Message_ID=f"<{number}@outside.example>")


def things_happen(box: SandboxMailbox, pause: float = 0.0) -> None:
    """Mail comes, goes, is trashed and labelled."""
    for number in range(20):
        ids = box.message_ids()
        box.insert(new_mail(100 + number))
        if number % 4 == 1:
            box.delete(ids[-1])
        if number % 5 == 2:
            box.trash(ids[1])
        if number % 3 == 0:
            box.modify(ids[0], add=("STARRED",), remove=("INBOX",))
        time.sleep(pause)


def ends_the_same(follower: Follower, other: Team) -> bool:
    """Whether an undisturbed reading in another database tells the same."""
    other.sync(other.connect(ALICE))
    with follower.team.sessions() as mine, other.sessions() as theirs:
        assert visible_story(mine) == visible_story(theirs)
        assert no_event_twice(mine)
    return True


def test_a_new_mail_is_here_soon_after_its_push(follower: Follower) -> None:
    follower.box.insert(new_mail(99))
    until(lambda: follower.agrees, 5, "the new mail")
    assert follower.team.read(follower.mailbox).pushed_at is not None


@pytest.mark.parametrize(
    "mode",
    [
        pytest.param({"double": True}, id="doubled"),
        pytest.param({"delay": 0.4}, id="late"),
        pytest.param({"reorder": True}, id="out of order"),
        pytest.param({"lose": 8}, id="some lost"),
        pytest.param({"double": True, "delay": 0.2, "reorder": True, "lose": 5}, id="everything at once"),
    ],
)
def test_however_pushes_arrive_the_end_is_the_same(follower: Follower, other: Team, mode: dict[str, Any]) -> None:
    pushes = follower.team.sandbox.pushes
    pushes.mode = mode
    things_happen(follower.box, pause=0.02)
    pushes.mode = {"lose": False}
    follower.box.modify(follower.box.message_ids()[0], add=("UNREAD",))
    until(lambda: follower.agrees, 10, "the end")
    assert pushes.delivered > 0
    until(lambda: follower.syncs > 0, 10, "the end of a sync, whose last commit may be seen before")
    until(lambda: follower.wakes.empty(), 10, "the last wake")
    assert ends_the_same(follower, other)


def test_lost_pushes_are_made_good_by_polling_after_silence(follower: Follower, other: Team) -> None:
    pushes = follower.team.sandbox.pushes
    pushes.mode = {"lose": True}
    things_happen(follower.box)
    assert pushes.delivered == 0
    assert pushes.dropped > 0
    assert not follower.agrees
    team = follower.team
    with transaction(team.sessions) as session:
        assert list(mailboxes.due(session, team.services.now(), team.services.silence)) == []
    later = with_clock_ahead(team, team.services.silence.total_seconds() + 1)
    with transaction(team.sessions) as session:
        assert list(mailboxes.due(session, later.services.now(), team.services.silence)) == [follower.mailbox.id]
    later.sync(follower.mailbox)
    assert follower.agrees
    assert ends_the_same(follower, other)


def test_a_push_during_a_sync_is_not_forgotten(follower: Follower) -> None:
    # The wish that came in while a sync was on its way outlives that sync.
    team, mailbox = follower.team, follower.mailbox
    now = team.services.now()
    with transaction(team.sessions) as session:
        mailboxes.want(session, mailbox.id, "asked", now)
        wish = session.get_one(Mailbox, mailbox.id).wanted_at
    with transaction(team.sessions) as session:
        mailboxes.pushed(session, mailbox.id, now + timedelta(seconds=1))
    with transaction(team.sessions) as session:
        assert not mailboxes.fulfil(session, mailbox.id, wish, now)
    assert team.read(mailbox).wanted_by == "pushed"


def test_a_watch_is_begun_once_and_renewed_daily(follower: Follower) -> None:
    calls = follower.team.sandbox.stats.calls
    assert calls(ALICE)["watch"] == 1
    follower.team.sync(follower.mailbox)
    assert calls(ALICE)["watch"] == 1
    with transaction(follower.team.sessions) as session:  # as it is a day later
        row = session.get_one(Mailbox, follower.mailbox.id)
        assert row.watch_renew_at is not None
        row.watch_renew_at -= timedelta(days=1)
    follower.team.sync(follower.mailbox)
    follower.team.sync(follower.mailbox)
    assert calls(ALICE)["watch"] == 2
