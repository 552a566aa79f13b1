"""The side panel, pressed in Chromium: a thread goes into a new box and on to another stage, on an open board.

The web server is a process of its own, as `tracker up --demo` starts it; Google is the sandbox.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from gmail_sync.sandbox import Sandbox
from gmail_sync.sandbox.addon import CLIENT_ID, SERVICE_ACCOUNT
from tests.config.running import Running, answers, environment, free_port
from tests.gmail_sync.syncing import ALICE, CHARLIE, Team, mail
from tests.tracker.domain import pipeline
from tracker import people

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
SUBJECT, BOX = "Eleven rooms", "Prairie Sky: 11 rooms"
SECOND, OTHER = "Forty totes", "Blue Kestrel: 40 totes"


@pytest.fixture
def served(database_url: str, team: Team, sandbox: Sandbox, tmp_path: Path) -> Iterator[str]:
    """The address of the demo's web server; Alice has mail."""
    sandbox.mailbox(ALICE).insert(mail(subject=SUBJECT, text="How much are eleven rooms?"))
    sandbox.mailbox(ALICE).insert(mail("dana@elsewhere.test", subject=SECOND))
    team.sync(team.connect(ALICE))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = environment(
        tmp_path, database_url=database_url, secret_key="k" * 40, port=port, public_url=url,
        gmail_api_url=sandbox.url, google_auth_url=f"{sandbox.url}/o/oauth2/v2/auth",
        google_token_url=f"{sandbox.url}/token", google_certs_url=f"{sandbox.url}/oauth2/v3/certs",
        google_client_id=sandbox.client_id, google_client_secret=sandbox.client_secret,
        addon_service_account=SERVICE_ACCOUNT, addon_client_id=CLIENT_ID, addon_preview=True,
    )  # fmt: skip
    running = Running(env, "serve", log=tmp_path / "serve.log")
    running.wait_for(lambda: answers(f"{url}/healthz"))
    yield url
    running.stop()


@pytest.fixture
def board(team: Team) -> str:
    """The address of the team's board."""
    with team.sessions() as session:
        found = people.first_team(session)
        assert found is not None
        return f"/p/{pipeline(session, found.id).key}"


@pytest.fixture
def context(chromium: Browser, served: str) -> Iterator[BrowserContext]:
    """A browser in which Alice is signed in; nothing on the pages breaks their policy."""
    made = chromium.new_context(base_url=served, viewport={"width": 1400, "height": 900})
    made.set_default_timeout(15_000)
    complaints: list[str] = []
    page = made.new_page()
    page.goto("/sign-in")
    page.get_by_role("button", name="Sign in with Google").click()
    page.goto(f"{page.url}&as={ALICE}")
    expect(page.get_by_role("link", name="Mailboxes").first).to_be_visible()
    page.close()
    made.on("console", lambda told: complaints.append(told.text) if told.type in ("error", "warning") else None)
    yield made
    made.close()
    assert complaints == []


def in_column(page: Page, column: str) -> Locator:
    """The box on the board, in this column."""
    return page.locator(f"[data-column][data-name='{column}']").get_by_role("link", name=BOX)


def test_a_thread_goes_into_a_new_box_and_on_to_another_stage(
    chromium: Browser, served: str, context: BrowserContext, board: str
) -> None:
    watching, page = context.new_page(), context.new_page()
    watching.goto(board)
    page.goto("/addon/preview")
    page.get_by_role("link", name=SUBJECT).click()
    expect(page.locator(".gm-text")).to_contain_text("How much are eleven rooms?")
    page.get_by_role("button", name="New box").click()
    page.get_by_label("Pipeline").select_option(label="Sales")
    expect(page.get_by_label("Stage").locator("option", has_text="Qualified")).to_be_attached()  # it is drawn anew
    page.get_by_label("Name").fill(BOX)
    page.get_by_role("button", name="Make it").click()
    expect(page.locator(".gp-line", has_text=BOX).first).to_contain_text("Sales")
    page.get_by_label("Stage").select_option(label="Qualified")
    expect(page.get_by_role("status").filter(has_text="moved to Qualified")).to_be_visible()
    expect(in_column(watching, "Qualified")).to_be_visible()  # nobody loaded that page again
    page.get_by_text("The event that asked for it").click()
    expect(page.locator("#gm-wire")).to_contain_text('"value": "box.move"')
    the_same_without_scripts_on_a_telephone(chromium, context, served)


def the_same_without_scripts_on_a_telephone(chromium: Browser, context: BrowserContext, served: str) -> None:
    """Each press is a form's post, and nothing is wider than the screen."""
    plain = chromium.new_context(
        base_url=served, java_script_enabled=False, storage_state=context.storage_state(),
        viewport={"width": 360, "height": 740},
    )  # fmt: skip
    page = plain.new_page()
    page.goto("/addon/preview?write=1")
    page.get_by_label("To").fill(CHARLIE)
    page.get_by_role("button", name="Open the panel").click()
    expect(page.locator(".gp-card")).to_contain_text(CHARLIE)
    page.goto("/addon/preview")
    page.get_by_role("link", name=SECOND).click()
    page.get_by_role("button", name="New box").click()
    page.get_by_label("Name").fill(OTHER)
    page.get_by_role("button", name="Make it").click()
    expect(page.locator(".gp-card")).to_contain_text(OTHER)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    plain.close()
