"""Pages of the calendar: a rep's own feed and its address, and the team's days off."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Flask, Response, abort, current_app, render_template, request

from scheduler import calendar, reminders
from scheduler.calendars import jobs as calendar_jobs
from scheduler.calendars import team_days
from scheduler.calendars.ics import MOST_BYTES
from scheduler.calendars.team_days import DaysError
from tracker import due
from tracker.jobs import Jobs
from tracker.people import Role
from tracker.web import frame
from tracker.web.forms import Refused, done, or_show, text
from tracker.web.frame import NavItem, Page, db, now, public, user, viewer

bp = Blueprint("calendar", __name__, template_folder="templates")
EXTENSION = "tracker_calendar"
NEXT = 8  # days off that the page shows


@dataclass(frozen=True, slots=True)
class Web:
    """What these pages are handed."""

    jobs: Jobs
    public_url: str


def _web() -> Web:
    found = current_app.extensions[EXTENSION]
    assert isinstance(found, Web)
    return found


# -- the feed


@bp.get("/calendar/<secret>.ics")
@public
def feed(secret: str) -> Page:
    """The feed, to whoever knows its address; 304 if it is still what the calendar has."""
    owner = calendar.owner_of(db(), secret, now()) if len(secret) < 100 else None
    if owner is None:
        abort(404)
    frame.lock_to(owner.team_id)
    name = f"Tracker: {owner.name}"
    made = calendar.as_ics(name, owner.time_zone, calendar.entries(db(), owner, now()), _address)
    response = Response(made, mimetype="text/calendar")
    response.headers["Content-Disposition"] = 'inline; filename="tracker.ics"'
    response.headers["Cache-Control"] = "private, max-age=300"
    response.headers["X-Robots-Tag"] = "noindex"
    response.add_etag()
    return response.make_conditional(request)


def _address(path: str) -> str:
    return f"{_web().public_url}{path}"


# -- the page


def page(address: str = "") -> str:
    """The page; with a new address, which is shown this once."""
    kept = team_days.of_team(db(), viewer().team_id)
    today = due.today(user().time_zone, now())
    return render_template(
        "scheduler/calendar.html",
        feed=calendar.of_user(db(), user().id),
        address=address,
        webcal=address.replace("https://", "webcal://").replace("http://", "webcal://"),
        team=team_days.calendar_of(db(), viewer().team_id),
        days=[(day, why, due.words(day, today)) for day, why in sorted(kept.items()) if day >= today][:NEXT],
        number=len(kept),
        rung=reminders.rung(db(), user()),
        coming=reminders.coming(db(), user(), now()),
        may_set=viewer().role != Role.GUEST,
    )


@bp.get("/calendar")
def show() -> Page:
    """The page."""
    return page()


@bp.post("/calendar/address")
@or_show(page)
def make() -> Page:
    """Make an address; the one before ends with it. It stands on the page that answers, and on no other."""
    return page(_address(f"/calendar/{calendar.make(db(), viewer(), now())}.ics"))


@bp.post("/calendar/revoke")
@or_show(page)
def revoke() -> Page:
    """End the address."""
    ended = calendar.revoke(db(), viewer())
    return done("The address is ended; calendars that use it get nothing more" if ended else "", "calendar.show")


@bp.post("/calendar/days-off")
@or_show(page)
def set_days() -> Page:
    """Take the team's days off from an address or a file."""
    file = request.files.get("file")
    try:
        if file is not None and file.filename:
            data = file.stream.read(MOST_BYTES + 1)
            made = team_days.upload(db(), viewer(), file.filename, data, now())
            number = len(team_days.of_team(db(), made.team_id))
            return done(f"{number} days off are taken from {made.name}", "calendar.show", "days-off")
        made = team_days.subscribe(db(), viewer(), text("url", 3_000), now())
    except DaysError as error:
        raise Refused({"days": str(error)}) from None
    except PermissionError:
        abort(403)
    jobs = _web().jobs
    frame.after_commit(lambda: calendar_jobs.wake_days(jobs))
    return done(f"The days off are being fetched from {made.name}", "calendar.show", "days-off")


@bp.post("/calendar/days-off/remove")
@or_show(page)
def remove_days() -> Page:
    """Forget them."""
    try:
        team_days.remove(db(), viewer())
    except PermissionError:
        abort(403)
    return done("The team’s own days off are forgotten", "calendar.show", "days-off")


def init_app(app: Flask, jobs: Jobs, *, public_url: str) -> None:
    """Add the pages to an application that has the frame."""
    app.extensions[EXTENSION] = Web(jobs, public_url)
    app.register_blueprint(bp)
    frame.register_nav(app, NavItem("Calendar", "calendar.show", "calendar", order=60))
