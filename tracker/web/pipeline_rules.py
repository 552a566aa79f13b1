"""A pipeline's rules, told in words: what files mail, what moves boxes, what makes new ones."""

from __future__ import annotations

from flask import Blueprint
from sqlalchemy import func, select

from tracker import pipelines
from tracker.boxes import Box, is_listed
from tracker.pipelines import Kind, NewConversation, Pipeline, PipelineError
from tracker.web.forms import done, or_show, text
from tracker.web.frame import Page, db, viewer
from tracker.web.pipeline_settings import found, shown

bp = Blueprint("pipeline_rules", __name__)
HERE = "pipeline_rules.show"
SIGNS = (
    ("sent", "When one of us writes to a contact of the box, it moves to"),
    ("answer", "When a contact of the box answers, it moves to"),
)
NEW = (
    (NewConversation.OFF.value, "Do nothing", "The conversation stays in the inbox until somebody files it."),
    (NewConversation.SUGGEST.value, "Suggest a new box", "The inbox offers one; a key accepts it."),
    (NewConversation.CREATE.value, "Make a new box", "It is made at once, owned by whoever wrote, and says why."),
)


def page(key: str, **_: str) -> str:
    """The whole page."""
    pipeline = found(key)
    stages = pipelines.of_pipeline(db(), pipeline.id)
    return shown(
        "pipeline_rules.html",
        HERE,
        pipeline,
        signs=SIGNS,
        new=NEW,
        enters={stage.enters_on: stage for stage in reversed(stages) if stage.enters_on},
        targets=[stage for stage in stages if stage.kind == Kind.OPEN],
        by_domain=_by_domain(pipeline),
    )


def _by_domain(pipeline: Pipeline) -> int:
    """How many of its boxes take the mail of a whole organization."""
    query = select(func.count()).where(Box.pipeline_id == pipeline.id, Box.autobox_domain, is_listed())
    return db().scalar(query) or 0


@bp.get("/p/<key>/settings/rules")
def show(key: str) -> Page:
    """The page."""
    return page(key)


@bp.post("/p/<key>/settings/rules/moving")
@or_show(page)
def moving(key: str) -> Page:
    """Whether mail moves boxes, and into which stages."""
    pipeline = found(key)
    pipelines.change(db(), viewer(), pipeline, moves_itself=text("moves_itself") == "on")
    for sign, _ in SIGNS:
        wanted = text(sign)
        target = pipelines.stage_by_key(db(), viewer().team_id, wanted) if wanted else None
        if wanted and target is None:
            raise PipelineError("That stage is gone; look again")
        pipelines.enter_on(db(), viewer(), pipeline, sign, target)
    return done("Saved", HERE, "moving", key=key)


@bp.post("/p/<key>/settings/rules/new")
@or_show(page)
def new_conversation(key: str) -> Page:
    """What happens when one of the team writes first to somebody unknown."""
    pipelines.change(db(), viewer(), found(key), new_conversation=text("new_conversation"))
    return done("Saved", HERE, "new", key=key)
