"""Sending: is each mail sent once under kill -9, how many go a second, and is nine o'clock nine.

    python -m bench.send                       # everything, one table
    python -m bench.send --only crash,rate     # crash, rate, nine, tick
    python -m bench.send --mails 500 --rows 100000

The crash runs against the sandbox as a process of its own, beside django-post_office with a backend that counts.
The others have a Gmail that only takes its time: Gmail's quota and network are not what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import requests
from sqlalchemy import text

from bench import sender
from bench.sync import _sandbox as sandbox_with
from config import postgres, teams
from gmail_sync import oauth
from gmail_sync.vault import Vault
from scheduler import claims, letters, outbox, preparing
from scheduler.dispatch import Dispatcher
from scheduler.letters import Letter
from scheduler.outbox import About, When, Zone
from tracker import mailboxes, migrations
from tracker.db import Sessions, make_engine, make_sessions, transaction, utc_now
from tracker.people import system_viewer

DORA = "dora@outside.example"
KILLS = 5


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table."""

    what: str
    measured: str
    asked: str
    ratio: str


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="crash,rate,nine,tick")
    parser.add_argument("--mails", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    chosen = parser.parse_args()
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="tracker-bench-") as folder:
        Path(folder).chmod(0o755)
        with postgres.embedded(Path(folder) / "var") as cluster:
            for name in chosen.only.split(","):
                began = time.monotonic()
                lines += _PARTS[name](cluster, Path(folder), chosen)
                print(f"({name}: {time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)
    print(f"\n{'':58}{'measured':>24}{'asked':>16}{'ratio':>10}")
    for line in lines:
        print(f"{line.what:58}{line.measured:>24}{line.asked:>16}{line.ratio:>10}")


# -- each once, under kill -9


def crash(cluster: postgres.Cluster, folder: Path, chosen: argparse.Namespace) -> list[Line]:
    """The same number of due mails and of kills, in both."""
    ours = _ours(cluster, folder, chosen.mails)
    lines = [_duplicates("tracker", ours, chosen.mails)]
    if find_spec("post_office") is None:
        return [*lines, Line("django-post_office", "not installed: skipped", "", "")]
    theirs = _theirs(cluster, folder, chosen.mails)
    return [*lines, _duplicates("django-post_office", theirs, chosen.mails)]


def _duplicates(name: str, delivered: Counter[str], mails: int) -> Line:
    twice = sum(count - 1 for count in delivered.values())
    lost = mails - len(delivered)
    what = f"{name}: {mails} due mails, {KILLS} kills"
    return Line(what, f"{twice} twice, {lost} lost", "0 twice, 0 lost", f"{twice / mails:.1%}")


def _ours(cluster: postgres.Cluster, folder: Path, mails: int) -> Counter[str]:
    url, sessions = _database(cluster, "crash")
    (folder / "empty.mbox").touch()
    with sandbox_with(folder / "empty.mbox") as api:
        requests.post(f"{api}/sandbox/quota", json={"sends_per_day": 0}, timeout=10).raise_for_status()
        addresses = [f"rep{number}@team.example" for number in range(20)]
        google = _connect(sessions, api, addresses)
        options = {"database": url, "google": google, "threads": 8}
        _queue(sessions, addresses, mails)
        post = sender.post(options)
        for mailbox_id in range(1, len(addresses) + 1):
            preparing.prepare_mailbox(post, mailbox_id)
        rng, workers = random.Random(1), [_worker(options), _worker(options)]
        for number in range(KILLS):
            _until(lambda part=(number + 1) * mails // (KILLS + 2): _sent(sessions) >= part)
            time.sleep(rng.random() / 5)
            workers.append(_worker(options))
            unlucky = workers.pop(rng.randrange(2))
            os.kill(unlucky.pid, signal.SIGKILL)
            unlucky.wait()
        _until(lambda: _sent(sessions) == mails)
        for worker in workers:
            worker.kill()
            worker.wait()
        return _delivered(api, google, addresses)


def _theirs(cluster: postgres.Cluster, folder: Path, mails: int) -> Counter[str]:
    plain, _ = _plain(cluster, "theirs")
    environment = {**os.environ, "BENCH_POSTGRES": plain, "BENCH_FOLDER": str(folder)}
    command = [sys.executable, "-m", "bench.django_worker"]
    subprocess.run([*command, "fill", str(mails)], env=environment, check=True)
    path, rng, quiet = folder / "delivered", random.Random(1), subprocess.DEVNULL
    path.touch()
    for number in range(KILLS):
        process = subprocess.Popen([*command, "send"], env=environment, start_new_session=True, stderr=quiet)
        _until(lambda part=(number + 1) * mails // (KILLS + 2): path.read_text().count("\n") >= part)
        time.sleep(rng.random() / 5)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    while subprocess.run([*command, "send"], env=environment, check=False, stderr=quiet).returncode == 3:
        continue
    return Counter(path.read_text().splitlines())


# -- claims and settles


def rate(cluster: postgres.Cluster, folder: Path, chosen: argparse.Namespace) -> list[Line]:
    """Mails that one worker claims and settles a second, when Gmail answers at once."""
    mails, boxes = 20_000, 500
    url, sessions = _database(cluster, "rate")
    _fill(sessions, mails, boxes, datetime.now(UTC) - timedelta(seconds=5))
    dispatcher = Dispatcher(sender.post({"database": url}), threads=32, each=20)
    sender.make_up(dispatcher, 0.0, [])
    began = time.monotonic()
    dispatcher.start()
    _until(lambda: _sent(sessions) == mails)
    seconds = time.monotonic() - began
    dispatcher.stop()
    found = mails / seconds
    return [
        Line(
            f"claims and settles a second, one worker, {mails} mails", f"{found:.0f}", "900", f"{found / 900:.2f}"
        )
    ]


# -- nine is nine


def nine(cluster: postgres.Cluster, folder: Path, chosen: argparse.Namespace) -> list[Line]:
    """10,000 mails due at the same instant in 500 mailboxes, two workers, 300 ms for each send."""
    mails, boxes = 10_000, 500
    url, sessions = _database(cluster, "nine")
    due = datetime.now(UTC) + timedelta(seconds=20)
    _fill(sessions, mails, boxes, due)
    workers = [_worker({"database": url, "gmail_seconds": 0.3}, output=subprocess.PIPE) for _ in range(2)]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.readline()
    late = (due - datetime.now(UTC)).total_seconds() < 1
    _until(lambda: _sent(sessions) == mails)
    asked: list[tuple[float, str]] = []
    for worker in workers:
        worker.terminate()
        assert worker.stdout is not None
        asked += [(at, draft) for at, draft in json.loads(worker.stdout.readline())]
        worker.wait()
    assert len({draft for _, draft in asked}) == len(asked) == mails, "sent twice"
    first: dict[int, float] = {}
    for at, draft in sorted(asked):
        first.setdefault(int(draft.split("-")[0]), at - due.timestamp())
    began, begun, ended = min(first.values()), max(first.values()), max(at for at, _ in asked) - due.timestamp()
    note = " (the machine was late)" if late else ""
    what = f"{mails} at one nine, {boxes} mailboxes, 2 workers: first send{note}"
    return [
        Line(what, f"{began:.2f} s after", "1 s", f"{1 / max(began, 0.001):.2f}"),
        Line("   … first send of the last mailbox", f"{begun:.2f} s after", "1 s", f"{1 / begun:.2f}"),
        Line("   … the last send (20 a mailbox, 0.3 s each)", f"{ended:.1f} s after", "6 s", f"{6 / ended:.2f}"),
    ]  # fmt: skip


# -- a tick among a million


def tick(cluster: postgres.Cluster, folder: Path, chosen: argparse.Namespace) -> list[Line]:
    """What a look for due mail costs, with few and with very many rows that wait."""
    found = []
    for number in (1000, chosen.rows):
        _, sessions = _database(cluster, f"tick_{number}")
        _fill(sessions, number, 500, datetime.now(UTC) + timedelta(days=3))
        with sessions() as session:
            session.connection(execution_options={"isolation_level": "AUTOCOMMIT"}).execute(text("ANALYZE"))
        found.append(_look(sessions))
    few, many = found
    what = f"a tick: {few * 1000:.2f} ms with 1,000 rows, with {chosen.rows}"
    return [Line(what, f"{many * 1000:.2f} ms", "no slower", f"{few / many:.2f}")]


def _look(sessions: Sessions) -> float:
    times = []
    for _ in range(60):
        began = time.perf_counter()
        with transaction(sessions) as session:
            claims.due_mailboxes(session, utc_now(), [], 2000)
            claims.next_at(session, utc_now())
            preparing.waiting(session, utc_now())
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2]


# -- what they share


def _plain(cluster: postgres.Cluster, name: str) -> tuple[str, str]:
    with psycopg.connect(
        host=str(cluster.sockets), user=postgres.OWNER, dbname="postgres", autocommit=True
    ) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    url = cluster.url.replace(f"/{postgres.DATABASE}?", f"/{name}?")
    return url.replace("postgresql+psycopg://", "postgresql://"), url


def _database(cluster: postgres.Cluster, name: str) -> tuple[str, Sessions]:
    import config.tables  # noqa: F401 - makes the metadata whole

    _, url = _plain(cluster, name)
    engine = make_engine(url)
    migrations.upgrade(engine)
    return url, make_sessions(engine)


def _connect(sessions: Sessions, api: str, addresses: list[str]) -> dict[str, str]:
    known = requests.get(f"{api}/sandbox/", timeout=10).json()
    for address in [*addresses, DORA]:
        requests.post(f"{api}/sandbox/users", json={"address": address}, timeout=10).raise_for_status()
    vault = Vault(sender.SECRET)
    with transaction(sessions) as session:
        user = teams.found(session, "Bench", addresses[0], "")
        for address in addresses:
            kept = requests.get(f"{api}/sandbox/credentials/{address}", timeout=10).json()
            mailboxes.connect(session, user, address, vault.seal(oauth.authorized_user(kept)), utc_now())
    return {"client_id": known["client_id"], "client_secret": known["client_secret"], "api_url": api}


def _queue(sessions: Sessions, addresses: list[str], mails: int) -> None:
    now = utc_now()
    when = When(now.replace(tzinfo=None), "UTC", Zone.NOW)
    with transaction(sessions) as session:
        boxes = [mailboxes.by_address(session, address) for address in addresses]
        for number in range(mails):
            box = boxes[number % len(boxes)]
            assert box is not None
            name = f"mail {number}"
            letter = Letter(
                letters.address("", box.address), (letters.address("", DORA),), subject=name, text=name
            )
            outbox.queue(session, system_viewer(box.team_id, "bench"), box, letter, when, About(), now=now)


_FILL = """
    INSERT INTO scheduled_emails (team_id, key, mailbox_id, user_id, subject, "to", recipients, wall_time, zone,
      due_at, next_at, state, behind, draft_id, draft_thread_id, prepared_at, text_hash, working_days, resolved_at,
      rules, try_at)
    SELECT t.id, md5(n::text), m.id, m.user_id, 'mail ' || n, ARRAY['dora@outside.example'],
      ARRAY['person' || n || '@outside.example'], :wall, 'UTC',
      :due, :due, 'queued', false, m.id || '-' || n, n::text, now(), sha256(n::text::bytea), false, now(),
      :rules, now()
    FROM generate_series(1, :mails) n
    JOIN mailboxes m ON m.id = 1 + n % :boxes JOIN teams t ON t.id = m.team_id
"""


def _fill(sessions: Sessions, mails: int, boxes: int, due: datetime) -> None:
    """Prepared mail in many mailboxes, written straight into the table."""
    from scheduler import tz_release

    with transaction(sessions) as session:
        user = teams.found(session, "Bench", "rep0@team.example", "")
        for number in range(boxes):
            mailboxes.connect(session, user, f"rep{number}@team.example", b"none", utc_now())
        values = {"wall": due.replace(tzinfo=None), "due": due, "mails": mails, "boxes": boxes}
        session.execute(text(_FILL), {**values, "rules": tz_release.current()})


def _worker(options: dict[str, Any], *, output: int | None = subprocess.DEVNULL) -> subprocess.Popen[str]:
    environment = {**os.environ, "BENCH_SENDER": json.dumps(options)}
    return subprocess.Popen([sys.executable, "-m", "bench.sender"], env=environment, stdout=output, text=True)


def _sent(sessions: Sessions) -> int:
    with sessions() as session:
        return int(session.scalar(text("SELECT count(*) FROM scheduled_emails WHERE state = 'sent'")) or 0)


def _delivered(api: str, google: dict[str, str], addresses: list[str]) -> Counter[str]:
    """What the senders' mailboxes hold as sent, and whether Dora has each of it."""
    dora = _subjects(api, DORA, "INBOX")
    sent: Counter[str] = Counter()
    for address in addresses:
        sent.update(_subjects(api, address, "SENT"))
    return dora | sent


def _subjects(api: str, address: str, label: str) -> Counter[str]:
    kept = requests.get(f"{api}/sandbox/credentials/{address}", timeout=10).json()
    names = ("client_id", "client_secret", "refresh_token")
    asked = {**{name: kept[name] for name in names}, "grant_type": "refresh_token"}
    token = requests.post(kept["token_uri"], data=asked, timeout=10).json()["access_token"]
    found: Counter[str] = Counter()
    page: str | None = ""
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {token}"
        while page is not None:
            query = {"labelIds": label, "maxResults": "500", **({"pageToken": page} if page else {})}
            listed = session.get(f"{api}/gmail/v1/users/me/messages", params=query, timeout=30).json()
            for one in listed.get("messages", ()):
                headers = {"format": "metadata", "metadataHeaders": "Subject"}
                got = session.get(
                    f"{api}/gmail/v1/users/me/messages/{one['id']}", params=headers, timeout=30
                ).json()
                headers = {header["name"]: header["value"] for header in got["payload"]["headers"]}
                found[headers["Subject"]] += 1
            page = listed.get("nextPageToken")
    return found


def _until(condition: Callable[[], bool], seconds: float = 600) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends:
            raise SystemExit("It did not come to an end")
        time.sleep(0.05)


_PARTS = {"crash": crash, "rate": rate, "nine": nine, "tick": tick}

if __name__ == "__main__":
    main()
