"""The servers that `bench.doors` asks, each in the same granian: `python -m bench.door_servers NAME PORT`.

`ours` is Tracker's web server as `tracker serve` runs it, `bare` its front with a door that answers the GIF
and keeps nothing, `pytracking` Flask with a plain INSERT for each hit.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from typing import Any

import psycopg
from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from config.asgi import THREADS, Front, be_swift
from webhooks.doors import GIF, PIXELS

HERE = "bench.door_servers"
TARGETS = {"ours": "config.asgi:app", "bare": f"{HERE}:bare", "pytracking": f"{HERE}:straight"}
TABLE = """CREATE TABLE IF NOT EXISTS opens (id bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(),
  tracked bigint NOT NULL, address text, agent text)"""
HEADERS = [
    (b"content-type", b"image/gif"), (b"content-length", b"%d" % len(GIF)),
    (b"cache-control", b"no-store, no-cache, max-age=0"), (b"x-content-type-options", b"nosniff"),
]  # fmt: skip


def bare() -> Front:
    """The same front and the same answer, and nothing else."""

    async def pixel(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": GIF})

    async def nothing() -> None:
        await asyncio.sleep(0)

    be_swift()
    return Front({PIXELS: pixel}, pixel, nothing, nothing)


def straight() -> Any:
    """As pytracking's documentation shows it, and each hit a row before the answer; a connection a thread."""
    from flask import Flask, Response, request
    from pytracking.tracking import get_configuration, get_open_tracking_pixel, get_open_tracking_result

    app, own = Flask("straight"), threading.local()
    configuration = get_configuration(None, {"base_open_tracking_url": "http://127.0.0.1/t/"})
    pixel, kind = get_open_tracking_pixel()

    def connection() -> psycopg.Connection[Any]:
        if not hasattr(own, "connection"):
            own.connection = psycopg.connect(os.environ["BENCH_POSTGRES"], autocommit=True)
        made: psycopg.Connection[Any] = own.connection
        return made

    @app.get("/t/<path:path>")
    def opened(path: str) -> Response:
        data = {"user_agent": request.headers.get("User-Agent"), "user_ip": request.remote_addr}
        result = get_open_tracking_result(path, request_data=data, configuration=configuration)
        connection().execute(
            "INSERT INTO opens (tracked, address, agent) VALUES (%s, %s, %s)",
            (result.metadata["tracked"], data["user_ip"], data["user_agent"]),
        )
        return Response(pixel, mimetype=kind, headers={"Cache-Control": "no-store"})

    be_swift()
    return app


def main() -> None:
    """Serve until stopped, with the options of `tracker serve`."""
    name, port = sys.argv[1], int(sys.argv[2])
    wsgi = {"interface": Interfaces.WSGI, "blocking_threads": THREADS} if name == "pytracking" else {}
    options: dict[str, Any] = {"interface": Interfaces.ASGI, **wsgi}
    Granian(
        TARGETS[name], factory=True, address="127.0.0.1", port=port, websockets=False, workers=1,
        log_level=LogLevels.error, log_access=False, **options,
    ).serve()  # fmt: skip


if __name__ == "__main__":
    main()
