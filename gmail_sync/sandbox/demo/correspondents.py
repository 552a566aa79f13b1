"""The made-up people, alive: they answer waiting threads by themselves, and reps who write to them.

Nothing is stored: every answer of a beat has a Message-ID of its own that is looked for in the mailboxes, and
how often somebody answered in a thread is read from its References.
"""

from __future__ import annotations

import threading
import zlib
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from functools import partial
from typing import TYPE_CHECKING

from gmail_sync.sandbox.demo import compose
from gmail_sync.sandbox.demo.agenda import Agenda
from gmail_sync.sandbox.demo.opening import Moment, open_mail, program_of
from gmail_sync.sandbox.demo.people import Person
from gmail_sync.sandbox.demo.story import Beat, Story, message_id
from gmail_sync.sandbox.listing import Wanted

if TYPE_CHECKING:
    from gmail_sync.sandbox import Sandbox

#: Seconds from the start to the first beat.
_FIRST_BEAT = 20
#: Seconds until a mail has arrived, and what machines fetch is fetched.
_ARRIVED = 2
#: Seconds until a mail is opened, and from then until it is answered: the least, and how much it varies. Somebody
#: opens it later than a scanner would, and follows a link in it in between.
_OPENED = (14, 7)
_CLICKED = 20
_ANSWERED = (24, 16)
#: Answers that one person gives in one thread.
MOST_ANSWERS = 4


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Correspondents:
    """Answers mail in *sandbox* for the people of *story*, until stopped.

    clock: the time for Date headers. speed: how much faster than life (for tests). opens: called with the bytes
    of a mail and its reader's address when it arrives, when it is opened and when a link in it is clicked, all
    before it is answered; None, and nobody opens anything.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        story: Story,
        clock: Callable[[], datetime] = _utc_now,
        speed: float = 1.0,
        opens: Callable[[bytes, str, Moment], None] | None = open_mail,
    ) -> None:
        self.opens = opens
        self._sandbox = sandbox
        self._story = story
        self._clock = clock
        self._agenda = Agenda("correspondents", speed)
        self._lock = threading.Lock()
        self._answers: Counter[tuple[str, str]] = Counter()
        #: What is still to come, by its Message-ID.
        self._beats: dict[str, Beat] = {}

    def start(self) -> None:
        """Plan the beats that are not in the mailboxes yet, and listen for what the reps send."""
        beats = [beat for beat in self._story.beats if not self._find(beat.message_id)]
        self._beats = {beat.message_id: beat for beat in beats}
        due = _FIRST_BEAT
        for number, beat in enumerate(beats):
            self._agenda.after(due, partial(self._play, beat))
            due += 30 + number * 7 % 11
        if self._on_sent not in self._sandbox.on_sent:
            self._sandbox.on_sent.append(self._on_sent)
        self._agenda.start()

    def stop(self) -> None:
        """Fall silent."""
        if self._on_sent in self._sandbox.on_sent:
            self._sandbox.on_sent.remove(self._on_sent)
        self._agenda.stop()

    # -- beats

    def _play(self, beat: Beat) -> None:
        """Deliver *beat*, unless it was given as an answer meanwhile."""
        waiting = self._find(beat.answers.message_id)
        if self._take(beat) and waiting:
            self._deliver_beat(beat, compose.read(waiting))

    def _take(self, beat: Beat) -> bool:
        """Whether *beat* was still to come; from now on it is not."""
        with self._lock:
            return self._beats.pop(beat.message_id, None) is not None

    def _waiting(self, ids: list[str], person: Person) -> Beat | None:
        """The beat that *person* still owes to one of the mails *ids*."""
        with self._lock:
            beats = list(self._beats.values())
        owed = (beat for beat in beats if beat.sender == person.address and beat.answers.message_id in ids)
        return next(owed, None)

    def _deliver_beat(self, beat: Beat, original: EmailMessage) -> None:
        person = self._story.person(beat.sender)
        self._answer(original, person, beat.text, beat.message_id, automatic=beat.automatic)

    # -- answers

    def _on_sent(self, address: str, sent_id: str, raw: bytes, recipients: list[str]) -> None:
        """Have each made-up recipient open what a rep sent, and the first of them in To answer it."""
        message = compose.read(raw)
        readers = [person for person in map(self._outsider, recipients) if person]
        addressed = {item.addr_spec.casefold() for item in compose.addresses(message, "to")}
        answering = next((person for person in readers if person.address.casefold() in addressed), None)
        for person in readers:
            chance = zlib.crc32(f"{sent_id} {person.address}".encode())
            opened = _OPENED[0] + chance % _OPENED[1] + program_of(person.address).wait
            self._read(raw, person, opened)
            if person is answering and not _is_automatic(message):
                answered = opened + _ANSWERED[0] + chance // _OPENED[1] % _ANSWERED[1]
                self._agenda.after(answered, partial(self._reply, message, person, chance))

    def _outsider(self, address: str) -> Person | None:
        """The made-up person with *address* who reads their mail; None for reps, machines and strangers."""
        wanted = address.casefold()
        people = (person for person in self._story.people if not person.automatic)
        return next((person for person in people if person.address.casefold() == wanted), None)

    def _read(self, raw: bytes, person: Person, opened: float) -> None:
        """Have *person* get, open and click in what was sent."""
        if self.opens is None:
            return
        moments = ((_ARRIVED, Moment.ARRIVED), (opened, Moment.OPENED), (opened + _CLICKED, Moment.CLICKED))
        for seconds, moment in moments:
            self._agenda.after(seconds, partial(self.opens, raw, person.address, moment))

    def _reply(self, original: EmailMessage, person: Person, chance: int) -> None:
        """Answer *original*: with the beat that waits in this thread, or one of the replies."""
        ids = compose.references(original) + compose.message_ids(original, "message-id")
        beat = self._waiting(ids, person)
        if beat and self._take(beat):
            self._deliver_beat(beat, original)
            return
        given = self._answers[ids[0], person.address]
        if max(given, _answers_in(ids, person)) >= MOST_ANSWERS:
            return
        self._answers[ids[0], person.address] += 1
        texts = self._story.replies.get(person.language) or self._story.replies["en"]
        text = texts[(chance + given) % len(texts)].format(name=_first_name(original))
        self._answer(original, person, text, _answer_id(ids[-1], person))

    def _answer(
        self, original: EmailMessage, person: Person, text: str, own_id: str, *, automatic: bool = False
    ) -> None:
        raw = compose.answer(original, person, text, at=self._clock(), message_id=own_id, automatic=automatic)
        answer = compose.read(raw)
        everyone = [*compose.addresses(answer, "to"), *compose.addresses(answer, "cc")]
        self._sandbox.deliver(raw, [address.addr_spec for address in everyone])

    def _find(self, wanted: str) -> bytes | None:
        """The mail with the Message-ID *wanted* from any of the reps' mailboxes."""
        query = Wanted(q=f"rfc822msgid:{wanted.strip('<>')}", include_spam_trash=True, limit=1)
        for rep in self._story.reps:
            try:
                mailbox = self._sandbox.mailbox(rep.address)
            except KeyError:
                continue
            for found in mailbox.listing.messages(query).get("messages", []):
                return mailbox.raw(found["id"])
        return None


def _answer_id(answered: str, person: Person) -> str:
    """The Message-ID of the answer of *person* to the mail *answered*, recognisable by `_answers_in`."""
    return message_id(f"answer {answered}", person.domain).replace("<", "<live.", 1)


def _answers_in(ids: list[str], person: Person) -> int:
    """How many of *ids* are answers that somebody at the company of *person* gave live."""
    return sum(item.startswith("<live.") and item.endswith(f"@{person.domain}>") for item in ids)


def _is_automatic(message: EmailMessage) -> bool:
    """Whether a machine sent *message*, or a list: nobody answers those (RFC 3834 section 2)."""
    automatic = str(message.get("auto-submitted", "no")).strip().lower() != "no"
    bulk = str(message.get("precedence", "")).strip().lower() in {"bulk", "list", "junk", "auto_reply"}
    return automatic or bulk or "list-id" in message


def _first_name(original: EmailMessage) -> str:
    """What to call the writer of *original*."""
    writer = compose.addresses(original, "from")[0]
    return (writer.display_name or writer.username).split()[0]
