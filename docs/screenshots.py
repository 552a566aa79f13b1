"""Takes the pictures in docs/images/ anew (`make screenshots`), all or those named, from a demo of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlencode

import requests
from playwright.sync_api import Browser, BrowserContext, Locator, Page, StorageState, expect, sync_playwright

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
sys.path.insert(0, str(ROOT))

from tests.browser.chromium import find  # noqa: E402

REP = "alice@juniper.example"
BOX, ORGANIZATION = "Blue Kestrel: 240 totes", "Blue Kestrel Logistics"
WITHHELD, SHARED = "Validated monitoring for vaccine totes", "Cold room monitoring for a seed collection"
UNFOLDED = {"who": "Who can see this"}  # what is opened on a page, by its picture
SETTLE_SECONDS = 130  # the mailboxes are read, zones are known, and the first answers have come
DRAWN_MS = 400  # what scripts and transitions still do after the page has loaded


@dataclass(frozen=True, slots=True)
class Look:
    """A way to look at the pages; a picture's name ends with the look's."""

    suffix: str
    scheme: Literal["light", "dark"]
    width: int

    def context(self, browser: Browser, url: str, state: StorageState | None = None) -> BrowserContext:
        """A browser of its own that looks so."""
        size = {"width": self.width, "height": 860}
        return browser.new_context(
            base_url=url, color_scheme=self.scheme, viewport=size, reduced_motion="reduce", storage_state=state
        )  # type: ignore[arg-type]


LOOKS = (Look("", "light", 1400), Look("-dark", "dark", 1400), Look("-narrow", "light", 390))


def main() -> None:
    """Start a demo, look at its pages, stop it."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    port, sandbox_port = _free(), _free()
    with tempfile.TemporaryDirectory(prefix="tracker-pictures-") as folder:
        Path(folder).chmod(0o755)
        settings = {"DATA_DIR": f"{folder}/var", "PORT": str(port), "SANDBOX_PORT": str(sandbox_port)}
        demo = subprocess.Popen(
            [sys.executable, "-m", "config.cli", "up", "--demo"],
            env={**os.environ, **{f"TRACKER_{name}": value for name, value in settings.items()}},
            cwd=ROOT,
        )
        try:
            _wait(f"http://127.0.0.1:{port}/healthz")
            time.sleep(SETTLE_SECONDS)
            _take(f"http://127.0.0.1:{port}", sys.argv[1:])
        finally:
            demo.send_signal(signal.SIGTERM)
            demo.wait(60)


def _take(url: str, names: Collection[str]) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=["--no-sandbox"])
        context = LOOKS[0].context(browser, url)
        state, addresses = _sign_in(context.new_page(), url), _addresses(context.new_page())
        context.close()
        for look in LOOKS:
            _album(browser, url, look, _wanted({"sign-in": "/sign-in"}, names))
            _album(browser, url, look, _wanted(addresses, names), state)
        _panels(browser, url, names, state)
        browser.close()


def _wanted(addresses: Mapping[str, str], names: Collection[str]) -> Mapping[str, str]:
    return {name: address for name, address in addresses.items() if not names or name in names}


def _sign_in(page: Page, url: str) -> StorageState:
    page.goto("/sign-in")
    page.get_by_role("button", name="Sign in with Google").click()
    page.goto(f"{page.url}&as={REP}")
    page.wait_for_url(f"{url}/**")
    return page.context.storage_state()


def _addresses(page: Page) -> Mapping[str, str]:
    """Where the pages are, by the names of their pictures."""
    page.goto("/followups")
    pipelines = page.get_by_role("navigation", name="Main")
    sales, connections = (_at(pipelines, name) for name in ("Sales", "Connections"))
    page.goto("/search?q=kestrel")
    box, organization = _at(page, BOX), _at(page, ORGANIZATION)
    withheld, shared = (_conversation(page, subject) for subject in (WITHHELD, SHARED))
    page.goto(organization)
    contact = page.locator("main .person-who a").first.get_attribute("href") or ""
    return {
        "followups": "/followups",
        "inbox": "/inbox",
        "board": sales,
        "connections": connections,
        "table": f"{sales}/table",
        "box": box,
        "search": "/search?q=kestrel",
        "outbox": "/outbox",
        "compose": f"/compose?box={box.rsplit('/', 1)[-1]}",
        "calendar": "/calendar",
        "notifications": "/bell",
        "told": "/bell/settings",
        "tracking": "/tracking",
        "contacts": "/contacts",
        "contact": contact,
        "organizations": "/organizations",
        "organization": organization,
        "places": "/contacts/places",
        "duplicates": "/contacts/duplicates",
        "settings": f"{sales}/settings/stages",
        "components": "/components",
        "mailboxes": "/mailboxes",
        "withheld": withheld,
        "who": shared,
        "team": "/team",
    }


def _conversation(page: Page, subject: str) -> str:
    page.goto(f"/search?{urlencode({'q': subject})}")
    return str(page.locator("main a[href^='/c/']").first.get_attribute("href"))


def _at(where: Page | Locator, name: str) -> str:
    """The address of the first link that begins with this name."""
    found = where.get_by_role("link", name=re.compile(rf"^\s*{re.escape(name)}"))
    return str(found.first.get_attribute("href"))


def _album(
    browser: Browser, url: str, look: Look, addresses: Mapping[str, str], state: StorageState | None = None
) -> None:
    context = look.context(browser, url, state)
    page = context.new_page()
    for name, address in addresses.items():
        # Not until the network is idle: it never is, with the stream of news open.
        page.goto(address, wait_until="load")
        expect(page.locator("h1").first).to_be_attached()
        if name in UNFOLDED:
            page.get_by_text(UNFOLDED[name], exact=True).first.click()
            expect(page.locator(".shared-body .seers").first).to_be_visible()
            page.mouse.move(0, 0)
        page.wait_for_timeout(DRAWN_MS)
        page.screenshot(path=IMAGES / f"{name}{look.suffix}.png")
    context.close()


def _panels(browser: Browser, url: str, names: Collection[str], state: StorageState) -> None:
    """The side panel in Gmail, as its preview draws it: the top of the window."""
    for look in LOOKS[:2]:
        context = Look(look.suffix, look.scheme, PANEL_WIDTH).context(browser, url, state)
        page = context.new_page()
        for name, draw in PANELS.items():
            if names and name not in names:
                continue
            page.goto("/addon/preview")
            draw(page)
            page.mouse.move(0, 0)
            page.wait_for_timeout(DRAWN_MS)
            seen = page.locator(".gm-window").bounding_box()
            assert seen is not None
            top = {**seen, "height": min(seen["height"], PANEL_HEIGHT)}
            page.screenshot(path=IMAGES / f"{name}{look.suffix}.png", clip=top, full_page=True)  # type: ignore[arg-type]
        context.close()


def _open_thread(page: Page) -> None:
    page.locator(".gm-mail", has_text="Environmental monitoring").click()
    expect(page.get_by_label("Stage").first).to_be_visible()


def _tag(page: Page) -> None:
    page.locator(".gm-mail", has_text="Eleanor, meet Dana").click()
    expect(page.get_by_role("button", name="Put it there").first).to_be_visible()


def _write(page: Page) -> None:
    page.get_by_role("link", name="Compose").click()
    page.get_by_label("To").fill("wendy@prairiesky.example")
    page.get_by_label("Subject").fill("The offer for eleven rooms")
    page.get_by_role("button", name="Open the panel").click()
    expect(page.locator(".gp-card")).to_contain_text("Send at their 9 AM")


PANEL_WIDTH, PANEL_HEIGHT = 1100, 800
PANELS = {"addon-thread": _open_thread, "addon-tagging": _tag, "addon-compose": _write}


def _free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(url: str) -> None:
    for _ in range(600):
        try:
            if requests.get(url, timeout=2).ok:
                return
        except requests.RequestException:
            pass
        time.sleep(0.1)
    raise SystemExit(f"Nothing answers at {url}")


if __name__ == "__main__":
    main()
