"""The table of a pipeline: its boxes as rows, edited where they stand; views of it; and as a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flask import Blueprint, Response, abort, g, redirect, render_template, request, url_for
from sqlalchemy import select
from sqlalchemy.orm import joinedload, selectinload

from tracker import boxes, columns, exports, fields, listing, people, pipelines, row_security, sight, totals, views
from tracker.box_filters import OWES, PERIODS, THEM, US
from tracker.boxes import Box, BoxError
from tracker.columns import Column, Row
from tracker.contacts import Contact
from tracker.facts import BoxFacts
from tracker.fields import FieldError
from tracker.listing import COUNTED, CursorError, Listing, Look
from tracker.pipelines import Pipeline, Stage
from tracker.web import board, cards, frame, table_cells
from tracker.web.frame import Page, db, now, viewer
from tracker.web.table_cells import Editor

bp = Blueprint("table", __name__)
ROWS = 50  # at a time
MOST = 500  # rows that are fetched again at once, when something changed


def zone() -> ZoneInfo:
    """Where the viewer's days begin."""
    try:
        return ZoneInfo(frame.user().time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def look_at(pipeline: Pipeline, stages: Sequence[Stage]) -> Look:
    """What the address asks for."""
    found = fields.of_pipeline(db(), pipeline.id)
    return listing.parse(request.args, pipeline, found, stages)


def page(key: str, **_: str) -> str:
    """The whole page."""
    pipeline = board.found(key)
    stages = pipelines.of_pipeline(db(), pipeline.id)
    look = look_at(pipeline, stages)
    shown = _rows(look, stages, None, ROWS)
    return render_template("table.html", **_about(look, stages), **shown, total=_total(look), **_views(look))


def _rows(look: Look, stages: Sequence[Stage], after: str | None, limit: int) -> dict[str, Any]:
    table = Listing(db(), viewer(), look, now(), zone())
    try:
        found = table.page(after, limit)
    except CursorError:
        abort(400)
    names = table_cells.names(db(), viewer().team_id, look.shown, found.rows)
    return {"look": look, "pipeline": look.pipeline, "found": found, "names": names, "params": look.params()}


def _about(look: Look, stages: Sequence[Stage]) -> dict[str, Any]:
    """What the tools above the table need."""
    users = people.of_team(db(), viewer().team_id)
    called = {user.key: user.name for user in users}
    return {
        "stages": stages,
        "users": users,
        "tags": sorted({*cards.known_tags(db(), look.pipeline.id, look.fields), *look.filter.tags}),
        "chips": [*look.filter.chips(users, stages)],
        "field_chips": [(one.words(called), one.params()) for one in look.wanted],
        "periods": PERIODS,
        "owing": {US: OWES[US], THEM: OWES[THEM]},
        "groupings": [one for one in look.columns.values() if one.grouping],
    }


def _views(look: Look) -> dict[str, Any]:
    """The views of a pipeline, which one is open, and whether the page shows something else by now."""
    found = views.of_pipeline(db(), viewer(), look.pipeline.id)
    opened = next((one for one in found if one.key == request.args.get("view")), None)
    return {
        "views": found,
        "view": opened,
        "view_changed": opened is not None and opened.query != look.params(),
        "may_change_view": opened is not None and views.may_change(viewer(), opened),
    }


def _total(look: Look) -> str:
    """How many boxes there are: from the totals if nothing is filtered, else counted, up to a limit."""
    if not look.is_filtered and sight.sees_all(db(), look.pipeline.id):
        return f"{sum(one.boxes for one in totals.of_pipeline(db(), look.pipeline.id).values()):,}"
    count = Listing(db(), viewer(), look, now(), zone()).count()
    return f"{COUNTED:,}+" if count > COUNTED else f"{count:,}"


@bp.get("/p/<key>/table")
def show(key: str) -> Page:
    """The table. An address with empty parameters, as a form makes it, leads to the one without."""
    pipeline = board.found(key)
    stages = pipelines.of_pipeline(db(), pipeline.id)
    look = look_at(pipeline, stages)
    view = request.args.get("view")
    tidy = url_for("table.show", key=key, **look.params(), view=view or None)
    if request.headers.get("HX-Request"):
        return Response(page(key), headers={"HX-Push-Url": tidy})
    several = len(request.args.getlist("cols")) > 1
    if (several or "" in request.args.values()) and not look.problems:
        return redirect(tidy)
    return page(key)


@bp.get("/p/<key>/table/rows")
def rows(key: str) -> Page:
    """Rows behind a place, or (with `shown`) the first rows again; a page of its own without scripts."""
    if not request.headers.get("HX-Request"):
        return _page_behind(key)
    pipeline = board.found(key)
    stages = pipelines.of_pipeline(db(), pipeline.id)
    look = look_at(pipeline, stages)
    shown = request.args.get("shown", type=int)
    limit = ROWS if shown is None else min(max(shown, ROWS), MOST)
    after = request.args.get("after") if shown is None else None
    template = "_table_rows.html" if shown is None else "_table.html"
    return render_template(template, **_rows(look, stages, after, limit), stages=stages)


def _page_behind(key: str) -> str:
    pipeline = board.found(key)
    stages = pipelines.of_pipeline(db(), pipeline.id)
    look = look_at(pipeline, stages)
    shown = _rows(look, stages, request.args.get("after"), ROWS)
    return render_template("table.html", **_about(look, stages), **shown, total=_total(look), **_views(look))


def _cell(key: str, box: str, column: str) -> tuple[Look, Row, Column, Sequence[Stage]]:
    """The row and the column that an address names, or 404."""
    pipeline = board.found(key)
    stages = pipelines.of_pipeline(db(), pipeline.id)
    look = look_at(pipeline, stages)
    query = (
        select(Box, BoxFacts)
        .outerjoin(BoxFacts, BoxFacts.box_id == Box.id)
        .where(Box.team_id == viewer().team_id, Box.pipeline_id == pipeline.id, Box.key == box, boxes.is_listed())
        .options(
            joinedload(Box.stage), joinedload(Box.owner), joinedload(Box.organization),
            selectinload(Box.contacts).selectinload(Contact.addresses),
        )
    )  # fmt: skip
    found = db().execute(query).first()
    there = look.columns.get(column)
    if found is None or there is None or not there.editable:
        abort(404)
    return look, Row(found[0], found[1]), there, stages


@bp.get("/p/<key>/table/cells/<box>/<column>")
def edit(key: str, box: str, column: str) -> Page:
    """The editor of a cell, for our script. Without it, a box is edited on its page."""
    _, row, there, stages = _cell(key, box, column)
    made = table_cells.editor(db(), viewer(), there, row, stages)
    return render_template("_table_editor.html", editor=made)


@bp.post("/p/<key>/table/cells/<box>/<column>")
def put(key: str, box: str, column: str) -> Page:
    """Save a cell: its row as it is now; or the editor again, with what is wrong or what a teammate made of it."""
    look, row, there, stages = _cell(key, box, column)
    given = request.form.get("value", "").replace("\x00", "").replace("\r\n", "\n").strip()[:20_000]
    was = request.form.get("was", "").replace("\r\n", "\n").strip()
    table_cells.hold(db(), viewer(), there, row.box)
    present = table_cells.typed(db(), there, row).strip()
    if given not in (present, was) and present != was:
        made = table_cells.editor(db(), viewer(), there, row, stages)
        called = table_cells.names(db(), viewer().team_id, [there], [row]).known
        made.value, made.error = given, table_cells.became(there, row, db(), called)
        return render_template("_table_editor.html", editor=made), 409
    if given not in (present, was):
        try:
            table_cells.put(db(), viewer(), there, row, given, now())
        except (BoxError, FieldError) as error:
            return _refused(key, box, column, given, was, str(error))
    return _row_again(look, row, stages)


def _refused(key: str, box: str, column: str, given: str, was: str, words: str) -> Page:
    db().rollback()
    _, row, there, stages = _cell(key, box, column)
    made: Editor = table_cells.editor(db(), viewer(), there, row, stages)
    made.value, made.was, made.error = given, was, words
    return render_template("_table_editor.html", editor=made), 422


def _row_again(look: Look, row: Row, stages: Sequence[Stage]) -> str:
    """A row as it is now."""
    db().flush()
    db().expire(row.box)
    for column in look.shown:
        if column.load is not None:
            row.extra[column.key] = column.load(db(), [row.box.id]).get(row.box.id)
    if row.facts is not None:
        db().refresh(row.facts)
    names = table_cells.names(db(), viewer().team_id, look.shown, [row])
    return render_template(
        "_table_row.html", look=look, pipeline=look.pipeline, row=row, names=names, stages=stages
    )


@bp.get("/p/<key>/table.csv")
def as_csv(key: str) -> Page:
    """What the table shows, all of it, as a file. `bom=0` leaves out the mark by which Excel knows UTF-8."""
    pipeline = board.found(key)
    stages = pipelines.of_pipeline(db(), pipeline.id)
    look = look_at(pipeline, stages)
    who, at, where, sessions = viewer(), now(), zone(), frame.frame().sessions
    mark = "" if request.args.get("bom") == "0" else "\ufeff"

    def told() -> Iterator[str]:
        # The request's own session is closed before the last row is sent.
        with row_security.opened(sessions, who.team_id) as session:
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            reader = sight.look_as(session, who)
            yield mark
            yield from exports.as_csv(Listing(session, reader, look, at, where))

    name = "".join(one if one.isascii() and (one.isalnum() or one in " -_") else "_" for one in pipeline.name)
    disposition = f'attachment; filename="{name.strip() or "boxes"}.csv"'
    headers = {"Content-Disposition": disposition, "Cache-Control": "no-store"}
    return Response(told(), mimetype="text/csv", headers=headers)


@bp.app_template_global("cell_fresh")
def cell_fresh(row: Row) -> tuple[str, int, int]:
    """See `table_cells.fresh`."""
    return table_cells.fresh(row, now())


@bp.app_template_global("cell_owes")
def cell_owes(row: Row) -> str:
    """See `columns.owed_by`."""
    return columns.owed_by(row)


@bp.app_template_global("table_today")
def table_today() -> Any:
    """The viewer's today."""
    if "table_today" not in g:
        g.table_today = now().astimezone(zone()).date()
    return g.table_today
