"""What the pages of this room share: what they are handed, and our static files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flask import Blueprint, Flask, current_app, url_for

from tracker.secrets import Cipher

EXTENSION = "tracker_webhooks"
assets = Blueprint("webhooks_assets", __name__, static_folder="static", static_url_path="/webhooks/static")


@dataclass(frozen=True, slots=True)
class Web:
    """What these pages are handed."""

    cipher: Cipher  #: seals what only we may read
    public_url: str  #: without a slash at its end
    push_private: bool = False  #: push services may be inside one's own network, and without TLS: for trying out


def web() -> Web:
    """What the present application was handed."""
    found = current_app.extensions[EXTENSION]
    assert isinstance(found, Web)
    return found


def asset(name: str) -> str:
    """The address of one of our static files, with a mark of its content, as the tracker's have."""
    return url_for("webhooks_assets.static", filename=name, v=_mark(name))


@cache
def _mark(name: str) -> str:
    path = Path(assets.static_folder or "", name)
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path.is_file() else ""


def init_assets(app: Flask) -> None:
    """Add our static files; in templates `hook_asset(name)`."""
    app.register_blueprint(assets)
    app.add_template_global(asset, "hook_asset")
