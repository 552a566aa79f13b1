"""Finds Chromium, or installs it where that is possible; `make test` runs this before the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"


def find() -> str | None:
    """The path of a Chromium on this machine."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    return found or (MAC if os.access(MAC, os.X_OK) else None)


def find_whole() -> str | None:
    """The path of a Chromium that can show notifications: the one without a head refuses them."""
    found = next((path for name in NAMES[1:] if (path := shutil.which(name))), None)
    return found or (MAC if os.access(MAC, os.X_OK) else None)


def main() -> int:
    """Install it with apt as root; else say what is missing. CI fails without it."""
    if find_whole():
        return 0
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print("Installing Chromium for the browser tests")
        quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
        subprocess.run(["apt-get", "update"], check=False, **quiet)
        # The first starts in half the time, and not every distribution has it; the second shows notifications.
        for name, there in zip(NAMES[:2], (find, find_whole), strict=True):
            if not there():
                subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", name], check=False, **quiet)
    if find():
        return 0
    print("Chromium is missing, so the browser tests are skipped: apt-get install chromium", file=sys.stderr)
    return 1 if os.environ.get("CI") else 0


if __name__ == "__main__":
    raise SystemExit(main())
