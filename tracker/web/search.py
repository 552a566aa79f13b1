"""Search over boxes, contacts, organizations and mail, and the palette that jumps to them and begins things."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from flask import Blueprint, render_template, request, url_for
from markupsafe import Markup, escape
from sqlalchemy import text as sql
from sqlalchemy.exc import OperationalError

from tracker import due, search
from tracker.boxes import Box
from tracker.contacts import Contact, Organization
from tracker.search import START, STOP, Mail, Place, Wanted
from tracker.web import cursor, frame
from tracker.web.cursor import Cursor
from tracker.web.frame import Page, db, now, user, viewer

bp = Blueprint("search", __name__)
FEW, MAIL_FEW, PAGE = 6, 10, 30  # of each kind, of mail beside them, of mail on its own pages
PATIENCE_MS = 1500  # a section that takes longer is given up
Found = TypeVar("Found")
BROAD = "That is too broad to look through. Add a word, a name or a date such as after:2026-01-01."


@dataclass(frozen=True, slots=True)
class Results:
    """What was found, kind by kind; None for one that was given up."""

    boxes: Sequence[Box] | None = ()
    contacts: Sequence[Contact] | None = ()
    organizations: Sequence[Organization] | None = ()
    mail: Mail | None = None

    @property
    def is_nothing(self) -> bool:
        """Whether nothing was found anywhere, and nothing given up."""
        gave_up = self.boxes is None or self.contacts is None or self.organizations is None or self.mail is None
        return not (gave_up or self.boxes or self.contacts or self.organizations or (self.mail and self.mail.hits))


def _typed() -> str:
    return request.args.get("q", "").replace("\x00", "")[: search.LIMIT]


def _wanted() -> Wanted:
    return search.parse(_typed(), due.today(user().time_zone, now()), user().time_zone)


def _patiently(find: Callable[[], Found]) -> Found | None:
    """Ask, but not for long: what takes too long is given up, and the rest of the page is there all the same."""
    try:
        with db().begin_nested():
            db().execute(sql("SELECT set_config('statement_timeout', :limit, true)"), {"limit": str(PATIENCE_MS)})
            found = find()
            db().execute(sql("SELECT set_config('statement_timeout', '0', true)"))
            return found
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", "") != "57014":  # query_canceled
            raise
        return None


def _everything(wanted: Wanted) -> Results:
    session, who = db(), viewer()
    if wanted.is_empty:
        return Results(mail=Mail([]))
    mail = _patiently(lambda: search.find_mail(session, who, wanted, MAIL_FEW))
    if wanted.only_mail:
        return Results(mail=mail)
    return Results(
        _patiently(lambda: search.find_boxes(session, who, wanted, FEW)),
        _patiently(lambda: search.find_contacts(session, who, wanted, FEW)),
        _patiently(lambda: search.find_organizations(session, who, wanted, FEW)),
        mail,
    )


@bp.get("/search")
def show() -> Page:
    """The page; to htmx only what was found. With `?only=mail` mail alone, page by page."""
    wanted, alone = _wanted(), request.args.get("only") == "mail"
    after = cursor.parse(request.args.get("after"))
    if alone:
        place = Place(after.at, after.key) if after else None
        mail = _patiently(lambda: search.find_mail(db(), viewer(), wanted, PAGE, place))
        found = Results(mail=mail)
    else:
        found = _everything(wanted)
    more = Cursor(found.mail.more.at, found.mail.more.key) if found.mail and found.mail.more else None
    return render_template(
        "_search.html" if request.headers.get("HX-Request") else "search.html",
        q=_typed(),
        wanted=wanted,
        found=found,
        alone=alone,
        more=more,
        broad=BROAD,
        marked=lambda words: marked(words, wanted.terms),
        excerpt=excerpt,
    )


def excerpt(words: str) -> Markup:
    """An excerpt of the database's, escaped, with what was found marked."""
    plain = escape(" ".join(words.split()))
    return Markup(str(plain).replace(START, "<mark>").replace(STOP, "</mark>"))  # noqa: S704 - escaped above


def marked(words: str, terms: Sequence[str]) -> Markup:
    """A name or subject, escaped, with the words marked that begin as one of the terms."""
    if not terms:
        return escape(words)
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(re.escape(term) for term in terms)})", re.IGNORECASE)
    pieces, at = [], 0
    for match in pattern.finditer(words):
        pieces += [escape(words[at : match.start()]), Markup("<mark>"), escape(match[0]), Markup("</mark>")]
        at = match.end()
    return Markup("").join([*pieces, escape(words[at:])])


# -- the palette


@dataclass(frozen=True, slots=True)
class Jump:
    """A line of the palette: where it leads, or what it begins."""

    words: str
    address: str
    icon: str
    note: str = ""
    keys: str = ""
    pipeline: str = ""  #: the key of the one in which it makes a box


@bp.get("/search/palette")
def palette() -> Page:
    """Pages, things to begin, boxes, contacts and organizations that fit, as options of a list box."""
    typed = " ".join(_typed().split())
    pages, actions = _fitting(_pages(), typed), _fitting(_actions(), typed)
    wanted = search.parse(typed, now().date()) if typed else Wanted()
    found = Results()
    if wanted.has_words and not wanted.only_mail:
        found = Results(
            _patiently(lambda: search.find_boxes(db(), viewer(), wanted, 7)),
            _patiently(lambda: search.find_contacts(db(), viewer(), wanted, 5)),
            _patiently(lambda: search.find_organizations(db(), viewer(), wanted, 3)),
        )
    return render_template(
        "_palette.html", pages=pages, actions=actions, found=found, typed=typed,
        marked=lambda words: marked(words, wanted.terms),
    )  # fmt: skip


def _fitting(lines: Sequence[Jump], typed: str) -> list[Jump]:
    """Those of which every typed word begins a word."""
    words = typed.lower().split()
    fitting = []
    for line in lines:
        own = re.split(r"[\s·–-]+", f"{line.words} {line.note}".lower())
        if all(any(one.startswith(word) for one in own) for word in words):
            fitting.append(line)
    return fitting


def _pages() -> list[Jump]:
    lines = [
        Jump(item.label, url_for(item.endpoint), item.icon, keys=getattr(item, "key", ""))
        for item in frame.frame().nav
    ]
    for one in frame.nav_pipelines():
        board = url_for("board.show", key=one.key)
        lines.append(Jump(one.name, board, "board", "board"))
        lines.append(Jump(one.name, f"{board}/table", "table", "table"))
        lines.append(Jump(one.name, url_for("pipeline_settings.show", key=one.key), "settings", "settings"))
    return [*lines, Jump("You", url_for("me.show"), "person", "name and time zone")]


def _actions() -> list[Jump]:
    lines = [
        Jump(
            f"New box in {one.name}",
            url_for("board.show", key=one.key, _anchor="new-box"),
            "plus",
            pipeline=one.key,
        )
        for one in frame.nav_pipelines()
    ]
    lines.append(Jump("New task", url_for("followups.show", _anchor="new-task"), "task", "for you, in no box"))
    return [*lines, Jump("Add a pipeline", url_for("pipeline_settings.choose"), "plus")]
