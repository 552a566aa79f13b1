"""Saved views: how somebody looks at a pipeline (columns, order, filters, grouping), private or shared.

A private one is its owner's alone. A shared one everybody of the team opens; its owner and admins change it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, func, or_, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship

from tracker import events
from tracker.db import Base, Keyed, OfTeam
from tracker.people import Role, User, Viewer
from tracker.pipelines import Pipeline, PipelineError

NAME_LIMIT = 60  # characters
MOST = 100  # views that a person sees of a pipeline
PARAMETERS = re.compile(
    r"cols|sort|group|q|owner|tag|stage|created|from|to|min|max|owes|sleeping|f\.[\w-]{1,40}(\.from|\.to)?"
)


class ViewError(PipelineError):
    """A view can't be kept so; the text says why and what to do."""


class SavedView(OfTeam, Keyed, Base):
    """A named way to look at a pipeline's table."""

    __tablename__ = "saved_views"
    __table_args__ = (Index("ix_saved_views_pipeline_id_name", "pipeline_id", "name"),)

    pipeline_id: Mapped[int] = mapped_column(ForeignKey("pipelines.id", ondelete="CASCADE"))
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))  #: whose it is
    name: Mapped[str]
    shared: Mapped[bool] = mapped_column(server_default="false")
    query: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")  #: the address's parameters
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    user: Mapped[User | None] = relationship()


def save(
    session: Session, viewer: Viewer, pipeline: Pipeline, name: str, query: Mapping[str, Any], *, shared: bool
) -> SavedView:
    """Keep a look under a name. Raises `ViewError`."""
    if len(of_pipeline(session, viewer, pipeline.id)) >= MOST:
        raise ViewError(f"There are {MOST} views of {pipeline.name} already; delete one first")
    made = SavedView(
        team_id=viewer.team_id,
        pipeline_id=pipeline.id,
        user_id=viewer.user_id,
        name=_name(session, viewer, pipeline.id, name),
        shared=shared,
        query=_kept(query),
    )
    session.add(made)
    session.flush()
    _record(session, viewer, "view.saved", made)
    return made


def change(
    session: Session,
    viewer: Viewer,
    view: SavedView,
    *,
    name: str | None = None,
    query: Mapping[str, Any] | None = None,
    shared: bool | None = None,
) -> None:
    """Rename it, make it show something else, share it or no longer. Raises `ViewError`."""
    _check(viewer, view)
    if name is not None:
        view.name = _name(session, viewer, view.pipeline_id, name, view.id)
    if query is not None:
        view.query = _kept(query)
    if shared is not None:
        view.shared = shared
    session.flush()
    _record(session, viewer, "view.changed", view)


def delete(session: Session, viewer: Viewer, view: SavedView) -> None:
    """Delete it. Raises `ViewError`."""
    _check(viewer, view)
    _record(session, viewer, "view.deleted", view)
    session.delete(view)
    session.flush()


def may_change(viewer: Viewer, view: SavedView) -> bool:
    """Whether the viewer may change or delete it."""
    return view.user_id == viewer.user_id or (view.shared and viewer.role == Role.ADMIN)


def of_pipeline(session: Session, viewer: Viewer, pipeline_id: int) -> Sequence[SavedView]:
    """The views of a pipeline that the viewer sees: their own and shared ones, by name."""
    query = select(SavedView).where(SavedView.pipeline_id == pipeline_id, _seen_by(viewer))
    return session.scalars(query.order_by(func.lower(SavedView.name), SavedView.id).limit(MOST)).all()


def by_key(session: Session, viewer: Viewer, key: str) -> SavedView | None:
    """The view with this key, if the viewer sees it."""
    return session.scalar(select(SavedView).where(SavedView.key == key, _seen_by(viewer)))


def _seen_by(viewer: Viewer) -> Any:
    mine = or_(SavedView.shared, SavedView.user_id == viewer.user_id)
    return mine & (SavedView.team_id == viewer.team_id)


def _check(viewer: Viewer, view: SavedView) -> None:
    if not may_change(viewer, view):
        raise ViewError("This view is a teammate's; only they or an admin change it. Save it as one of your own")


def _name(session: Session, viewer: Viewer, pipeline_id: int, name: str, but: int = 0) -> str:
    name = " ".join(name.replace("\x00", "").split())
    if not 1 <= len(name) <= NAME_LIMIT:
        raise ViewError(f"A view's name has 1 to {NAME_LIMIT} characters")
    query = select(SavedView.id).where(
        SavedView.pipeline_id == pipeline_id,
        _seen_by(viewer),
        func.lower(SavedView.name) == func.lower(name),
        SavedView.id != but,
    )
    if session.scalars(query.limit(1)).first() is not None:
        raise ViewError(f"There is a view called {name} already; choose another name")
    return name


def _kept(query: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that a view keeps; anything else an address may hold is none of its business."""
    return {name: value for name, value in query.items() if PARAMETERS.fullmatch(name) and value}


def _record(session: Session, viewer: Viewer, kind: str, view: SavedView) -> None:
    # The log is read by the team: what somebody called a view of their own is theirs.
    data = {"view": view.key, "name": view.name if view.shared else "(their own)", "shared": view.shared}
    events.record(session, viewer.team_id, kind, actor=viewer.actor, user_id=viewer.user_id, data=data)
