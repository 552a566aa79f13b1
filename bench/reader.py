"""One reading of a mailbox by Tracker, measured; run by `bench.sync`."""

from __future__ import annotations

import json
import os
import time

from bench.sync import report
from config import teams, worker
from config.rooms import furnish
from config.settings import load
from gmail_sync import oauth, sync
from tracker import mailboxes, messages, migrations
from tracker.db import transaction, utc_now


def main() -> None:
    """Connect, read, report."""
    rooms = furnish(load())
    migrations.upgrade(rooms.engine)
    owner = os.environ["BENCH_OWNER"]
    sealed = rooms.gmail.vault.seal(oauth.authorized_user(json.loads(os.environ["BENCH_CREDENTIALS"])))
    with transaction(rooms.sessions) as session:
        user = teams.found(session, "Bench", owner, "")
        mailbox = mailboxes.connect(session, user, owner, sealed, utc_now())
    worker.settle_memory()
    start = time.perf_counter()
    sync.sync_mailbox(rooms.gmail, mailbox.id)
    seconds = time.perf_counter() - start
    with rooms.sessions() as session:
        report(messages.count_in(session, mailbox.id), seconds)
    rooms.close()


if __name__ == "__main__":
    main()
