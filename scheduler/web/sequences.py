"""Follow-ups on the pages: what the compose form asks for, the panel on the box, pausing, going on, ending."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from flask import Blueprint, Flask, abort, g, render_template
from markupsafe import Markup
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload, selectinload

from scheduler import outbox, rich_text, sequence_plans, sequence_sent, sequences, snippets
from scheduler.local_time import in_words
from scheduler.outbox import OutboxError, ScheduledEmail
from scheduler.sequence_plans import SequencePlan
from scheduler.sequences import (
    LIVE,
    MOST_STEPS,
    RunState,
    SequenceError,
    SequenceRun,
    SequenceStep,
    Step,
    StepState,
)
from tracker import due
from tracker.boxes import Box
from tracker.conversations import Conversation
from tracker.people import Role, Viewer
from tracker.web import box_page, errors, forms, frame, words
from tracker.web import conversation as conversation_page
from tracker.web.forms import Refused, done, or_show, text
from tracker.web.frame import BoxPanel, ConversationPanel, Page, db, now, user, viewer

bp = Blueprint("sequences", __name__, template_folder="templates")

WORDS = {
    "sequence.started": "set {steps} follow-ups for “{subject}” if no answer comes",
    "sequence.queued": "queued follow-up {step} of “{subject}”",
    "sequence.paused": "paused the follow-ups of “{subject}”",
    "sequence.resumed": "let the follow-ups of “{subject}” go on",
    "sequence.stopped": "ended the follow-ups of “{subject}”",
    "sequence.done": "sent the last follow-up of “{subject}”; no answer came",
}
STATES = {
    RunState.WAITING: ("Begins when the mail has gone", ""),
    RunState.RUNNING: ("If no answer comes", "news"),
    RunState.PAUSED: ("Paused", "warn"),
    RunState.DONE: ("All sent, no answer", ""),
    RunState.STOPPED: ("Ended", ""),
}


# -- what the compose form asks for


def asked(session: Session, who: Viewer, form: Mapping[str, str]) -> list[Step]:
    """The follow-ups that a form asks for: `follow_days-1` … with `follow_template-1` or `follow_text-1` …

    Empty rows are left out; so none may be asked for. Where none is filled in, `follow_plan` names saved ones;
    `follow_save` is the name to save them under. Raises `SequenceError`.
    """
    found = _rows(session, who, form) or _planned(session, who, form.get("follow_plan", ""))
    steps = sequences.checked(session, who.team_id, found) if found else []
    if (name := form.get("follow_save", "")).strip():
        if not steps:
            raise SequenceError("There are no follow-ups to save; say after how many days, and what")
        sequence_plans.keep(session, who, name, steps)
    return steps


def _planned(session: Session, who: Viewer, key: str) -> list[Step]:
    if not key:
        return []
    plan = sequence_plans.by_key(session, who, key[:100])
    if plan is None:
        raise SequenceError("Those saved follow-ups are gone; choose others")
    return sequence_plans.steps_of(plan)


def _rows(session: Session, who: Viewer, form: Mapping[str, str]) -> list[Step]:
    found = []
    for number in range(1, MOST_STEPS + 1):
        days = form.get(f"follow_days-{number}", "").strip()
        written = form.get(f"follow_text-{number}", "").strip()
        chosen = form.get(f"follow_template-{number}", "")[:100]
        if not (days or written or chosen):
            continue
        if not days:
            raise SequenceError(f"Follow-up {number}: say after how many days")
        if not days.isdecimal() or len(days) > 3:
            raise SequenceError(f"Follow-up {number}: expected a number of days")
        template = snippets.by_key(session, who, chosen)
        if not written and template is None:
            raise SequenceError(f"Follow-up {number} says nothing; choose a template, or write a text")
        html = rich_text.from_plain(written) if written or template is None else template.html
        found.append(Step(int(days), html))
    return found


def given() -> dict[str, str]:
    """What the present form says of follow-ups; nothing where none was sent."""
    rows = {name: text(name, 10_000) for number in range(1, MOST_STEPS + 1) for name in _names(number)}
    return rows | {name: text(name, 200) for name in ("follow_plan", "follow_save")}


def saved() -> Sequence[SequencePlan]:
    """The viewer's saved follow-ups, for the forms of a page; one query a request."""
    if "saved_follow_ups" not in g:
        g.saved_follow_ups = sequence_plans.of_user(db(), viewer())
    found: Sequence[SequencePlan] = g.saved_follow_ups
    return found


def of_email(session: Session, email: ScheduledEmail) -> SequenceRun | None:
    """The run that follows up a mail, while anything of it may still go out."""
    query = select(SequenceRun).where(SequenceRun.email_id == email.id, SequenceRun.state.in_(LIVE))
    return session.scalar(query)


# -- the panel


@dataclass(frozen=True, slots=True)
class Shown:
    """A run as the panel tells it."""

    run: SequenceRun
    may_change: bool

    @property
    def state(self) -> tuple[str, str]:
        """In words, and the kind of its badge."""
        return STATES[RunState(self.run.state)]

    @property
    def live(self) -> bool:
        """Whether anything may still go out."""
        return self.run.state in LIVE

    @property
    def lines(self) -> list[tuple[int, str]]:
        """Each step with when it goes, or went."""
        return [(step.position, self._told(step)) for step in self.run.steps]

    def _told(self, step: SequenceStep) -> str:
        after = f"{step.days} day{'' if step.days == 1 else 's'} after the mail before it"
        if step.state == StepState.SENT:
            return f"sent {_wall(step.sent_at)}" if step.sent_at else "sent"
        if not self.live:
            return "not sent"
        if step.due_at is not None and self.run.state == RunState.RUNNING:
            return f"{'goes' if step.state == StepState.QUEUED else 'would go'} {_wall(step.due_at)}"
        return after


def _wall(at: datetime) -> str:
    zone = due.zone(user().time_zone)
    own = zone if isinstance(zone, ZoneInfo) else ZoneInfo("UTC")
    return in_words(at, own, "", own, now())


def panel_of(who: Viewer, email: ScheduledEmail) -> str | None:
    """The follow-ups of one mail, for its own page: a mail without a box has them nowhere else."""
    query = select(SequenceRun).where(SequenceRun.email_id == email.id).order_by(SequenceRun.id.desc()).limit(3)
    runs = db().scalars(query.options(selectinload(SequenceRun.steps), joinedload(SequenceRun.user))).all()
    shown = [Shown(run, who.role == Role.ADMIN or who.user_id == run.user_id) for run in runs]
    return render_template("scheduler/_sequences.html", runs=shown, emails=(), templates=()) if runs else None


def panel(who: Viewer, box: Box) -> str | None:
    """The box's follow-ups, and its queued mail that has none; None if there is neither."""
    runs = sequences.of_box(db(), who, box.id)
    followed = {run.email_id for run in runs if run.state in LIVE}
    queued = [one for one in outbox.of_box(db(), who, box.id, limit=5) if one.sequence_run_id is None]
    open_mail = [one for one in queued if one.id not in followed and one.user_id == who.user_id]
    if not runs and not open_mail:
        return None
    shown = [Shown(run, who.role == Role.ADMIN or who.user_id == run.user_id) for run in runs]
    templates = snippets.of_team(db(), who) if open_mail else []
    return render_template("scheduler/_sequences.html", runs=shown, emails=open_mail, templates=templates)


def conversation_panel(who: Viewer, conversation: Conversation) -> str | None:
    """The conversation's follow-ups; and its last mail, if it is one's own and nothing follows it up."""
    runs = sequence_sent.of_conversation(db(), who, conversation.id)
    copy = sequence_sent.last_own(db(), who, conversation.id)
    if not runs and copy is None:
        return None
    shown = [Shown(run, who.role == Role.ADMIN or who.user_id == run.user_id) for run in runs]
    templates = snippets.of_team(db(), who) if copy is not None else []
    after = conversation if copy is not None else None
    html = render_template("scheduler/_sequences.html", runs=shown, emails=(), templates=templates, after=after)
    return Markup(html)  # noqa: S704 - our own template


# -- what is done there


def _run(key: str) -> SequenceRun:
    found = sequences.by_key(db(), viewer(), key[:100].replace("\x00", ""))
    return found if found is not None else abort(404)


def _back(run: SequenceRun, told: str) -> Page:
    box = db().get(Box, run.box_id) if run.box_id else None
    if box is not None:
        return done(told, "box.show", "follow-ups", key=box.key)
    email = db().get(ScheduledEmail, run.email_id) if run.email_id else None
    return done(told, "outbox.show", "follow-ups", key=email.key) if email else done(told, "followups.show")


def _email(key: str) -> ScheduledEmail:
    found = outbox.by_key(db(), viewer(), key[:100].replace("\x00", ""))
    return found if found is not None else abort(404)


def _on_box(box_id: int | None) -> Page:
    """The box's page, with the refusal where it belongs and what was typed."""
    box = db().get(Box, box_id) if box_id else None
    return box_page.page(box.key) if box is not None else errors.show(409, forms.refusal_at("follow"))[0]


def _refused(key: str) -> Page:
    return _on_box(_run(key).box_id)


def _refused_start(key: str) -> Page:
    return _on_box(_email(key).box_id)


def _change(key: str, to: str) -> Page:
    run = _run(key)
    try:
        if to == "pause":
            sequences.pause(db(), viewer(), run)
        elif to == "resume":
            sequences.resume(db(), viewer(), run, now=now())
        else:
            sequences.stop(db(), viewer(), run, now=now())
    except PermissionError:
        abort(403)
    except (SequenceError, OutboxError) as error:
        raise Refused({"follow": str(error)}, 409) from None
    told = {"pause": "The follow-ups are paused", "resume": "The follow-ups go on"}
    return _back(run, told.get(to, "The follow-ups are ended"))


@bp.post("/sequences/<key>/pause")
@or_show(_refused)
def pause(key: str) -> Page:
    """Queue nothing more for now."""
    return _change(key, "pause")


@bp.post("/sequences/<key>/resume")
@or_show(_refused)
def resume(key: str) -> Page:
    """Go on."""
    return _change(key, "resume")


@bp.post("/sequences/<key>/stop")
@or_show(_refused)
def stop(key: str) -> Page:
    """End them."""
    return _change(key, "stop")


@bp.post("/sequences/<key>/unsubscribe")
@or_show(_refused)
def unsubscribe(key: str) -> Page:
    """Its recipients are followed up by nobody any more."""
    run = _run(key)
    try:
        sequences.may_change(viewer(), run)
        for address in sorted(run.recipients):  # in one order, for whoever does the same at once
            sequences.unsubscribe(db(), viewer(), address, "they asked for it", now=now())
    except PermissionError:
        abort(403)
    except (SequenceError, OutboxError) as error:
        raise Refused({"follow": str(error)}, 409) from None
    return _back(run, "Nobody follows up with them any more")


@bp.post("/sequences/for/<key>")
@or_show(_refused_start)
def start(key: str) -> Page:
    """Follow up a queued mail."""
    email = _email(key)
    if email.user_id != viewer().user_id:
        abort(403)
    try:
        run = sequences.start(db(), viewer(), email, asked(db(), viewer(), given()), now=now())
    except SequenceError as error:
        raise Refused({f"follow-{email.key}": str(error)}) from None
    return _back(run, "If no answer comes, it is followed up")


def _refused_after(key: str) -> Page:
    return conversation_page.page(key)


@bp.post("/sequences/after/<key>")
@or_show(_refused_after)
def start_after(key: str) -> Page:
    """Follow up the last mail of a conversation, which has gone already."""
    conversation = conversation_page.found(key)
    copy = sequence_sent.last_own(db(), viewer(), conversation.id)
    if copy is None:
        raise Refused(
            {"follow": "Its last mail is not yours any more, or is followed up already; look again"}, 409
        )
    try:
        sequence_sent.start(db(), viewer(), copy, asked(db(), viewer(), given()), now=now())
    except SequenceError as error:
        raise Refused({f"follow-{key}": str(error)}) from None
    return done("If no answer comes, it is followed up", "conversation.show", "follow-ups", key=key)


@bp.post("/sequences/plans/<key>/delete")
def forget(key: str) -> Page:
    """Delete saved follow-ups; those that were begun from them go on."""
    plan = sequence_plans.by_key(db(), viewer(), key[:100].replace("\x00", "")) or abort(404)
    name = plan.name
    db().delete(plan)
    return done(f"The saved follow-ups “{name}” are deleted", "mail_templates.index")


def _names(number: int) -> Sequence[str]:
    return [f"follow_{name}-{number}" for name in ("days", "template", "text")]


def init_app(app: Flask) -> None:
    """Add the panel and its actions to an application that has the frame."""
    app.register_blueprint(bp)
    app.add_template_global(saved, "saved_follow_ups")
    frame.register_box_panel(app, BoxPanel("Follow-ups by mail", panel, order=20))
    frame.register_conversation_panel(app, ConversationPanel("Follow-ups by mail", conversation_panel))
    for kind, told in WORDS.items():
        words.register(kind, told)
