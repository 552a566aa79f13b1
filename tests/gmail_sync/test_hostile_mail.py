"""Whatever people and machines send: it is stored, marked where it can't be read, and nothing stops the sync."""

from __future__ import annotations

import random
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from gmail_sync import parse as parsing
from gmail_sync.sandbox import SandboxMailbox
from tests.gmail_sync.syncing import ALICE, Team, in_gmail, mail, stored
from tracker.events import Event
from tracker.mailboxes import Backfill, Mailbox
from tracker.messages import Copy, Message, Recipient

#: The test data of Python's own e-mail package, in a source tree or an installation with its tests.
EMAIL_DATA = Path(sysconfig.get_path("stdlib")) / "test" / "test_email" / "data"


def all_are_stored(team: Team, mailbox: Mailbox, box: SandboxMailbox) -> bool:
    """Whether each mail in Gmail is stored, whatever could be made of it."""
    with team.sessions() as session:
        assert stored(session, mailbox) == in_gmail(box)
        held = session.scalar(select(func.count()).where(Copy.mailbox_id == mailbox.id))
    assert held == len(box.message_ids())
    assert team.read(mailbox).backfill == Backfill.DONE
    return True


def synced(team: Team, *raws: bytes) -> tuple[Mailbox, SandboxMailbox]:
    """Alice's mailbox with these mails, and a harmless one at each end, read."""
    box = team.sandbox.mailbox(ALICE)
    box.insert(mail(subject="Before", Message_ID="<before@outside.example>"))
    for raw in raws:
        box.insert(raw)
    box.insert(mail(subject="After", Message_ID="<after@outside.example>"))
    mailbox = team.connect(ALICE)
    team.sync(mailbox)
    return mailbox, box


def test_python_s_own_mails_are_all_stored(team: Team) -> None:
    files = sorted(EMAIL_DATA.glob("msg_*.txt"))
    if not files:
        pytest.skip(f"Python's e-mail test data is not here ({EMAIL_DATA}); Debian has it in libpython3-testsuite")
    assert len(files) > 40
    mailbox, box = synced(team, *(file.read_bytes() for file in files))
    assert len(box.message_ids()) == len(files) + 2
    assert all_are_stored(team, mailbox, box)
    with team.sessions() as session:
        assert session.scalar(select(func.count()).where(Message.unreadable)) == 0
        assert (session.scalar(select(func.count()).where(Message.subject != "")) or 0) > 20


rng = random.Random(4)
noise = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(3_000_000))
head = b"From: Charlie <charlie@outside.example>\r\nTo: alice@team.example\r\nSubject: Odd\r\n"


def nested(depth: int) -> bytes:
    """Multiparts in multiparts."""
    opening = b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (level, level)
        for level in range(depth)
    )
    closing = b"".join(b"\r\n--b%d--\r\n" % level for level in reversed(range(depth)))
    return head + opening + b"Content-Type: text/plain\r\n\r\nat the bottom" + closing


ODD: dict[str, Callable[[], bytes]] = {
    "nothing at all": lambda: b"\r\n",
    "only a body": lambda: b"\r\n\r\nHello",
    "NUL in subject and body": lambda: head.replace(b"Odd", b"O\x00d=?utf-8?b?AAA=?=d") + b"\r\nHel\x00lo",
    "NUL in names": lambda: b"From: \x00Char\x00lie <char\x00lie@x.example>\r\nTo: al\x00ice@x.example\r\n\r\nHi",
    "NUL by quoted-printable": lambda: head + b"Content-Transfer-Encoding: quoted-printable\r\n\r\nHel=00lo",
    "lone surrogates": lambda: head + b"Content-Type: text/plain; charset=utf-8\r\n\r\n\xed\xa0\x80\xff\xfe",
    "surrogates in an encoded word": lambda: b"Subject: =?utf-8?b?7aCA?= =?utf-16?b?2AA=?=\r\n\r\nHello",
    "surrogates by UTF-7": lambda: head + b"Content-Type: text/plain; charset=utf-7\r\n\r\n+2AA- and +AAA-",
    "headers of 2,000 lines": lambda: head + b"X-Long: a\r\n" + b"\tand on\r\n" * 2000 + b"\r\nHello",
    "2,000 headers": lambda: head + b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(2000)) + b"\r\nHello",
    "a date in the year 0": lambda: head + b"Date: Mon, 01 Jan 0000 00:00:00 +0000\r\n\r\nHello",
    "a date in the year 99999": lambda: head + b"Date: Mon, 01 Jan 99999 00:00:00 +9999\r\n\r\nHello",
    "a date with an absurd zone": lambda: head + b"Date: Tue, 03 Nov 2026 10:00:00 +9959\r\n\r\nHello",
    "a date that is none": lambda: head + b"Date: yesterday, I think\r\n\r\nHello",
    "5,000 recipients": lambda: head + b"Cc: "
    + b",\r\n ".join(b"Person %d <p%d@outside.example>" % (n, n) for n in range(5000)) + b"\r\n\r\nHello",
    "a word of 3 MB": lambda: head + b"\r\n" + noise.encode(),
    "3 MB of different words": lambda: head + b"\r\n" + b" ".join(
        noise[start : start + 7].encode() for start in range(0, len(noise), 7)
    ),
    "an HTML mail of 1 MB": lambda: head + b"Content-Type: text/html\r\n\r\n" + b"<div>" * 2000
    + b"<p>word " * 100_000,
    "100 nested parts": lambda: nested(100),
    "a subject of 1 MB": lambda: b"Subject: " + noise[:1_000_000].encode() + b"\r\n\r\nHello",
    "a Message-ID of 10,000 characters": lambda: head + b"Message-ID: <" + noise[:10_000].encode()
    + b"@outside.example>\r\n\r\nHello",
    "an address of 10,000 characters": lambda: b"From: <" + noise[:10_000].encode()
    + b"@outside.example>\r\nTo: <" + noise[10_000:20_000].encode() + b"@team.example>\r\n\r\nHello",
    "a Reply-To that is a group without end": lambda: head + b"Reply-To: a:b:c:d:;;;<<<>>>,,,\r\n\r\nHello",
    "no such charset": lambda: head + b"Content-Type: text/plain; charset=klingon\r\n\r\nnuqneH \xe4",
    "a boundary that is missing": lambda: head + b"Content-Type: multipart/mixed\r\n\r\nHello",
    "base64 that is none": lambda: head + b"Content-Transfer-Encoding: base64\r\n\r\n%%%=A==B",
    "an attachment's name of 100 KB": lambda: head + b'Content-Type: application/x-odd; name="'
    + noise[:100_000].encode() + b'"\r\nContent-Disposition: attachment; filename="../../etc/passwd\x00"\r\n\r\nx',
}  # fmt: skip


@pytest.fixture(scope="module")
def odd() -> dict[str, bytes]:
    return {name: make() for name, make in ODD.items()}


def test_odd_mails_are_all_stored(team: Team, odd: dict[str, bytes]) -> None:
    mailbox, box = synced(team, *odd.values())
    assert len(box.message_ids()) == len(ODD) + 2
    assert all_are_stored(team, mailbox, box)
    with team.sessions() as session:
        subjects = set(session.scalars(select(Message.subject)))
        assert {"Before", "After"} <= subjects
        many = select(func.count()).where(Recipient.normalized.like("p%@outside.example"))
        assert (session.scalar(many) or 0) >= 1000  # at some point the parser has had enough
        bottom = select(func.count()).where(Message.text.contains("nuqneH"))
        assert session.scalar(bottom) == 1


def test_odd_mails_that_come_by_and_by_are_all_stored(team: Team, odd: dict[str, bytes]) -> None:
    mailbox, box = synced(team)
    for name, raw in odd.items():
        if len(raw) < 200_000:
            box.insert(raw)
            team.sync(mailbox, tries=2)
            assert len(in_gmail(box)) == team_count(team, mailbox), name


def team_count(team: Team, mailbox: Mailbox) -> int:
    """How many messages the store holds."""
    with team.sessions() as session:
        return len(stored(session, mailbox))


def test_the_same_message_id_with_other_content_is_another_mail(team: Team) -> None:
    one = mail(subject="Offer", text="We ask for 100.", Message_ID="<same@outside.example>")
    two = mail(subject="Offer", text="We ask for 200.", Message_ID="<same@outside.example>")
    mailbox, box = synced(team, one, two)
    assert all_are_stored(team, mailbox, box)
    with team.sessions() as session:
        texts = session.scalars(select(Message.text).where(Message.subject == "Offer")).all()
        kinds = session.scalar(select(func.count()).where(Event.kind == "message.received"))
    assert sorted(text.strip() for text in texts) == ["We ask for 100.", "We ask for 200."]
    assert kinds == 4  # before, after, and these two: nothing but the name says that they are one


def test_a_mail_that_breaks_the_parser_is_stored_marked_and_stops_nothing(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_tree = parsing.read_tree

    def breaking(payload: Any, defects: list[str]) -> Any:
        if any(header["value"].startswith("Poison") for header in payload.get("headers", ())):
            raise RecursionError("too deep")
        return read_tree(payload, defects)

    monkeypatch.setattr(parsing, "read_tree", breaking)
    mailbox, box = synced(team, mail(subject="Poison 1"), mail(subject="Poison 2"))
    assert all_are_stored(team, mailbox, box)
    with team.sessions() as session:
        marked = session.execute(select(Copy.gmail_id).join(Message).where(Message.unreadable)).all()
    assert len(marked) == 2
    monkeypatch.undo()
    assert team.check(mailbox).clean


pieces = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [
            b"From: ", b"To: ", b"Subject: ", b"Date: ", b"Message-ID: <x@y>", b"Content-Type: ",
            b"multipart/mixed",
            b'; boundary="b"', b"--b\r\n", b"--b--\r\n", b"\r\n", b"\r\n\r\n", b"\n\n", b"text/plain; charset=",
            b"utf-8", b"utf-16", b"iso-2022-jp", b"Content-Transfer-Encoding: base64\r\n", b"=?utf-8?q?=00?=",
            b"=?x?b?////?=", b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"message/rfc822", b"text/html", b"<a href='",
            b"Content-Disposition: attachment; filename*=utf-8''%00%ff", b"In-Reply-To: <", b"References: ", b"<>",
            b"text/calendar", b"BEGIN:VCALENDAR\r\n", b"Auto-Submitted: ", b"a@b.example", b"\x1b$B", b"+AAA-",
        ]
    ),
)  # fmt: skip
mails = st.lists(pieces, max_size=25).map(b"".join)


@settings(
    deadline=None, max_examples=8, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(raws=st.lists(mails, min_size=10, max_size=40))
def test_fuzzed_mails_are_all_stored(team: Team, raws: list[bytes]) -> None:
    fuzzed(team, raws)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@settings(
    deadline=None, max_examples=400, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(raws=st.lists(mails, min_size=10, max_size=60))
def test_many_fuzzed_mails_are_all_stored(team: Team, raws: list[bytes]) -> None:
    fuzzed(team, raws)


def fuzzed(team: Team, raws: list[bytes]) -> None:
    """Put these into the mailbox, and look."""
    box = team.sandbox.mailbox(ALICE)
    for raw in raws:
        box.insert(raw)
    with team.sessions() as session:
        mailbox = session.scalar(select(Mailbox))
    mailbox = mailbox or team.connect(ALICE)
    team.sync(mailbox, tries=3)
    assert all_are_stored(team, mailbox, box)
