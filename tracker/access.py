"""Access: who may see which pipeline and box. The one gate that every list, search and count of boxes asks."""

from __future__ import annotations

from sqlalchemy import ColumnElement

from tracker.boxes import Box
from tracker.people import Viewer
from tracker.pipelines import Pipeline


def may_see(viewer: Viewer) -> ColumnElement[bool]:
    """SQL: the viewer may see the `Box` of the enclosing query."""
    return Box.team_id == viewer.team_id


def may_see_pipeline(viewer: Viewer) -> ColumnElement[bool]:
    """SQL: the viewer may see the `Pipeline` of the enclosing query, or some box in it."""
    return Pipeline.team_id == viewer.team_id
