"""`python -m config.cli`: what `tracker` is, where it is not installed."""

from __future__ import annotations

from config.cli import main

main(prog_name="python -m config.cli")
