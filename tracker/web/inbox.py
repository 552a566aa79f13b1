"""The inbox: the viewer's conversations, to be put into boxes, put off, or done with, several at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from flask import Blueprint, abort, render_template, request, url_for

from tracker import autobox, boxes, due, filing, refiling, search, sight, snoozes
from tracker.boxes import Box
from tracker.conversations import Conversation
from tracker.db import lock_team
from tracker.filing import SUGGESTED, Filing, FilingError
from tracker.snoozes import FOREVER, SnoozeError
from tracker.web import cursor, frame, rows, undo
from tracker.web.filters import count
from tracker.web.forms import Refused, or_show, text, wants_json
from tracker.web.frame import Page, db, local_path, now, user, viewer
from tracker.web.rows import Listing
from tracker.web.undo import Ticket

bp = Blueprint("inbox", __name__)
CHOICES = 12
AT_ONCE = rows.PAGE
PARTS = ("show", "after")


def _listing() -> Listing:
    try:
        return Listing(request.args.get("show", Listing.UNFILED.value))
    except ValueError:
        abort(404)


def page() -> str:
    """The whole page."""
    return _rendered("inbox.html")


def _rendered(template: str) -> str:
    listing = _listing()
    found = rows.inbox(db(), viewer(), listing, cursor.parse(request.args.get("after")), now())
    return render_template(
        template,
        listing=listing.value,
        found=found,
        rows=found.rows,
        counts=rows.counts(db(), viewer(), now()),
        times=snoozes.choices(user().time_zone, now()),
        parts={name: request.args[name] for name in PARTS if request.args.get(name)},
        day_and_time=_day_and_time,
        ticked=set(request.form.getlist("conversation")),
        matches=_matches(text("box", 200)) if request.method == "POST" and text("box") else [],
    )


@bp.get("/inbox")
def show() -> Page:
    """The list: `?show=` unfiled (if missing), answer, all or snoozed."""
    return page()


@bp.get("/inbox/list")
def lines() -> Page:
    """The list alone, for a page that is open."""
    return _rendered("_inbox_list.html")


# -- which box


@bp.get("/inbox/choices")
def choices() -> Page:
    """Boxes for what is being typed, as options of a datalist."""
    return render_template("_choices.html", choices=_matches(request.args.get("box", "")[:200]))


@bp.get("/inbox/pick")
def pick() -> Page:
    """Boxes for what is being typed, the suggested ones first, then new boxes; as options of a list box."""
    typed = " ".join(request.args.get("box", "").replace("\x00", "").split())[:200]
    suggested: list[Filing] = []
    if not typed and request.args.get("for"):
        found = rows.readable(db(), viewer(), request.args["for"])
        suggested = rows.rows(db(), viewer(), [found])[0].suggested if found else []
    first = [one.box for one in suggested if one.box is not None]
    known = {box.id for box in first}
    more = [box for box in _matches(typed) if box.id not in known]
    return render_template("_picks.html", suggested=first, choices=more[:CHOICES], typed=typed)


def _matches(typed: str) -> Sequence[Box]:
    wanted = search.parse(typed.replace(":", " ").replace('"', " ").replace("-", " "), now().date())
    if not wanted.has_words:
        return search.newest_boxes(db(), viewer(), CHOICES)
    return search.find_boxes(db(), viewer(), wanted, CHOICES)


# -- what to do


def _done(words: str, ticket: Ticket, gone: Sequence[Conversation], everywhere: bool = False) -> Page:
    """Say what was done; to a script also which rows are gone from its list, and how long the lists are now."""
    told = local_path(text("_next")) if text("_next") else url_for("inbox.show", **_parts())
    if not wants_json():
        return undo.answer(words, ticket, told)
    db().flush()
    left = _listing() == Listing.UNFILED or (everywhere and _listing() == Listing.ANSWER)
    numbers = rows.counts(db(), viewer(), now())
    return undo.answer(
        words,
        ticket,
        told,
        gone=[one.key for one in gone] if left else [],
        counts={"unfiled": numbers.unfiled, "answer": numbers.answer, "snoozed": numbers.snoozed},
    )


def _parts() -> dict[str, Any]:
    return {name: request.args[name] for name in PARTS if request.args.get(name)}


def _ticked() -> list[Conversation]:
    """The row whose own button was used, else the rows that are ticked; the team is locked against merges."""
    lock_team(db(), viewer().team_id)
    own = text("only", 100) or text("choice", 100).partition(" ")[0]
    keys = [own] if own else request.form.getlist("conversation")[:AT_ONCE]
    ticked = list(rows.readable_ones(db(), viewer(), keys))
    if not ticked:
        raise Refused({"tag": "Tick at least one conversation first"})
    return ticked


@bp.post("/inbox/tag")
@or_show(page)
def tag() -> Page:
    """Put conversations into a box that there is, or into a new one of a pipeline."""
    ticked = _ticked()
    before = refiling.snapshot(db(), [one.id for one in ticked])
    new = text("into") == "new"
    box = _new_box(ticked[0]) if new else _chosen_box()
    for conversation in ticked:
        filing.file(db(), viewer(), conversation, box)
    ticket = Ticket(filings=_changed(before, ticked), made=[box.key] if new else [])
    return _done(f"{count(len(ticked), 'conversation')} in {box.name}", ticket, ticked)


def _changed(
    before: dict[refiling.Place, refiling.State], ticked: Sequence[Conversation]
) -> list[refiling.Change]:
    return refiling.changes(before, refiling.snapshot(db(), [one.id for one in ticked]))


def _new_box(conversation: Conversation) -> Box:
    pipeline = next((one for one in frame.nav_pipelines() if one.key == text("pipeline")), None)
    if pipeline is None:
        raise Refused({"tag": "Choose the pipeline for the new box"})
    if not sight.is_whole(db(), pipeline.id):
        raise Refused({"tag": f"You see but some boxes of {pipeline.name}; choose another pipeline"})
    return autobox.new_box(db(), viewer(), pipeline, conversation, name=text("box", 200), now=now())


def _chosen_box() -> Box:
    """The box that was picked from the matches, else the one whose name was typed."""
    if text("chosen"):
        box = boxes.by_key(db(), viewer().team_id, text("chosen"))
        if box is None or box.archived_at is not None or box.deleted_at is not None:
            raise Refused({"tag": "That box is gone; choose another"})
        return box
    if not text("box"):
        raise Refused({"tag": "Type a box’s name first"})
    found = search.called(db(), viewer(), text("box", 200))
    if len(found) == 1:
        return found[0]
    if not found and not _matches(text("box", 200)):
        raise Refused({"tag": "No box is called so; make a new one, or type a part of the name"})
    raise Refused({"tag": "Which of these do you mean?"})


@bp.post("/inbox/accept")
@or_show(page)
def accept() -> Page:
    """Accept what is suggested for conversations: of several suggestions for one, the first, or the one named."""
    ticked, found = _suggestions()
    before = refiling.snapshot(db(), [one.id for one in ticked])
    made, names = [], []
    for conversation, one in found:
        if one.box is not None:
            filing.file(db(), viewer(), conversation, one.box, f"{one.reason}; you agreed")
            names.append(one.box.name)
        else:
            box = autobox.new_box(db(), viewer(), one.pipeline, conversation, now=now())
            made.append(box.key)
            names.append(box.name)
    ticket = Ticket(filings=_changed(before, ticked), made=made)
    words = f"Filed in {names[0]}" if len(names) == 1 else f"{count(len(names), 'suggestion')} accepted"
    return _done(words, ticket, [conversation for conversation, _ in found])


@bp.post("/inbox/dismiss")
@or_show(page)
def dismiss() -> Page:
    """Decline what is suggested for conversations; it is not suggested again."""
    ticked, found = _suggestions()
    before = refiling.snapshot(db(), [one.id for one in ticked])
    for _, one in found:
        filing.dismiss(db(), viewer(), one)
    words = "Declined; it is not suggested again"
    if len(found) > 1:
        words = f"{count(len(found), 'suggestion')} declined"
    return _done(words, Ticket(filings=_changed(before, ticked)), [])


def _suggestions() -> tuple[list[Conversation], list[tuple[Conversation, Filing]]]:
    """Conversations with a suggestion for each."""
    ticked = _ticked()
    shown = {row.conversation.id: row.suggested for row in rows.rows(db(), viewer(), ticked)}
    wanted = text("choice", 100).partition(" ")[2]
    found = []
    for conversation in ticked:
        open_ones = [one for one in shown[conversation.id] if one.state == SUGGESTED]
        named = [one for one in open_ones if one.key == wanted] if wanted else open_ones
        if named:
            found.append((conversation, named[0]))
    if not found:
        raise FilingError("This is no longer a suggestion; somebody has decided meanwhile")
    return [conversation for conversation, _ in found], found


@bp.post("/inbox/done")
@or_show(page)
def finish() -> Page:
    """Done: out of the lists until the next mail."""
    return _put_off(lambda: FOREVER, "done until the next mail")


@bp.post("/inbox/snooze")
@or_show(page)
def snooze() -> Page:
    """Out of the lists until a time, or until the next mail if that comes first."""
    until = _until()
    return _put_off(lambda: until, f"back {until_words(until)}, or with the next mail")


def _until() -> datetime:
    try:
        return snoozes.time_of(text("until", 20), text("day", 60), user().time_zone, now())
    except SnoozeError as error:
        raise Refused({"tag": str(error)}) from None


def _day_and_time(at: datetime) -> str:
    """When a snooze ends, by the user's clock."""
    return f"{at.astimezone(due.zone(user().time_zone)):%a %H:%M}"


def until_words(until: datetime) -> str:
    """When a snooze ends, as the user says it."""
    local = until.astimezone(due.zone(user().time_zone))
    day = due.words(local.date(), due.today(user().time_zone, now()))
    return f"{day} at {local:%H:%M}"


def _put_off(until: Callable[[], datetime], words: str) -> Page:
    ticked = _ticked()
    shown = _seen()
    newest = rows.newest(db(), viewer(), [one.id for one in ticked])
    seen = {one.id: shown.get(one.key) or newest.get(one.id) for one in ticked}
    before = snoozes.put_off(db(), viewer(), seen, until())
    told = f"{count(len(ticked), 'conversation')}: {words}" if len(ticked) > 1 else words[0].upper() + words[1:]
    return _done(told, Ticket(conversations=before), ticked, everywhere=True)


def _seen() -> dict[str, datetime]:
    """What each row had shown when the user decided: newer mail must not vanish with it."""
    found = {}
    for one in request.form.getlist("seen")[: 2 * AT_ONCE]:
        key, _, at = one.partition(".")
        parsed = cursor.parse(f"{at}.{key}") if at else None
        if parsed is not None:
            found[key] = parsed.at
    return found


@bp.post("/inbox/back")
@or_show(page)
def back() -> Page:
    """Into the inbox again."""
    ticked = _ticked()
    before = snoozes.bring_back(db(), viewer(), [one.id for one in ticked])
    return _done(f"{count(len(ticked), 'conversation')} back in the inbox", Ticket(conversations=before), [])
