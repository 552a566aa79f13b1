"""Writing a mail: the form, its preview in words, and what queueing it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flask import Blueprint, Response, abort, flash, redirect, render_template, request, url_for
from sqlalchemy import select

from gmail_sync.errors import GmailError, NeedsAttention
from scheduler import letters, outbox, preparing, replies, rich_text, sequences, sheet, snippets, timing, writing
from scheduler.letters import Letter, LetterError
from scheduler.local_time import LateRule
from scheduler.outbox import Guard, ScheduledEmail, When, Zone
from scheduler.sequences import SequenceError, Step
from scheduler.sheet import KEEP, Sheet
from scheduler.states import EDITABLE, State
from scheduler.timing import Asked, Timing, TimingError
from scheduler.web import sequences as web_sequences
from scheduler.web import tracked as web_tracked
from scheduler.web.base import own_email, told, wake, web, words_of
from scheduler.writing import Mail
from tracker.contacts import Contact, ContactAddress
from tracker.web import frame, notices
from tracker.web.forms import Refused, or_show, text
from tracker.web.frame import Page, db, local_path, now, user, viewer

bp = Blueprint("compose", __name__, template_folder="templates")
#: Where forms with files are sent: what the front lets through that is larger than other requests.
DOORS = ("/compose", "/outbox/")
#: Bytes of a form: the files of the largest mail as they are, and its text.
LARGEST_FORM = 28 * 1024 * 1024
#: Bytes of a form without its files: the longest text at four bytes a character, each of them escaped as %XX.
LARGEST_TEXT = rich_text.MAX_HTML * 12 + 1024 * 1024
SUGGESTED = 8
SHOWN = 12  # mails that a preview shows of many
#: What may be corrected and queued again.
CORRECTABLE = (State.FAILED, State.CANCELLED)
PLACES = ("to", "cc", "bcc", "subject", "body", "files", "when", "follow", "")

LATE = {
    LateRule.MORNING: "at once if it is still morning there, else at their next 9:00",
    LateRule.WORKING_HOURS: "at once within working hours there, else at their next 9:00",
    LateRule.NEXT_NINE: "at their next 9:00",
}
GUARDS = {
    Guard.ANSWERED: "Hold it if they answer first",
    Guard.BOX_CLOSED: "Hold it if the box was closed",
    Guard.SAME_TEXT: "Hold it if they were sent the same text before",
    Guard.DAILY_LIMIT: "Near Gmail’s daily limit, let it wait for the next morning",
}


@bp.url_value_preprocessor
def _with_files(_: str | None, __: object) -> None:
    """Files are larger than other forms; this comes before anybody reads the form."""
    request.max_content_length = LARGEST_FORM
    request.max_form_memory_size = LARGEST_TEXT  # Flask's own 500,000 bytes would refuse it before our words


@dataclass(frozen=True, slots=True)
class Preview:
    """What would go, and what stands in its way."""

    mails: Sequence[Mail] = ()
    problem: str = ""
    fields: Sequence[str] = ()  #: what is wrong with {{fields}}, in words that say where
    choices: dict[str, str] | None = None  #: choice → when that would be, in words
    threads: bool = True  #: an answer stays in its thread

    @property
    def missing(self) -> list[tuple[str, str]]:
        """Who has no value for which fields."""
        return [
            (letter_to(mail.letter), ", ".join(f"{{{{{one}}}}}" for one in mail.missing))
            for mail in self.mails
            if mail.missing
        ]


def letter_to(letter: Letter) -> str:
    """Whom a letter goes to, in short."""
    names = [one.name or one.address for one in letter.to or letter.recipients]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def preview_of(shown: Sheet) -> Preview:
    """What the form as it stands would do."""
    try:
        written = shown.written()
        fields = snippets.problems(db(), viewer().team_id, written.subject, written.html)
        asked = Timing(late=LateRule.MORNING) if shown.asked == KEEP else shown.timing()
        made = writing.mails(db(), user(), shown.mailbox, written, shown.box, asked, now())
    except (LetterError, TimingError) as error:
        return Preview(problem=str(error))
    except Refused as error:
        return Preview(problem=str(error))
    return Preview(made, fields=fields, choices=_choices(shown, made[0]), threads=_threads(shown))


def _choices(shown: Sheet, first: Mail) -> dict[str, str]:
    """When each of the simple choices would be."""
    found = {}
    for asked in (Asked.NINE, Asked.TOMORROW, Asked.MONDAY, Asked.DAYS):
        days = int(shown.days) if shown.days.isascii() and shown.days.isdigit() and len(shown.days) < 4 else 3
        try:
            chosen = Timing(asked, days=days, working_days=shown.working_days)
            found[asked.value] = timing.plan(chosen, first.places, timing.own_zone(user()), now()).words
        except TimingError:
            found[asked.value] = ""
    return found


def _threads(shown: Sheet) -> bool:
    if shown.message is None:
        return True
    same = replies.same_thread(shown.message.subject, shown.subject)
    return same and writing.thread_in(db(), shown.mailbox, shown.message) is not None


# -- pages


@bp.get("/compose")
def show() -> Page:
    """A new mail, or an answer: `?box=`, `?contact=`, `?to=`, `?reply=` with `&all`, `?template=`."""
    opened = sheet.opened()
    return _no_mailbox() if opened is None else _page(opened)


def _no_mailbox() -> str:
    return render_template("scheduler/no_mailbox.html")


def _page(shown: Sheet, *, previewed: bool = True) -> str:
    made = preview_of(shown) if previewed and (shown.to or shown.cc or shown.bcc) else None
    return render_template(
        "scheduler/compose.html", sheet=shown, templates=snippets.of_team(db(), viewer()), guards=GUARDS,
        late=LATE, follow_ups=_may_follow(shown), followed=web_sequences.given(),
        preview=made, tracking=web_tracked.forecast(shown, made.mails if made else ()), soon=web().soon,
        letter_to=letter_to, words_of=words_of, back=back(shown), most=letters.LARGEST, unstyled=sheet.unstyled,
    )  # fmt: skip


def back(shown: Sheet) -> str:
    """Where the form leads when it is left."""
    if shown.email is not None:
        return url_for("outbox.show", key=shown.email.key)
    conversation = shown.conversation()
    if conversation is not None:
        return url_for("conversation.show", key=conversation.key)
    return url_for("box.show", key=shown.box.key) if shown.box is not None else url_for("outbox.index")


def refused(key: str = "", **_: str) -> Page:
    """The form again with what was typed; to our script only what is wrong."""
    if request.headers.get("HX-Request"):
        return render_template("scheduler/_said.html", places=PLACES)
    return _page(_sent(key))


def _sent(key: str = "") -> Sheet:
    if not key:
        return sheet.sent()
    try:
        return sheet.filled(sheet.edited(*_editable(key)))
    except Refused:  # what it said is Gmail's alone, who does not tell: what was typed stays all the same
        return sheet.sent()


@bp.post("/compose")
@or_show(refused)
@told()
def send() -> Page:
    """Queue it, or (without scripts) preview it or put a template in."""
    shown, what = sheet.sent(), text("do")
    if what == "template":
        if text("template"):
            sheet.use_template(shown, text("template"))
        return _page(shown)
    if what == "preview":
        return _page(shown)
    made, steps = _mails(shown), _steps()
    queued = [outbox.queue(db(), viewer(), shown.mailbox, one.letter, one.planned.when, shown.about(), now=now())
              for one in made]  # fmt: skip
    _follow_up(queued, steps)
    wake(shown.mailbox.id)
    words = f"Queued. {_first(made[0].planned.words)}" if len(made) == 1 else f"{len(made)} mails queued"
    words += f", and {_follow_ups(steps)} if no answer comes" if steps else ""
    notices.undoable(words, "outbox.take_back", {"emails": ",".join(one.key for one in queued)})
    return _on(back(shown))


def _first(words: str) -> str:
    return words if words.startswith(("At once", "In one")) else f"It goes {words}"


def _follow_ups(steps: Sequence[Step]) -> str:
    return f"{len(steps)} follow-up{'' if len(steps) == 1 else 's'}"


def _may_follow(shown: Sheet) -> bool:
    """Whether the form offers follow-ups: a mail has them once, and a follow-up has none of its own."""
    email = shown.email
    return email is None or (email.sequence_run_id is None and web_sequences.of_email(db(), email) is None)


def _steps() -> list[Step]:
    """The follow-ups that the form asks for. Raises `Refused`."""
    try:
        return web_sequences.asked(db(), viewer(), web_sequences.given())
    except SequenceError as error:
        raise Refused({"follow": str(error)}) from None


def _follow_up(emails: Sequence[ScheduledEmail], steps: Sequence[Step]) -> None:
    """Follow up each, in the transaction that queues them. Raises `Refused`."""
    try:
        for email in emails if steps else ():
            sequences.start(db(), viewer(), email, steps, now=now())
    except SequenceError as error:
        raise Refused({"follow": str(error)}) from None


def _mails(shown: Sheet) -> list[Mail]:
    """What is to be queued; every reason not to is told at its place."""
    written, asked = shown.written(sheet.files()), shown.timing()
    if asked.asked == Asked.DAYS and Guard.ANSWERED in shown.guards_off:
        raise Refused({"when": f"To hold it if an answer comes, tick “{GUARDS[Guard.ANSWERED]}” again"})
    if not shown.html.strip() and not shown.subject:
        raise LetterError("body", "There is nothing in it yet: write a subject or a text")
    wrong = snippets.problems(db(), viewer().team_id, written.subject, written.html)
    if wrong:
        raise LetterError(
            "subject" if all(one.startswith("Subject") for one in wrong) else "body", ". ".join(wrong)
        )
    made = writing.mails(db(), user(), shown.mailbox, written, shown.box, asked, now())
    missing = Preview(made).missing
    if missing:
        lines = [f"Nothing is known for {fields} of {who}" for who, fields in missing[:5]]
        raise LetterError(
            "body", f"{'. '.join(lines)}. Write a fallback, as {{{{first_name|there}}}}, or take it out"
        )
    return made


def _on(where: str) -> Page:
    """To the page that comes next; our script goes there itself."""
    if request.headers.get("HX-Request"):
        return Response("", headers={"HX-Redirect": where})
    return redirect(where, 303)


@bp.post("/compose/preview")
def preview() -> Page:
    """What the form as it stands would do, for htmx."""
    shown = _sent(text("email"))
    made = preview_of(shown) if shown.to or shown.cc or shown.bcc else None
    return render_template(
        "scheduler/_preview.html", sheet=shown, preview=made, letter_to=letter_to, oob=True, words_of=words_of,
        unstyled=sheet.unstyled, tracking=web_tracked.forecast(shown, made.mails if made else ()),
    )  # fmt: skip


@bp.get("/compose/people")
def people() -> Page:
    """Contacts to choose from while a line of addresses is typed: `<option>`s that hold the whole line."""
    field = next((name for name in ("to", "cc", "bcc") if name in request.args), "to")
    line = request.args.get(field, "").replace("\x00", "")[: sheet.LINE]
    before, comma, typed = line.rpartition(",")
    typed = typed.strip()[:100]
    if len(typed) < 2 or ("@" in typed and "." in typed.rpartition("@")[2]):
        return ""
    like = typed.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    query = (
        select(Contact.name, ContactAddress.address)
        .join(ContactAddress, ContactAddress.contact_id == Contact.id)
        .where(Contact.team_id == viewer().team_id)
        .where(Contact.name.ilike(f"%{like}%") | ContactAddress.address.ilike(f"{like}%"))
        .order_by(Contact.name, ContactAddress.id)
    )
    found = db().execute(query.limit(SUGGESTED)).all()
    lines = [f"{before}{comma}{' ' if comma else ''}{_option(name, spec)}" for name, spec in found]
    return render_template("scheduler/_people.html", lines=lines)


def _option(name: str, spec: str) -> str:
    return writing.in_line([letters.address(name, spec)])


# -- editing what is queued


def _set_time(email: ScheduledEmail, shown: Sheet, when: When | None) -> None:
    """Another time, or (None) the one that it has with what else the form says of it."""
    before = outbox.when_of(email)
    late = LateRule(shown.late) if shown.late in set(LateRule) else before.late
    same = replace(before, working_days=shown.working_days, late=late)
    if when is not None and when.rule == Zone.NOW:
        outbox.send_now(db(), viewer(), email, now=now())
    elif when is not None:
        outbox.reschedule(db(), viewer(), email, when, now=now())
    elif same != before and same.rule != Zone.NOW and same.instant > now():
        outbox.reschedule(db(), viewer(), email, same, now=now())


def _editable(key: str) -> tuple[ScheduledEmail, Letter]:
    """One's own mail that may still be changed, and what it says; 404 for others'. Raises `Refused`."""
    email = own_email(key)
    if email is None or email.user_id != viewer().user_id:
        abort(404)
    letter = outbox.letter_of(email)
    if letter is None and email.draft_id is not None:
        draft = email.draft_id
        frame.release()  # the text is Gmail's alone: nothing is held open while it is asked
        try:
            letter = preparing.draft_letter(web().post, email.mailbox_id, draft)
        except GmailError as error:
            unsaid = "Gmail does not hand out this draft just now"
            words = str(error) if isinstance(error, NeedsAttention) else unsaid
            raise Refused({"": words}, 503) from error
    return email, letter or abort(404)


@bp.get("/outbox/<key>/edit")
def edit(key: str) -> Page:
    """The form of a mail that is queued; one that has gone is only shown."""
    email = own_email(key) or abort(404)
    if email.state not in (*EDITABLE, *CORRECTABLE):
        flash("It can’t be changed any more", "failed")
        return redirect(url_for("outbox.show", key=key))
    try:
        return _page(sheet.edited(*_editable(key)))
    except Refused as refusal:
        flash(f"{refusal.messages['']}: it can’t be changed before", "failed")
        return redirect(url_for("outbox.show", key=key))


@bp.post("/outbox/<key>/edit")
@or_show(refused)
@told()
def save(key: str) -> Page:
    """Change what it says, whom it goes to, and when."""
    email, letter = _editable(key)
    shown, what = sheet.filled(sheet.edited(email, letter)), text("do")
    if what in ("template", "preview"):
        if what == "template" and text("template"):
            sheet.use_template(shown, text("template"))
        return _page(shown)
    if text("version") != str(email.version):
        raise outbox.OutboxConflict("It was changed meanwhile; look at it again")
    kept, shown.separate = shown.asked == KEEP, False
    if kept:
        shown.asked = Asked.NINE.value
    (made,), steps = _mails(shown), _steps()
    if email.state in CORRECTABLE:  # it has to be queued again first; its time may have passed
        outbox.restore(db(), viewer(), email, None if kept else made.planned.when, now=now())
    outbox.edit(db(), viewer(), email, made.letter, now=now())
    if {*email.guards_off} != {guard.value for guard in shown.guards_off}:
        outbox.guard(db(), viewer(), email, shown.guards_off)
    opens, clicks = shown.track_opens, shown.track_clicks
    if opens is not None and clicks is not None and (email.track_opens, email.track_clicks) != (opens, clicks):
        outbox.track(db(), viewer(), email, opens=opens, clicks=clicks)
    _set_time(email, shown, None if kept else made.planned.when)
    _follow_up([email], steps)
    wake(email.mailbox_id)
    words = "Saved" if kept else f"Saved. {_first(made.planned.words)}"
    flash(f"{words}, and {_follow_ups(steps)} if no answer comes" if steps else words, "done")
    return _on(local_path(url_for("outbox.show", key=email.key)))
