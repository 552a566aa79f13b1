"""Bells: the worker's thread that reads the log, writes down who is told, and hands pushes to their services.

Rows are the truth: whatever a killed worker leaves behind is looked at again, and several workers never do the
same at the same time. The network is asked outside of transactions.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from queue import SimpleQueue

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from tracker import topics
from tracker.db import Sessions, transaction
from tracker.secrets import Cipher, SecretsError
from webhooks.bells import deliveries, push, subscriptions, telling, words
from webhooks.bells.deliveries import Claim, Room, Settled, State
from webhooks.bells.flights import Flights, origin_of
from webhooks.bells.lines import Lines
from webhooks.bells.push import Address, Push, Signer
from webhooks.hearing import Hearing

log = logging.getLogger(__name__)

PACE = 0.05  # seconds between two rounds: what came meanwhile is told together
SETTLE_AFTER = 0.05  # seconds that what became of a push waits for others
THREADS = 24  # pushes under way at a time; they wait for push services, most of the time
AHEAD = 3  # times as many are claimed as there are threads: one round's are sent while the next is made ready
LOOK = 2.0  # seconds between two looks when nothing is heard
LIVELY, SOON = 1.0, 0.05  # for so long after news, look so often: an event is read once no older one may come
TEST = {
    "title": "Notifications work", "body": "This computer rings when there is something to know.",
    "tag": "tracker-test",
}  # fmt: skip


def _test(claim: Claim) -> dict[str, str]:
    """Another test is another address: it rings though the former is still shown."""
    return {**TEST, "url": f"/bell/settings?test={int(claim.expires_at.timestamp() * 1000)}"}


@dataclass(frozen=True, slots=True)
class Made:
    """A claimed push, ready to go; without one there is nothing that its reader may know."""

    claim: Claim
    push: Push | None
    signer: Signer | None


Outcome = tuple[Claim, Settled]


class Settler:
    """Commits what several threads have to say together, in a thread of its own: nobody waits for it.

    What it can't commit stays claimed, and is taken over when the claim has passed.
    """

    def __init__(self, commit: Callable[[Sequence[Outcome]], None]) -> None:
        self._commit = commit
        self._waiting: SimpleQueue[Outcome | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="settling pushes", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Commit what waits, and stop."""
        self._waiting.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def settle(self, claim: Claim, outcome: Settled) -> None:
        """Settle soon."""
        self._waiting.put((claim, outcome))

    def _run(self) -> None:
        ending = False
        while not ending:
            taken = [self._waiting.get()]
            time.sleep(SETTLE_AFTER)
            while not self._waiting.empty():
                taken.append(self._waiting.get())
            ending = None in taken
            outcomes = [one for one in taken if one is not None]
            try:
                if outcomes:
                    self._commit(outcomes)
            except Exception:
                log.warning("Pushes were not settled; they are tried again", exc_info=True)


class Bells:
    """Tells and rings, in threads of its own; `step` alone does a round of it.

    With `threads` 0 everything happens in the thread that calls `step`. `private` allows push services inside
    one's own network. `contact` is whom a push service may write to.
    """

    def __init__(
        self, sessions: Sessions, database_url: str, cipher: Cipher, now: Callable[[], datetime], *,
        contact: str, private: bool = False, threads: int = THREADS,
    ) -> None:  # fmt: skip
        self._sessions, self._cipher, self._now = sessions, cipher, now
        self._contact, self._private, self._threads = contact, private, threads
        self._pool = ThreadPoolExecutor(threads, "ringing") if threads else None
        self._signers: dict[int, Signer] = {}
        self._flights = Flights(threads * AHEAD)
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._settler = Settler(self._settle)
        self._lines = Lines()
        self._lively = 0.0
        self._hearing = Hearing(database_url, topics.CHANNEL, self.wake)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in the background."""
        self._thread = threading.Thread(target=self._run, name="bells", daemon=True)
        if self._pool is not None:
            self._settler.start()
        self._thread.start()
        self._hearing.start()

    def stop(self) -> None:
        """Finish what is under way and stop."""
        self._stopping.set()
        self._wake.set()
        self._hearing.stop()
        if self._thread is not None:
            self._thread.join()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._settler.stop()
        self._lines.close()

    def wake(self) -> None:
        """Look at once."""
        self._lively = time.monotonic() + LIVELY
        self._wake.set()

    def step(self) -> bool:
        """Read what happened, and ring for what is due; whether there was anything."""
        with transaction(self._sessions) as session:
            read = telling.read_some(session, self._now())
        room = self._room()
        if room.free <= 0:
            return False
        with transaction(self._sessions) as session:
            made = self._made(session, deliveries.claim(session, self._now(), room))
        for one in made:
            self._hand_over(one)
        return bool(read or made)

    def _room(self) -> Room:
        if not self._threads:
            return Room(64)
        return Room(self._flights.free(), dict(self._flights.room()), self._flights.most)

    def _made(self, session: Session, claims: Sequence[Claim]) -> list[Made]:
        """What each claimed push says, for its reader."""
        notifications = [notification for claim in claims for notification in claim.notifications]
        users = {claim.user.id: claim.user for claim in claims}
        said = {one.notification.id: one for one in words.say(session, notifications, users)} if claims else {}
        return [
            self._push(session, claim, [said[n.id] for n in claim.notifications if n.id in said])
            for claim in claims
        ]

    def _push(self, session: Session, claim: Claim, said: Sequence[words.Said]) -> Made:
        if claim.notifications and not said:
            return Made(claim, None, None)
        content = _test(claim) if not said else said[0].ring() if len(said) == 1 else words.summary(said)
        ttl = int((claim.expires_at - self._now()).total_seconds())
        urgent = not said or any(one.urgent for one in said)
        return Made(claim, Push(content, ttl, urgent), self._signer(session, claim.user.team_id))

    def _signer(self, session: Session, team_id: int) -> Signer | None:
        if team_id not in self._signers:
            kept = subscriptions.vapid_key(session, team_id, self._cipher)
            try:
                private = self._cipher.open(kept.private)["d"]
            except SecretsError as error:
                log.warning("No desktop is rung: the key for Web Push can't be read. %s", error)
                return None
            self._signers[team_id] = Signer(private, self._contact)
        return self._signers[team_id]

    def _hand_over(self, made: Made) -> None:
        if self._pool is None:
            self._send(made)
            return
        origin = origin_of(made.claim.subscription.endpoint)
        self._flights.begin(origin)
        self._pool.submit(self._send_and_free, made, origin)

    def _send_and_free(self, made: Made, origin: str) -> None:
        since = self._flights.leave(origin)
        try:
            self._send(made)
        except Exception:  # its row stays claimed, and is taken over
            log.warning("A push was not settled; it is tried again", exc_info=True)
        finally:
            if self._flights.end(origin, since):
                self._wake.set()

    def _send(self, made: Made) -> None:
        if made.claim.until - self._now() < timedelta(seconds=push.SECONDS + 1):
            return  # it waited so long that another may take it over while it is sent
        outcome = self._outcome(made)
        if outcome.state == State.DROPPED:
            log.info("A push was dropped: %s", outcome.reason)
        if self._pool is None:
            self._settle([(made.claim, outcome)])
        else:
            self._settler.settle(made.claim, outcome)

    def _settle(self, outcomes: Sequence[Outcome]) -> None:
        with transaction(self._sessions) as session:
            deliveries.settle_all(session, outcomes, self._now())

    def _outcome(self, made: Made) -> Settled:
        if made.push is None:
            return Settled(State.DROPPED, "its reader may not read the mail any more")
        if made.signer is None:
            return Settled(State.WAITING, "the key for Web Push can't be read")
        browser = made.claim.subscription
        address = Address(browser.endpoint, browser.p256dh, browser.auth)
        return push.send(address, made.push, made.signer, private=self._private, lines=self._lines)

    def _run(self) -> None:
        down = False
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                busy, down = self.step(), False
            except SQLAlchemyError as error:
                if not down:
                    log.warning("Nobody is told: the database can't be asked (%s)", str(error).strip())
                busy, down = False, True
            except Exception:
                log.exception("Telling went wrong; trying again")
                busy, down = False, True
            if busy:
                self._stopping.wait(PACE)
            else:
                lively = not down and time.monotonic() < self._lively
                self._wake.wait(SOON if lively else LOOK)
