"""`tracker sandbox`: the local Gmail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from config.cli.base import Refused, read_settings
from config.parent import end_with_parent

if TYPE_CHECKING:
    from gmail_sync.sandbox import Sandbox, SandboxServer


@click.group()
def sandbox() -> None:
    """A local Gmail for trying and testing."""


@sandbox.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8081, show_default=True)
@click.option(
    "--mbox", "mboxes", multiple=True, type=click.Path(exists=True, path_type=Path), help="Mail to load."
)
@click.option("--owner", "owners", multiple=True, help="Whose mail it is; one for each --mbox.")
@click.option("--data", type=click.Path(path_type=Path), help="A file that keeps everything; else memory.")
@click.option("--units-per-minute", default=6000, show_default=True, help="Quota of each user; 0 lifts it.")
@click.option("--push", help="Where to push notifications to.")
@click.option("--demo", "with_demo", is_flag=True, help="With a team, its mail, and correspondents who answer.")
def serve(
    host: str,
    port: int,
    mboxes: tuple[Path, ...],
    owners: tuple[str, ...],
    data: Path | None,
    units_per_minute: int,
    push: str | None,
    with_demo: bool,
) -> None:
    """Serve the sandbox until Ctrl-C."""
    from gmail_sync.sandbox import serve as serve_sandbox

    end_with_parent()
    if len(mboxes) != len(owners):
        raise Refused("Give one --owner for each --mbox")
    try:
        serve_sandbox(
            host,
            port,
            list(zip(mboxes, owners, strict=True)),
            data,
            units_per_minute,
            push,
            ready=_play if with_demo else _say_ready,
        )
    except (OSError, SystemExit):  # werkzeug's server leaves when its port is taken
        raise Refused(f"{host}:{port} can't be listened on; is something else there?") from None


def _say_ready(_: Sandbox, server: SandboxServer) -> None:
    click.echo(f"The sandbox is at {server.url}")


def _play(box: Sandbox, server: SandboxServer) -> None:
    from gmail_sync.sandbox.demo.correspondents import Correspondents
    from gmail_sync.sandbox.demo.play import load_story
    from gmail_sync.sandbox.demo.story import load
    from tracker.db import utc_now

    story = load()
    load_story(box, utc_now(), story)
    Correspondents(box, story).start()
    _say_ready(box, server)


@sandbox.command()
@click.argument("address")
@click.option("--url", help="The sandbox's address; default: the one on this machine.")
def credentials(address: str, url: str | None) -> None:
    """Print the authorized-user JSON with which a client reaches ADDRESS in the sandbox."""
    import requests

    base = url or f"http://127.0.0.1:{read_settings().sandbox_port}"
    try:
        answer = requests.get(f"{base}/sandbox/credentials/{address}", timeout=10)
    except requests.RequestException:
        raise Refused(f"No sandbox answers at {base}; `tracker sandbox serve` starts one") from None
    if answer.status_code == 404:
        raise Refused(f"The sandbox at {base} has no user {address}")
    click.echo(json.dumps(answer.json(), indent=2))
