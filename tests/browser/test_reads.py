"""The whole journey, in Chromium: a mail goes out, its made-up recipient opens it, the bell rings on the desktop.

The web server and the worker are processes of their own, as `tracker up` starts them; Google is the sandbox.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, CDPSession, Page, Worker, expect
from sqlalchemy import func, select

from config import teams
from config.rooms import furnish
from config.settings import load
from gmail_sync import oauth
from gmail_sync.sandbox import Sandbox
from gmail_sync.sandbox.demo.correspondents import Correspondents
from gmail_sync.sandbox.demo.story import load as load_story
from scheduler import snippets
from tests.browser.chromium import find_whole
from tests.browser.conftest import ARGUMENTS, missing
from tests.config.running import Running, answers, environment, free_port
from tests.tracker.domain import a_box, a_contact
from tracker import contacts, mailboxes, people
from tracker.db import Sessions, transaction
from tracker.people import User
from tracker.readers import EventReader

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
SECRET = "k" * 40
ALICE, BOB, WENDY = "alice@juniper.example", "bob@juniper.example", "wendy@prairiesky.example"
SUBJECT = "The offer for eleven rooms"
TEXT = '<p>Hi {{first_name|there}},</p><p>here is <a href="https://juniper.example/offer">our offer</a>.</p>'
#: People open what they get after 14 to 21 seconds, and nobody is believed to read within ten.
SPEED = 1.2


@dataclass(slots=True)
class Installation:
    """A running Tracker with Alice's mailbox, and the box that she writes from."""

    url: str
    box: str
    contact: str
    sessions: Sessions


@pytest.fixture
def installation(
    database_url: str, make_sandbox: Callable[..., Sandbox], tmp_path: Path
) -> Iterator[Installation]:
    """Web server, worker, and a sandbox whose people are alive."""
    sandbox = make_sandbox(units_per_minute=0)
    sandbox.add_user(ALICE, "Alice Nakamura")
    told = {
        "database_url": database_url,
        "secret_key": SECRET,
        "port": free_port(),
        "data_dir": tmp_path,
        "gmail_api_url": sandbox.url,
        "google_auth_url": f"{sandbox.url}/o/oauth2/v2/auth",
        "google_token_url": f"{sandbox.url}/token",
        "google_certs_url": f"{sandbox.url}/oauth2/v3/certs",
        "google_client_id": sandbox.client_id,
        "google_client_secret": sandbox.client_secret,
        "poll_seconds": 2,
        "offer_soon": True,
    }
    settings = load(**told)
    furnished = furnish(settings)
    made = Installation(settings.url, "", "", furnished.sessions)
    with transaction(furnished.sessions) as session:
        _found(session, made, furnished.gmail.vault.seal(oauth.authorized_user(sandbox.credentials(ALICE))))
    correspondents = Correspondents(sandbox, load_story(), speed=SPEED)
    env = environment(tmp_path, **{name: value for name, value in told.items() if name != "data_dir"})
    with ExitStack() as stack:
        stack.callback(furnished.close)
        correspondents.start()
        stack.callback(correspondents.stop)
        for command in ("serve", "worker"):
            running = Running(env, command, log=tmp_path / f"{command}.log")
            stack.callback(running.stop)
            if command == "serve":
                running.wait_for(lambda: answers(f"{settings.url}/healthz"))
            else:
                running.wait_for(lambda: _is_read(furnished.sessions))
        yield made


def _is_read(sessions: Sessions) -> bool:
    """Whether the worker reads the log: what happened before it first did so rings for nobody."""
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(EventReader)) != 0


def _found(session: Any, made: Installation, sealed: bytes) -> User:
    """Alice's team, her mailbox, and a box with Wendy."""
    now = datetime.now(UTC)
    alice = teams.found(session, "Juniper Works", ALICE, "Alice Nakamura")
    people.add_user(session, alice.team_id, BOB, name="Bob Tavares")
    viewer = people.viewer_of(alice, "test")
    mailboxes.connect(session, alice, ALICE, sealed, now)
    wendy = a_contact(session, viewer, WENDY)
    contacts.change(session, viewer, wendy, name="Wendy Kowalchuk")
    box = a_box(session, viewer, "Prairie Sky: 11 rooms", WENDY, now=now)
    snippets.add(session, viewer, "Offer", SUBJECT, TEXT, shared=True)
    made.box, made.contact = box.key, wendy.key
    return alice


@pytest.fixture
def context(chromium: Browser, installation: Installation) -> Iterator[BrowserContext]:
    """A browser that may show notifications."""
    path = find_whole()
    if path is None:
        missing("A whole Chromium is missing, which shows notifications (apt-get install chromium)")
    with chromium.browser_type.launch(executable_path=path, args=ARGUMENTS) as browser:
        made = browser.new_context(base_url=installation.url, viewport={"width": 1400, "height": 900})
        made.grant_permissions(["notifications"], origin=installation.url)
        made.set_default_timeout(15_000)
        yield made


def test_a_mail_is_opened_and_the_bell_rings(installation: Installation, context: BrowserContext) -> None:
    page = context.new_page()
    sign_in(page)
    worker = ring_here(page)
    send(page, installation)
    the_open_page_learns_of_it(page)
    ring = the_desktop_rang(page, worker)
    the_pages_say_it(page, installation)
    the_service_worker_rings_too(page, context, worker)
    the_click_opens_the_box(page, installation, worker, ring)
    the_answer_makes_it_certain(page)


def sign_in(page: Page) -> None:
    """By the consent page, as everybody."""
    page.goto("/sign-in")
    page.get_by_role("button", name="Sign in with Google").click()
    page.goto(f"{page.url}&as={ALICE}")
    expect(page.get_by_role("link", name="Outbox").first).to_be_visible()


def ring_here(page: Page) -> Worker:
    """Turn the bell on for this browser; headless Chromium has no push service, and the page says so."""
    page.goto("/bell/settings")
    page.get_by_role("button", name="Ring on this computer").click()
    expect(page.locator("[data-push-words]")).to_contain_text("it rings while a page of Tracker is open")
    (worker,) = page.context.service_workers
    return worker


def send(page: Page, installation: Installation) -> None:
    """Queued for in one minute, and left alone."""
    page.goto(f"/b/{installation.box}")
    page.get_by_role("link", name="Write", exact=True).click()
    expect(page.get_by_label("To", exact=True)).to_have_value(f"Wendy Kowalchuk <{WENDY}>")
    page.locator("#compose-template").select_option("Offer")
    expect(page.get_by_label("Subject")).to_have_value(SUBJECT)
    page.get_by_label("In one minute").check()
    page.get_by_role("button", name=re.compile("Queue|Send")).first.click()
    page.wait_for_url(f"**/b/{installation.box}")


def the_open_page_learns_of_it(page: Page) -> None:
    """Nobody loads it again: the stream tells of the mail that went, which rings nothing, and of the reader."""
    page.evaluate("window.marked = true")
    expect(page.locator("#bell-side")).to_have_attribute("data-unseen", "1", timeout=90_000)
    expect(page.locator("#bell-side")).to_have_attribute("data-unseen", "2", timeout=45_000)
    assert page.evaluate("window.marked")
    expect(page.locator("main")).to_contain_text("Wendy Kowalchuk", timeout=15_000)


def the_pages_say_it(page: Page, installation: Installation) -> None:
    page.locator("#bell-side").click()
    expect(page.locator("main")).to_contain_text("Wendy Kowalchuk")
    expect(page.locator("main")).to_contain_text(SUBJECT)
    page.goto(f"/b/{installation.box}")
    expect(page.locator("main")).to_contain_text("Read, likely")


def shown(worker: Worker) -> list[dict[str, Any]]:
    """The notifications that this computer shows."""
    found: list[dict[str, Any]] = worker.evaluate(
        "async () => (await self.registration.getNotifications())"
        ".map(({title, body, tag, data}) => ({title, body, tag, data}))"
    )
    return found


def the_desktop_rang(page: Page, worker: Worker) -> dict[str, Any]:
    """By the open page, which has no push service behind it."""
    until(page, lambda: of_wendy(worker))
    return of_wendy(worker)[0]  # she may have answered meanwhile


def of_wendy(worker: Worker) -> list[dict[str, Any]]:
    """The notifications of her."""
    return [one for one in shown(worker) if "Wendy" in one["title"] + one["body"]]


def the_service_worker_rings_too(page: Page, context: BrowserContext, worker: Worker) -> None:
    """A push that arrives, as from a push service: by DevTools, already decrypted."""
    told = {"title": "Pushed", "body": "Opened a minute ago", "tag": "pushed", "url": "/bell", "at": ""}
    devtools = context.new_cdp_session(page)
    registration = registered(devtools, page)
    push = {"origin": page.evaluate("location.origin"), "registrationId": registration, "data": json.dumps(told)}
    devtools.send("ServiceWorker.deliverPushMessage", push)
    until(page, lambda: any(one["tag"] == "pushed" for one in shown(worker)))
    pushed = next(one for one in shown(worker) if one["tag"] == "pushed")
    assert (pushed["title"], pushed["body"], pushed["data"]["url"]) == ("Pushed", "Opened a minute ago", "/bell")


def registered(devtools: CDPSession, page: Page) -> str:
    """The id of the service worker's registration."""
    found: list[str] = []

    def note(told: dict[str, Any]) -> None:
        found.extend(one["registrationId"] for one in told["registrations"] if not one["isDeleted"])

    devtools.on("ServiceWorker.workerRegistrationUpdated", note)
    devtools.send("ServiceWorker.enable")
    until(page, lambda: found)
    return found[-1]


def the_click_opens_the_box(page: Page, installation: Installation, worker: Worker, ring: dict[str, Any]) -> None:
    """What a click opens is noted instead: only a hand's may open windows."""
    page.goto("/outbox")
    opened = worker.evaluate(
        """async (tag) => {
          const opened = new Promise((done) => {
            self.clients.openWindow = async (url) => { done(url); return null; };
          });
          const [notification] = await self.registration.getNotifications({tag});
          self.dispatchEvent(new NotificationEvent("notificationclick", {notification}));
          return opened;
        }""",
        ring["tag"],
    )
    until(page, lambda: ring["tag"] not in [one["tag"] for one in shown(worker)])  # it is put away
    page.goto(opened)
    page.wait_for_url(f"**/b/{installation.box}*")
    expect(page.locator("#bell-side")).to_have_attribute("data-unseen", "1")


def the_answer_makes_it_certain(page: Page) -> None:
    """Wendy follows the link and answers, and the box's page says so by itself."""
    expect(page.locator("main")).to_contain_text("clicked a link to juniper.example", timeout=60_000)
    expect(page.locator("main")).to_contain_text("Read, certain", timeout=60_000)


def until(page: Page, condition: Callable[[], object]) -> None:
    """Wait until something holds, while events of the browser come in."""
    for _ in range(300):
        if condition():
            return
        page.wait_for_timeout(100)
    raise AssertionError("nothing within 30 s")
