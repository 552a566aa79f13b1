"""The flows of a rep's day, in Chromium."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from gmail_sync import sync
from gmail_sync.sandbox import Sandbox
from tests.browser.conftest import Served, Watched
from tests.sandbox_fixtures import ALICE, mail
from tracker import mailboxes

pytestmark = pytest.mark.browser


def sign_in(page: Page) -> None:
    """Through the sandbox's consent page."""
    page.goto("/")
    page.get_by_role("button", name="Sign in with Google").click()
    page.get_by_text("Alice Archer").click()
    expect(page.get_by_role("heading", name="Inbox")).to_be_visible()


def connect(page: Page, served: Served) -> None:
    """Through the sandbox's consent page again; then the mailbox is read as a worker would."""
    page.get_by_role("button", name="Connect your mailbox").click()
    page.get_by_text("Alice Archer").click()
    expect(page.get_by_text(f"{ALICE} is connected")).to_be_visible()
    services = served.app.extensions["gmail_sync"].services
    with services.sessions() as session:
        mailbox = mailboxes.by_address(session, ALICE)
        assert mailbox is not None
    sync.sync_mailbox(services, mailbox.id)


def test_a_morning(watched: Watched, served: Served, sandbox: Sandbox) -> None:
    """Sign in, connect, tag two conversations into a new box, and drag it to the next stage."""
    for number in range(3):
        sandbox.deliver(mail(f"Offer {number}", sender=f"Dana <dana{number}@acme.test>", body="Hi"), [ALICE])
    page = watched.page
    sign_in(page)
    connect(page, served)
    page.reload()
    expect(page.get_by_text("Up to date")).to_be_visible()

    page.get_by_role("link", name="Inbox").click()
    page.get_by_label("Tick: Offer 0").check()
    page.get_by_label("Tick: Offer 1").check()
    expect(page.get_by_text("2 ticked:")).to_be_visible()
    page.get_by_label("Box", exact=True).fill("Acme deal")
    page.locator("#pipeline").select_option(label="new box in Sales")
    page.get_by_role("button", name="New box").click()
    expect(page.get_by_text("2 conversations in Acme deal")).to_be_visible()

    page.get_by_role("link", name="Sales", exact=True).click()
    card = page.locator(".card", has_text="Acme deal")
    lead = page.locator("section", has=page.get_by_role("heading", name="Lead", exact=True))
    card.drag_to(lead.locator(".cards"))
    expect(page.get_by_text("Moved to Lead")).to_be_visible()
    expect(lead.locator("[data-count]")).to_have_text("1")
    page.reload()
    expect(lead.locator(".card", has_text="Acme deal")).to_be_visible()

    page.get_by_role("link", name="Acme deal").click()
    expect(page.get_by_role("heading", name="Acme deal")).to_be_visible()
    expect(page.get_by_text("moved it from Prospect to Lead")).to_be_visible()
    assert watched.complaints == []


def test_formatted_mail_runs_no_script_and_loads_nothing_until_asked(
    watched: Watched, served: Served, sandbox: Sandbox
) -> None:
    """In its frame: no script, no image from elsewhere."""
    raw = (
        b"From: dana@acme.test\r\nTo: alice@example.com\r\nSubject: Formatted\r\nMessage-ID: <h@acme.test>\r\n"
        b"Date: Tue, 11 Aug 2026 08:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n"
        b"\r\n<h1>Big news</h1><img src='http://127.0.0.1:9/spy.gif'><script>document.title='pwned'</script>\r\n"
    )
    sandbox.deliver(raw, [ALICE])
    page = watched.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    sign_in(page)
    connect(page, served)
    page.goto("/inbox")
    page.get_by_role("link", name="Formatted").click()
    formatted = page.locator("summary", has_text="Formatted as sent")
    if not page.locator("iframe").is_visible():
        formatted.click()
    expect(page.frame_locator("iframe").get_by_role("heading", name="Big news")).to_be_visible()
    assert not [url for url in asked if "spy" in url]
    page.get_by_role("link", name="Show images").click()
    page.wait_for_timeout(500)
    assert [url for url in asked if "spy" in url]
    assert [one for one in watched.complaints if "spy" not in one and "ERR_" not in one] == []


def test_a_board_wider_than_the_window_is_reached_by_keyboard(
    watched: Watched, served: Served, sandbox: Sandbox
) -> None:
    """Links to its stages above it, and the board itself scrolls with the arrows; neither where all fits."""
    page = watched.page
    page.set_viewport_size({"width": 1400, "height": 800})
    sign_in(page)
    page.get_by_role("link", name="Sales", exact=True).click()
    last = page.get_by_role("heading", name="Revisit")
    expect(last).not_to_be_in_viewport()
    page.get_by_role("navigation", name="Stages").get_by_role("link", name="Revisit").press("Enter")
    expect(last).to_be_in_viewport()
    assert page.evaluate("scrollY") == 0
    board = page.get_by_role("region", name="Boxes by stage")
    board.focus()
    for _ in range(60):
        page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("heading", name="Prospect")).to_be_in_viewport()
    page.set_viewport_size({"width": 2600, "height": 800})
    expect(page.get_by_role("navigation", name="Stages")).to_be_hidden()
    expect(board).to_have_attribute("tabindex", "-1")
    assert watched.complaints == []


def test_what_is_current_is_in_sight_where_its_row_is_too_narrow(
    watched: Watched, served: Served, sandbox: Sandbox
) -> None:
    """The navigation on a telephone."""
    page = watched.page
    page.set_viewport_size({"width": 360, "height": 800})
    sign_in(page)
    page.goto("/mailboxes")
    page.get_by_role("button", name="Menu").click()
    expect(page.locator(".nav [aria-current]")).to_be_in_viewport(ratio=0.9)


@pytest.mark.parametrize("width", [360, 1400])
def test_no_page_is_wider_than_the_window(watched: Watched, served: Served, width: int) -> None:
    """Narrow and wide."""
    page = watched.page
    page.set_viewport_size({"width": width, "height": 800})
    sign_in(page)
    board = page.locator(".nav a[href^='/p/']").first.get_attribute("href")
    for address in ("/inbox", board, f"{board}/settings", "/pipelines/new", "/mailboxes"):
        page.goto(address or "")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), address
    assert watched.complaints == []
