"""Templates for mails: a subject and a text with ``{{fields}}``, of one person or shared with the team."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from nameparser import HumanName
from sqlalchemy import ForeignKey, Index, func, or_, select
from sqlalchemy.orm import Mapped, Session, joinedload, mapped_column, relationship

from scheduler import placeholders, rich_text
from scheduler.placeholders import FIELD
from tracker import events
from tracker.addresses import Address
from tracker.boxes import Box
from tracker.contacts import Contact, ContactAddress
from tracker.db import Base, Keyed, OfTeam, among
from tracker.fields import Field
from tracker.people import Role, User, Viewer
from tracker.pipelines import Pipeline

NAME_LIMIT = 60  # characters
SUBJECT_LIMIT = 300
MOST = 200  # templates that a person sees
_EAST_ASIAN = ("\u3040", "\u9fff")


class TemplateError(ValueError):
    """A template can't be kept so; the text says why and what to do. `field` is where: name, subject or body."""

    def __init__(self, field: str, words: str) -> None:
        super().__init__(words)
        self.field = field


class MailTemplate(OfTeam, Keyed, Base):
    """A mail to be written again and again."""

    __tablename__ = "mail_templates"
    __table_args__ = (Index("ix_mail_templates_team_id_name", "team_id", "name"),)

    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))  #: whose it is
    name: Mapped[str]
    subject: Mapped[str] = mapped_column(server_default="")
    html: Mapped[str] = mapped_column(server_default="")
    shared: Mapped[bool] = mapped_column(server_default="false")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    changed_at: Mapped[datetime] = mapped_column(server_default=func.now())

    user: Mapped[User | None] = relationship()


def add(session: Session, viewer: Viewer, name: str, subject: str, html: str, *, shared: bool) -> MailTemplate:
    """Keep a template. Raises `TemplateError`."""
    if len(of_team(session, viewer)) >= MOST:
        raise TemplateError("name", f"There are {MOST} templates already; delete one first")
    made = MailTemplate(team_id=viewer.team_id, user_id=viewer.user_id, name=_name(session, viewer, name))
    made.subject, made.html = _checked(session, viewer, subject, html)
    made.shared = shared
    session.add(made)
    session.flush()
    _record(session, viewer, "template.added", made)
    return made


def change(
    session: Session, viewer: Viewer, template: MailTemplate, now: datetime, *, name: str, subject: str, html: str,
    shared: bool,
) -> None:  # fmt: skip
    """Change a template. Raises `TemplateError`."""
    _may(viewer, template)
    template.name = _name(session, viewer, name, template.id)
    template.subject, template.html = _checked(session, viewer, subject, html)
    template.shared, template.changed_at = shared, now
    session.flush()
    _record(session, viewer, "template.changed", template)


def delete(session: Session, viewer: Viewer, template: MailTemplate) -> None:
    """Delete a template; mails that were made of it stay. Raises `TemplateError`."""
    _may(viewer, template)
    _record(session, viewer, "template.deleted", template)
    session.delete(template)
    session.flush()


def may_change(viewer: Viewer, template: MailTemplate) -> bool:
    """Whether the viewer may change or delete it."""
    return template.user_id == viewer.user_id or (template.shared and viewer.role == Role.ADMIN)


def of_team(session: Session, viewer: Viewer) -> Sequence[MailTemplate]:
    """The templates that the viewer sees: their own and shared ones, by name."""
    query = select(MailTemplate).where(_seen_by(viewer)).options(joinedload(MailTemplate.user))
    return session.scalars(query.order_by(func.lower(MailTemplate.name), MailTemplate.id).limit(MOST)).all()


def by_key(session: Session, viewer: Viewer, key: str) -> MailTemplate | None:
    """The template with this key, if the viewer sees it."""
    return session.scalar(select(MailTemplate).where(MailTemplate.key == key, _seen_by(viewer)))


def field_names(session: Session, team_id: int) -> Sequence[str]:
    """Names of the fields of the team's pipelines."""
    query = select(Field.name).where(Field.team_id == team_id, ~Field.removed).distinct()
    return session.scalars(query.order_by(Field.name)).all()


def problems(session: Session, team_id: int, subject: str, html: str) -> list[str]:
    """What is wrong with the fields of a mail, in words that say where."""
    names = field_names(session, team_id) if "{{" in subject + html else ()
    return placeholders.problems(subject, placeholders.mended(html), names)


def values(
    session: Session, user: User, recipients: Sequence[Address], box: Box | None
) -> dict[str, Mapping[str, str]]:
    """What can be filled in for each recipient, by their normalized address, in a fixed number of queries."""
    known = _contacts(session, user.team_id, [one.normalized for one in recipients])
    common = _of_sender(user) | (_of_box(session, box) if box is not None else {})
    return {one.normalized: common | _of_recipient(one, known.get(one.normalized)) for one in recipients}


def _contacts(session: Session, team_id: int, normalized: Sequence[str]) -> dict[str, Contact]:
    query = (
        select(ContactAddress.normalized, Contact)
        .join(Contact, Contact.id == ContactAddress.contact_id)
        .where(ContactAddress.team_id == team_id, among(ContactAddress.normalized, normalized))
        .options(joinedload(Contact.organization))
    )
    return dict(session.execute(query).all())


def _of_recipient(address: Address, contact: Contact | None) -> dict[str, str]:
    name = contact.name if contact else address.name
    first, last = _parts(name)
    told = {"email": address.address, "full_name": name, "first_name": first, "last_name": last}
    if contact is not None:
        told |= {"title": contact.title, "phone": contact.phone.split("\n")[0], "location": contact.location}
        if contact.organization is not None:
            told["company"] = contact.organization.name
            told["company.location"] = contact.organization.location
            told["company.website"] = contact.organization.website
    return told


def _of_sender(user: User) -> dict[str, str]:
    return {"my_name": user.name, "my_first_name": _parts(user.name)[0], "my_email": user.address}


def _of_box(session: Session, box: Box) -> dict[str, str]:
    told = {"box.name": box.name, "box.stage": box.stage.name, "box.owner": box.owner.name if box.owner else ""}
    told["box.pipeline"] = session.get_one(Pipeline, box.pipeline_id).name
    columns = session.scalars(select(Field).where(Field.pipeline_id == box.pipeline_id, ~Field.removed)).all()
    return told | {FIELD + one.name.casefold(): shown(box.values.get(one.key), one.type) for one in columns}


def shown(value: Any, kind: str) -> str:
    """A field's value as a mail says it. What is a person or an organization inside is not told."""
    if value in (None, "", []) or kind in ("person", "contact", "organization"):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return f"{float(value.get('amount') or 0):,.2f}".removesuffix(".00") + f" {value.get('currency') or ''}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if kind == "date":
        day = datetime.fromisoformat(str(value))
        return f"{day.day} {day:%B %Y}"
    return str(value)


def _parts(name: str) -> tuple[str, str]:
    """First and last name; a name that is an address or a single word tells one at most."""
    if "@" in name:
        return "", ""
    if any(_EAST_ASIAN[0] <= char <= _EAST_ASIAN[1] for char in name):
        return name, ""
    parsed = HumanName(name[:200])
    return str(parsed.first), str(parsed.last)


def _seen_by(viewer: Viewer) -> Any:
    mine = or_(MailTemplate.shared, MailTemplate.user_id == viewer.user_id)
    return mine & (MailTemplate.team_id == viewer.team_id)


def _may(viewer: Viewer, template: MailTemplate) -> None:
    if not may_change(viewer, template):
        raise TemplateError("name", "This template is a teammate’s; only they or an admin change it")


def _name(session: Session, viewer: Viewer, name: str, but: int = 0) -> str:
    name = " ".join(rich_text.plain(name).split())
    if not 1 <= len(name) <= NAME_LIMIT:
        raise TemplateError("name", f"A template’s name has 1 to {NAME_LIMIT} characters")
    taken = select(MailTemplate.id).where(
        _seen_by(viewer), func.lower(MailTemplate.name) == func.lower(name), MailTemplate.id != but
    )
    if session.scalars(taken.limit(1)).first() is not None:
        raise TemplateError("name", f"There is a template called {name} already; choose another name")
    return name


def _checked(session: Session, viewer: Viewer, subject: str, html: str) -> tuple[str, str]:
    """The subject and the cleaned text, once their fields are all known."""
    subject, html = " ".join(rich_text.plain(subject).split()), placeholders.mended(html)
    if len(subject) > SUBJECT_LIMIT:
        raise TemplateError("subject", f"A subject has up to {SUBJECT_LIMIT} characters")
    if rich_text.is_blank(html):
        raise TemplateError("body", "A template needs a text")
    wrong = problems(session, viewer.team_id, subject, html)
    if wrong:
        in_subject = all(one.startswith("Subject") for one in wrong)
        raise TemplateError("subject" if in_subject else "body", ". ".join(wrong))
    return subject, html


def _record(session: Session, viewer: Viewer, kind: str, template: MailTemplate) -> None:
    data = {"template": template.key, "name": template.name, "shared": template.shared}
    events.record(session, viewer.team_id, kind, actor=viewer.actor, user_id=viewer.user_id, data=data)
