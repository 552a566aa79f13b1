"""Who sees a pipeline, and a box: the forms that say so."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from flask import Blueprint, abort, redirect, render_template, request, url_for
from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker import access, invitations, people, pipelines, sight
from tracker.access import PEOPLE, TEAM, AccessError, PipelineMember
from tracker.boxes import Box
from tracker.db import among
from tracker.people import PeopleError, Role, User, Viewer
from tracker.pipelines import Pipeline
from tracker.web import box_page, cards, frame, pipeline_settings
from tracker.web.box_page import changed
from tracker.web.forms import Refused, done, or_show, text
from tracker.web.frame import Page, db, now, viewer

bp = Blueprint("access", __name__)
CHOICES = {"team": TEAM, "people": PEOPLE, "pipeline": None}


def _chosen() -> tuple[str | None, set[int]]:
    """How it is to be open, and the people who are ticked. Raises `AccessError`."""
    if text("access") not in CHOICES:
        raise AccessError("Choose who sees it")
    keys = set(request.form.getlist("person"))
    team = people.of_team(db(), viewer().team_id)
    return CHOICES[text("access")], {one.id for one in team if one.key in keys}


@bp.post("/p/<key>/settings/access")
@or_show(pipeline_settings.page)
def of_pipeline(key: str) -> Page:
    """Who sees a pipeline."""
    pipeline = pipeline_settings.found(key)
    access.arrange(db(), viewer(), pipeline, *_chosen())
    if not sight.is_whole(db(), pipeline.id):
        return done(f"You see {pipeline.name} no more", "pages.home")
    return done("Saved", "pipeline_settings.general", "access", key=key)


@bp.post("/b/<key>/access")
@or_show(box_page.page)
def of_box(key: str) -> Page:
    """Who sees a box."""
    box = box_page.found(key)
    access.arrange(db(), viewer(), box, *_chosen())
    db().flush()
    if db().scalar(select(Box.id).where(Box.id == box.id)) is None:
        return done("You see this box no more", "pages.home")
    return changed(box, "access", "timeline", told="Saved", anchor="box-access")


@bp.post("/b/<key>/guests")
@or_show(box_page.page)
def invite(key: str) -> Page:
    """Invite somebody from outside to a single box; a guest of the team's is named in it."""
    box = box_page.found(key)
    if viewer().role != Role.ADMIN:
        abort(403)
    try:
        made = invitations.invite_to_box(db(), viewer(), text("address", 320), box, now=now())
    except PeopleError as error:
        raise Refused({request.form.get("_place", ""): str(error)}) from None
    if made is None:
        return changed(box, "access", "timeline", told="They see this box now", anchor="box-access")
    told = f"{made.address} may join as a guest now; tell them"
    return changed(box, "access", told=told, anchor="box-access")


# -- the way back in, for admins


def closed_page(**_: str) -> str:
    """The pipelines that the admin does not see: not what they are called, but since when and whose they are."""
    if viewer().role != Role.ADMIN:
        abort(403)
    seen = {one.id for one in frame.nav_pipelines()}
    with sight.everything(db()):
        found = [one for one in pipelines.of_team(db(), viewer().team_id) if one.id not in seen]
        query = (
            select(PipelineMember.pipeline_id, User.name)
            .join(User, User.id == PipelineMember.user_id)
            .where(PipelineMember.team_id == viewer().team_id)
            .order_by(User.name)
        )
        names: dict[int, list[str]] = {}
        for pipeline_id, name in db().execute(query):
            names.setdefault(pipeline_id, []).append(name)
    return render_template("pipelines_closed.html", closed=found, names=names)


@bp.get("/pipelines/closed")
def closed() -> Page:
    """The page."""
    return closed_page()


@bp.post("/pipelines/closed/<key>")
@or_show(closed_page)
def enter(key: str) -> Page:
    """An admin names themselves; the log tells."""
    closed_page()
    with sight.everything(db()):
        pipeline: Pipeline | None = pipelines.by_key(db(), viewer().team_id, key)
        if pipeline is None:
            abort(404)
        access.name(db(), viewer(), pipeline, frame.user())
    return redirect(url_for("board.show", key=key), 303)


# -- a mark on cards


def marks(session: Session, asker: Viewer, box_ids: Collection[int]) -> Mapping[int, cards.Mark]:
    """A lock on the cards of boxes that only named people see; nothing is asked where nothing is narrowed."""
    if sight.sees_everything(session):
        return {}
    query = select(Box.id).where(among(Box.id, box_ids), Box.access == PEOPLE)
    return {id_: cards.Mark("lock", "Named people only") for id_ in session.scalars(query)}


cards.register_mark(marks)
