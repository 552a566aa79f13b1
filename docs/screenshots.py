"""Takes the pictures in docs/images/ anew, from a demo of its own (`make screenshots`)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
sys.path.insert(0, str(ROOT))

from tests.browser.chromium import find  # noqa: E402

REP = "alice@juniper.example"
LOOKS = (("", "light", 1400), ("-dark", "dark", 1400), ("-narrow", "light", 390))
SETTLE_SECONDS = 45  # the three mailboxes are read, and the first answers have come


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
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=find(), args=["--no-sandbox"])
                for name, scheme, width in (
                    ("", "light", 1400),
                    ("-dark", "dark", 1400),
                    ("-narrow", "light", 390),
                ):
                    _album(browser, f"http://127.0.0.1:{port}", name, scheme, width)
        finally:
            demo.send_signal(signal.SIGTERM)
            demo.wait(60)


def _album(browser: Browser, url: str, suffix: str, scheme: str, width: int) -> None:
    context = browser.new_context(
        base_url=url,
        color_scheme=scheme,
        viewport={"width": width, "height": 860},  # type: ignore[arg-type]
    )
    page = context.new_page()
    page.goto("/sign-in")
    _shoot(page, f"sign-in{suffix}")
    page.get_by_role("button", name="Sign in with Google").click()
    page.goto(f"{page.url}&as={REP}")
    page.wait_for_url(f"{url}/**")
    _shoot(page, f"inbox{suffix}")
    for pipeline in ("Connections", "Sales"):
        page.goto("/")
        address = page.get_by_role("link", name=pipeline, exact=True).first.get_attribute("href")
        page.goto(address or "/")
        _shoot(page, f"{pipeline.lower()}{suffix}" if pipeline != "Sales" else f"board{suffix}")
    page.locator("a[href^='/b/']").nth(6).click()
    page.wait_for_load_state()
    _shoot(page, f"box{suffix}")
    page.goto(f"{address}/settings")
    _shoot(page, f"settings{suffix}")
    page.goto("/mailboxes")
    _shoot(page, f"mailboxes{suffix}")
    context.close()


def _shoot(page: Page, name: str) -> None:
    page.wait_for_load_state("networkidle")
    page.screenshot(path=IMAGES / f"{name}.png")


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
