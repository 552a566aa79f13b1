"""The team: who is in it, who is invited, and how somebody leaves. Admins change it, members see it."""

from __future__ import annotations

from urllib.parse import quote

from flask import Blueprint, abort, render_template, request
from sqlalchemy import select

from tracker import invitations, leaving, people, pipelines, row_security, sessions
from tracker.boxes import Box
from tracker.invitations import Invitation
from tracker.leaving import Choice, Plan
from tracker.people import PeopleError, Role, Team, User
from tracker.web import frame
from tracker.web.forms import Refused, done, or_show, text
from tracker.web.frame import Page, db, now, viewer

bp = Blueprint("team", __name__)
ROLES = [
    (Role.MEMBER.value, "Member: sees what is open to the team"),
    (Role.ADMIN.value, "Admin: a member who also says who is in the team"),
    (Role.GUEST.value, "Guest: sees only the pipelines and boxes that they are named in"),
]
CANCEL = "cancel"  #: of queued mail, instead of somebody's key
SHORT_ROLES = [(Role.MEMBER.value, "Member"), (Role.ADMIN.value, "Admin"), (Role.GUEST.value, "Guest")]


def page(**_: str) -> str:
    """The page."""
    who = viewer()
    admin = who.role == Role.ADMIN
    everybody = people.of_team(db(), who.team_id)
    if who.role == Role.GUEST:  # whom they can ask
        everybody = [one for one in everybody if one.role == Role.ADMIN or one.id == who.user_id]
    invited = invitations.of_team(db(), who.team_id, now()) if admin else []
    lock = row_security.lock_of(db()) if admin else None
    return render_template(
        "team.html", lock=lock, admin=admin,
        team=db().get_one(Team, who.team_id), people=everybody, invited=invited,
        mailto={one.key: _mailto(one) for one in invited}, roles=ROLES, short_roles=SHORT_ROLES,
        domains=invitations.allowed(db(), who.team_id) if admin else [],
        may_allow=invitations.may_allow(db(), who.team_id) if admin else [],
        pipelines=pipelines.of_team(db(), who.team_id) if admin else [],
        named={one.key: _named(one, who.team_id) for one in invited if one.role == Role.GUEST},
    )  # fmt: skip


def _named(invitation: Invitation, team_id: int) -> str:
    """What a guest will see: pipelines by name, boxes as far as the admin sees them."""
    names = {one.key: one.name for one in pipelines.of_team(db(), team_id)}
    whole = [names[key] for key in invitation.pipelines if key in names]
    query = select(Box.name).where(Box.team_id == team_id, Box.key.in_(invitation.boxes), Box.deleted_at.is_(None))
    single = db().scalars(query.order_by(Box.name)).all() if invitation.boxes else ()
    return ", ".join([*whole, *(f"the box {name}" for name in single)])


def _mailto(invitation: Invitation) -> str:
    """An invitation as a mail in the admin's own program. It holds no secret: the address is what lets them in."""
    host = request.host_url.rstrip("/")
    subject = f"{frame.user().name} invites you to Tracker"
    body = (
        f"Hello,\n\nour team works with Tracker. Open {host}/sign-in and sign in with Google as "
        f"{invitation.address}, until {invitation.expires_at:%-d %B %Y}.\n"
    )
    return f"mailto:{quote(invitation.address, safe='@')}?subject={quote(subject)}&body={quote(body)}"


@bp.get("/team")
def show() -> Page:
    """The page."""
    return page()


def _admin() -> None:
    if viewer().role != Role.ADMIN:
        abort(403)


def _person(key: str) -> User:
    found = people.by_key(db(), key[:100])
    return found if found is not None and found.team_id == viewer().team_id else abort(404)


def _role() -> Role:
    try:
        return Role(request.form.get("role", ""))
    except ValueError:
        abort(400)


# -- inviting


@bp.post("/team/invitations")
@or_show(page)
def invite() -> Page:
    """Invite somebody."""
    _admin()
    known = {one.key for one in pipelines.of_team(db(), viewer().team_id)}
    chosen = [key for key in request.form.getlist("pipeline")[:100] if key in known]
    role = _role()
    if role == Role.GUEST and not chosen:
        raise Refused({"invite": "Tick a pipeline that the guest may see; to a single box they are invited there"})
    try:
        made = invitations.invite(db(), viewer(), text("address", 320), role, now=now(), pipelines=chosen)
    except PeopleError as error:
        raise Refused({"invite": str(error)}) from None
    return done(f"{made.address} may join now; tell them with “Write to them”", "team.show", anchor="invited")


@bp.post("/team/invitations/<key>/withdraw")
def withdraw(key: str) -> Page:
    """Take one back."""
    _admin()
    found = invitations.by_key(db(), viewer(), key[:100]) or abort(404)
    invitations.withdraw(db(), viewer(), found, now())
    return done(f"{found.address} is invited no more", "team.show")


@bp.post("/team/domains")
@or_show(page)
def allow() -> Page:
    """Let a Workspace domain's people join."""
    _admin()
    domain = text("domain", 253)
    try:
        invitations.allow(db(), viewer(), domain)
    except PeopleError as error:
        raise Refused({"domains": str(error)}) from None
    return done(f"Everybody of {domain} may join as a member now", "team.show")


@bp.post("/team/domains/remove")
def disallow() -> Page:
    """Nobody joins by it any more."""
    _admin()
    domain = text("domain", 253)
    invitations.disallow(db(), viewer(), domain)
    return done(f"Nobody joins by {domain} any more; who has joined stays", "team.show")


# -- people


@bp.post("/team/<key>/role")
@or_show(page)
def change_role(key: str) -> Page:
    """Make somebody an admin, a member or a guest."""
    _admin()
    found, role = _person(key), _role()
    try:
        people.change_role(db(), viewer(), found, role)
    except PeopleError as error:
        raise Refused({f"role-{found.key}": str(error)}) from None
    return done(f"{found.name} is {dict(SHORT_ROLES)[role.value].lower()} now", "team.show")


@bp.post("/team/<key>/sessions")
def end_sessions(key: str) -> Page:
    """Sign somebody out everywhere."""
    _admin()
    found = _person(key)
    own = frame.sign_in_now() if found.id == viewer().user_id else None
    number = sessions.end_all(db(), viewer(), found, now(), but=own)
    return done(f"{number} session{'s' * (number != 1)} of {found.name} ended", "team.show")


@bp.post("/team/<key>/google")
def forget_google(key: str) -> Page:
    """Let somebody sign in with another Google account of the same address."""
    _admin()
    found = _person(key)
    people.forget_google(db(), viewer(), found)
    own = frame.sign_in_now() if found.id == viewer().user_id else None
    sessions.end_all(db(), viewer(), found, now(), but=own)
    return done(f"Whoever signs in with Google as {found.address} next is {found.name}", "team.show")


# -- leaving


def confirm_page(key: str) -> str:
    """What will happen, in numbers, and who has their work then."""
    found = _person(key)
    others = [one for one in people.of_team(db(), found.team_id) if one.id != found.id and one.role != Role.GUEST]
    plan = leaving.plan(db(), viewer(), found, now())
    mine = next((one.key for one in others if one.id == viewer().user_id), "")
    return render_template(
        "team_remove.html", person=found, plan=plan, ends=_ends(plan), heir=mine,
        heirs=[*((one.key, one.name) for one in others), ("", "Nobody")], mail=_mail_choices(others),
    )  # fmt: skip


def _ends(plan: Plan) -> str:
    """What ends, without what there is none of."""
    counted = ((plan.sessions, "session"), (plan.api_keys, "API key"))
    found = [f"{number} {noun}{'s' * (number != 1)}" for number, noun in counted if number]
    alone = len(found) == 1 and 1 in (plan.sessions, plan.api_keys)
    return f"{' and '.join(found)} {'ends' if alone else 'end'}" if found else ""


def _mail_choices(others: list[User]) -> list[tuple[str, str]]:
    """Who may be handed queued mail: it goes from a mailbox of theirs. Nobody is chosen beforehand."""
    may = [one for one in others if leaving.may_send(db(), one)]
    held = [(one.key, f"{one.name}, held until they look") for one in may]
    return [("", "Choose…"), *held, (CANCEL, "Nobody: it is cancelled")]


@bp.get("/team/<key>/remove")
def ask_to_remove(key: str) -> Page:
    """Ask first."""
    _admin()
    return confirm_page(key)


@bp.post("/team/<key>/remove")
@or_show(confirm_page)
def remove(key: str) -> Page:
    """Remove somebody."""
    _admin()
    found = _person(key)
    if request.form.get("sure") != "yes":
        raise Refused({"remove": "Tick that you are sure"})
    choice = Choice(_chosen("heir"), _mail_to(found))
    myself = found.id == viewer().user_id
    try:
        left = leaving.leave(db(), viewer(), found, choice, now())
    except PeopleError as error:
        raise Refused({"remove": str(error)}) from None
    for tell in frame.frame().after_leaving:
        frame.after_commit(lambda tell=tell: tell(left.mailboxes))  # type: ignore[misc]
    if myself:
        return done("", frame.frame().sign_in_endpoint or "team.show")
    words = [f"{found.name} is removed; what they had shared stays", *left.told]
    return done(". ".join(one[0].upper() + one[1:] for one in words), "team.show")


def _mail_to(found: User) -> User | None:
    """Who has the queued mail. Where some waits, somebody has to say: it is not cancelled by oversight."""
    chosen = text("mail_to", 100)
    if not chosen and leaving.plan(db(), viewer(), found, now()).queued:
        raise Refused({"remove": "Choose what becomes of the queued mail"})
    return _person(chosen) if chosen not in ("", CANCEL) else None


def _chosen(name: str) -> User | None:
    key = text(name, 100)
    return _person(key) if key else None
