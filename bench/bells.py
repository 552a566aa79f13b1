"""The bells: from a hit that was answered to the notification that a push service has, while hits keep coming.

    python -m bench.bells                          # 100 hits a second for 20 seconds
    python -m bench.bells --rate 50 --seconds 10

Tracker's own web server and worker, as processes; each hit opens another tracked mail through Gmail's proxy, sent
hours ago by one of many people with a browser each. A push service of our own, on this machine and without TLS,
notes when each push came; afterwards all are decrypted, and matched with their hits.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import http_ece
import psutil
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy.orm import Session

import config.tables  # noqa: F401 - makes the metadata whole
from bench.ports import free_port, until_it_answers
from config import postgres, teams
from config.postgres import Cluster
from tracker import addresses, conversations, mailboxes, migrations, people
from tracker.conversations import Incoming
from tracker.db import make_engine, make_sessions, transaction
from tracker.messages import Message
from webhooks.bells import subscriptions
from webhooks.tracks import TrackedEmail, new_token

AGENT = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
EACH = 8  # mails of a person: more within a minute would ring as one
GOAL = 2.0  # seconds, at the 99th percentile
SECRET = b"sixteen bytes!!!"


@dataclass
class Service:
    """A push service: keeps what came and when. All its browsers have one key."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    came: list[tuple[float, bytes]] = field(default_factory=list)
    url: str = ""

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Answer, in threads."""
        came = self.came

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # lines stay open
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                came.append((time.monotonic(), body))
                self.send_response(201)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512

        with Server(("127.0.0.1", 0), Handler) as server:
            self.url = f"http://127.0.0.1:{server.server_address[1]}"
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()

    def read(self) -> dict[str, list[float]]:
        """When each came, by its title."""
        found: dict[str, list[float]] = {}
        for at, body in self.came:
            plain = http_ece.decrypt(body, private_key=self.key, auth_secret=SECRET, version="aes128gcm")
            found.setdefault(json.loads(plain)["title"], []).append(at)
        return found


def main() -> None:
    """Measure and print; the exit status says whether the goal is met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=int, default=100, help="hits a second")
    parser.add_argument("--seconds", type=int, default=20)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tracker-bench-") as name:
        folder, service = Path(name), Service()
        folder.chmod(0o755)
        with postgres.embedded(folder / "var") as cluster, service.serving():
            tokens = _prepare(cluster, service, chosen.rate * chosen.seconds)
            with _running(cluster, folder) as port:
                answered = _load(port, tokens, chosen.rate)
                _until_all_rang(service, len(tokens))
            stages = _stages(cluster)
    print(stages)
    sys.exit(_report(tokens, answered, service, chosen))


# -- what there is


def _prepare(cluster: Cluster, service: Service, mails: int) -> list[str]:
    """People with a mailbox, a browser and tracked mails each; the mails' tokens."""
    engine = make_engine(cluster.url)
    migrations.upgrade(engine)
    tokens = [new_token() for _ in range(mails)]
    with transaction(make_sessions(engine)) as session:
        team_id = teams.found(session, "Bench", "alice@team.example", "Alice").team_id
        for first in range(0, mails, EACH):
            _person(session, team_id, service, first, tokens[first : first + EACH])
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
    engine.dispose()
    return tokens


def _person(session: Session, team_id: int, service: Service, first: int, tokens: Sequence[str]) -> None:
    now = datetime.now(UTC)
    user = people.add_user(session, team_id, f"rep{first}@team.example", name=f"Rep {first}")
    mailbox = mailboxes.connect(session, user, user.address, b"sealed", now)
    point = service.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    subscriptions.subscribe(
        session, user, endpoint=f"{service.url}/{first}", p256dh=_b64(point), auth=_b64(SECRET), label="Bench",
        private=True, now=now,
    )  # fmt: skip
    mailbox.state = mailboxes.State.DISCONNECTED.value  # there is no Gmail here to be synced with
    mails = [_mail(number, user.address) for number in range(first, first + len(tokens))]
    taken = conversations.take_in(session, team_id, mailbox.id, mails)
    found = {session.get_one(Message, id_).subject: id_ for id_ in taken.new_message_ids}
    for token, mail in zip(tokens, mails, strict=True):
        message = session.get_one(Message, found[mail.message["subject"]])
        session.add(
            TrackedEmail(
                team_id=team_id, token=token, user_id=user.id, mailbox_id=mailbox.id, message_id=message.id,
                conversation_id=message.conversation_id, recipients=["anna@acme.test"], sent_at=message.sent_at,
            )
        )  # fmt: skip
    session.flush()


def _mail(number: int, sender: str) -> Incoming:
    at, subject = datetime.now(UTC) - timedelta(hours=5), f"Mail {number}"
    message = {
        "identity": hashlib.sha256(subject.encode()).digest(), "kin": hashlib.sha256(subject.encode()).digest(),
        "rfc822_message_id": f"m{number}@mail.test", "sent_at": at, "sender_name": "", "sender_address": sender,
        "sender_normalized": addresses.normalize(sender), "subject": subject, "snippet": "", "text": "",
        "html": None,
        "automatic": None, "auto_reply": False, "attachment_count": 0, "defects": [], "unreadable": False,
    }  # fmt: skip
    to = [{"kind": "to", "name": "", "address": "anna@acme.test", "normalized": "anna@acme.test"}]
    copy = {
        "gmail_id": f"g{number}", "gmail_thread_id": f"t{number}", "label_ids": ["SENT"], "history_id": number,
        "internal_date": at, "size_estimate": 0, "headers": [], "bcc": [], "attachments": [], "calendars": [],
    }  # fmt: skip
    return Incoming(message, to, copy)


def _b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


# -- what runs


@contextmanager
def _running(cluster: Cluster, folder: Path) -> Iterator[int]:
    """Tracker's web server and worker; the server's port."""
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TRACKER_")},
        "TRACKER_DATABASE_URL": cluster.url, "TRACKER_SECRET_KEY": "k" * 40, "TRACKER_PORT": str(port),
        "TRACKER_DATA_DIR": str(folder / "data"), "TRACKER_TRUSTED_PROXIES": "127.0.0.1",
        "TRACKER_PUSH_PRIVATE": "1", "TRACKER_POLL_SECONDS": "3600",
    }  # fmt: skip
    commands = ["serve", "worker"]
    processes = [subprocess.Popen([sys.executable, "-m", "config.cli", one], env=environment) for one in commands]
    try:
        until_it_answers(port)
        time.sleep(5)  # the worker is up, and has looked at what there is
        before = [psutil.Process(one.pid).cpu_times() for one in processes]
        yield port
        for one, was in zip(processes, before, strict=True):
            spent = psutil.Process(one.pid).cpu_times()
            print(f"({one.args[-1]}: {spent.user + spent.system - was.user - was.system:.1f} s of CPU)")  # type: ignore[index]
    finally:
        for one in processes:
            one.terminate()
        for one in processes:
            one.wait(60)


def _load(port: int, tokens: Sequence[str], rate: int) -> list[float]:
    """One hit after the other at this rate, whatever the answers take; when each was answered."""
    own, begin = threading.local(), time.monotonic() + 0.5

    def hit(number: int) -> float:
        if not hasattr(own, "connection"):
            own.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        time.sleep(max(begin + number / rate - time.monotonic(), 0))
        address = f"66.249.84.{number % 250}"
        headers = {"User-Agent": AGENT, "X-Forwarded-For": address, "Accept-Encoding": "gzip, deflate, br"}
        own.connection.request("GET", f"/t/{tokens[number]}.gif", headers=headers)
        answer = own.connection.getresponse()
        assert answer.status == 200
        answer.read()
        return time.monotonic()

    with ThreadPoolExecutor(32) as pool:
        return list(pool.map(hit, range(len(tokens))))


def _until_all_rang(service: Service, number: int) -> None:
    deadline = time.monotonic() + 30
    while len(service.came) < number and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)  # none comes twice


STAGES = """
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY e.at - h.at),
  percentile_disc(0.99) WITHIN GROUP (ORDER BY e.at - h.at),
  percentile_disc(0.5) WITHIN GROUP (ORDER BY n.created_at - e.at),
  percentile_disc(0.99) WITHIN GROUP (ORDER BY n.created_at - e.at),
  percentile_disc(0.5) WITHIN GROUP (ORDER BY d.sent_at - n.created_at),
  percentile_disc(0.99) WITHIN GROUP (ORDER BY d.sent_at - n.created_at)
FROM hits h JOIN tracked_emails t ON t.id = h.tracked_email_id JOIN notifications n ON n.tracked_email_id = t.id
JOIN events e ON e.id = n.event_id JOIN push_deliveries d ON d.notification_id = n.id
"""


def _stages(cluster: Cluster) -> str:
    """Where the time goes: judged, told, handed over."""
    engine = make_engine(cluster.url)
    with engine.connect() as connection:
        spans = [span.total_seconds() if span else 0.0 for span in connection.exec_driver_sql(STAGES).one()]
    engine.dispose()
    names = ("judged", "told", "handed over")
    parts = [f"{name} p50 {spans[2 * at]:.2f} s, p99 {spans[2 * at + 1]:.2f} s" for at, name in enumerate(names)]
    return "; ".join(parts)


def _report(tokens: Sequence[str], answered: Sequence[float], service: Service, chosen: Any) -> int:
    rang = service.read()
    waits, missing = [], 0
    for number, at in enumerate(answered):
        times = rang.get(f"anna@acme.test probably read “Mail {number}”") or rang.get(
            f"anna@acme.test read “Mail {number}”", []
        )
        waits += [times[0] - at] if times else []
        missing += not times
    waits.sort()
    twice = len(service.came) - len(rang)
    print(
        f"{len(tokens)} hits at {chosen.rate} a second, {len(service.came)} pushes, "
        f"{missing} missing, {twice} twice"
    )
    if not waits:
        return 1
    p50, p99 = waits[len(waits) // 2], waits[int(len(waits) * 0.99)]
    print(f"from the hit's answer to the push service: p50 {p50:.2f} s, p99 {p99:.2f} s, most {waits[-1]:.2f} s")
    return int(missing > 0 or p99 >= GOAL)


if __name__ == "__main__":
    main()
