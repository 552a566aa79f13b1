"""`tracker`: the command line, a file for each noun."""

from __future__ import annotations

import logging

import click

from config.cli.lazy import LazyGroup


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    lazy={
        "addon": ("config.cli.addon:addon", "The side panel in Gmail."),
        "apikey": ("config.cli.apikey:apikey", "Keys that programs show in a person's name."),
        "db": ("config.cli.db:db", "The database."),
        "mailbox": ("config.cli.mailbox:mailbox", "Connected Gmail accounts."),
        "notify": ("config.cli.notify:notify", "Ring on this desktop for what somebody is told, until Ctrl-C."),
        "outbox": ("config.cli.outbox:outbox", "Mail that waits for its time."),
        "privacy": ("config.cli.privacy:privacy", "What is kept of a person's reading of our mail."),
        "sandbox": ("config.cli.sandbox:sandbox", "A local Gmail for trying and testing."),
        "secrets": ("config.cli.secrets:secrets", "The secret key, and what is encrypted with it."),
        "serve": ("config.cli.server:serve", "Run the web server."),
        "status": ("config.cli.status:status", "How everything is."),
        "team": ("config.cli.team:team", "The teams of this installation."),
        "up": ("config.cli.server:up", "Run everything on this machine until Ctrl-C."),
        "worker": ("config.cli.server:worker", "Run a worker: it syncs mailboxes."),
    },
)
@click.version_option(package_name="tracker")
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
def main(verbose: bool) -> None:
    """Tracker: a Gmail pipeline tracker that a sales team hosts itself."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
