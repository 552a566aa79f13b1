"""How fast the side panel in Gmail answers: whole requests, signed as Google signs them, over HTTP.

    python -m bench.addon                      # 50,000 boxes, 200,000 mails, a team of 20
    python -m bench.addon --boxes 2000 --messages 16000 --requests 40     # to see that it runs
    python -m bench.addon --slow 20            # with the plans of the statements that take 20 ms or more

Tracker's own web server as a process (granian, as `tracker serve` runs it), a real PostgreSQL, keys from a
server of our own on this machine. Requests of all kinds come mixed and at random moments (a Poisson process),
two a second on average, about mails of many reps, none twice: a team of twenty of whom each presses something
every ten seconds (`--rate 6`: every three). What is measured is the time from the moment at which a request was
to be made, so that one that waits behind others is not left out. Beside them, on top and in the same run: the
page for signing in, and an event that is refused for its signature. The exit status says whether every endpoint
is under the goal.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from bench import generate
from bench.ports import free_port, until_it_answers
from bench.signer import Google
from config import postgres
from config.postgres import Cluster
from gmail_sync.addon import ids
from tracker import migrations
from tracker.db import make_engine, utc_now

TEAM = 20  # people with a mailbox each
CLIENTS = 16  # as many requests can be under way
GOAL = 300  # milliseconds at the 99th percentile
SETTLED = 12  # requests of each kind before those that count
CLIENT_ID, SERVICE_ACCOUNT = (
    "bench.apps.googleusercontent.com",
    "bench@gcp-sa-gsuiteaddons.iam.gserviceaccount.com",
)
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail in a rep's mailbox."""

    address: str
    gmail_id: str
    thread_id: str
    box: str  #: the key of the box that its thread is in
    contact: str  #: whom it is from


@dataclass(slots=True)
class Rep:
    """One of those who look, over a connection that stays open."""

    google: Google
    url: str
    mails: list[Mail]
    system: dict[str, str] = field(default_factory=dict)
    user: dict[str, str] = field(default_factory=dict)
    connection: http.client.HTTPConnection | None = None

    def event(self, path: str, mail: Mail, **more: Any) -> Json:
        """What Google posts to `path`."""
        address = f"{self.url}{path}"
        if path not in self.system:
            self.system[path] = self.google.token(address, SERVICE_ACCOUNT)
        if mail.address not in self.user:
            self.user[mail.address] = self.google.token(CLIENT_ID, mail.address)
        tokens = {"systemIdToken": self.system[path], "userIdToken": self.user[mail.address]}
        common = {
            "hostApp": "GMAIL", "platform": "WEB", "userLocale": "en",
            "timeZone": {"id": "Europe/Berlin", "offset": "3600000"}, **more.pop("common", {}),
        }  # fmt: skip
        return {"commonEventObject": common, "authorizationEventObject": tokens, **more}

    def ask(self, path: str, event: Json | None) -> tuple[float, int, Json]:
        """Post an event, or get a page; seconds, status, and the answer's JSON."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=60)
            self.connection.connect()
            self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        body = json.dumps(event).encode() if event is not None else None
        begin = time.perf_counter()
        self.connection.request("POST" if body else "GET", path, body, {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        content = answer.read()
        spent = time.perf_counter() - begin
        return spent, answer.status, json.loads(content) if body else {}

    def next_mail(self) -> Mail:
        """A mail that was not looked at yet."""
        return self.mails.pop()


# -- what is asked: seconds and status of one request


Asked = tuple[float, int]


def _home(rep: Rep) -> Asked:
    return rep.ask("/addon/home", rep.event("/addon/home", rep.next_mail()))[:2]


def _open(rep: Rep) -> Asked:
    return _opened(rep, rep.next_mail())[:2]


def _opened(rep: Rep, mail: Mail) -> tuple[float, int, Json]:
    spent, status, answer = rep.ask("/addon/open", rep.event("/addon/open", mail, gmail=_gmail(mail)))
    assert "box.move" in json.dumps(answer), answer  # the thread's box is shown
    return spent, status, answer


def _gmail(mail: Mail) -> Json:
    return {"messageId": ids.to_page("msg", mail.gmail_id), "threadId": ids.to_page("thread", mail.thread_id)}


def _compose(rep: Rep) -> Asked:
    mail = rep.next_mail()
    draft = {"toRecipients": [mail.contact], "ccRecipients": [], "bccRecipients": []}
    return rep.ask("/addon/compose", rep.event("/addon/compose", mail, gmail=draft))[:2]


def _find(word: Callable[[Mail], str]) -> Callable[[Rep], Asked]:
    def find(rep: Rep) -> Asked:
        mail = rep.next_mail()
        return _act(rep, mail, "tag.find", {"_at": "thread"}, {"tag-find": word(mail)})

    return find


def _move(rep: Rep) -> Asked:
    """To another stage than the one it is in, as the card says that it can be."""
    mail = rep.next_mail()
    card = _opened(rep, mail)[2]["action"]["navigations"][0]["pushCard"]
    widgets = [widget for section in card["sections"] for widget in section["widgets"]]
    stages = next(w["selectionInput"] for w in widgets if "stage-" in w.get("selectionInput", {}).get("name", ""))
    other = next(one["value"] for one in stages["items"] if not one.get("selected"))
    carried = {one["key"]: one["value"] for one in stages["onChangeAction"]["parameters"]}
    return _act(rep, mail, "box.move", carried, {stages["name"]: other})


def _note(rep: Rep) -> Asked:
    mail = rep.next_mail()
    return _act(
        rep, mail, "note.save", {"_at": "thread", "box": mail.box}, {"note-text": "They want it by spring."}
    )


def _act(rep: Rep, mail: Mail, do: str, params: Mapping[str, str], given: Mapping[str, str]) -> Asked:
    inputs = {name: {"stringInputs": {"value": [value]}} for name, value in given.items()}
    common = {"parameters": {**params, "do": do}, "formInputs": inputs}
    spent, status, answer = rep.ask("/addon/act", rep.event("/addon/act", mail, gmail=_gmail(mail), common=common))
    assert "navigations" in json.dumps(answer), answer  # a card, and not words of refusal
    return spent, status


def _sign_in(rep: Rep) -> Asked:
    return rep.ask("/sign-in", None)[:2]


def _refused(rep: Rep) -> Asked:
    event = rep.event("/addon/open", rep.next_mail())
    tokens = event["authorizationEventObject"]
    tokens["systemIdToken"] = tokens["systemIdToken"][:-8] + "AAAAAAAA"
    return rep.ask("/addon/open", event)[:2]


@dataclass(frozen=True, slots=True)
class Kind:
    """What is measured, and how it has to be answered."""

    name: str
    ask: Callable[[Rep], Asked]
    status: int = 200
    ours: bool = True  #: held against the goal


KINDS = (
    Kind("home", _home),
    Kind("open a mail", _open),
    Kind("compose", _compose),
    Kind("act: find a box by its name", _find(lambda mail: mail.box.removeprefix("box"))),
    Kind("act: find by a word of all boxes", _find(lambda _: "deal")),
    Kind("act: move to another stage", _move),
    Kind("act: add a note", _note),
    Kind("baseline: the page for signing in", _sign_in, ours=False),
    Kind("baseline: a forged event", _refused, 401, ours=False),
)


# -- what there is


def _prepare(cluster: Cluster, boxes: int, messages: int) -> None:
    """A team with its mail and boxes; a third of the threads holds a mail that was read."""
    engine = make_engine(cluster.url)
    migrations.upgrade(engine)
    generate.USERS = TEAM
    generate.found_team(engine, utc_now())
    generate.write_mail(engine, messages, utc_now())
    generate.write_boxes(engine, boxes, utc_now())
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(TRACKED), {"now": utc_now()})
        connection.execute(text("VACUUM ANALYZE"))
    engine.dispose()


TRACKED = """
INSERT INTO tracked_emails (team_id, key, token, user_id, mailbox_id, message_id, conversation_id, recipients,
                            sent_at, confidence, why, via, views, hits, first_view_at, last_view_at, rules)
SELECT DISTINCT ON (g.id) g.team_id, 'tracked' || g.id, 'token' || g.id, b.user_id, b.id, g.id, g.conversation_id,
       ARRAY[r.normalized], g.sent_at, 'likely', 'Gmail fetched it for somebody', 'Gmail''s proxy', 2, 3,
       g.sent_at + interval '1 hour', :now - interval '1 day', 1
FROM messages g JOIN copies c ON c.message_id = g.id JOIN mailboxes b ON b.id = c.mailbox_id
JOIN users u ON u.id = b.user_id AND u.address = g.sender_address
JOIN recipients r ON r.message_id = g.id
WHERE g.conversation_id % 3 = 0
"""
MAILS = """
WITH found AS (
  SELECT DISTINCT ON (c.mailbox_id, f.conversation_id)
         m.id AS mailbox_id, m.address, c.gmail_id, c.gmail_thread_id, x.key, g.sender_address AS contact
  FROM filings f JOIN boxes x ON x.id = f.box_id JOIN messages g ON g.conversation_id = f.conversation_id
  JOIN copies c ON c.message_id = g.id JOIN mailboxes m ON m.id = c.mailbox_id
  WHERE f.state = 'filed' AND g.sender_address <> m.address
)
SELECT address, gmail_id, gmail_thread_id, key, contact
FROM (SELECT *, row_number() OVER (PARTITION BY mailbox_id ORDER BY md5(gmail_id)) AS n FROM found) numbered
ORDER BY n, mailbox_id LIMIT :wanted
"""


def _mails(engine: Engine, wanted: int) -> list[Mail]:
    """Mails of boxes, of each rep in turn: one person alone would be slowed down."""
    with engine.connect() as connection:
        rows = connection.execute(text(MAILS), {"wanted": wanted})
        found = [Mail(*row) for row in rows]
    if len(found) < wanted:
        raise SystemExit(f"There are {len(found)} mails to look at, and {wanted} are needed: give more --messages")
    return found


# -- what runs


@contextmanager
def _running(cluster: Cluster, google: Google, folder: Path) -> Iterator[str]:
    """Tracker's web server; its address."""
    port = free_port()
    settings = {
        "DATABASE_URL": cluster.url, "SECRET_KEY": "k" * 40, "PORT": port, "DATA_DIR": folder / "data",
        "GOOGLE_CERTS_URL": google.url, "GOOGLE_CLIENT_ID": "id", "GOOGLE_CLIENT_SECRET": "s",
        "ADDON_CLIENT_ID": CLIENT_ID, "ADDON_SERVICE_ACCOUNT": SERVICE_ACCOUNT,
    }  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRACKER_")}
    environment |= {f"TRACKER_{name}": str(value) for name, value in settings.items()}
    process = subprocess.Popen([sys.executable, "-m", "config.cli", "serve"], env=environment)
    try:
        until_it_answers(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def _measure(
    url: str, google: Google, mails: Sequence[Mail], requests: int, rate: float
) -> dict[str, list[float]]:
    """Milliseconds by kind, from the moment at which each was to be asked."""
    chance, left, local = random.Random(7), list(mails), threading.local()
    spent: dict[str, list[float]] = {kind.name: [] for kind in KINDS}

    def ask(kind: Kind, at: float) -> None:
        if not hasattr(local, "rep"):
            local.rep = Rep(google, url, left)
        time.sleep(max(at - time.perf_counter(), 0))
        late = max(time.perf_counter() - at, 0)
        seconds, status = kind.ask(local.rep)
        if status != kind.status:
            raise SystemExit(f"{kind.name}: answered {status}")
        spent[kind.name].append((late + seconds) * 1000)

    def ask_all(times: int) -> None:
        kinds = [kind for kind in KINDS for _ in range(times)]
        chance.shuffle(kinds)
        pause = sum(kind.ours for kind in KINDS) / len(KINDS) / rate  # the baselines come on top
        at = itertools.accumulate((chance.expovariate(1 / pause) for _ in kinds), initial=time.perf_counter())
        list(pool.map(ask, kinds, at))

    with ThreadPoolExecutor(CLIENTS) as pool:
        ask_all(SETTLED)
        for times in spent.values():
            times.clear()
        ask_all(requests)
    return spent


def main() -> None:
    """Measure and print; the exit status says whether the goal is met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boxes", type=int, default=50_000)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--requests", type=int, default=120, help="of each kind")
    parser.add_argument("--rate", type=float, default=2, help="of the panel's requests a second, on average")
    parser.add_argument(
        "--slow", type=float, default=0, help="print statements of as many milliseconds, with plans"
    )
    chosen = parser.parse_args()
    google = Google()
    with tempfile.TemporaryDirectory(prefix="tracker-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with postgres.embedded(folder / "var") as cluster, google.serving():
            _prepare(cluster, chosen.boxes, chosen.messages)
            if chosen.slow:
                _explain(cluster, chosen.slow)
            engine = make_engine(cluster.url)
            mails = _mails(engine, (chosen.requests + SETTLED) * len(KINDS))
            with _running(cluster, google, folder) as url:
                spent = _measure(url, google, mails, chosen.requests, chosen.rate)
            engine.dispose()
            if chosen.slow:
                print(_slow(cluster))
    sys.exit(_report(spent, chosen))


def _explain(cluster: Cluster, milliseconds: float) -> None:
    """Have PostgreSQL write the plans of slow statements into its log."""
    engine = make_engine(cluster.url)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        name = connection.scalar(text("SELECT current_database()"))
        for setting in (
            "session_preload_libraries = 'auto_explain'", f"auto_explain.log_min_duration = {milliseconds}",
            "auto_explain.log_analyze = on", "auto_explain.log_nested_statements = on",
        ):  # fmt: skip
            connection.execute(text(f'ALTER DATABASE "{name}" SET {setting}'))
    engine.dispose()


def _slow(cluster: Cluster) -> str:
    """The plans of the five slowest statements."""
    entries = (cluster.data / "server.log").read_text().split("LOG:  duration: ")[1:]
    entries = [one for one in entries if " plan:" in one[:60]]
    slowest = sorted(entries, key=lambda entry: float(entry.split(" ", 1)[0]), reverse=True)[:5]
    return f"{len(entries)} slow statements\n" + "\n".join(entry[:6_000] for entry in slowest)


def _report(spent: Mapping[str, Sequence[float]], chosen: argparse.Namespace) -> int:
    print(
        f"{chosen.boxes:,} boxes, {chosen.messages:,} mails, a team of {TEAM}; {chosen.rate:g} requests a second"
    )
    print(f"{'':36}{'asked':>7}{'p50 ms':>9}{'p99 ms':>9}{'most':>9}")
    missed = 0
    for kind in KINDS:
        times = sorted(spent[kind.name])
        p50, p99 = times[len(times) // 2], times[int(len(times) * 0.99)]
        missed += kind.ours and p99 >= GOAL
        print(f"{kind.name:36}{len(times):>7}{p50:>9.1f}{p99:>9.1f}{times[-1]:>9.1f}")
    print(f"goal: p99 under {GOAL} ms; {'missed by ' + str(missed) if missed else 'met by all'}")
    return int(missed > 0)


if __name__ == "__main__":
    main()
