"""Importing a CSV file into a pipeline: upload it, say what its columns are, look at what would happen, do it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from flask import Blueprint, Response, abort, g, redirect, render_template, request, url_for
from sqlalchemy import select, union

from tracker import autobox, fields, import_plan, import_run, imports, people, pipelines, totals
from tracker.csv_files import MOST_BYTES, guard, written
from tracker.db import among
from tracker.exports import value_text
from tracker.fields import FieldType
from tracker.import_plan import Line, Plan
from tracker.imports import DONE, TARGETS, UPLOADED, Import, ImportFailed
from tracker.messages import Message, Recipient
from tracker.people import Role
from tracker.pipelines import Pipeline
from tracker.web import board
from tracker.web.forms import done, or_show, text
from tracker.web.frame import Page, db, now, viewer

bp = Blueprint("imports", __name__)
UPLOAD = "imports.upload"
ROOM = 200_000  # bytes of the form around the file
SHOWN, ERRORS = 20, 200  # lines of the preview; wrong ones that are listed
AT_ONCE = 500  # conversations that the rules look at
TYPES = {
    FieldType.TEXT: "text", FieldType.NUMBER: "number", FieldType.MONEY: "money", FieldType.DATE: "date",
    FieldType.DROPDOWN: "choices", FieldType.TAGS: "tags", FieldType.CHECKBOX: "yes or no",
    FieldType.URL: "web address",
}  # fmt: skip


@bp.url_value_preprocessor
def _make_room(endpoint: str | None, _: Mapping[str, Any] | None) -> None:
    """A file may be larger than other forms. Said before the guard against forgery reads the form."""
    if endpoint == UPLOAD and request.method == "POST":
        request.max_content_length = MOST_BYTES + ROOM


def _found(key: str) -> Pipeline:
    if viewer().role == Role.GUEST:
        abort(403)
    return board.workable(key)


def _import(pipeline: Pipeline, key: str) -> Import:
    made = imports.by_key(db(), viewer(), key)
    return made if made is not None and made.pipeline_id == pipeline.id else abort(404)


def start(key: str, **_: str) -> str:
    """Where a file is chosen."""
    return render_template("import_upload.html", pipeline=_found(key))


@bp.get("/p/<key>/import")
def show(key: str) -> Page:
    """Where a file is chosen."""
    return start(key)


@bp.post("/p/<key>/import")
@or_show(start)
def upload(key: str) -> Page:
    """Read the file; nothing becomes a box yet."""
    pipeline = _found(key)
    file = request.files.get("file")
    if file is None or not file.filename:
        raise ImportFailed("Choose a file first")
    data = file.stream.read(MOST_BYTES + 1)
    known = fields.of_pipeline(db(), pipeline.id)
    made = imports.upload(db(), viewer(), pipeline, file.filename, data, known)
    return redirect(url_for("imports.step", key=key, made=made.key), 303)


def page(key: str, made: str) -> str:
    """The step that the import is at."""
    pipeline = _found(key)
    found = _import(pipeline, made)
    if found.state == DONE:
        return render_template("import_done.html", pipeline=pipeline, made=found, **_left_out(found))
    if found.state == UPLOADED or request.args.get("step") == "map":
        return _mapping(pipeline, found)
    try:
        return _check(pipeline, found)
    except ImportFailed as error:  # what a column is for is gone: back to that step
        g.refusals = {"map": str(error)}
        return _mapping(pipeline, found)


@bp.get("/p/<key>/import/<made>")
def step(key: str, made: str) -> Page:
    """The step that the import is at."""
    return page(key, made)


def mapping_page(key: str, made: str) -> str:
    """What its columns are, once more."""
    pipeline = _found(key)
    return _mapping(pipeline, _import(pipeline, made))


def _mapping(pipeline: Pipeline, made: Import) -> str:
    known = fields.of_pipeline(db(), pipeline.id)
    given = request.form if request.method == "POST" else {}
    columns = []
    for number, title in enumerate(made.header):
        cells = imports.column_of(made, number)
        chosen = given.get(f"column-{number}", made.mapping["columns"].get(str(number), ""))
        kind = imports.guess_type(db(), cells, made.team_id)
        examples = list(islice((cell for cell in cells if cell.strip()), 3))
        columns.append({"title": title, "examples": examples, "chosen": chosen, "kind": kind})
    return render_template(
        "import_map.html",
        pipeline=pipeline,
        made=made,
        columns=columns,
        targets=TARGETS,
        fields=known,
        types=TYPES,
        stages=pipelines.of_pipeline(db(), pipeline.id),
        options={name: given.get(name, made.mapping.get(name, "")) for name in ("match", "bad", "empty", "stage")},
    )


@bp.post("/p/<key>/import/<made>/map")
@or_show(mapping_page)
def set_mapping(key: str, made: str) -> Page:
    """Say what its columns are."""
    pipeline = _found(key)
    found = _import(pipeline, made)
    columns = {str(number): text(f"column-{number}", 60) for number in range(len(found.header))}
    given = {"columns": columns, **{name: text(name, 60) for name in ("match", "bad", "empty", "stage")}}
    imports.set_mapping(db(), found, given, fields.of_pipeline(db(), pipeline.id))
    return redirect(url_for("imports.step", key=key, made=made), 303)


def _check(pipeline: Pipeline, made: Import) -> str:
    plan = import_plan.make(db(), viewer(), made)
    wrong = plan.wrong()
    called = {user.key: user.name for user in people.of_team(db(), viewer().team_id, removed=True)}
    called |= {key: name for _, key, name in plan.organizations.values()}
    called |= {key: name for _, key, name, _ in plan.contacts.values()}
    shown = [line for line in plan.lines if not line.errors][:SHOWN]
    return render_template(
        "import_check.html",
        pipeline=pipeline,
        made=made,
        plan=plan,
        counts=plan.counts(),
        heads=_heads(made, plan),
        preview=[(line, _told(made, plan, line, called)) for line in shown],
        wrong=wrong[:ERRORS],
        more_wrong=max(0, len(wrong) - ERRORS),
        can_run=bool(shown) and (not wrong or made.mapping.get("bad") == "leave"),
    )


def _heads(made: Import, plan: Plan) -> list[str]:
    """What the columns of the preview are, in the order of the file."""
    return [_title(target, int(number), plan) for number, target in _mapped(made)]


def _mapped(made: Import) -> list[tuple[str, str]]:
    pairs = sorted(made.mapping["columns"].items(), key=lambda pair: int(pair[0]))
    return [(number, target) for number, target in pairs if target]


def _title(target: str, number: int, plan: Plan) -> str:
    if target in TARGETS:
        return TARGETS[target]
    key = f"new-{number}" if target.startswith("new:") else target.removeprefix("f.")
    return plan.columns[key].name if key in plan.columns else ""


def _told(made: Import, plan: Plan, line: Line, called: Mapping[str, str]) -> list[tuple[str, bool]]:
    """A line as it would be stored: each cell in words, and whether it changes something."""
    told = []
    for number, target in _mapped(made):
        key = f"new-{number}" if target.startswith("new:") else target.removeprefix("f.")
        told.append(
            (_cell(line, target, key, plan, called), (target if target in TARGETS else key) in line.changes)
        )
    return told


def _cell(line: Line, target: str, key: str, plan: Plan, called: Mapping[str, str]) -> str:
    plain = {
        imports.KEY: line.key,
        imports.NAME: line.name or "",
        imports.STAGE: line.stage.name if line.stage else "" if line.box else plan.first_stage.name,
        imports.OWNER: line.owner.name if line.owner else "",
        imports.ORGANIZATION: line.organization or "",
        imports.CONTACT: ", ".join(one.address for one in line.addresses),
        imports.CONTACT_NAME: line.contact_name,
    }
    if target in plain:
        return plain[target]
    return value_text(plan.columns[key].type, line.values.get(key), called) if key in plan.columns else ""


@bp.post("/p/<key>/import/<made>/run")
@or_show(page)
def run(key: str, made: str) -> Page:
    """Take the file in, as a whole; mail with its contacts is looked at once for all of them."""
    pipeline = _found(key)
    found = _import(pipeline, made)
    result = import_run.run(db(), viewer(), found, now())
    _consider(result.addresses)
    totals.add_up(db())
    counts = result.counts
    words = f"{counts['new']:,} new, {counts['change']:,} changed, {counts['same']:,} as they were"
    return done(f"Imported: {words}", "imports.step", key=key, made=made)


def _consider(addresses: set[str]) -> None:
    """Let the rules look at the mail with contacts that boxes got, some hundred conversations at a time."""
    team_id = viewer().team_id
    sent = select(Message.conversation_id).where(
        Message.team_id == team_id, among(Message.sender_normalized, addresses)
    )
    received = (
        select(Message.conversation_id)
        .join(Recipient, Recipient.message_id == Message.id)
        .where(Recipient.team_id == team_id, among(Recipient.normalized, addresses))
    )
    if not addresses:
        return
    ids = sorted(db().scalars(union(sent, received)))
    own = people.own_addresses(db(), team_id)
    for some in _chunks(ids):
        autobox.consider(db(), team_id, own, some, connected_at=now(), now=now())


def _chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for begin in range(0, len(ids), AT_ONCE):
        yield ids[begin : begin + AT_ONCE]


def _left_out(made: Import) -> dict[str, Any]:
    return {"counts": made.result.get("counts", {}), "left_out": made.result.get("left_out", [])}


@bp.get("/p/<key>/import/<made>/wrong.csv")
def wrong(key: str, made: str) -> Page:
    """The lines that are wrong (or were left out), each with the reason, as a file to correct and upload again."""
    pipeline = _found(key)
    found = _import(pipeline, made)
    lines: list[tuple[int, Sequence[str], Sequence[str]]]
    if found.state == DONE:
        lines = [(number, cells, errors) for number, cells, errors in found.result.get("left_out", [])]
    elif found.state == UPLOADED:
        abort(404)
    else:
        try:
            plan = import_plan.make(db(), viewer(), found)
        except ImportFailed:
            return redirect(url_for("imports.step", key=key, made=made))
        lines = [(one.number, one.cells, one.errors) for one in plan.wrong()]
    header = [*map(guard, map(str, found.header)), "Line", "What is wrong"]
    width = len(found.header)
    rows = [
        [*[_safe(one) for one in [*cells, *[""] * width][:width]], str(number), "; ".join(errors)]
        for number, cells, errors in lines
    ]
    headers = {"Content-Disposition": 'attachment; filename="wrong lines.csv"', "Cache-Control": "no-store"}
    return Response("\ufeff" + written([header, *rows]), mimetype="text/csv", headers=headers)


def _safe(cell: str) -> str:
    """As it was in the file; but if it was a formula there, it is none here."""
    return cell if cell.startswith("'") else guard(cell)
