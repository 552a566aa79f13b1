"""The application served on a port, the sandbox playing Google, and Chromium."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from flask import Flask
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright
from werkzeug.serving import make_server

from config import rooms
from config.app import create_app
from config.settings import load
from gmail_sync.sandbox import Sandbox
from tests.browser.chromium import find

expect.set_options(timeout=15_000)  # as the pages' own: a machine that runs many tests at once is slow

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


@dataclass(slots=True)
class Served:
    """The application and where it is."""

    app: Flask
    url: str


@dataclass(slots=True)
class Watched:
    """A page, and what went wrong on it."""

    page: Page
    complaints: list[str] = field(default_factory=list)


def missing(what: str) -> None:
    """Without it these tests can't be made; CI has it."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Chromium: the machine's own, or Playwright's."""
    path = find()
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        except Error as error:
            missing(f"Chromium is missing (apt-get install chromium): {str(error).splitlines()[0]}")
            return
        yield browser
        browser.close()


@pytest.fixture
def served(database_url: str, sandbox: Sandbox) -> Iterator[Served]:
    """The application, served; its Google is the sandbox."""
    server = make_server("127.0.0.1", 0, Flask("placeholder"), threaded=True)
    settings = load(
        database_url=database_url,
        secret_key="k" * 40,
        port=server.port,
        google_client_id=sandbox.client_id,
        google_client_secret=sandbox.client_secret,
        gmail_api_url=sandbox.url,
        google_auth_url=f"{sandbox.url}/o/oauth2/v2/auth",
        google_token_url=f"{sandbox.url}/token",
        google_certs_url=f"{sandbox.url}/oauth2/v3/certs",
    )
    furnished = rooms.furnish(settings)
    app = create_app(settings, furnished)
    server.app = app
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield Served(app, settings.url)
    server.shutdown()
    thread.join(timeout=5)
    furnished.close()


@pytest.fixture
def watched(chromium: Browser, served: Served, sandbox: Sandbox) -> Iterator[Watched]:
    """A page that notes errors on the console and violations of the policy."""
    context = chromium.new_context(base_url=served.url, viewport={"width": 1400, "height": 900})
    seen = Watched(context.new_page())
    seen.page.set_default_timeout(15_000)
    # Google's page is not ours to judge: what counts is what happens on our own.
    seen.page.on(
        "console",
        lambda message: (
            seen.complaints.append(message.text)
            if message.type in ("error", "warning") and not message.location["url"].startswith(sandbox.url)
            else None
        ),
    )
    seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    yield seen
    context.close()
