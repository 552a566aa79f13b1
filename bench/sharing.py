"""What sharing costs: a box page and a search, beside the same without the gate and without row-level security.

    python -m bench.sharing                      # 50 teammates, 500,000 messages
    python -m bench.sharing --messages 50000     # the short form
    python -m bench.sharing --explain            # with the plans of the slowest statements

A fifth of the teammates keep a private list, a tenth have a rule for their mailbox, some for a conversation,
and two granted Bob something. The same database and the same browser, in turn: as it is, without PostgreSQL's
lock, and with the team's filter alone in place of the gate. Both readers are measured: Bob, who holds a
fiftieth of the mail, reads what others share with him, and Alice, who holds more than half. What is printed is
the median, and its ratio to the last.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import Engine, event, select, text

from bench import generate
from bench.board import _address, _database
from config import postgres
from config.app import create_app
from config.rooms import Rooms
from config.settings import load
from tracker import migrations, row_security, sessions
from tracker.db import make_engine, make_sessions, transaction, utc_now
from tracker.people import User
from tracker.row_security import Lock
from tracker.sharing import gate

TEAMMATES = 50
MOST = 1.3  # times as long as without sharing
SETTLED = 12  # requests before those that count: after ten of a statement PostgreSQL keeps its plan
READERS = {"Alice": generate.OWNER, "Bob": "user7@bench.example"}
_WORDS = """
INSERT INTO sharing_private (team_id, user_id, value)
SELECT team_id, id, value FROM users CROSS JOIN (VALUES ('doctor@clinic.example'), ('bank.example')) AS v (value)
WHERE id % 5 = 1;
INSERT INTO sharing_rules (team_id, user_id, mailbox_id, outside, inside)
SELECT team_id, user_id, id, 3, 1 FROM mailboxes WHERE user_id % 10 = 2;
INSERT INTO sharing_rules (team_id, user_id, conversation_id, outside, inside)
SELECT DISTINCT ON (u.id) u.team_id, u.id, t.conversation_id, 1, 0
FROM users u JOIN mailboxes b ON b.user_id = u.id JOIN threads t ON t.mailbox_id = b.id WHERE u.id % 10 = 3;
INSERT INTO sharing_grants (team_id, key, owner_id, user_id, conversation_id)
SELECT r.team_id, 'grant' || r.id, r.user_id, u.id, r.conversation_id
FROM sharing_rules r JOIN users u ON u.normalized = CAST(:bob AS text)
WHERE r.conversation_id IS NOT NULL AND r.user_id <> u.id ORDER BY r.id LIMIT 2;
"""  # spoken by a team that uses it
KINDS = ("sharing", "no lock", "no sharing")


@dataclass(slots=True)
class Desk:
    """One way to serve the pages; each has an engine, and so compiled statements, of its own."""

    kind: str
    engine: Engine
    rooms: Rooms
    browsers: dict[str, FlaskClient]

    def asked(self, who: str, address: str) -> float:
        """Milliseconds of one request."""
        with _ungated() if self.kind == "no sharing" else nullcontext():
            start = time.perf_counter()
            answer = self.browsers[who].get(address)
            spent = (time.perf_counter() - start) * 1000
        assert answer.status_code == 200, (address, answer.status)
        return spent


def main() -> None:
    """Generate, measure, print; ends with 1 where it costs too much."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--explain", action="store_true", help="print the plans of the slowest statements")
    chosen = parser.parse_args()
    generate.USERS = TEAMMATES
    size = max(chosen.messages // 50, 100)
    with tempfile.TemporaryDirectory(prefix="tracker-bench-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        with postgres.embedded(folder / "var", fsync=False) as cluster:
            name = _database(cluster, "sharing", "", lambda engine: _fill(engine, chosen.messages, size))
            desks = [_desk(kind, _address(cluster, name)) for kind in KINDS]
            worst = _report(desks, _pages(size), chosen)
            for desk in desks:
                desk.rooms.close()
    sys.exit(worst > MOST)


def _fill(engine: Engine, messages: int, boxes: int) -> None:
    migrations.upgrade(engine)
    generate.found_team(engine, utc_now())
    generate.write_mail(engine, messages, utc_now())
    generate.write_boxes(engine, boxes, utc_now())
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        generate._run(connection, _WORDS, {"bob": READERS["Bob"]})


def _desk(kind: str, url: str) -> Desk:
    engine = make_engine(url)
    row_security.ensure(engine)
    if kind != "sharing":
        row_security._locks[engine] = Lock("", ("not in this measurement",))
    settings = load(database_url=url, secret_key="k" * 40, google_client_id="id", google_client_secret="s")
    rooms = Rooms(settings, engine, make_sessions(engine))
    app = create_app(settings, rooms)
    browsers = {}
    for name, address in READERS.items():
        with transaction(rooms.sessions) as session:
            user = session.scalars(select(User).where(User.normalized == address)).one()
            token = sessions.begin(session, user, address="127.0.0.1", agent="", now=utc_now())
        browsers[name] = app.test_client()
        with browsers[name].session_transaction() as cookie:
            cookie["user"], cookie["token"] = user.key, token
    return Desk(kind, engine, rooms, browsers)


def _pages(size: int) -> Sequence[tuple[str, str]]:
    return [
        ("box", f"/b/box{size // 2}"),
        ("search, rare word", "/search?q=ref777"),
        ("search, common word", f"/search?q={generate.common_word()}"),
        ("search, boxes' names", "/search?q=deal"),
        ("inbox", "/inbox"),
    ]


@contextmanager
def _ungated() -> Iterator[None]:
    """The gate asks for the team alone; only while a statement is first compiled does it matter."""
    whole = gate._Gate.answer

    def team_only(self: Any) -> Any:
        plain, self.role = self.role, "system"
        try:
            return whole(self)
        finally:
            self.role = plain

    gate._Gate.answer = team_only  # type: ignore[method-assign]
    try:
        yield
    finally:
        gate._Gate.answer = whole  # type: ignore[method-assign]


def _report(desks: Sequence[Desk], pages: Sequence[tuple[str, str]], chosen: argparse.Namespace) -> float:
    worst = 0.0
    print(f"{TEAMMATES} teammates, {chosen.messages:,} messages; milliseconds")
    print(f"{'':28}" + "".join(f"{kind:>12}" for kind in KINDS) + f"{'ratio':>8}{'lock':>8}")
    for who in READERS:
        for title, address in pages:
            times = _times(desks, who, address, chosen.rounds)
            ratio, lock = times[0] / times[2], times[0] / times[1]
            if title.startswith(("box", "search")):
                worst = max(worst, ratio)
            print(
                f"{who + ', ' + title:28}" + "".join(f"{one:12.1f}" for one in times) + f"{ratio:8.2f}{lock:8.2f}"
            )
            if chosen.explain:
                _explain(desks[0], who, address)
    print(f"At most {worst:.2f} times as long as without sharing; {MOST} is allowed")
    return worst


def _times(desks: Sequence[Desk], who: str, address: str, rounds: int) -> list[float]:
    """Round by round each in turn, so that what else the machine does hits them alike."""
    for desk in desks:
        for _ in range(SETTLED):
            desk.asked(who, address)
    spent: list[list[float]] = [[] for _ in desks]
    for _ in range(rounds):
        for one, desk in zip(spent, desks, strict=True):
            one.append(desk.asked(who, address))
    return [statistics.median(one) for one in spent]


def _explain(desk: Desk, who: str, address: str, number: int = 2) -> None:
    """The plans of the slowest statements of a page, as PostgreSQL made them behind the lock."""
    found: list[tuple[float, str, Any]] = []

    def before(connection: Any, *_: Any) -> None:
        connection.info["began"] = time.perf_counter()

    def after(connection: Any, _: Any, statement: str, values: Any, *__: Any) -> None:
        found.append((time.perf_counter() - connection.info["began"], statement, values))

    event.listen(desk.engine, "before_cursor_execute", before)
    event.listen(desk.engine, "after_cursor_execute", after)
    desk.asked(who, address)
    event.remove(desk.engine, "before_cursor_execute", before)
    event.remove(desk.engine, "after_cursor_execute", after)
    reads = [one for one in found if one[1].lstrip().startswith(("SELECT", "WITH")) and "set_config" not in one[1]]
    with desk.rooms.sessions() as session:
        lock = row_security.look(session.connection())
        session.execute(
            text("SELECT set_config('tracker.team_id', '1', true), set_config('role', :r, true)"), {"r": lock.role}
        )
        raw: Any = session.connection().connection.driver_connection
        for spent, statement, values in sorted(reads, key=lambda one: -one[0])[:number]:
            plan = raw.execute(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {statement}", values).fetchall()
            print(f"  {spent * 1000:.1f} ms: {statement[:120]!r}")
            print("\n".join(f"    {line}" for (line,) in plan[:40]))


if __name__ == "__main__":
    main()
