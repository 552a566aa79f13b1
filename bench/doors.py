"""The doors: how many hits a second are durable before they are answered, and how long that takes.

    python -m bench.doors                              # everything, one table; 10 million hits take some minutes
    python -m bench.doors --rows 100000 --seconds 5    # short

In one run and the same granian, in turns: its front with a door that only answers the GIF, pytracking with Flask
and a plain INSERT for each hit, Tracker's web server, and the same with a database of millions of hits. A ratio is
the median of those of single rounds, whose parts are seconds apart: neighbours on the machine come and go. Each
hit is of one of the stored tokens, from one of so many addresses (behind a proxy that settings name) that no
limit is met: afterwards the hits are counted. At last, how fast what arrived is taken in.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from sqlalchemy import make_url

from bench.door_servers import TABLE
from bench.ports import free_port, until_it_answers
from config import postgres, teams
from tracker import migrations
from tracker.db import insert_many, make_engine, make_sessions, plain_url, transaction
from webhooks import hit_intake
from webhooks.tracks import TrackedEmail, new_token

CONNECTIONS = 64
TOKENS = 10_000
ASKED = 100_000  # different requests: the same one within a second would be counted and not kept
AGENT = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
FIRST = 1_000_000_000  # ids of measured hits begin here
KINDS = ["bare", "pytracking", "ours"]
#: As many hits as are asked for, spread over the mails and a year.
FILL = """
INSERT INTO hits (id, team_id, key, tracked_email_id, kind, at, address, agent, headers, rules, verdict, why)
SELECT number, 1, lpad(to_hex(number), 32, '0')::uuid, 1 + number %% %(tokens)s, 'open',
  timestamptz '2026-01-01' + number * interval '3 seconds', '66.249.84.1', %(agent)s,
  '{"method": "GET", "accept-encoding": "gzip, deflate, br"}', 1, 'person', 'Opened through Gmail''s proxy'
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS number
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """What the load saw of one server, and how many rows it left."""

    rate: float
    p50: float
    p99: float
    bad: int
    answers: int
    rows: int


Round = dict[str, Measured]  #: by kind


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="for each measurement")
    parser.add_argument("--rows", type=int, default=10_000_000, help="stored hits of the second part; 0: none")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each, the medians are shown")
    chosen = parser.parse_args()
    kinds = KINDS if find_spec("pytracking") else [kind for kind in KINDS if kind != "pytracking"]
    with tempfile.TemporaryDirectory(prefix="tracker-bench-") as folder:
        Path(folder).chmod(0o755)
        with postgres.embedded(Path(folder) / "var") as cluster:
            few = _prepare(cluster.url)
            bases = dict.fromkeys(kinds, few)
            if chosen.rows:
                bases["many"] = _prepare(_another(cluster.url))
                _fill(bases["many"].url, chosen.rows)
            rounds = _rounds(bases, Path(folder), chosen)
            taken = [_take_in(bases[kind].url) for kind in ("ours", "many") if kind in bases]
    _print(rounds, chosen.rows, taken)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A database with tracked mails, and what is asked of each server."""

    url: str
    asked: dict[str, bytes]


def _another(url: str) -> str:
    """A second database of the same cluster."""
    with psycopg.connect(plain_url(url), autocommit=True) as connection:
        connection.execute("CREATE DATABASE many")
    return make_url(url).set(database="many").render_as_string(hide_password=False)


def _prepare(url: str) -> Prepared:
    engine = make_engine(url)
    migrations.upgrade(engine)
    tokens = [new_token() for _ in range(TOKENS)]
    with transaction(make_sessions(engine)) as session:
        team_id = teams.found(session, "Bench", "alice@team.example", "Alice").team_id
        insert_many(
            session, TrackedEmail, [{"team_id": team_id, "token": token, "key": token} for token in tokens]
        )
    engine.dispose()
    with psycopg.connect(plain_url(url), autocommit=True) as connection:
        connection.execute(TABLE)
        connection.execute("SELECT setval('hits_id_seq', %s)", [FIRST])
        connection.execute("VACUUM ANALYZE tracked_emails")
    ours = b"".join(_request(f"{tokens[number % TOKENS]}.gif", number) for number in range(ASKED))
    return Prepared(url, {"ours": ours, "many": ours, "bare": ours, "pytracking": _theirs()})


def _theirs() -> bytes:
    if find_spec("pytracking") is None:
        return b""
    from pytracking.tracking import Configuration, get_open_tracking_url

    base = Configuration(base_open_tracking_url="http://x/t/")
    urls = [get_open_tracking_url({"tracked": number}, configuration=base) for number in range(1, TOKENS + 1)]
    paths = [url.removeprefix("http://x/t/") for url in urls]
    return b"".join(_request(paths[number % TOKENS], number) for number in range(ASKED))


def _request(path: str, number: int) -> bytes:
    address = f"66.249.{number // 250 % 250}.{number % 250}"
    return (
        f"GET /t/{path} HTTP/1.1\r\nHost: tracker.example.com\r\nUser-Agent: {AGENT}\r\n"
        f"Accept-Encoding: gzip, deflate, br\r\nX-Forwarded-For: {address}\r\n\r\n"
    ).encode()


def _rounds(bases: dict[str, Prepared], folder: Path, chosen: Any) -> list[Round]:
    found = []
    for _ in range(chosen.rounds):
        found.append(
            {
                kind: _measure(base.url, folder, kind, base.asked[kind], chosen.seconds)
                for kind, base in bases.items()
            }
        )
        print(f"({found[-1]})", file=sys.stderr, flush=True)
    return found


def _measure(url: str, folder: Path, kind: str, asked: bytes, seconds: float) -> Measured:
    with psycopg.connect(plain_url(url), autocommit=True) as connection:
        before = _rows(connection, kind)
        connection.execute("CHECKPOINT")
        with _serving(url, folder, kind) as port:
            _load(asked, port, 1.0, seed=0)  # warm
            warm = _rows(connection, kind) - before
            seen = _load(asked, port, seconds, seed=1)
        rows = _rows(connection, kind) - before - warm
    return Measured(seen["rate"], seen["p50"], seen["p99"], int(seen["bad"]), int(seen["answers"]), rows)


def _rows(connection: psycopg.Connection[Any], kind: str) -> int:
    """How many requests are kept: rows, and what was counted on them."""
    arrived = "(SELECT 1 + max(repeats) AS came FROM hit_arrivals GROUP BY key) AS each"
    query = "SELECT count(*) FROM opens" if kind == "pytracking" else f"SELECT sum(came)::bigint FROM {arrived}"
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0] or 0)


def _take_in(url: str) -> float:
    """Take in what arrived; so many a second."""
    engine = make_engine(url)
    sessions, count, began = make_sessions(engine), 0, time.monotonic()
    taken = 1
    while taken:
        with transaction(sessions) as session:
            taken = hit_intake.take_in_some(session)
        count += taken
    engine.dispose()
    return count / (time.monotonic() - began)


def _load(asked: bytes, port: int, seconds: float, seed: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.door_load", str(port), str(CONNECTIONS), str(seconds), str(seed)]
    done = subprocess.run(command, input=asked, capture_output=True, check=True)
    seen: dict[str, float] = json.loads(done.stdout)
    return seen


@contextmanager
def _serving(url: str, folder: Path, kind: str) -> Iterator[int]:
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TRACKER_")},
        "TRACKER_DATABASE_URL": url, "TRACKER_SECRET_KEY": "k" * 40,
        "TRACKER_DATA_DIR": str(folder / "data"), "TRACKER_TRUSTED_PROXIES": "127.0.0.1",
        "BENCH_POSTGRES": plain_url(url),
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.door_servers", "ours" if kind == "many" else kind, str(port)],
        env=environment,
    )
    try:
        until_it_answers(port)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _fill(url: str, rows: int) -> None:
    """Stored hits, with the indexes made after them: a fill, not what is measured."""
    began = time.monotonic()
    with psycopg.connect(plain_url(url), autocommit=True) as connection:
        indexes = connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'hits' AND indexname LIKE 'ix_%'"
        ).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        connection.execute("SET session_replication_role = replica")
        for first in range(1, rows + 1, 1_000_000):
            last = min(first + 999_999, rows)
            connection.execute(FILL, {"tokens": TOKENS, "agent": AGENT, "first": first, "last": last})
        connection.execute("SET maintenance_work_mem = '512MB'")
        for _, statement in indexes:
            connection.execute(statement)
        connection.execute("VACUUM ANALYZE hits")
    print(f"(filled: {time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)


def _print(rounds: list[Round], rows: int, taken: list[float]) -> None:
    what = f"at {CONNECTIONS} connections, {len(rounds)} rounds"
    print(f"\n{what:44}{'a second':>10}{'p50':>9}{'p99':>9}{'kept':>17}{'ratio':>8}  asked")
    _line("tracker, durable", rounds, "ours", "", "p99 < 50 ms")
    _line("the same server, bare GIF", rounds, "bare", f"{_ratio(rounds, 'bare'):.2f}", "at least 0.25")
    if "pytracking" in rounds[0]:
        ratio = f"{_ratio(rounds, 'pytracking'):.1f}"
        _line("pytracking, Flask, plain INSERT", rounds, "pytracking", ratio, "at least 4")
    else:
        print(f"{'pytracking, Flask, plain INSERT':44}not installed: skipped")
    if "many" in rounds[0]:
        ratio = f"{1 / _ratio(rounds, 'many'):.2f}"
        _line(f"tracker, {rows:,} hits stored", rounds, "many", ratio, "p99 < 50 ms, about 1")
    print("taken in a second: " + ", with those hits stored ".join(f"{one:,.0f}" for one in taken))


def _ratio(rounds: list[Round], other: str) -> float:
    return median(one["ours"].rate / one[other].rate for one in rounds)


def _line(what: str, rounds: list[Round], kind: str, ratio: str, asked: str) -> None:
    found = [one[kind] for one in rounds]
    rows, answers = sum(one.rows for one in found), sum(one.answers for one in found)
    kept = f"{rows}/{answers}" if rows else "none"
    assert not any(one.bad for one in found), "answers were not 200"
    rate, p50, p99 = (median(getattr(one, name) for one in found) for name in ("rate", "p50", "p99"))
    print(f"{what:44}{rate:>10,.0f}{p50:>6.1f} ms{p99:>6.1f} ms{kept:>17}{ratio:>8}  {asked}")


if __name__ == "__main__":
    main()
