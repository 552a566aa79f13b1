"""`tracker addon`: the side panel in Gmail."""

from __future__ import annotations

import json
from pathlib import Path

import click

from config.cli.base import Refused, read_settings

MISSING = (
    "The panel stays closed until TRACKER_ADDON_SERVICE_ACCOUNT and TRACKER_ADDON_CLIENT_ID are set; "
    "`gcloud workspace-add-ons get-authorization` tells both"
)


@click.group()
def addon() -> None:
    """The side panel in Gmail."""


@addon.command()
@click.option(
    "--json-file", type=click.Path(dir_okay=False, path_type=Path), help="Write it there instead of printing it."
)
def manifest(json_file: Path | None) -> None:
    """Print the deployment JSON that installs the panel in a Google Workspace."""
    from gmail_sync.addon import manifest as manifests
    from webhooks.tracking import is_reachable

    settings = read_settings()
    if wrong := manifests.problem(settings.public_url, reachable=is_reachable(settings.public_url or "")):
        if settings.gmail_is_googles:
            raise Refused(wrong)
        click.echo(f"tracker: {wrong}; this is the demo, so here it is all the same", err=True)
    if not (settings.addon_service_account and settings.addon_client_id):
        click.echo(f"tracker: {MISSING}", err=True)
    text = json.dumps(manifests.deployment(settings.url), indent=2)
    if json_file is None:
        click.echo(text)
        return
    try:
        json_file.write_text(f"{text}\n")
    except OSError as error:
        raise Refused(f"{json_file} can't be written: {error.strerror}") from None
