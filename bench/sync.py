"""How fast a mailbox is read, beside a straight script; and whether it stays as fast as mailboxes grow.

    python -m bench.sync                   # the real mailbox beside the script, then 1,000 to 50,000 messages
    python -m bench.sync --sizes 1000,5000

The straight script makes the same calls to Gmail (the same batches) and inserts the same rows, one after the
other in one process, with nothing else: no rules, no conversations, no events, no crash safety. Sandbox and
PostgreSQL are processes of their own. The quota is lifted on both sides.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from random import Random

import psycopg
import requests

from config import postgres

OWNER = "yyyy@spamassassin.taint.org"
HAM = Path(__file__).parents[2] / "shared" / "mail" / "ham.mbox.gz"
UNLIMITED = str(10**9)


@dataclass(frozen=True, slots=True)
class Run:
    """One measured reading."""

    messages: int
    seconds: float
    peak_mib: float
    units: int

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="1000,5000,20000,50000")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tracker-bench-") as folder:
        Path(folder).chmod(0o755)
        with postgres.embedded(Path(folder) / "var") as cluster:
            _beside_the_script(cluster, Path(folder), chosen.rounds)
            _growth(cluster, Path(folder), [int(size) for size in chosen.sizes.split(",")])


def _beside_the_script(cluster: postgres.Cluster, folder: Path, rounds: int) -> None:
    source, name = (HAM, "real mailbox") if HAM.exists() else (_generated(folder, 4150), "generated mailbox")
    print(f"\nReading a {name}, {rounds} rounds in turn\n")
    print(f"{'':24}{'messages':>10}{'msg/s':>10}{'peak MiB':>10}{'units':>10}{'ratio':>8}")
    ratios = []
    with _sandbox(source) as url:
        for number in range(rounds):
            script = _measured("bench.straight", cluster, f"script_{number}", url)
            tracker = _measured("bench.reader", cluster, f"tracker_{number}", url)
            ratios.append(tracker.rate / script.rate)
            _row("straight script", script, 1.0)
            _row("tracker", tracker, ratios[-1])
        floor = _floor(url)
    print(f"\nmedian ratio of rates: {sorted(ratios)[len(ratios) // 2]:.2f} (1 or more is as fast as the script)")
    print(f"units above the floor of {floor}: {(tracker.units / floor - 1) * 100:.2f} %")


def _growth(cluster: postgres.Cluster, folder: Path, sizes: list[int]) -> None:
    print("\nGrowing mailboxes (baseline: the smallest)\n")
    print(f"{'':24}{'messages':>10}{'msg/s':>10}{'peak MiB':>10}{'units':>10}{'ratio':>8}")
    first: Run | None = None
    for size in sizes:
        with _sandbox(_generated(folder, size)) as url:
            run = _measured("bench.reader", cluster, f"growth_{size}", url)
        first = first or run
        _row(f"{size} generated", run, run.rate / first.rate)


def _row(name: str, run: Run, ratio: float) -> None:
    figures = f"{run.messages:>10}{run.rate:>10.0f}{run.peak_mib:>10.0f}{run.units:>10}{ratio:>8.2f}"
    print(f"{name:24}{figures}", flush=True)


def _measured(module: str, cluster: postgres.Cluster, database: str, url: str) -> Run:
    """Run a reader as a process of its own, in a fresh database."""
    with psycopg.connect(
        host=str(cluster.sockets), user=postgres.OWNER, dbname="postgres", autocommit=True
    ) as connection:
        connection.execute(f"CREATE DATABASE {database}")
    requests.post(f"{url}/sandbox/stats/reset", json={}, timeout=10)
    credentials = requests.get(f"{url}/sandbox/credentials/{OWNER}", timeout=10).json()
    environment = {
        **os.environ,
        "TRACKER_DATABASE_URL": cluster.url.replace(f"/{postgres.DATABASE}?", f"/{database}?"),
        "TRACKER_GMAIL_API_URL": url,
        "TRACKER_GMAIL_UNITS_PER_MINUTE": UNLIMITED,
        "TRACKER_SECRET_KEY": "only for measuring, nothing secret in it",
        "BENCH_OWNER": OWNER,
        "BENCH_CREDENTIALS": json.dumps(credentials),
    }
    done = subprocess.run(
        [sys.executable, "-m", module], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    told = json.loads(done.stdout.splitlines()[-1])
    units = requests.get(f"{url}/sandbox/stats", timeout=10).json()[OWNER]["units_total"]
    return Run(told["messages"], told["seconds"], told["peak_mib"], units)


def report(messages: int, seconds: float) -> None:
    """What a reader prints at its end."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"messages": messages, "seconds": seconds, "peak_mib": peak}))


def _floor(url: str) -> int:
    """The fewest quota units that bring the mailbox: each thread the cheaper way, and the listing."""
    kept = requests.get(f"{url}/sandbox/credentials/{OWNER}", timeout=10).json()
    token = requests.post(
        kept["token_uri"],
        data={**{name: kept[name] for name in ("client_id", "client_secret", "refresh_token")},
              "grant_type": "refresh_token"},
        timeout=10,
    ).json()["access_token"]  # fmt: skip
    threads: dict[str, int] = {}
    page, pages = "", 0
    while page is not None:
        answer = requests.get(
            f"{url}/gmail/v1/users/me/messages",
            params={"maxResults": 500, "pageToken": page or None},
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
        ).json()
        for message in answer.get("messages", ()):
            threads[message["threadId"]] = threads.get(message["threadId"], 0) + 1
        page, pages = answer.get("nextPageToken"), pages + 1
    return sum(min(40, 20 * count) for count in threads.values()) + 5 * pages


def _generated(folder: Path, size: int) -> Path:
    """A made-up mailbox: threads of one to six mails, texts of some hundred words."""
    path = folder / f"generated-{size}.mbox"
    if path.exists():
        return path
    random, number = Random(size), 0
    words = ["offer", "price", "meeting", "tomorrow", "contract", "sample", "invoice", "answer", "thanks"]
    with path.open("wb") as file:
        while number < size:
            root = f"<{number}@made-up.example>"
            person = f"person{random.randrange(size // 10 + 1)}@company{random.randrange(200)}.example"
            for reply in range(min(random.choice((1, 1, 1, 2, 3, 6)), size - number)):
                mail = EmailMessage()
                mail["From"], mail["To"] = (person, OWNER) if reply % 2 == 0 else (OWNER, person)
                mail["Subject"] = f"Topic {root}" if reply == 0 else f"Re: Topic {root}"
                mail["Date"] = f"{random.randrange(1, 29)} Oct 2026 {number % 24:02}:{number % 60:02}:00 +0200"
                mail["Message-ID"] = root if reply == 0 else f"<{number}.{reply}@made-up.example>"
                if reply:
                    mail["References"] = mail["In-Reply-To"] = root
                mail.set_content(" ".join(random.choice(words) for _ in range(random.randrange(60, 400))))
                file.write(b"From bench Thu Jan  1 00:00:00 2026\n" + mail.as_bytes() + b"\n")
                number += 1
    return path


@contextlib.contextmanager
def _sandbox(mbox: Path) -> Iterator[str]:
    """A sandbox process with this mailbox, without a quota."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "config.cli", "sandbox", "serve", "--port", str(port), "--units-per-minute", "0",
         "--mbox", str(mbox), "--owner", OWNER],
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        if "The sandbox is at" not in process.stdout.readline():
            raise SystemExit("The sandbox did not start")
        url = f"http://127.0.0.1:{port}"
        requests.post(f"{url}/sandbox/quota", json={"concurrent_requests": 0}, timeout=10)
        time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait(10)


if __name__ == "__main__":
    main()
