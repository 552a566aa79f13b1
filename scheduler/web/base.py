"""What the pages of sending later share: what they are handed, and how a refusal reaches its field."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, current_app, url_for
from sqlalchemy.orm import Session

from scheduler import outbox, preparing, rich_text, telling, timing
from scheduler.letters import LetterError
from scheduler.outbox import OutboxConflict, OutboxError, ScheduledEmail
from scheduler.post import Post
from scheduler.snippets import TemplateError
from scheduler.timing import TimingError
from tracker.jobs import Jobs
from tracker.mailboxes import Mailbox
from tracker.web import frame
from tracker.web.forms import Refused
from tracker.web.frame import Page, db, viewer

EXTENSION = "tracker_outbox"
assets = Blueprint("outbox_assets", __name__, static_folder="static", static_url_path="/outbox/static")


@dataclass(frozen=True, slots=True)
class Web:
    """What these pages are handed."""

    post: Post
    jobs: Jobs
    soon: bool = False  #: offer "in one minute": the demo's


def web() -> Web:
    """What the present application was handed."""
    found = current_app.extensions[EXTENSION]
    assert isinstance(found, Web)
    return found


def wake(mailbox_id: int) -> None:
    """Have Gmail's drafts follow once the transaction is committed."""
    handed = web()
    frame.after_commit(lambda: preparing.wake(handed.jobs, mailbox_id))


def own_email(key: str) -> ScheduledEmail | None:
    """The scheduled email with this key, if the viewer may see it."""
    return outbox.by_key(db(), viewer(), key[:100].replace("\x00", ""))


def mailbox_of(session: Session, email: ScheduledEmail) -> Mailbox:
    """The mailbox that it is sent from."""
    return session.get_one(Mailbox, email.mailbox_id)


def words_of(email: ScheduledEmail) -> str:
    """When a mail goes, there and here: "Tue 24 Nov, 09:00 in Tokyo (your Mon 23 Nov, 18:00)"."""
    return telling.when(email, timing.own_zone(frame.user()), frame.now())


def told(place: str = "") -> Callable[[Callable[..., Page]], Callable[..., Page]]:
    """Decorate a POST: what the nouns refuse is said at its place of the page, or at `place`."""

    def decorate(view: Callable[..., Page]) -> Callable[..., Page]:
        @wraps(view)
        def guarded(**arguments: str) -> Page:
            try:
                return view(**arguments)
            except (LetterError, TemplateError) as error:
                raise Refused({error.field: str(error)}) from None
            except TimingError as error:
                raise Refused({"when": str(error)}) from None
            except OutboxConflict as error:
                raise Refused({place: str(error)}, 409) from None
            except OutboxError as error:
                raise Refused({place: str(error)}) from None
            except PermissionError as error:
                raise Refused({place: str(error)}, 403) from None

        return guarded

    return decorate


def init_assets(app: Flask) -> None:
    """Our static files carry a mark of their content in the address, as the tracker's do."""
    folder = Path(assets.static_folder or "")
    marks = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in folder.iterdir()}

    def asset(name: str) -> str:
        return url_for("outbox_assets.static", filename=name, v=marks.get(name, ""))

    def in_templates() -> dict[str, Any]:
        return {"asset": asset}

    app.register_blueprint(assets)
    app.add_template_filter(rich_text.to_plain, "as_plain")
    app.context_processor(in_templates)
