"""The page of a mailbox's labels: what switching them on would do, how they are, switching them off."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from flask import Blueprint, Flask, abort, render_template, request
from sqlalchemy import func, select

from gmail_sync import sync
from gmail_sync.errors import GmailError
from gmail_sync.labels import looking, switch
from gmail_sync.labels.preview import Preview, preview
from gmail_sync.labels.tables import ROOT, Kind, Label, LabelMailbox, Mode, Shadow
from gmail_sync.session import Services
from gmail_sync.web import handed
from tracker import mailboxes
from tracker.mailboxes import Backfill, Mailbox, State
from tracker.people import Role
from tracker.web import frame
from tracker.web.forms import done
from tracker.web.frame import Page, db, now, viewer

log = logging.getLogger(__name__)
bp = Blueprint("labels", __name__, template_folder="templates")
SHOWN = 100  # labels that the page lists
PATIENCE = 3.0  # seconds that a person waits for quota


@dataclass(frozen=True, slots=True)
class Standing:
    """How a mailbox's labels are, while they are on."""

    root: str
    boxes: int
    threads: int
    gone: tuple[str, ...]  #: deleted in Gmail, and not made again


def _mine(key: str) -> Mailbox:
    """A mailbox of the viewer's own, or 404: labels speak for its owner, and for nobody else."""
    found, who = mailboxes.by_key(db(), key), viewer()
    if found is None or found.team_id != who.team_id or found.user_id != who.user_id or who.role == Role.GUEST:
        abort(404)
    return found


@bp.get("/mailboxes/<key>/labels")
def show(key: str) -> Page:
    """The page."""
    mailbox = _mine(key)
    setting = db().get(LabelMailbox, mailbox.id)
    mode = setting.mode if setting is not None else Mode.OFF.value
    ready = mailbox.state == State.CONNECTED and mailbox.backfill == Backfill.DONE
    told: Preview | None = None
    listed = True
    if mode == Mode.OFF and ready:
        told, listed = _preview(mailbox)
    return render_template(
        "gmail_sync/labels.html", mailbox=mailbox, setting=setting, mode=mode, ready=ready, told=told,
        listed=listed, standing=_standing(mailbox) if mode == Mode.ON else None, shown=SHOWN,
    )  # fmt: skip


def _preview(mailbox: Mailbox) -> tuple[Preview, bool]:
    """What switching on would do; False if Gmail could not be asked for its labels just now."""
    frame.release()  # nothing of the database is held while Gmail is asked
    try:
        labels, asked = _listed(handed().services, mailbox), True
    except GmailError as error:
        log.info("%s: labels can't be listed for the preview: %s", mailbox.address, error)
        labels, asked = {}, False
    return preview(db(), mailbox.id, viewer(), labels), asked


def _listed(services: Services, mailbox: Mailbox) -> dict[str, str]:
    gmail = services.door(mailbox, replace(services.budget(mailbox, share=1.0), patience=PATIENCE))
    try:
        return gmail.labels()
    finally:
        gmail.close()


def _standing(mailbox: Mailbox) -> Standing:
    rows = db().scalars(select(Label).where(Label.mailbox_id == mailbox.id).order_by(Label.name)).all()
    threads = select(func.count(Shadow.gmail_thread_id.distinct())).where(
        Shadow.mailbox_id == mailbox.id, Shadow.base
    )
    return Standing(
        next((row.name for row in rows if row.kind == Kind.ROOT and row.name), ROOT),
        sum(row.kind == Kind.BOX and row.gmail_label_id is not None and row.gone_at is None for row in rows),
        db().scalar(threads) or 0,
        tuple(row.name for row in rows if row.gone_at is not None),
    )


@bp.post("/mailboxes/<key>/labels/on")
def switch_on(key: str) -> Page:
    """Switch on."""
    mailbox = _mine(key)
    if looking.setting(db(), mailbox.id) is None:
        switch.on(db(), viewer(), mailbox, now())
        _wake(mailbox)
    return done("Labels are on; they appear in Gmail within a minute or so", "labels.show", key=key)


@bp.post("/mailboxes/<key>/labels/off")
def switch_off(key: str) -> Page:
    """Switch off; `remove` takes our labels out of Gmail."""
    mailbox, remove = _mine(key), request.form.get("remove") == "yes"
    found = looking.setting(db(), mailbox.id)
    if found is not None and (found.mode == Mode.ON or not remove):
        switch.off(db(), viewer(), mailbox, now(), remove=remove)
        _wake(mailbox)
    words = "Labels are off, and are being removed from Gmail" if remove else "Labels are off; those in Gmail stay"
    return done(f"{words}. Your boxes are as they were", "labels.show", key=key)


@bp.post("/mailboxes/<key>/labels/again")
def make_again(key: str) -> Page:
    """Make those again that were deleted in Gmail."""
    mailbox = _mine(key)
    found = looking.setting(db(), mailbox.id)
    if found is not None and found.mode == Mode.ON:
        switch.make_again(db(), mailbox, now())
        _wake(mailbox)
    return done("They are being made again", "labels.show", key=key)


def _wake(mailbox: Mailbox) -> None:
    frame.after_commit(lambda: sync.wake(handed().jobs, mailbox.id))


def init_app(app: Flask) -> None:
    """Add the page to an application that has the mailboxes' pages."""
    app.register_blueprint(bp)
