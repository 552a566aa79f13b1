"""Words on the page that comes next, with a way back for as long as they stand there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import flash, url_for


def undoable(words: str, endpoint: str, fields: Mapping[str, str] | None = None, **arguments: Any) -> None:
    """Say what was done, with an *Undo* that posts `fields` to `endpoint`; it goes by itself after ten seconds."""
    told(words, {"url": url_for(endpoint, **arguments), "fields": dict(fields or {})})


def told(words: str, undo: Mapping[str, Any]) -> None:
    """Say what was done, with the form (`url` and `fields`) that takes it back."""
    flash({"words": words, "undo": dict(undo)}, "done")  # type: ignore[arg-type]  # the cookie takes any JSON
