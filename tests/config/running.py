"""What the tests of processes share: commands as a user types them, on free ports, in a folder of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(data_dir: Path, **settings: Any) -> dict[str, str]:
    """The environment of a command: the machine's, without anybody's own Tracker settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRACKER_")}
    told = {f"TRACKER_{name.upper()}": str(value) for name, value in settings.items()}
    return {**kept, "TRACKER_DATA_DIR": str(data_dir), "PYTHONPATH": str(ROOT), **told}


def tracker(env: dict[str, str], *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `tracker …` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "config.cli", *arguments],
        env=env, capture_output=True, text=True, check=False, timeout=120, cwd=options.pop("cwd", "/"), **options,
    )  # fmt: skip


def told(env: dict[str, str], *arguments: str) -> Any:
    """The JSON that a command prints."""
    done = tracker(env, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Running:
    """A command that goes on until stopped."""

    def __init__(self, env: dict[str, str], *arguments: str, log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "config.cli", *arguments],
                env=env, stdout=output, stderr=output, cwd="/", start_new_session=True,
            )  # fmt: skip

    def wait_for(self, condition: Callable[[], Any], seconds: float = 60.0, every: float = 0.1) -> Any:
        """The first true value of `condition`, which is asked for `every` so many seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            found = condition()
            if found:
                return found
            time.sleep(every)
        raise AssertionError(f"nothing within {seconds} s:\n{self.log.read_text()}")

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send a signal and wait for the end; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)


def answers(url: str) -> bool:
    """Whether something answers there."""
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


class Visitor:
    """Somebody with a browser, without the browser."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()

    def sign_in(self, address: str) -> None:
        """Sign in through Google's consent page, which the sandbox plays."""
        page = self.session.get(f"{self.url}/sign-in", timeout=20).text
        answer = self.post("/sign-in", page)
        assert answer.ok, answer.text
        if "/o/oauth2/" in answer.url:
            answer = self.session.get(f"{answer.url}&as={address}", timeout=20)
        assert answer.url.startswith(self.url), answer.url
        assert answer.ok, answer.text

    def get(self, path: str) -> str:
        """A page that is there."""
        answer = self.session.get(f"{self.url}{path}", timeout=20)
        assert answer.ok, answer.text
        return answer.text

    def post(self, path: str, page: str, **form: str) -> requests.Response:
        """Send a form with the token of the page that it stands on."""
        found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
        assert found is not None, page
        return self.session.post(
            f"{self.url}{path}", data={"csrf_token": found[1], **form}, timeout=20, headers={"Referer": self.url}
        )
