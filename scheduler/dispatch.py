"""Dispatch: due mail goes out, each once.

A mailbox is one worker's at a time (a lock that dies with its holder); mailboxes go in parallel. With the lock in
hand, whatever is *sending* was left behind by somebody who died or got no answer, and Gmail is asked what became
of it; then due mail is claimed (committed), sent, and settled. A draft that is still there was not sent; one that
is gone was, if its thread holds the sent mail. What can't be told is *uncertain*, and never sent again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from gmail_sync import drafts
from gmail_sync.client import Gmail
from gmail_sync.errors import GmailError, NeedsAttention, NotFound, Permanent, QuotaWait, Transient
from scheduler import claims, locks, settling
from scheduler.claims import Claimed
from scheduler.doors import Door, Doors, Prepaid
from scheduler.emails import MISSED
from scheduler.outbox import DELETED_IN_GMAIL
from scheduler.post import Post
from scheduler.settling import Outcome
from scheduler.states import State
from tracker.db import transaction
from tracker.mailboxes import Mailbox

log = logging.getLogger(__name__)

THREADS = 256  # mailboxes that one worker sends from at a time; they wait for Gmail, most of the time
CHUNK = 64  # mailboxes that are claimed in one transaction, so that the first need not wait for the last
EACH = 5  # mails of a mailbox that are claimed at a time: some must be asked about after a crash
SETTLE_AFTER = 0.25  # seconds that a sent mail waits for others to be settled with it
LOOKED_AT = 2000  # mailboxes, of which those that no other worker has are taken
PAUSE = 1.0  # seconds between two looks, when nothing is due earlier
WARM_AHEAD = timedelta(seconds=45)
LONGEST_WAIT = 64.0  # seconds, for a mail that Gmail keeps putting off
LOOK_REMEDY = "Look into Gmail's Sent folder, then say here whether it went"
UNKNOWN = "its draft is gone from Gmail and no sent mail is in its place, so nobody can tell whether it went"
REFUSED_REMEDY = "Correct it (recipients, size, text), then queue it again"


class Settler:
    """Commits what several threads have to say together: whoever comes first takes along what waits."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._mutex, self._turn = threading.Lock(), threading.Lock()
        self._waiting: list[_Entry] = []

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Settle, and return once it is committed."""
        if not outcomes:
            return
        entry = _Entry(outcomes)
        with self._mutex:
            self._waiting.append(entry)
        with self._turn:
            if not entry.done:
                self._commit()
        if entry.error is not None:
            raise entry.error

    def _commit(self) -> None:
        with self._mutex:
            taken, self._waiting = self._waiting, []
        outcomes = [one for entry in taken for one in entry.outcomes]
        try:
            with transaction(self._post.sessions) as session:
                settling.settle(session, outcomes)
            with transaction(self._post.sessions) as session:
                settling.want(session, outcomes, self._post.now())
        except BaseException as error:
            for entry in taken:
                entry.error = error
        for entry in taken:
            entry.done = True


@dataclass(slots=True)
class _Entry:
    outcomes: Sequence[Outcome]
    done: bool = False
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """What is to be done in one mailbox whose lock is ours."""

    mailbox: Mailbox
    left: tuple[Claimed, ...]
    claimed: tuple[Claimed, ...]


class Dispatcher:
    """Sends what is due, in threads of its own; `step` alone does a round of it.

    With `threads` 0 everything happens in the thread that calls `step`.
    """

    def __init__(self, post: Post, *, threads: int = THREADS, each: int = EACH) -> None:
        self._post, self._threads, self._each = post, threads, each
        self._locks = locks.Locks(post.engine, locks.SENDING)
        self._settler = Settler(post)
        self._doors = Doors(self._make_door)
        self._pool = ThreadPoolExecutor(threads, "sending") if threads else None
        self._parked: dict[int, datetime] = {}
        self._warming: set[int] = set()
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in the background."""
        self._thread = threading.Thread(target=self._run, name="dispatch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish what is under way and stop."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._doors.close_all()
        self._locks.close()

    def wake(self) -> None:
        """Look at once: something was queued for now."""
        self._wake.set()

    def step(self) -> bool:
        """Claim what is due and hand it over; whether there was anything."""
        now = self._post.now()
        self._locks.still()
        self._parked = {id_: until for id_, until in self._parked.items() if until > now}
        free = max(1, self._threads) - len(self._locks.held)
        if free <= 0:
            return False
        with transaction(self._post.sessions) as session:
            due = claims.due_mailboxes(session, now, {*self._parked, *self._locks.held}, LOOKED_AT)
        mine = self._locks.take(due, min(free, CHUNK))  # many of them may be other workers'
        if not mine:
            return False
        try:
            loads = self._loads(mine, now)
        except BaseException:
            self._locks.give(mine)
            raise
        self._locks.give(mine - {load.mailbox.id for load in loads})
        for load in loads:
            self._hand_over(load)
        return bool(loads)

    def _loads(self, mine: Iterable[int], now: datetime) -> list[Load]:
        ids = sorted(mine)
        with transaction(self._post.sessions) as session:
            left = claims.left_behind(session, ids, now)
            claimed = claims.claim(session, self._post, ids, self._each, now)
            boxes = claims.mailboxes_of(session, {one.mailbox_id for one in (*left, *claimed)})
        return [
            Load(
                box,
                tuple(one for one in left if one.mailbox_id == box.id),
                tuple(one for one in claimed if one.mailbox_id == box.id),
            )
            for box in boxes.values()
        ]

    def _hand_over(self, load: Load) -> None:
        if self._pool is None:
            self._deliver(load)
            return
        self._pool.submit(self._deliver, load).add_done_callback(self._done)

    def _done(self, future: Future[None]) -> None:
        error = None if future.cancelled() else future.exception()
        if error is not None:
            # What was claimed is asked about by whoever has the mailbox next.
            log.error("Sending failed", exc_info=error)
        self._wake.set()

    def _deliver(self, load: Load) -> None:
        try:
            _Delivery(self._post, self._doors, self._settler, load, self._lost, self._each).run(self._park)
        finally:
            self._locks.give([load.mailbox.id])

    def _lost(self, mailbox_id: int) -> bool:
        return mailbox_id not in self._locks.held

    def _park(self, mailbox_id: int, seconds: float) -> None:
        """Leave a mailbox alone whose quota is spent."""
        self._parked = {**self._parked, mailbox_id: self._post.now() + timedelta(seconds=seconds)}

    def _make_door(self, mailbox: Mailbox) -> tuple[Gmail, Prepaid]:
        budget = Prepaid(self._post.budget(mailbox, patience=0.0))
        return self._post.door(mailbox, budget), budget

    # -- the loop

    def _run(self) -> None:
        while not self._stopping.is_set():
            pause = 0.0
            try:
                if not self.step():
                    pause = self._pause()
                    self._warm()
            except Exception:
                # The database may be away for a while: the next look finds what is due then.
                log.exception("Looking for due mail failed")
                pause = PAUSE
            self._wake.wait(pause)
            self._wake.clear()

    def _pause(self) -> float:
        now = self._post.now()
        with transaction(self._post.sessions) as session:
            due = claims.next_at(session, now)
        known = [at for at in (due, *self._parked.values()) if at is not None]
        return min([PAUSE, *(max(0.005, (at - now).total_seconds()) for at in known)])

    def _warm(self) -> None:
        """Open the doors that will be needed within the minute: a token takes Google a moment."""
        self._doors.tidy()
        if self._pool is None:
            return
        now = self._post.now()
        with transaction(self._post.sessions) as session:
            soon = claims.due_mailboxes(session, now + WARM_AHEAD, self._locks.held, self._threads * 4)
            ids = [id_ for id_ in soon if id_ not in self._doors and id_ not in self._warming]
            cold = claims.mailboxes_of(session, ids)
        for mailbox in cold.values():
            self._warming.add(mailbox.id)
            self._pool.submit(self._open, mailbox)

    def _open(self, mailbox: Mailbox) -> None:
        try:
            self._doors.open(mailbox).gmail.profile()
        except GmailError as error:  # it is told when it is needed
            log.info("%s could not be opened ahead of time: %s", mailbox.address, error)
        finally:
            self._warming.discard(mailbox.id)


@dataclass(slots=True)
class _Delivery:
    """One mailbox's load, by one thread."""

    post: Post
    doors: Doors
    settler: Settler
    load: Load
    lost: Callable[[int], bool]
    each: int
    outcomes: list[Outcome] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    since: float = 0.0

    def run(self, park: Callable[[int, float], None]) -> None:
        waiting = list(self.load.claimed)
        try:
            door = self.doors.open(self.load.mailbox)
            for mail in self.load.left:
                self.note(self.ask_later(mail, door.gmail))
            if waiting:
                door.budget.pay({"drafts.send": len(waiting)})
            while waiting and not self.lost(self.load.mailbox.id):
                outcome = self.send(door.gmail, waiting.pop(0))
                self.note(outcome)
                # Gmail is in trouble: the rest is not even tried. A draft that is gone is that mail's own.
                if outcome.state == State.SENDING and outcome.reason != MISSED:
                    assert outcome.next_at is not None
                    park(self.load.mailbox.id, (outcome.next_at - self.post.now()).total_seconds())
                    self.release(waiting)
                    break
        except Transient as error:  # of quota, or of a storm: the rest was not asked for
            park(self.load.mailbox.id, error.retry_after)
            self.release(waiting)
        except NeedsAttention as error:
            self.post.ask_for_attention(self.load.mailbox, str(error))
            self.release(waiting)
            self.doors.close(self.load.mailbox.id)
        except BaseException:
            # A fault of ours, or an answer that nobody foresaw. What was sent is settled all the same, what was
            # not asked for is given back, and the mailbox is left alone for a while, not tried in circles.
            park(self.load.mailbox.id, LONGEST_WAIT)
            self.release(waiting)
            self.flush()
            raise
        self.flush()
        if self.sent and len(self.load.claimed) < self.each:  # the rush is over
            self.read_back(door)

    def note(self, outcome: Outcome) -> None:
        """Remember what became of a mail; what was remembered for a while is settled."""
        if not self.outcomes:
            self.since = time.monotonic()
        self.outcomes.append(outcome)
        if outcome.gmail_id is not None and outcome.rfc822_message_id is None:
            self.sent.append(outcome.gmail_id)
        if time.monotonic() - self.since > SETTLE_AFTER:
            self.flush()

    def flush(self) -> None:
        """Settle what is remembered."""
        outcomes, self.outcomes = self.outcomes, []
        self.settler.settle(outcomes)

    def release(self, mails: Iterable[Claimed]) -> None:
        """Give back what Gmail was not asked to send."""
        self.outcomes += [Outcome(mail, State.QUEUED, next_at=mail.due_at, asked=False) for mail in mails]

    def send(self, gmail: Gmail, mail: Claimed) -> Outcome:
        """Ask Gmail once. Where nothing was asked, or Gmail did not let us in, the mail is given back."""
        try:
            gmail_id, thread_id = drafts.send(gmail, mail.draft_id)
        except (QuotaWait, NeedsAttention):
            self.release([mail])
            raise
        except NotFound:
            return self.ask_later(mail, gmail, refused="gone")
        except Transient as error:
            # It may have gone, or may be about to: Gmail is asked once it has had its time.
            self.doors.close(mail.mailbox_id)
            return self.later(mail, error.retry_after)
        except Permanent as error:  # at times the answer to a draft that is gone
            return self.ask_later(mail, gmail, refused=str(error))
        return Outcome(mail, State.SENT, sent_at=self.post.now(), gmail_id=gmail_id, thread_id=thread_id)

    def ask_later(self, mail: Claimed, gmail: Gmail, refused: str = "") -> Outcome:
        """Ask Gmail what became of a mail; when it does not say, ask again later."""
        try:
            return self.ask(gmail, mail, refused)
        except NeedsAttention:
            raise
        except Transient as error:
            return self.later(mail, error.retry_after)
        except Permanent as error:  # it refuses to say: the mail stays in doubt, and the others go on
            log.warning("%s: Gmail does not say what became of a mail: %s", self.load.mailbox.address, error)
            return self.later(mail, LONGEST_WAIT)

    def later(self, mail: Claimed, seconds: float) -> Outcome:
        """Nobody knows yet: ask again, more and more patiently."""
        least = min(self.post.ask_after.total_seconds() * 2 ** min(mail.attempts - 1, 6), LONGEST_WAIT)
        next_at = self.post.now() + timedelta(seconds=max(seconds, least))
        return Outcome(mail, State.SENDING, reason=MISSED if mail.missed else None, next_at=next_at)

    def ask(self, gmail: Gmail, mail: Claimed, refused: str) -> Outcome:
        """What became of a mail, as its draft and its thread tell. Raises `GmailError`."""
        now = self.post.now()
        if drafts.standing(gmail, mail.draft_id) is not None:
            if refused and refused != "gone":
                return Outcome(mail, State.FAILED, reason=refused, remedy=REFUSED_REMEDY)
            return Outcome(mail, State.QUEUED, next_at=max(now, mail.due_at))
        sent = drafts.find_sent(gmail, mail.trace)
        if sent is not None:
            return Outcome(
                mail, State.SENT, sent_at=sent.at, gmail_id=sent.id, thread_id=sent.thread_id,
                rfc822_message_id=sent.rfc822_message_id,
            )  # fmt: skip
        if refused == "gone" and mail.attempts == 1:  # we asked once, and were told that there was no draft
            return self.later(replace(mail, missed=True), 0.0)
        if mail.missed:  # and so we are again: it was deleted in Gmail
            return Outcome(mail, State.CANCELLED, reason=DELETED_IN_GMAIL, remedy="Queue it again if need be")
        if now - mail.claimed_at < self.post.doubt:
            return self.later(mail, 0.0)
        return Outcome(mail, State.UNCERTAIN, reason=UNKNOWN, remedy=LOOK_REMEDY)

    def read_back(self, door: Door) -> None:
        """Write down the Message-ID that Gmail gave; if that fails, the mailbox's syncing brings it."""
        try:
            known = drafts.headers(door.gmail, self.sent[:50])
        except GmailError as error:
            log.info("%s: what was sent is not read back now: %s", self.load.mailbox.address, error)
            return
        with transaction(self.post.sessions) as session:
            found = {id_: (one.rfc822_message_id, one.at) for id_, one in known.items()}
            settling.read_back(session, found, self.load.mailbox.id)
