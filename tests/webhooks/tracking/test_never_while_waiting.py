"""Somebody is never to be tracked, and mail to them waits: being made, held, or edited in Gmail."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy.orm import Session

from gmail_sync import drafts
from scheduler import looking, outbox
from scheduler.outbox import ScheduledEmail
from scheduler.states import State
from tests.gmail_sync.syncing import ALICE
from tests.scheduler.sending import NOW, Office, a_letter, drafts_of
from tests.scheduler.test_doubts import GMAILS
from tests.webhooks.tracking.test_tracked_sending import DORA, HTML, QUOTE, draft_of, row_of
from tracker.db import transaction
from tracker.mailboxes import Mailbox
from tracker.people import Role, Viewer
from webhooks import privacy, tracking, tracking_settings


def mark(office: Office, email: ScheduledEmail, *values: str) -> None:
    with transaction(office.team.sessions) as session:
        tracking.never_track_any(session, email.team_id, values or [DORA], office.clock())


def change(office: Office, email: ScheduledEmail, verb: Callable[..., object], **named: Any) -> None:
    with transaction(office.team.sessions) as session:
        row = session.get_one(ScheduledEmail, email.id)
        verb(session, office.viewer(session.get_one(Mailbox, row.mailbox_id)), row, **named)


def in_gmail(office: Office, email: ScheduledEmail, raw: bytes = GMAILS) -> None:
    office.sandbox.mailbox(ALICE).drafts.update(office.read(email).draft_id or "", raw, None)


def listened(office: Office, email: ScheduledEmail) -> tuple[bool, bool]:
    row = row_of(office, email)
    return (False, False) if row is None else (row.opens, row.clicks)


@pytest.mark.parametrize("gmails", [False, True])
def test_a_mail_that_was_changed_in_both_keeps_both_and_is_not_listened_to(
    office: Office, alices: Mailbox, gmails: bool
) -> None:
    email = office.prepared(alices, html=HTML)
    in_gmail(office, email)
    change(office, email, outbox.edit, letter=a_letter(ALICE, html=HTML, subject="From here"), now=office.clock())
    office.prepare(alices)
    assert (office.read(email).held_by, listened(office, email)) == (outbox.BOTH, (True, True))
    mark(office, email)
    office.prepare(alices)
    assert drafts_of(office.sandbox, ALICE) == {email.draft_id: "From Gmail"}
    assert (office.read(email).held_by, listened(office, email)) == (outbox.BOTH, (False, False))
    change(office, email, outbox.release, now=office.clock(), gmails=gmails)
    office.prepare(alices)
    office.clock.advance(minutes=5)
    looking.look(office.post, alices.id)
    assert (office.state(email), draft_of(office, email).pixels) == (State.QUEUED, [])
    assert listened(office, email) == (False, False)


def test_who_is_erased_and_never_tracked_gets_no_pixel_by_a_mail_that_waits(
    office: Office, alices: Mailbox
) -> None:
    email = office.prepared(alices, html=HTML)
    with transaction(office.team.sessions) as session:
        privacy.erase(session, office.viewer(alices), [DORA], office.clock(), never=True)
    office.prepare(alices)
    draft = draft_of(office, email)
    assert (office.state(email), draft.pixels, draft.links) == (State.QUEUED, [], [])


@pytest.mark.parametrize("method", ["create", "update"])
def test_who_is_marked_while_the_draft_is_being_made_is_not_tracked_by_it(
    office: Office, alices: Mailbox, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    email = office.queue(alices, html=HTML)
    if method == "update":
        office.prepare(alices)
        change(office, email, outbox.edit, letter=a_letter(ALICE, html=HTML + QUOTE), now=office.clock())
    real, times = getattr(drafts, method), 0

    def meanwhile(*given: Any) -> Any:
        nonlocal times
        times += 1
        if times == 1:  # its lists were read by now
            mark(office, email)
        return real(*given)

    monkeypatch.setattr(drafts, method, meanwhile)
    office.prepare(alices)
    draft = draft_of(office, email)
    assert (office.state(email), draft.pixels, draft.links) == (State.QUEUED, [], [])
    assert (times > 0, listened(office, email)) == (True, (False, False))
    assert len(drafts_of(office.sandbox, ALICE)) == 1


def test_a_draft_that_was_edited_in_gmail_is_not_listened_to_once_its_reader_is_marked(
    office: Office, alices: Mailbox
) -> None:
    email = office.prepared(alices, html=HTML)
    in_gmail(office, email, draft_of(office, email).raw.replace(b"Subject: Offer", b"Subject: Edited"))
    office.clock.advance(minutes=10)
    looking.look(office.post, alices.id)
    assert (office.read(email).only_in_gmail, listened(office, email)) == (True, (True, True))
    mark(office, email)
    office.prepare(alices)
    assert (office.state(email), listened(office, email)) == (State.QUEUED, (False, False))
    assert drafts_of(office.sandbox, ALICE) == {email.draft_id: "Edited"}


@pytest.mark.parametrize("by", ["mark", "choice"])
def test_an_edit_in_gmail_that_nobody_saw_holds_nothing_up_when_only_tracking_changes(
    office: Office, alices: Mailbox, by: str
) -> None:
    """Gmail's text goes, at its time; what is in it is not listened to."""
    email = office.prepared(alices, html=HTML)
    in_gmail(office, email, draft_of(office, email).raw.replace(b"Subject: Offer", b"Subject: Edited"))
    if by == "mark":
        mark(office, email)
    else:
        change(office, email, outbox.track, opens=False, clicks=False)
    office.prepare(alices)
    found = office.read(email)
    assert (found.state, found.subject, found.only_in_gmail, found.held_by) == ("queued", "Edited", True, None)
    assert listened(office, email) == (False, False)
    assert office.events(email)[-1] == "edited_in_gmail"
    office.clock.advance(hours=1)
    office.dispatch()
    assert office.delivered() == {"Edited": 1}


@pytest.mark.parametrize("first", ["edit", "track"])
def test_what_was_written_here_too_is_still_held(office: Office, alices: Mailbox, first: str) -> None:
    email = office.prepared(alices, html=HTML)
    in_gmail(office, email)
    edit = partial(change, office, email, outbox.edit, letter=a_letter(ALICE, html=QUOTE), now=office.clock())
    track = partial(change, office, email, outbox.track, opens=False, clicks=False)
    for verb in (edit, track) if first == "edit" else (track, edit):
        verb()
    office.prepare(alices)
    assert office.read(email).held_by == outbox.BOTH
    assert drafts_of(office.sandbox, ALICE) == {email.draft_id: "From Gmail"}


def test_mail_that_waits_is_looked_at_once_for_many_values_and_only_where_it_is_meant(
    office: Office, alices: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[list[str]] = []

    def tell(_session: Session, _team: int, values: Any, _now: object) -> None:
        told.append(list(values))

    to = ("x@client.example", "x@mail.client.example", "x@notclient.example", "client.example@other.example")
    emails = [office.queue(alices, to=one, html=HTML) for one in (*to, "a@b.example,x@z.example")]
    office.prepare(alices)
    monkeypatch.setattr(tracking_settings, "on_never", [*tracking_settings.on_never, tell])
    viewer = Viewer(alices.team_id, alices.user_id, Role.MEMBER, "tests")
    with transaction(office.team.sessions) as session:
        typed = "client.example\nx@z.example\nq@q.example"
        tracking_settings.set_never(session, viewer, typed, NOW, shown=())
    assert told == [["client.example", "q@q.example", "x@z.example"]]
    assert [office.state(one) for one in emails] == ["preparing", "preparing", "queued", "queued", "preparing"]
