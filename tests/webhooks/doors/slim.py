"""The doors alone, in the server that is used: quicker to start than all of Tracker."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any


def app() -> Any:
    """From the environment; granian's worker process loads it, and only that needs the doors."""
    from tracker.db import utc_now
    from webhooks import doors
    from webhooks.client_address import networks
    from webhooks.hit_writer import Writer

    hits = Writer(os.environ["DOORS_DATABASE"], Path(os.environ["DOORS_FOLDER"]))
    tracking = doors.Doors(hits, lambda cookies: None, networks(os.environ.get("DOORS_TRUSTED", "")), utc_now)

    async def front(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _live(hits, receive, send)
        elif scope["path"].startswith(doors.PIXELS):
            await tracking.pixel(scope, receive, send)
        elif scope["path"].startswith(doors.LINKS):
            await tracking.link(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 418, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    return front


async def _live(hits: Any, receive: Any, send: Any) -> None:
    await receive()
    await hits.start()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await hits.stop()
    await send({"type": "lifespan.shutdown.complete"})


if __name__ == "__main__":
    from granian import Granian
    from granian.constants import Interfaces
    from granian.log import LogLevels

    Granian(
        "tests.webhooks.doors.slim:app", factory=True, address="127.0.0.1", port=int(sys.argv[1]),
        interface=Interfaces.ASGI, websockets=False, workers=1, log_level=LogLevels.warning, log_access=False,
        workers_kill_timeout=15,
    ).serve()  # fmt: skip
