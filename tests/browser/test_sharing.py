"""Sharing, in Chromium: Alice shares, Bob (never CC'd) reads, opens the file, answers; nobody else sees anything.

The web server and the worker are processes of their own, as `tracker up` starts them; Google is the sandbox.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from sqlalchemy import select
from sqlalchemy.orm import Session

from config import teams
from config.rooms import Rooms, furnish
from config.settings import load
from gmail_sync import oauth
from gmail_sync.sandbox import Sandbox
from tests.config.running import Running, answers, environment, free_port
from tests.tracker.domain import a_box, a_contact
from tracker import access, contacts, mailboxes, people, sharing
from tracker.conversations import Conversation
from tracker.db import Sessions, transaction
from tracker.messages import Message
from tracker.people import Role
from tracker.sharing import Level

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
ALICE, BOB, DORA = "alice@juniper.example", "bob@juniper.example", "dora@juniper.example"
CHARLIE, WENDY = "charlie@rival.example", "wendy@prairiesky.example"
WORD = "quillwort"  #: stands in every part of what is shared
PDF = b"%PDF-1.7 forty seats"
HIDDEN = "the number of " + WORD


#: What finds it for whoever may see it; none of them repeats the word that it stands by.
FINDING = (
    "/search?q=Seats", "/search?q=Prairie", "/search?q=Wendy", "/search/palette?q=Prairie",
    "/inbox/choices?box=Prairie", "/compose/people?to=Wendy",
)  # fmt: skip
LISTING = (
    "/inbox", "/inbox?show=all", "/contacts", "/organizations", "/followups", "/bell", "/outbox", "/calendar",
    "/p/{pipeline}", "/p/{pipeline}/table", "/p/{pipeline}/table.csv", "/live/since?topics=box:{box}",
    "/sharing", "/sharing/requests",
)  # fmt: skip


@dataclass(slots=True)
class Installation:
    """A running Tracker, and the keys of what Alice shares."""

    url: str
    sessions: Sessions
    sandbox: Sandbox
    box: str = ""
    pipeline: str = ""
    contact: str = ""
    conversation: str = ""
    message: str = ""

    def keys(self) -> dict[str, str]:
        """What addresses are made of."""
        return {"box": self.box, "pipeline": self.pipeline}


@pytest.fixture
def installation(
    database_url: str, make_sandbox: Callable[..., Sandbox], tmp_path: Path
) -> Iterator[Installation]:
    """Web server, worker and sandbox. Wendy wrote to Alice alone, who shares nothing of it yet."""
    sandbox = make_sandbox(units_per_minute=0)
    for address in (ALICE, BOB, DORA, CHARLIE, WENDY):
        sandbox.add_user(address, address.partition("@")[0].capitalize())
    told = {
        "database_url": database_url, "secret_key": "k" * 40, "port": free_port(), "data_dir": tmp_path,
        "gmail_api_url": sandbox.url, "google_auth_url": f"{sandbox.url}/o/oauth2/v2/auth",
        "google_token_url": f"{sandbox.url}/token", "google_certs_url": f"{sandbox.url}/oauth2/v3/certs",
        "google_client_id": sandbox.client_id, "google_client_secret": sandbox.client_secret, "poll_seconds": 2,
    }  # fmt: skip
    settings = load(**told)
    furnished = furnish(settings)
    made = Installation(settings.url, furnished.sessions, sandbox)
    with transaction(furnished.sessions) as session:
        found(session, made, furnished)
    sandbox.deliver(wendys_mail(), [ALICE])
    env = environment(tmp_path, **{name: value for name, value in told.items() if name != "data_dir"})
    with ExitStack() as stack:
        stack.callback(furnished.close)
        started(stack, env, tmp_path, "serve", lambda: answers(f"{settings.url}/healthz"))
        started(stack, env, tmp_path, "worker", lambda: arrived(made))
        yield made


def started(stack: ExitStack, env: dict[str, str], folder: Path, command: str, ready: Callable[[], bool]) -> None:
    """A process of Tracker's, until the test ends."""
    running = Running(env, command, log=folder / f"{command}.log")
    stack.callback(running.stop)
    running.wait_for(ready)


def found(session: Session, made: Installation, furnished: Rooms) -> None:
    """Alice's team: Bob has a mailbox of his own, Dora is a guest in another box. Charlie has another team."""
    now = datetime.now(UTC)
    alice = teams.found(session, "Juniper Works", ALICE, "Alice Nakamura")
    bob = people.add_user(session, alice.team_id, BOB, name="Bob Tavares")
    dora = people.add_user(session, alice.team_id, DORA, name="Dora Ilunga", role=Role.GUEST)
    teams.found(session, "Rival", CHARLIE, "Charlie Rey")
    viewer = people.viewer_of(alice, "test")
    for user in (alice, bob):
        sealed = furnished.gmail.vault.seal(oauth.authorized_user(made.sandbox.credentials(user.address)))
        mailbox = mailboxes.connect(session, user, user.address, sealed, now)
        if user is alice:
            sharing.set_rule(session, viewer, mailbox=mailbox, outside=Level.NOTHING, inside=Level.NOTHING)
    contact = a_contact(session, viewer, WENDY)
    contacts.change(session, viewer, contact, name=f"Wendy {WORD}")
    box = a_box(session, viewer, f"Prairie Sky {WORD}", WENDY, now=now)
    other = a_box(session, viewer, "Dora's box", now=now)
    access.name(session, viewer, other, dora)
    made.box, made.pipeline, made.contact = box.key, box.pipeline.key, contact.key


def wendys_mail() -> bytes:
    """A question with a file."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = f"Wendy {WORD} <{WENDY}>", ALICE, f"Seats {WORD}"
    message["Message-ID"], message["Date"] = f"<{WORD}@prairiesky.example>", datetime.now(UTC)
    message.set_content(f"How much is {HIDDEN}?")
    message.add_attachment(PDF, maintype="application", subtype="pdf", filename=f"{WORD}.pdf")
    return message.as_bytes()


def arrived(made: Installation) -> bool:
    """Whether the worker has brought the mail."""
    with made.sessions() as session:
        query = select(Message.key, Conversation.key).join(
            Conversation, Conversation.id == Message.conversation_id
        )
        row = session.execute(query).first()
    if row is not None:
        made.message, made.conversation = row
    return row is not None


Enter = Callable[[str], BrowserContext]


@pytest.fixture
def enter(chromium: Browser, installation: Installation) -> Iterator[Enter]:
    """A browser of one's own, signed in by the consent page (or, without an address, not)."""
    opened: list[BrowserContext] = []

    def make(address: str) -> BrowserContext:
        context = chromium.new_context(base_url=installation.url, viewport={"width": 1300, "height": 900})
        context.set_default_timeout(15_000)
        opened.append(context)
        if address:
            page = context.new_page()
            page.goto("/sign-in")
            page.get_by_role("button", name="Sign in with Google").click()
            page.goto(f"{page.url}&as={address}")
            expect(page.get_by_role("link", name="Inbox").first).to_be_visible()
        return context

    yield make
    for context in opened:
        context.close()


def test_what_alice_shares_bob_reads_and_answers_and_nobody_else_sees(
    installation: Installation, enter: Enter
) -> None:
    alice, bob, dora = (enter(address) for address in (ALICE, BOB, DORA))
    charlie, nobody = enter(CHARLIE), enter("")
    heard = {context: listens(context.pages[0], installation) for context in (dora, charlie)}
    assert [path for path in FINDING if WORD not in alice.request.get(path).text()] == []
    nothing_of_it(bob, installation, box=False)
    alice_shares(alice.pages[0], installation)
    bob_reads(bob.pages[0], installation)
    bob_opens_the_file(bob.pages[0])
    bob_answers(bob.pages[0])
    alice_sees_one_conversation(alice.pages[0], installation)
    for context, listener in heard.items():
        assert listener() == []
        nothing_of_it(context, installation)
    nothing_of_it(nobody, installation, signed_in=False)


def listens(page: Page, made: Installation) -> Callable[[], list[str]]:
    """The page listens to all that it could guess of; what it was told so far."""
    topics = ",".join([f"box:{made.box}", f"pipeline:{made.pipeline}", f"contact:{made.contact}"])
    page.evaluate(
        """(topics) => {
          window.heard = [];
          const stream = new EventSource(`/live?topics=${topics}`);
          for (const kind of ["message", "changed", "topics"])
            stream.addEventListener(kind, (event) => window.heard.push(event.data));
        }""",
        topics,
    )
    return lambda: [str(one) for one in page.evaluate("window.heard") if made.box in str(one)]


def alice_shares(page: Page, made: Installation) -> None:
    """She holds the mail: she says who sees its conversation."""
    page.goto(f"/c/{made.conversation}")
    page.get_by_text("Who can see this", exact=True).click()
    who = page.locator("section.who")
    expect(who).to_contain_text("Only you")
    who.get_by_label("of mail with outsiders").select_option("All of it")
    who.get_by_role("button", name="Save").click()
    expect(who).to_contain_text("Bob Tavares sees it because you share this conversation in Sales")


def bob_reads(page: Page, made: Installation) -> None:
    """On the box's page, with the reason."""
    page.goto(f"/b/{made.box}")
    expect(page.locator("main")).to_contain_text(HIDDEN)
    page.get_by_text("Why can I see this?", exact=True).click()
    expect(page.locator("main")).to_contain_text("because Alice Nakamura shares this conversation in Sales")


def bob_opens_the_file(page: Page) -> None:
    """Out of Alice's mailbox."""
    with page.expect_download() as downloading:
        page.locator(".attachments a").first.click()
    assert downloading.value.suggested_filename == f"{WORD}.pdf"
    assert Path(downloading.value.path()).read_bytes() == PDF


def bob_answers(page: Page) -> None:
    """From his own address."""
    page.locator("article.message").get_by_role("link", name="Reply", exact=True).click()
    expect(page.get_by_label("To", exact=True)).to_have_value(f"Wendy {WORD} <{WENDY}>")
    page.locator("[contenteditable=true]").first.fill("Forty cost nine hundred.")
    page.get_by_label("Now", exact=True).check()
    page.get_by_role("button", name=re.compile("Queue|Send")).first.click()
    page.wait_for_url("**/c/*")


def alice_sees_one_conversation(page: Page, made: Installation) -> None:
    """His answer joins hers, though nobody is CC'd; and she learns who opened her mail."""
    for _ in range(60):
        page.goto(f"/b/{made.box}?show=mail")
        if page.get_by_text("Forty cost nine hundred.").count() and page.locator("section.thread").count() == 1:
            break
        page.wait_for_timeout(500)
    expect(page.locator("section.thread")).to_have_count(1)
    expect(page.locator("section.thread article.message")).to_have_count(2)
    page.goto(f"/m/{made.message}/who")
    expect(page.locator("main")).to_contain_text("Bob Tavares opened it")


def nothing_of_it(
    context: BrowserContext, made: Installation, *, box: bool = True, signed_in: bool = True
) -> None:
    """Not by page, search, count, suggestion, export, calendar or guessed address; Bob sees the box itself."""
    word = WORD if box else HIDDEN
    for path in (*FINDING, *(path.format(**made.keys()) for path in LISTING)):
        shown = context.request.get(path, max_redirects=0).text()
        assert word not in shown, (path, shown[max(0, shown.find(word) - 200) : shown.find(word) + 100])
    mail = f"/m/{made.message}"
    guessed = [f"/c/{made.conversation}", mail, f"{mail}/frame", f"{mail}/who"]
    guessed += [f"/messages/{made.message}/files/1", f"/compose?reply={made.message}"]
    guessed += [f"/b/{made.box}", f"/b/{made.box}/files", f"/contacts/{made.contact}"] if box else []
    for path in guessed:
        answer = context.request.get(path, max_redirects=0)
        assert answer.status == (404 if signed_in else 302), path
        assert word not in answer.text(), path
