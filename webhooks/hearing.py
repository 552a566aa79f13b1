"""Hearing a channel of the database in a thread: something is to be looked at, and whoever hears it looks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import psycopg
from psycopg import sql

log = logging.getLogger(__name__)

SILENCE = 1.0  # seconds: how soon it stops
ALIVE = 30.0  # seconds of silence after which we ask whether the server is still there
PAUSE = 1.0  # seconds between two tries to connect


class Hearing:
    """LISTENs until it is stopped, and comes back when the connection is lost. `url` is libpq's."""

    def __init__(self, url: str, channel: str, heard: Callable[[], object]) -> None:
        self._url, self._channel, self._heard = url, channel, heard
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"hearing {channel}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, within `SILENCE`."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=SILENCE * 5)

    def _run(self) -> None:
        told = False
        while not self._stopping.is_set():
            try:
                self._listen()
                told = False
            except (psycopg.Error, OSError) as error:
                if not told:
                    log.warning("Nothing is heard from the database (%s); trying again", str(error).strip())
                told = True
                self._stopping.wait(PAUSE)

    def _listen(self) -> None:
        with psycopg.connect(
            self._url, autocommit=True, connect_timeout=10, application_name=f"tracker {self._channel}"
        ) as connection:
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
            self._heard()  # what was told while nobody heard
            quiet = 0.0
            while not self._stopping.is_set():
                news = list(connection.notifies(timeout=SILENCE, stop_after=1))
                if news:
                    self._heard()
                quiet = 0.0 if news else quiet + SILENCE
                if quiet >= ALIVE:
                    connection.execute("SELECT 1")
                    quiet = 0.0
