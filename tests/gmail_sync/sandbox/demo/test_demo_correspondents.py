"""The made-up people answer while the demo runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from gmail_sync.sandbox import Sandbox
from gmail_sync.sandbox.demo import opening
from gmail_sync.sandbox.demo.compose import read
from gmail_sync.sandbox.demo.correspondents import MOST_ANSWERS, Correspondents
from gmail_sync.sandbox.demo.opening import Moment, image_urls, is_loopback, open_mail
from gmail_sync.sandbox.demo.play import load_story
from gmail_sync.sandbox.demo.story import Beat, Story, load
from gmail_sync.sandbox.listing import Wanted

NOW = datetime(2026, 11, 21, 21, 0, tzinfo=UTC)
BOB = "bob@juniper.example"
ALICE = "alice@juniper.example"
MERE = "mere@kowhai-honey.example"
WENDY = "wendy@prairiesky.example"


@pytest.fixture(scope="module")
def story() -> Story:
    return load()


@pytest.fixture
def sandbox(story: Story) -> Sandbox:
    """A sandbox with the conversations that beats answer."""
    sandbox = Sandbox(clock=lambda: NOW)
    waiting = {beat.conversation for beat in story.beats}
    told = tuple(item for item in story.conversations if item.key in waiting)
    load_story(sandbox, NOW, replace(story, conversations=told))
    return sandbox


@pytest.fixture
def empty() -> Sandbox:
    """A sandbox with the reps and without their mail, so that no beat has anything to answer."""
    sandbox = Sandbox(clock=lambda: NOW)
    sandbox.add_user(ALICE, "Alice Nakamura")
    sandbox.add_user(BOB, "Bob Tavares")
    return sandbox


@pytest.fixture
def alive(story: Story) -> Iterator[Callable[..., Correspondents]]:
    started: list[Correspondents] = []

    def begin(sandbox: Sandbox, speed: float = 400, **more: object) -> Correspondents:
        correspondents = Correspondents(sandbox, story, clock=lambda: NOW, speed=speed, **more)  # type: ignore[arg-type]
        started.append(correspondents)
        correspondents.start()
        return correspondents

    yield begin
    for correspondents in started:
        correspondents.stop()


def mails(sandbox: Sandbox, address: str) -> list[EmailMessage]:
    mailbox = sandbox.mailbox(address)
    return [read(mailbox.raw(found)) for found in mailbox.message_ids()]


def held(sandbox: Sandbox, address: str, message_id: str) -> EmailMessage | None:
    """The mail with *message_id* in the mailbox of *address*."""
    mailbox = sandbox.mailbox(address)
    query = Wanted(q=f"rfc822msgid:{message_id.strip('<>')}")
    found = mailbox.listing.messages(query).get("messages", [])
    return read(mailbox.raw(found[0]["id"])) if found else None


def total(sandbox: Sandbox) -> int:
    return sum(len(mailbox.message_ids()) for mailbox in sandbox.mailboxes())


def wait_until(true: Callable[[], object], seconds: float = 6) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def send(sandbox: Sandbox, sender: str, to: str, *, answers: str = "", html: str = "", **headers: str) -> str:
    """Send a mail as the rep *sender* does; returns its Message-ID."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, to, "Re: Dots" if answers else "Dots"
    if answers:
        message["In-Reply-To"], message["References"] = answers.split()[-1], answers
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content("Here is the drawing.")
    if html:
        message.add_alternative(html, subtype="html")
    sent = sandbox.send(sandbox.mailbox(sender), message.as_bytes())
    return str(read(sandbox.mailbox(sender).messages.raw(sent))["message-id"])


def test_every_beat_arrives_once_and_in_its_thread(
    story: Story, sandbox: Sandbox, alive: Callable[..., Correspondents]
) -> None:
    first = alive(sandbox, speed=1500)

    def arrived(beat: Beat) -> EmailMessage | None:
        return held(sandbox, beat.answers.sender, beat.message_id)

    wait_until(lambda: all(map(arrived, story.beats)))
    first.stop()
    for beat in story.beats:
        answer = arrived(beat)
        assert answer
        assert answer["in-reply-to"] == beat.answers.message_id
        assert answer["references"].split()[-1] == beat.answers.message_id
        assert answer["from"].addresses[0].addr_spec == beat.sender
        assert ("auto-submitted" in answer) == beat.automatic
    before = total(sandbox)
    alive(sandbox, speed=20000)
    time.sleep(0.3)
    assert total(sandbox) == before, "a restart repeats answers"


def test_the_first_beat_comes_soon(sandbox: Sandbox, alive: Callable[..., Correspondents]) -> None:
    before = total(sandbox)
    started = time.monotonic()
    alive(sandbox, speed=20)
    wait_until(lambda: total(sandbox) > before)
    seconds = (time.monotonic() - started) * 20
    assert 15 < seconds < 25 + 15  # with some slack for a busy machine
    newest = mails(sandbox, BOB)[0]
    assert newest["from"].addresses[0].addr_spec == MERE
    assert newest["date"].endswith("+1300")
    assert sandbox.mailbox(BOB).label_ids(sandbox.mailbox(BOB).message_ids()[0]) == ["INBOX", "UNREAD"]


def test_whoever_is_written_to_answers(empty: Sandbox, alive: Callable[..., Correspondents]) -> None:
    alive(empty)
    sent = send(empty, BOB, WENDY)
    wait_until(lambda: len(mails(empty, BOB)) == 2)
    answer = mails(empty, BOB)[0]
    assert answer["in-reply-to"] == sent
    assert answer["subject"] == "Re: Dots"
    body = answer.get_body(("plain",))
    assert body
    assert "> Here is the drawing." in body.get_content()
    assert len(empty.mailbox(BOB).threads()) == 1


def test_a_waiting_person_who_is_written_to_gives_the_beat_as_answer(
    story: Story, sandbox: Sandbox, alive: Callable[..., Correspondents]
) -> None:
    beat = next(beat for beat in story.beats if beat.conversation == "kestrel-insulin")
    alive(sandbox, speed=50)
    sent = send(sandbox, BOB, beat.sender, answers=beat.answers.message_id)
    wait_until(lambda: held(sandbox, BOB, beat.message_id))
    given = held(sandbox, BOB, beat.message_id)
    assert given
    assert given["in-reply-to"] == sent


def test_automatic_mail_is_not_answered(empty: Sandbox, alive: Callable[..., Correspondents]) -> None:
    alive(empty, speed=4000)
    send(empty, BOB, WENDY, Auto_Submitted="auto-replied")
    send(empty, BOB, WENDY, List_Id="<news.juniper.example>")
    send(empty, BOB, "no-reply@parcelbird.example")
    send(empty, BOB, "someone.else@nowhere.example")
    time.sleep(0.3)
    assert len(mails(empty, BOB)) == 4


def test_a_thread_is_not_answered_for_ever(
    empty: Sandbox, story: Story, alive: Callable[..., Correspondents]
) -> None:
    alive(empty, speed=2000)
    thread = [send(empty, BOB, WENDY)]
    for _ in range(MOST_ANSWERS):
        count = len(mails(empty, BOB))
        wait_until(lambda count=count: len(mails(empty, BOB)) > count)  # type: ignore[misc]
        thread.append(mails(empty, BOB)[0]["message-id"])
        thread.append(send(empty, BOB, WENDY, answers=" ".join(thread)))
    time.sleep(0.2)
    received = [mail for mail in mails(empty, BOB) if mail["from"].addresses[0].addr_spec == WENDY]
    assert len(received) == MOST_ANSWERS
    assert len({mail["message-id"] for mail in received}) == MOST_ANSWERS
    alive(empty, speed=2000)  # restarted, it still knows
    send(empty, BOB, WENDY, answers=" ".join(thread))
    time.sleep(0.2)
    assert len([mail for mail in mails(empty, BOB) if "Delivered-To" in mail]) == MOST_ANSWERS


def test_after_stop_nobody_answers(empty: Sandbox, alive: Callable[..., Correspondents]) -> None:
    alive(empty, speed=4000).stop()
    send(empty, BOB, WENDY)
    time.sleep(0.1)
    assert len(mails(empty, BOB)) == 1
    assert not empty.on_sent


def test_a_reader_opens_before_answering(empty: Sandbox, alive: Callable[..., Correspondents]) -> None:
    seen: list[tuple[str, Moment, int]] = []
    alive(empty, speed=200, opens=lambda _, who, moment: seen.append((who, moment, len(mails(empty, BOB)))))
    dana = "dana.ostrowski@bluekestrel.example"
    send(empty, BOB, f"{WENDY}, {dana}")
    wait_until(lambda: len(mails(empty, BOB)) == 2)
    wait_until(lambda: len(seen) == 6)
    assert [moment for who, moment, _ in seen if who == dana] == list(Moment)
    assert [one for one in seen if one[0] == WENDY] == [(WENDY, moment, 1) for moment in Moment]


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """A server on this machine that pictures and links of a mail lead to: its address, and what it was asked."""
    asked: list[tuple[str, str | None]] = []

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["User-Agent"]))
            self.send_response(302)
            self.send_header("Location", "/never")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Door)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def with_pictures_and_links(local: str) -> bytes:
    """A mail with a picture that is there twice, two links, another machine's, and a quotation."""
    message = EmailMessage()
    message.set_content("Hello")
    message.add_alternative(
        f'<a href="mailto:a@b.example">Write</a> <a href="{local}/l/1">One</a> <a href="{local}/l/2">Two</a>'
        f'<img src="{local}/o/1.gif"><img src="{local}/o/1.gif"><img src="http://127.0.0.1:1/">'
        f'<img src="cid:a"><img src="https://far.example/a.gif">'
        f'<blockquote><a href="{local}/l/old">Old</a></blockquote>',
        subtype="html",
    )
    return message.as_bytes()


PICTURE, LINK, LINKS = "/o/1.gif", "/l/1", ["/l/1", "/l/2"]


@pytest.mark.parametrize(
    ("reader", "arrived", "opened", "clicked"),
    [
        ("a@anywhere.example", [], [(PICTURE, opening.USER_AGENT)], [(LINK, opening.FIREFOX)]),
        (
            "a@bluekestrel.example",
            [(PICTURE, opening.PREFETCH)],
            [(PICTURE, opening.USER_AGENT)],
            [(LINK, opening.FIREFOX)],
        ),
        ("a@FJELLVIK.example", [(PICTURE, opening.APPLE_PRIVACY)], [], [(LINK, opening.SAFARI)]),
        ("a@himadri-seeds.example", [], [(PICTURE, opening.YAHOO_PROXY)], [(LINK, opening.FIREFOX)]),
        (
            "a@haldencold.example",
            [(path, opening.SCANNER) for path in (*LINKS, PICTURE)],
            [(PICTURE, opening.OUTLOOK_DESKTOP)],
            [(LINK, opening.FIREFOX)],
        ),
    ],
)
def test_each_program_asks_this_machine_in_its_own_way(
    elsewhere: tuple[str, list[tuple[str, str | None]]],
    reader: str,
    arrived: list[tuple[str, str]],
    opened: list[tuple[str, str]],
    clicked: list[tuple[str, str]],
) -> None:
    local, asked = elsewhere
    raw = with_pictures_and_links(local)
    for moment, expected in zip(Moment, (arrived, opened, clicked), strict=True):
        open_mail(raw, reader, moment)
        assert asked == expected
        asked.clear()
    assert image_urls(raw) == [f"{local}/o/1.gif", "http://127.0.0.1:1/", "https://far.example/a.gif"]


def test_the_programs_of_the_story_are_its_peoples(story: Story) -> None:
    domains = {person.domain for person in story.people}
    assert set(opening.PROGRAMS) <= domains


def test_a_mail_without_html_asks_for_nothing() -> None:
    message = EmailMessage()
    message.set_content("http://127.0.0.1/l/1")
    for moment in Moment:
        assert opening.requested(message.as_bytes(), opening.GUARDED, moment) == []


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:8000/o.gif", True),
        ("https://tracker.localhost/o.gif", True),
        ("http://127.9.9.9/", True),
        ("http://[::1]:80/", True),
        ("https://img.coldchainweekly.example/a.png", False),
        ("http://10.0.0.1/", False),
        ("http://[broken/", False),
    ],
)
def test_only_loopback_is_this_machine(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected
