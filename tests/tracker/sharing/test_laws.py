"""Permission laws: whatever happens in a team, the gate answers as a small obvious model does (`model`)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from itertools import combinations
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from tests.tracker.domain import NOW, a_box, a_team, pipeline
from tests.tracker.sharing.model import FULL, NOTHING, SUBJECT, Held, Mail, World
from tracker import access, conversations, filing, leaving, mailboxes, ours, people, search, sharing, sight
from tracker.boxes import Box
from tracker.conversations import Conversation, Incoming
from tracker.db import Sessions
from tracker.mailboxes import Mailbox
from tracker.messages import Message
from tracker.people import Role, User, Viewer
from tracker.sharing import said
from tracker.web import rows

SOAK = bool(os.environ.get("TRACKER_SOAK"))
HOST = "team.example"
OUTSIDERS = ("zoe@acme.test", "ned@eu.acme.test", "doc@clinic.test")
PEOPLE = ("alice", "bob", "carol", "gus")
MAILBOXES = {"alice": "alice", "bob": "bob", "bob2": "bob", "carol": "carol"}
BOXES = {"deal": "Sales", "other deal": "Sales", "ticket": "Support"}
THREADS = ("one", "two", "three")
PRIVATE = ("clinic.test", "acme.test", "zoe@acme.test", "alice@team.example")


def address(who: str) -> str:
    """Somebody's address."""
    return who if "@" in who else f"{who}@{HOST}"


class Law:
    """A team in the database, the same as a model, and the verbs that change both."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.admin = a_team(session)
        self.users: dict[str, User] = {"alice": self.admin}
        for name in PEOPLE[1:]:
            role = Role.GUEST if name == "gus" else Role.MEMBER
            self.users[name] = people.add_user(session, self.team_id, address(name), name=name.title(), role=role)
        self.world = World(own={address(one) for one in (*PEOPLE, *MAILBOXES)})
        self.mailboxes: dict[str, Mailbox] = {}
        for name in MAILBOXES:
            self._connect(name)
        support = pipeline(session, self.team_id)
        names = [found.name for found in self._pipelines()]
        self.pipelines = {"Sales": support, "Support": self._pipelines()[names.index(self._other(names))]}
        self.boxes: dict[str, Box] = {}
        for name, into in BOXES.items():
            self.boxes[name] = a_box(session, self.viewer("alice"), name, into=self.pipelines[into].name)
            self.world.pipeline_of[name] = into
        self.number = 0
        self.threads: dict[str, int] = {}
        self.look()

    @property
    def team_id(self) -> int:
        return self.admin.team_id

    def _pipelines(self) -> Any:
        from tracker import pipelines

        return pipelines.of_team(self.session, self.team_id)

    @staticmethod
    def _other(names: list[str]) -> str:
        return next(name for name in names if name != "Sales")

    def viewer(self, name: str) -> Viewer:
        return people.viewer_of(self.users[name], "web")

    def _connect(self, name: str) -> None:
        owner = self.users[MAILBOXES[name]]
        self.mailboxes[name] = mailboxes.connect(self.session, owner, address(name), b"sealed", NOW)
        self.world.owner_of[name] = MAILBOXES[name]

    def look(self) -> None:
        """Who may see which box is another gate's: here it is asked, not modelled."""
        for name in self.users:
            query = select(Box.id).where(access.may_see(self.viewer(name)))
            seen = set(self.session.scalars(query))
            self.world.sees[name] = {box for box, found in self.boxes.items() if found.id in seen}

    # -- verbs

    def mail(
        self, thread: str, sender: str, to: tuple[str, ...], reply_to: str, holders: dict[str, tuple[str, ...]]
    ) -> None:
        """A mail arrives in somebody's mailboxes; `holders` name them with their labels and Bcc."""
        here = {name: given for name, given in holders.items() if name in self.mailboxes}
        if not here:
            return
        self.number += 1
        name = f"mail{self.number}"
        mail = Mail(name, thread, address(sender), tuple(map(address, to)))
        self.world.mails[name], self.world.copies[name] = mail, {}
        for holder, (label, *bcc) in here.items():
            self._arrive(mail, holder, label, tuple(map(address, bcc)), reply_to)
        found = self.session.scalars(select(Message).where(Message.rfc822_message_id == name)).one()
        self.threads[thread] = found.conversation_id

    def _arrive(self, mail: Mail, holder: str, label: str, bcc: tuple[str, ...], reply_to: str) -> None:
        self.world.copies[mail.name][holder] = Held(holder, label in ("TRASH", "SPAM", "DRAFT"), bcc)
        taken = incoming(mail, self.number, label, bcc, reply_to)
        conversations.take_in(self.session, self.team_id, self.mailboxes[holder].id, [taken])

    def file(self, thread: str, box: str, put: bool) -> None:
        if thread not in self.threads:
            return
        found = self.session.get_one(Conversation, self.threads[thread])
        if put and (thread, box) not in self.world.filed:
            filing.file(self.session, self.viewer("alice"), found, self.boxes[box])
            self.world.filed.add((thread, box))
        elif not put and (thread, box) in self.world.filed:
            filing.remove(self.session, self.viewer("alice"), found, self.boxes[box])
            self.world.filed.discard((thread, box))

    def open(self, box: str, to: str | None) -> None:
        access.open_to(self.session, self.viewer("alice"), self.boxes[box], to)
        self.look()

    def name(self, box: str, who: str) -> None:
        if who in self.users:
            access.name(self.session, self.viewer("alice"), self.boxes[box], self.users[who])
            self.look()

    def rule(self, who: str, kind: str, place: str, outside: int, inside: int) -> None:
        place, given = self._place(kind, place)
        if who not in self.users or given is None or (kind == "mailbox" and MAILBOXES[place] != who):
            return
        try:
            sharing.set_rule(self.session, self.viewer(who), **{kind: given}, outside=outside, inside=inside)
        except sharing.SharingError:
            return
        self.world.rules[who, kind, place] = (outside, inside)

    def grant(self, owner: str, to: str, kind: str, place: str) -> None:
        place, given = self._place(kind, place)
        if owner not in self.users or to not in self.users or owner == to or given is None:
            return
        try:
            sharing.grant(self.session, self.viewer(owner), self.users[to].id, **{kind: given})
        except sharing.SharingError:
            return
        self.world.grants.add((owner, to, kind, place))

    def withdraw(self, number: int) -> None:
        mine = sorted(self.world.grants)
        if not mine:
            return
        owner, to, kind, place = mine[number % len(mine)]
        for one in sharing.grants_by(self.session, self.users[owner].id):
            same = {
                "conversation": one.conversation_id == self.threads.get(place),
                "address": one.address == place,
                "pipeline": place in self.pipelines and one.pipeline_id == self.pipelines[place].id,
            }
            if one.user_id == self.users[to].id and same[kind] and getattr(one, COLUMN[kind]) is not None:
                sharing.withdraw_grant(self.session, self.viewer(owner), one.key)
        self.world.grants.discard((owner, to, kind, place))

    def _place(self, kind: str, place: str) -> tuple[str, Any]:
        """A name fit for the kind, and what it stands for."""
        if kind == "address":
            place = OUTSIDERS[len(place) % len(OUTSIDERS)]
            return place, place
        if kind == "pipeline":
            return place, self.pipelines.get(place)
        if kind == "mailbox":
            return place, self.mailboxes.get(place)
        found = self.threads.get(place)
        return place, None if found is None else self.session.get(Conversation, found)

    def hold_back(self, who: str, value: str) -> None:
        if who not in self.users:
            return
        try:
            sharing.private_add(self.session, self.viewer(who), value)
        except sharing.SharingError:
            return
        self.world.private.add((who, value))

    def leave(self, who: str) -> None:
        if who not in self.users or who == "alice":
            return
        leaving.leave(self.session, self.viewer("alice"), self.users[who], leaving.Choice(), NOW)
        self.session.flush()
        for name in [name for name, owner in MAILBOXES.items() if owner == who and name in self.mailboxes]:
            found = self.mailboxes.pop(name)
            held = [held.gmail_id for held in self._copies(found)]
            conversations.drop_copies(self.session, found.id, held)
        self.world.leave(who, list(self.users))
        del self.users[who], self.world.sees[who]
        self._forget_threads()
        self.look()

    def _copies(self, found: Mailbox) -> Any:
        from tracker.messages import Copy

        self.session.expire_all()
        return self.session.scalars(select(Copy).where(Copy.mailbox_id == found.id)).all()

    def _forget_threads(self) -> None:
        """Mail of which nothing is kept and that nobody else holds is gone, and so are conversations of such."""
        kept = {name for name, *_ in self.world.kept}
        for name in [name for name, held in self.world.copies.items() if not held and name not in kept]:
            del self.world.copies[name], self.world.mails[name]
        left = {mail.thread for mail in self.world.mails.values()}
        self.threads = {thread: id_ for thread, id_ in self.threads.items() if thread in left}
        self.world.filed = {(thread, box) for thread, box in self.world.filed if thread in left}
        self.world.rules = {
            at: pair for at, pair in self.world.rules.items() if at[1] != "conversation" or at[2] in left
        }
        self.world.grants = {one for one in self.world.grants if one[2] != "conversation" or one[3] in left}

    def come_back(self, who: str) -> None:
        """Somebody who left is invited again: a newcomer, but what they had kept back stays so."""
        if who in self.users:
            return
        role = Role.GUEST if who == "gus" else Role.MEMBER
        self.users[who] = people.add_user(self.session, self.team_id, address(who), name=who.title(), role=role)
        for name, owner in MAILBOXES.items():
            if owner == who:
                self._connect(name)
        for (person, kind, place), (outside, inside) in list(self.world.rules.items()):
            if person == who:
                self.world.rules[person, kind, place] = (outside, min(inside, NOTHING))
        self.look()

    # -- the laws

    def check(self) -> None:
        """What everybody sees is what the model says, by every way to ask."""
        session, world = self.session, self.world
        session.flush()
        ids = {row[0]: row[1] for row in session.execute(select(Message.rfc822_message_id, Message.id))}
        assert ids.keys() == world.mails.keys()
        assert wrong(session) == [], "outside"
        told = sharing.allowed(session, {user: ids.values() for user in self.users.values()})
        assert told == {
            (user.id, ids[name])
            for who, user in self.users.items()
            for name in world.mails
            if world.level(who, name) == FULL
        }, "many"
        for who in self.users:
            viewer, wanted = self.viewer(who), {name: world.level(who, name) for name in world.mails}
            self._check_gates(who, viewer, wanted)
            reasons = sharing.why(session, viewer, ids.values())
            assert {name: int(reasons[id_].level) for name, id_ in ids.items() if id_ in reasons} == {
                name: level for name, level in wanted.items() if level
            }, (who, "why")
            with sight.seen_by(session, viewer):  # as a page asks: by those kinds of words alone that there are
                knowing = sight.look_as(session, viewer)
                self._check_gates(who, knowing, wanted)
                self._check_lists(who, knowing, wanted)

    def _check_gates(self, who: str, viewer: Viewer, wanted: dict[str, int]) -> None:
        gates = (sharing.level(viewer), sharing.may_read(viewer), sharing.may_know(viewer))
        told = self.session.execute(select(Message.rfc822_message_id, *gates)).all()
        assert {row[0]: row[1] for row in told} == wanted, (who, "level")
        assert {row[0] for row in told if row[2]} == {name for name in wanted if wanted[name] == FULL}, who
        assert {row[0] for row in told if row[3]} == {name for name in wanted if wanted[name] > NOTHING}, who

    def _check_lists(self, who: str, viewer: Viewer, wanted: dict[str, int]) -> None:
        """Search finds, and a box lists, what somebody may read; withheld places are the rest they may know."""
        session, mails = self.session, self.world.mails
        hits = search.find_mail(session, viewer, search.parse("planted ", NOW.date()), 50).hits
        full = {mails[name].thread for name in wanted if wanted[name] == FULL}
        keys = {session.get_one(Conversation, self.threads[one]).key: one for one in self.threads}
        assert {keys[hit.conversation_key] for hit in hits} == full, (who, "search")
        for box in self.world.sees[who]:
            listed = rows.of_box(session, viewer, self.boxes[box], filing.FILED)
            there = {thread for thread in full if (thread, box) in self.world.filed}
            assert there <= {keys[row.conversation.key] for _, row in listed}, (who, "box")
            for _, row in listed:
                mine = [name for name in wanted if mails[name].thread == keys[row.conversation.key]]
                assert row.count == sum(wanted[name] == FULL for name in mine), (who, "count")
        for thread, id_ in self.threads.items():
            places = sharing.withheld(session, viewer, id_)
            between = {
                name: wanted[name] for name in wanted if mails[name].thread == thread and 0 < wanted[name] < FULL
            }
            assert len(places) == len(between), (who, "withheld")
            named = sorted(one.subject or "" for one in places)
            assert named == sorted(f"about {name}" if between[name] == SUBJECT else "" for name in between), who

    def check_seers(self) -> None:
        """Who sees one's own mail is told as it is; who got it by Bcc is not given away."""
        world = self.world
        for who in self.users:
            held = [name for name, copies in world.copies.items() if self._holds(who, name)]
            for name in held:
                id_ = self.session.scalars(select(Message.id).where(Message.rfc822_message_id == name)).one()
                told = {
                    seer.user.id: int(seer.level) for seer in sharing.who_sees(self.session, self.viewer(who), id_)
                }
                mail, wanted = world.mails[name], {}
                for other in self.users:
                    if other == who:
                        continue
                    named = {address(one) for one in (other, f"{other}2")} & {mail.sender, *mail.to}
                    sent = mail.sender in {address(who), address(f"{who}2")}
                    known = self._holds(other, name) and (named or sent)
                    wanted[self.users[other].id] = FULL if known else world.shared_level(other, name)
                assert told == {id_: level for id_, level in wanted.items() if level}, (who, name)

    def _holds(self, who: str, name: str) -> bool:
        copies = self.world.copies[name]
        return any(self.world.owner_of[box] == who and not held.hidden for box, held in copies.items())


def wrong(session: Session) -> list[int]:
    """Messages of which it is not kept rightly whether they are with an outsider."""
    session.flush()
    query = f"SELECT m.id FROM messages m WHERE m.outside <> {ours.WITH_OUTSIDER}"
    return list(session.scalars(text(query)))


COLUMN = {"conversation": "conversation_id", "address": "address", "pipeline": "pipeline_id"}


def incoming(mail: Mail, number: int, label: str, bcc: tuple[str, ...], reply_to: str) -> Incoming:
    """The mail on its way into a mailbox."""
    at = NOW - timedelta(minutes=number)
    message = {
        "identity": hashlib.sha256(mail.name.encode()).digest(),
        "kin": hashlib.sha256(mail.thread.encode()).digest(),
        "rfc822_message_id": mail.name,
        "sent_at": at,
        "sender_name": "",
        "sender_address": mail.sender,
        "sender_normalized": mail.sender,
        "subject": f"about {mail.name}",
        "snippet": "planted",
        "text": "planted words",
        "html": None,
        "automatic": None,
        "auto_reply": False,
        "attachment_count": 0,
        "defects": [],
        "unreadable": False,
    }
    recipients = [{"kind": "to", "name": "", "address": one, "normalized": one} for one in mail.to]
    if reply_to:
        recipients.append({"kind": "reply-to", "name": "", "address": reply_to, "normalized": reply_to})
    copy = {
        "gmail_id": mail.name,
        "gmail_thread_id": mail.thread,
        "label_ids": [label],
        "history_id": number,
        "internal_date": at,
        "size_estimate": 1,
        "headers": [],
        "bcc": [{"name": "", "address": one, "normalized": one} for one in bcc],
        "attachments": [],
        "calendars": [],
    }
    return Incoming(message, recipients, copy)


somebody = st.sampled_from(PEOPLE)
anybody = st.sampled_from((*PEOPLE[:3], "bob2", *OUTSIDERS))
levels = st.integers(0, 3)
places = st.sampled_from((*THREADS, "Sales", "Support", *MAILBOXES))
labels = st.sampled_from(("INBOX", "INBOX", "INBOX", "SPAM"))
kinds = st.sampled_from(("conversation", "address", "pipeline"))

STEPS = st.one_of(
    st.tuples(
        st.just("mail"),
        st.sampled_from(THREADS),
        anybody,
        st.lists(anybody, min_size=1, max_size=2, unique=True).map(tuple),
        st.sampled_from(("", OUTSIDERS[0])),
        st.dictionaries(
            st.sampled_from(tuple(MAILBOXES)), st.one_of(st.tuples(labels), st.tuples(labels, anybody)),
            min_size=1, max_size=2,
        ),
    ),
    st.tuples(st.just("file"), st.sampled_from(THREADS), st.sampled_from(tuple(BOXES)), st.booleans()),
    st.tuples(st.just("file"), st.sampled_from(THREADS), st.sampled_from(tuple(BOXES)), st.just(True)),
    st.tuples(st.just("open"), st.sampled_from(tuple(BOXES)), st.sampled_from(("team", "people", None))),
    st.tuples(st.just("name"), st.sampled_from(tuple(BOXES)), somebody),
    st.tuples(
        st.just("rule"), somebody, st.sampled_from(("conversation", "pipeline", "mailbox")), places, levels, levels
    ),
    st.tuples(st.just("grant"), somebody, somebody, kinds, places),
    st.tuples(st.just("withdraw"), st.integers(0, 9)),
    st.tuples(st.just("hold_back"), somebody, st.sampled_from(PRIVATE)),
    st.tuples(st.just("leave"), somebody),
    st.tuples(st.just("come_back"), somebody),
)  # fmt: skip
#: So that most teams have something to look at, each begins with mail that is filed.
FIRST = (
    ("mail", "one", "zoe@acme.test", ("bob",), "", {"bob": ("INBOX",)}),
    ("mail", "one", "bob", ("carol",), "", {"bob": ("SENT",)}),
    ("mail", "two", "carol", ("doc@clinic.test",), "", {"carol": ("SENT", "bob"), "bob": ("INBOX",)}),
    ("file", "one", "deal", True),
    ("file", "two", "ticket", True),
)


@contextmanager
def a_law(sessions: Sessions) -> Iterator[Law]:
    """A team of which nothing stays."""
    with sessions() as session:
        try:
            yield Law(session)
        finally:
            session.rollback()


def follow(law: Law, steps: list[tuple[Any, ...]], *, every: bool) -> None:
    """Go through the steps, and look: after each of them, or at the end."""
    for verb, *told in (*FIRST, *steps):
        getattr(law, verb)(*told)
        if every:
            law.check()
    law.check()


def lawful(examples: int) -> Any:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=not SOAK,
        database=None,
        phases=(Phase.explicit, Phase.generate, Phase.shrink) if SOAK else (Phase.explicit, Phase.generate),
        report_multiple_bugs=False,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
        ],
    )


@given(st.lists(STEPS, min_size=8, max_size=20))
@lawful(10)
def test_everybody_sees_what_the_model_says(sessions: Sessions, steps: list[tuple[Any, ...]]) -> None:
    with a_law(sessions) as law:
        follow(law, steps, every=False)
        law.check_seers()


def test_any_kinds_of_words_make_a_question(session: Session) -> None:
    kinds = [frozenset(some) for size in (0, 1, 2) for some in combinations(said.EVERYTHING, size)]
    for there in kinds:
        viewer = Viewer(1, 1, Role.MEMBER, "test", said=partial("".join, sorted(there)))
        gates = (sharing.level(viewer), sharing.may_read(viewer), sharing.may_know(viewer))
        assert session.execute(select(Message.id, *gates)).all() == []


@pytest.mark.soak
@pytest.mark.skipif(not SOAK, reason="make soak")
@given(st.lists(STEPS, min_size=5, max_size=30))
@lawful(1500)
def test_everybody_sees_what_the_model_says_for_long(sessions: Sessions, steps: list[tuple[Any, ...]]) -> None:
    with a_law(sessions) as law:
        follow(law, steps, every=True)
        law.check_seers()
