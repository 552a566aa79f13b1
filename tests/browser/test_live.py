"""What others change appears on open pages, and nobody is disturbed by it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect
from sqlalchemy import text

from config import teams
from config.app import create_app
from config.rooms import furnish
from config.settings import load
from tests.config.running import ROOT, answers, environment, free_port
from tests.tracker.domain import NOW, a_box, stage
from tests.tracker.web.factories_web import browser_of
from tracker import boxes, events, people
from tracker.boxes import Box
from tracker.db import Sessions, plain_url, transaction
from tracker.people import User
from webhooks.live_listen import NAME

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
SECRET = "k" * 40
SERVE = """
from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels
Granian("tests.browser.live_pages:app", factory=True, address="127.0.0.1", port={port}, interface=Interfaces.ASGI,
        websockets=False, log_level=LogLevels.error).serve()
"""


@dataclass
class Server:
    """The web server in a process of its own, a team, and what its people do."""

    port: int
    env: dict[str, str]
    sessions: Sessions
    alice: User
    bob: User
    cookies: dict[int, tuple[str, str]]
    process: subprocess.Popen[bytes] | None = None
    contexts: list[BrowserContext] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        code = SERVE.format(port=self.port)
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], env=self.env, cwd=ROOT, start_new_session=True
        )
        until(lambda: answers(f"{self.url}/healthz"))

    def kill(self) -> None:
        """SIGKILL, to all of its processes."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def context(self, browser: Browser, user: User) -> BrowserContext:
        """A person's own browser."""
        made = browser.new_context(base_url=self.url, viewport={"width": 1600, "height": 900})
        self.contexts.append(made)
        name, value = self.cookies[user.id]
        made.add_cookies([{"name": name, "value": value, "url": self.url}])
        return made

    def open(self, browser: Browser, user: User, path: str) -> Page:
        """A page in it."""
        page = self.context(browser, user).new_page()
        page.set_default_timeout(15_000)
        page.goto(path)
        return page

    def box(self, name: str, at: str = "Prospect") -> Box:
        """A new box."""
        with transaction(self.sessions) as session:
            made = a_box(session, people.viewer_of(self.alice, "test"), name, at=at)
            assert made.pipeline.name == "Sales"  # read now: the test wants its address
            return made

    def move(self, box: Box, to: str) -> None:
        """Bob moves it."""
        with transaction(self.sessions) as session:
            found = boxes.by_key(session, self.bob.team_id, box.key)
            assert found is not None
            boxes.move(
                session, people.viewer_of(self.bob, "test"), found, stage(session, found.pipeline, to), now=NOW
            )

    def task(self) -> None:
        """Something that changes tasks."""
        with transaction(self.sessions) as session:
            events.record(session, self.alice.team_id, "task.added")


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def server(database_url: str, tmp_path: Path) -> Iterator[Server]:
    """A running web server."""
    port = free_port()
    settings = load(database_url=database_url, secret_key=SECRET, port=port, data_dir=tmp_path)
    furnished = furnish(settings)
    app = create_app(settings, furnished)
    with transaction(furnished.sessions) as session:
        alice = teams.found(session, "Team", "alice@team.example", "Alice Archer")
        bob = people.add_user(session, alice.team_id, "bob@team.example", name="Bob Baker")
    cookies = {}
    for user in (alice, bob):
        cookie = browser_of(app, user).get_cookie(app.config["SESSION_COOKIE_NAME"])
        assert cookie is not None
        cookies[user.id] = (cookie.key, cookie.value)
    env = environment(tmp_path, database_url=database_url, secret_key=SECRET, port=port)
    made = Server(port, env, furnished.sessions, alice, bob, cookies)
    made.start()
    yield made
    for context in made.contexts:
        context.close()
    made.kill()
    furnished.close()


def column(page: Page, name: str) -> Locator:
    """A stage of the board."""
    return page.locator("section", has=page.get_by_role("heading", name=name, exact=True))


def test_two_people_see_each_others_moves_on_the_board(chromium: Browser, server: Server) -> None:
    box = server.box("Acme deal")
    path = f"/p/{box.pipeline.key}"
    alice, bob = (server.open(chromium, user, path) for user in (server.alice, server.bob))
    for page in (alice, bob):
        page.evaluate("window.marked = true")
    for mover, other, to in ((alice, bob, "Lead"), (bob, alice, "Qualified")):
        mover.locator(".card", has_text="Acme deal").drag_to(column(mover, to).locator(".cards"))
        for seen in (mover, other):
            expect(column(seen, to).locator(".card", has_text="Acme deal")).to_be_visible()
        expect(other.locator(".card", has_text="Acme deal")).to_have_count(1)
        assert other.evaluate("window.marked")


def test_who_types_is_not_disturbed_and_sees_the_change_afterwards(chromium: Browser, server: Server) -> None:
    box = server.box("Acme deal")
    page = server.open(chromium, server.alice, "/live-pages")
    row = page.locator("li", has_text="Acme deal")
    note = page.get_by_label("Note")
    note.fill("half a sentence")
    server.move(box, "Lead")
    page.wait_for_timeout(2500)
    expect(row).to_contain_text("Prospect")
    expect(note).to_be_focused()
    expect(note).to_have_value("half a sentence")
    note.fill("")
    note.blur()
    expect(row).to_contain_text("Lead")


def test_focus_ticks_and_what_is_folded_open_stay_and_the_changed_row_shows(
    chromium: Browser, server: Server
) -> None:
    box, other = server.box("Acme deal"), server.box("Bolt deal")
    page = server.open(chromium, server.alice, "/live-pages")
    page.get_by_label("Tick Bolt deal").check()
    page.locator("summary").click()
    link = page.get_by_role("link", name="Bolt deal")
    link.focus()
    page.evaluate("""new MutationObserver((all) => all.forEach((one) => one.target.matches?.(".just-changed") &&
      (window.flashed = (window.flashed || []).concat(one.target.dataset.box)))).observe(
      document.body, {attributes: true, subtree: true, attributeFilter: ["class"]})""")
    server.move(box, "Lead")
    expect(page.locator("li", has_text="Acme deal")).to_contain_text("Lead")
    expect(page.get_by_label("Tick Bolt deal")).to_be_checked()
    expect(page.get_by_label("Tick Acme deal")).not_to_be_checked()
    expect(page.get_by_text("Much more")).to_be_visible()
    expect(link).to_be_focused()
    until(lambda: page.evaluate("window.flashed"))
    assert set(page.evaluate("window.flashed")) == {box.key} != {other.key}


def test_a_page_finds_a_killed_server_again_and_catches_up(chromium: Browser, server: Server) -> None:
    box = server.box("Acme deal")
    page = server.open(chromium, server.alice, "/live-pages")
    page.evaluate("window.marked = true")
    server.kill()
    server.move(box, "Lead")
    page.wait_for_timeout(2000)
    server.start()
    expect(page.locator("li", has_text="Acme deal")).to_contain_text("Lead", timeout=30_000)
    server.move(box, "Won")
    expect(page.locator("li", has_text="Acme deal")).to_contain_text("Won", timeout=15_000)
    assert page.evaluate("window.marked")


def test_a_lost_connection_to_the_database_is_made_up_for(
    chromium: Browser, server: Server, database_url: str
) -> None:
    box = server.box("Acme deal")
    page = server.open(chromium, server.alice, "/live-pages")
    server.task()
    expect(page.get_by_text("events")).to_contain_text(f"{count(server)} events")
    with psycopg.connect(plain_url(database_url), autocommit=True) as connection:
        cut = connection.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE application_name = %s AND datname = current_database()",
            [NAME],
        ).fetchone()
    assert cut == (1,)
    server.move(box, "Lead")
    expect(page.locator("li", has_text="Acme deal")).to_contain_text("Lead")


@pytest.mark.parametrize("why", ["the browser has none", "the server has none"])
def test_without_a_stream_the_page_polls_says_that_it_is_offline_and_comes_back(
    chromium: Browser, server: Server, why: str
) -> None:
    box = server.box("Acme deal")
    context = server.context(chromium, server.alice)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.clock.install()
    if why == "the browser has none":
        page.add_init_script("delete window.EventSource")
    else:
        page.route("**/live?*", lambda route: route.fulfill(status=204))
    asked: list[str] = []
    page.on("response", lambda response: asked.append(response.url) if "/live/since" in response.url else None)
    page.goto("/live-pages")

    def passing(condition: Callable[[], object], milliseconds: int = 2_000) -> None:
        until(lambda: page.clock.run_for(milliseconds) or condition())

    passing(lambda: asked)
    row, offline = page.locator("li", has_text="Acme deal"), page.get_by_text("Offline: trying again")
    server.move(box, "Lead")
    passing(lambda: "Lead" in row.inner_text())
    assert not offline.count()
    assert complaints == []
    context.set_offline(True)
    passing(offline.count, 10_000)
    server.move(box, "Won")
    context.set_offline(False)
    passing(lambda: "Won" in row.inner_text())
    assert not offline.count()


def test_five_hundred_updates_leave_nothing_behind(chromium: Browser, server: Server, database_url: str) -> None:
    server.box("Acme deal")
    page = server.open(chromium, server.alice, "/live-pages")
    page.clock.install()
    page.reload()
    devtools = page.context.new_cdp_session(page)

    def counters() -> dict[str, int]:
        devtools.send("HeapProfiler.collectGarbage")
        found = devtools.send("Memory.getDOMCounters")
        return {"nodes": found["nodes"], "listeners": found["jsEventListeners"], "documents": found["documents"]}

    def connections() -> int:
        with psycopg.connect(plain_url(database_url)) as connection:
            query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            return int(connection.execute(query).fetchone()[0])  # type: ignore[index]

    def update(number: int) -> None:
        for _ in range(number // 20):  # twenty at once are a look or two
            for _ in range(20):
                server.task()
            wanted = f"{count(server)} events"
            until(lambda wanted=wanted: told(page, wanted))  # type: ignore[misc]

    update(40)
    before, connected = counters(), connections()
    update(500)
    allowed = {
        "nodes": before["nodes"] + 50,
        "listeners": before["listeners"] + 5,
        "documents": before["documents"],
    }

    def is_let_go() -> bool:  # what is unreachable may take the collector more than one turn
        return all(count <= allowed[what] for what, count in counters().items())

    until(is_let_go)
    assert connections() <= connected + 1


def told(page: Page, wanted: str) -> bool:
    """Whether the page says so by now; its clock is put forward."""
    page.clock.run_for(1_500)
    return bool(page.evaluate("wanted => document.querySelector('#boxes p').textContent === wanted", wanted))


def count(server: Server) -> int:
    """How many events the team has."""
    with server.sessions() as session:
        query = text("SELECT count(*) FROM events WHERE team_id = :id")
        return int(session.scalar(query, {"id": server.alice.team_id}) or 0)
