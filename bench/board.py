"""How fast the pages are, and whether they stay as fast as a team's boxes grow.

    python -m bench.board                                  # 500, 5,000 and 50,000 boxes, 500,000 messages
    python -m bench.board --sizes 50,500 --messages 5000   # to see that it runs
    python -m bench.board --slow 5                         # with the statements that take 5 ms or more

The whole of a request, without a network: Flask's test client against a real PostgreSQL. Each page is asked for
some times before it counts; what is printed is the median, and its ratio to the smallest size. A page that
does not answer 200 is left out.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from flask.testing import FlaskClient
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from bench import generate
from config import postgres
from config.app import create_app
from config.rooms import Rooms
from config.settings import load
from tracker import migrations, people, pipelines, sessions
from tracker.db import make_engine, make_sessions, transaction, utc_now

FLAT = 1.2  # what counts as flat
SETTLED = 4  # requests before those that count


@dataclass(slots=True)
class Measured:
    """One page of one size."""

    milliseconds: float
    queries: int
    slow: dict[str, float] = field(default_factory=dict)


def main() -> None:
    """Generate, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="500,5000,50000")
    parser.add_argument("--messages", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--slow", type=float, default=0, help="print statements that take as many milliseconds")
    parser.add_argument("--only", default="", help="pages whose name begins so, such as `board`")
    parser.add_argument("--keep", type=Path, help="a folder for the databases, to measure them again")
    chosen = parser.parse_args()
    sizes = [int(size) for size in chosen.sizes.split(",")]
    with tempfile.TemporaryDirectory(prefix="tracker-bench-") as made:
        folder = chosen.keep or Path(made)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        with postgres.embedded(folder / "var", fsync=False) as cluster:
            mail = _database(cluster, f"mail_{chosen.messages}", "", lambda engine: _mail(engine, chosen.messages))
            desks = [_desk(cluster, mail, size) for size in sizes]
            _report(sizes, chosen.messages, _measure(desks, chosen), chosen.slow)


def _mail(engine: Engine, messages: int) -> None:
    migrations.upgrade(engine)
    generate.found_team(engine, utc_now())
    generate.write_mail(engine, messages, utc_now())


@dataclass(slots=True)
class Desk:
    """The application on one of the databases, and a browser in it."""

    engine: Engine
    rooms: Rooms
    browser: FlaskClient
    pages: Sequence[tuple[str, str]]


def _desk(cluster: postgres.Cluster, mail: str, size: int) -> Desk:
    name = _database(cluster, f"{mail}_{size}", mail, lambda engine: generate.write_boxes(engine, size, utc_now()))
    engine = make_engine(_address(cluster, name))
    settings = load(
        database_url=_address(cluster, name), secret_key="k" * 40, google_client_id="id", google_client_secret="s"
    )
    rooms = Rooms(settings, engine, make_sessions(engine))
    app = create_app(settings, rooms)
    with rooms.sessions() as session:
        alice, pages = _pages(session, size)
    with transaction(rooms.sessions) as session:
        token = sessions.begin(session, alice, address="127.0.0.1", agent="", now=utc_now())
    browser = app.test_client()
    with browser.session_transaction() as cookie:
        cookie["user"], cookie["token"] = alice.key, token
    return Desk(engine, rooms, browser, pages)


def _measure(desks: Sequence[Desk], chosen: argparse.Namespace) -> list[dict[str, Measured]]:
    """Page by page; round by round each size in turn, so that what else the machine does hits them alike."""
    found: list[dict[str, Measured]] = [{} for _ in desks]
    for number, (title, _) in enumerate(desks[0].pages):
        if not title.startswith(chosen.only):
            continue
        addresses = [desk.pages[number][1] for desk in desks]
        if not all(_settled(desk, address) for desk, address in zip(desks, addresses, strict=True)):
            continue
        times: list[list[float]] = [[] for _ in desks]
        for _ in range(chosen.rounds):
            for spent, desk, address in zip(times, desks, addresses, strict=True):
                start = time.perf_counter()
                desk.browser.get(address)
                spent.append((time.perf_counter() - start) * 1000)
        for measured, spent, desk, address in zip(found, times, desks, addresses, strict=True):
            with _watched(desk.engine) as statements:
                desk.browser.get(address)
            slow = {words: taken for words, taken in statements if chosen.slow and taken >= chosen.slow}
            measured[title] = Measured(statistics.median(spent), len(statements), slow)
    for desk in desks:
        desk.rooms.close()
    return found


def _settled(desk: Desk, address: str) -> bool:
    """Whether the page is there; it has been asked for some times."""
    return all(desk.browser.get(address).status_code == 200 for _ in range(SETTLED))


def _pages(session: Session, size: int) -> tuple[people.User, Sequence[tuple[str, str]]]:
    """What is measured; pages that are not there are left out later."""
    alice = people.by_address(session, generate.OWNER)
    assert alice is not None
    sales = next(one for one in pipelines.of_team(session, alice.team_id) if one.name == "Sales")
    stage = pipelines.of_pipeline(session, sales.id)[1]
    board, box = f"/p/{sales.key}", f"/b/box{size // 2}"
    return alice, [
        ("board", board),
        ("board, next cards", f"{board}/stages/{stage.key}"),
        ("board, mine", f"{board}?owner=me"),
        ("board, a word", f"{board}?q=deal+{size // 2}"),
        ("board, we owe", f"{board}?owes=us"),
        ("board, sleeping", f"{board}?sleeping=1"),
        ("board, a tag", f"{board}?tag=tag3"),
        ("table", f"{board}/table"),
        ("table by last mail", f"{board}/table?sort=-last_mail"),
        ("table, mine", f"{board}/table?owner=me"),
        ("box", box),
        ("inbox", "/inbox"),
        ("inbox, all", "/inbox?show=all"),
        ("follow-ups", "/followups"),
        ("search, rare word", "/search?q=ref777"),
        ("search, common word", "/search?q=deal"),
        ("contacts", "/contacts"),
    ]


@contextmanager
def _watched(engine: Engine) -> Iterator[list[tuple[str, float]]]:
    """The statements that are executed within the block, with their milliseconds."""
    statements: list[tuple[str, float]] = []

    def before(connection: Any, *_: Any) -> None:
        connection.info["began"] = time.perf_counter()

    def after(connection: Any, _: Any, statement: str, *__: Any) -> None:
        statements.append((statement, (time.perf_counter() - connection.info["began"]) * 1000))

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", before)
        event.remove(engine, "after_cursor_execute", after)


def _report(sizes: Sequence[int], messages: int, found: Sequence[dict[str, Measured]], slow: float) -> None:
    print(f"\nPages at so many boxes, with {messages:,} messages: median milliseconds, queries, ratio\n")
    print(f"{'':22}" + "".join(f"{size:>10,}{'':14}" for size in sizes) + "  flat")
    for title in found[0]:
        columns = [one.get(title) for one in found]
        first = found[0][title].milliseconds
        told = [
            f"{one.milliseconds:>8.1f} {one.queries:>4} {one.milliseconds / first:>5.2f}     " if one else "-"
            for one in columns
        ]
        flat = all(one and one.milliseconds / first <= FLAT for one in columns)
        print(f"{title:22}" + "".join(told) + ("  yes" if flat else "  NO"), flush=True)
    for title, one in found[-1].items():
        for words, spent in one.slow.items():
            print(f"\n{title}: {spent:.1f} ms\n{words}")
    if slow and not any(one.slow for one in found[-1].values()):
        print(f"\nNo statement takes {slow:g} ms.")


def _database(cluster: postgres.Cluster, name: str, template: str, fill: Any) -> str:
    """The name of a database, made and filled if it is not there yet."""
    with psycopg.connect(
        host=str(cluster.sockets), user=postgres.OWNER, dbname="postgres", autocommit=True
    ) as one:
        if one.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            return name
        made = f"TEMPLATE {template} STRATEGY file_copy" if template else ""
        one.execute(f"CREATE DATABASE {name}_new {made}")  # type: ignore[arg-type]
        engine = make_engine(_address(cluster, f"{name}_new"))
        fill(engine)
        engine.dispose()
        one.execute(f"ALTER DATABASE {name}_new RENAME TO {name}")  # type: ignore[arg-type]
    return name


def _address(cluster: postgres.Cluster, database: str) -> str:
    return cluster.url.replace(f"/{postgres.DATABASE}?", f"/{database}?")


if __name__ == "__main__":
    main()
