"""`tracker up`, `serve` and `worker`: what goes on until it is stopped. Each imports what it alone runs."""

from __future__ import annotations

import os

import click

from config import ports
from config.cli.base import Refused, read_settings, rooms
from config.parent import end_with_parent


@click.command()
@click.option("--demo", "with_demo", is_flag=True, help="With a sandbox that plays Gmail, and a demo team.")
def up(with_demo: bool) -> None:
    """Run everything on this machine until Ctrl-C."""
    from config.postgres import PostgresError
    from config.up import Up, UpError

    try:
        Up(read_settings(), with_demo, click.echo).run()
    except (UpError, PostgresError, ports.PortTaken) as error:
        raise Refused(str(error)) from None


@click.command()
def serve() -> None:
    """Run the web server."""
    from granian import Granian
    from granian.constants import Interfaces
    from granian.log import LogLevels

    end_with_parent()
    with rooms() as furnished:
        read = furnished.settings
        try:
            ports.check(read.host, read.port, "TRACKER_PORT")
        except ports.PortTaken as error:
            raise Refused(str(error)) from None
        os.environ.update(read.environment())  # for the processes that granian starts
        Granian(
            "config.asgi:app",
            factory=True,
            address=read.host,
            port=read.port,
            interface=Interfaces.ASGI,
            websockets=False,
            workers=1,
            log_level=LogLevels.error,
            log_access=False,
            respawn_failed_workers=True,
            workers_kill_timeout=15,  # seconds, for answers under way
        ).serve()


@click.command()
def worker() -> None:
    """Run a worker: it syncs mailboxes."""
    from config.worker import run

    end_with_parent()
    with rooms() as furnished:
        run(furnished)
