"""Tracked mail on its way: what arrives at the sandbox's recipients, the rows beside it, and what turns it off."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import undefer

from scheduler import letters, looking, outbox, preparing, sequences, tracked, writing
from scheduler.letters import Attachment, Letter
from scheduler.outbox import About, ScheduledEmail
from scheduler.sequences import Step
from scheduler.states import State
from tests.gmail_sync.syncing import ALICE
from tests.scheduler.chasing import NINE, Chase
from tests.scheduler.sending import Office, a_letter, drafts_of
from tests.webhooks.tracking.got import URL, Got, newest
from tracker import people
from tracker.db import transaction
from tracker.mailboxes import Mailbox
from tracker.messages import Message
from webhooks import tracking, tracking_settings
from webhooks.tracking_settings import Source
from webhooks.tracks import TrackedEmail, TrackedLink

DORA = "dora@outside.example"
HTML = (
    '<p>Dear Dora, <a href="https://example.com/offer?a=1&amp;b=2">our offer</a>, <a href="tel:+4930">call</a></p>'
)
QUOTE = '<div class="gmail_quote"><blockquote><p>Old <a href="https://theirs.example">x</a></p></blockquote></div>'


def row_of(office: Office, email: ScheduledEmail) -> TrackedEmail | None:
    with office.team.sessions() as session:
        return session.scalar(select(TrackedEmail).where(TrackedEmail.scheduled_email_id == email.id))


def links_of(office: Office) -> dict[str, str]:
    with office.team.sessions() as session:
        return {one.token: one.url for one in session.scalars(select(TrackedLink).order_by(TrackedLink.id))}


def send(office: Office, alices: Mailbox, html: str = HTML, **named: object) -> tuple[ScheduledEmail, Got]:
    email = office.prepared(alices, html=html, **named)
    office.clock.advance(hours=1)
    office.dispatch()
    assert office.state(email) == State.SENT
    return email, newest(office.sandbox, DORA)


def edit(office: Office, email: ScheduledEmail, html: str) -> None:
    with transaction(office.team.sessions) as session:
        row = session.get_one(ScheduledEmail, email.id)
        mailbox = session.get_one(Mailbox, row.mailbox_id)
        outbox.edit(session, office.viewer(mailbox), row, a_letter(ALICE, html=html), now=office.clock())


def draft_of(office: Office, email: ScheduledEmail) -> Got:
    box = office.sandbox.mailbox(ALICE)
    return Got(box.messages.raw(box.drafts.message(office.read(email).draft_id or "")))


def test_what_arrives_carries_the_pixel_before_the_quotation_and_links_that_are_known(
    office: Office, alices: Mailbox
) -> None:
    files = (Attachment("a.pdf", "application/pdf", b"%PDF" * 99),)
    email, got = send(office, alices, HTML + QUOTE, attachments=files)
    row = row_of(office, email)
    assert row is not None
    assert (got.pixels, list(links_of(office))) == ([row.token], got.links)
    assert links_of(office)[got.links[0]] == "https://example.com/offer?a=1&b=2"
    html = got.body("html")
    assert html.index("/t/") < html.index("gmail_quote") < html.index("https://theirs.example")
    assert 'href="tel:+4930"' in html
    assert URL not in got.body("plain")
    assert [one.get_content() for one in got.message.iter_attachments()] == [files[0].content]
    assert (row.recipients, row.opens, row.clicks) == ([DORA], True, True)
    assert row.sent_at == office.read(email).sent_at
    assert len(row.token) == 32
    with office.team.sessions() as session:  # what is kept of the mail itself is as its sender wrote it
        letter = outbox.letter_of(session.get_one(ScheduledEmail, email.id))
        assert letter is not None
        assert URL not in letter.html


def test_plain_mail_is_not_touched(office: Office, alices: Mailbox) -> None:
    email, got = send(office, alices, "", text="See https://example.com")
    assert URL not in got.raw.decode()
    assert row_of(office, email) is None


def test_the_synced_mail_is_known_with_its_conversation(office: Office, alices: Mailbox) -> None:
    email, _ = send(office, alices)
    office.team.sync(alices)
    with transaction(office.team.sessions) as session:
        assert looking.arrive(session) == 1
    row, sent = row_of(office, email), office.read(email)
    assert row is not None
    assert (row.message_id, row.conversation_id) == (sent.message_id, sent.conversation_id)
    assert None not in (row.message_id, row.conversation_id)


def test_an_edited_mail_keeps_its_tokens_and_a_link_that_is_gone_keeps_its_row(
    office: Office, alices: Mailbox
) -> None:
    one, two = '<a href="https://example.com/1">one</a>', '<a href="https://example.com/2">two</a>'
    email = office.prepared(alices, html=f"<p>{one} {one} {two}</p>")
    before = draft_of(office, email)
    assert len(set(before.links)) == 3
    edit(office, email, f"<p>New: {two} {one}</p>")
    office.prepare(alices)
    after = draft_of(office, email)
    assert after.pixels == before.pixels
    assert after.links == [before.links[2], before.links[0]]
    assert set(links_of(office)) == set(before.links)


def test_a_draft_that_is_made_again_is_the_same_byte_for_byte(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices, html=HTML)
    before = draft_of(office, email).body("html")
    office.set(email, behind=True, state="preparing")
    office.prepare(alices)
    assert draft_of(office, email).body("html") == before


@pytest.mark.parametrize(("opens", "clicks"), [(True, False), (False, True), (False, False)])
def test_each_mail_says_itself_what_is_tracked(office: Office, alices: Mailbox, opens: bool, clicks: bool) -> None:
    email, got = send(office, alices, about=About(track_opens=opens, track_clicks=clicks))
    row = row_of(office, email)
    assert (bool(got.pixels), bool(got.links)) == (opens, clicks)
    assert (row is not None) == (opens or clicks)


def test_a_mailbox_says_it_for_mails_that_say_nothing(office: Office, alices: Mailbox) -> None:
    with transaction(office.team.sessions) as session:
        tracking_settings.change_mailbox(session, office.viewer(alices), alices, opens=True, clicks=False)
    _, got = send(office, alices)
    assert (len(got.pixels), got.links) == (1, [])


def test_the_way_out_stands_under_tracked_mail_only_and_not_in_what_is_quoted(
    office: Office, alices: Mailbox
) -> None:
    with transaction(office.team.sessions) as session:
        tracking_settings.change_mailbox(
            session,
            office.viewer(alices),
            alices,
            opens=True,
            clicks=True,
            opt_out=True,
            opt_out_words="No <more>",
        )
    email, got = send(office, alices, HTML + QUOTE)
    row = row_of(office, email)
    assert row is not None
    foot = f'<a href="{URL}/privacy/{row.token}">No &lt;more&gt;</a></div><div class="gmail_quote">'
    assert foot in got.body("html")
    with office.team.sessions() as session:
        assert tracking.strip(session, got.body("html")).strip() == HTML + QUOTE


@pytest.mark.parametrize("never", [DORA, "outside.example", "bcc@hidden.example"])
def test_if_one_recipient_is_never_tracked_the_whole_mail_is_not(
    office: Office, alices: Mailbox, never: str
) -> None:
    with transaction(office.team.sessions) as session:
        tracking.never_track(session, alices.team_id, never, office.clock(), "asked")
    bcc = (letters.address("", "bcc@hidden.example"),)
    email, got = send(office, alices, bcc=bcc)
    assert (got.pixels, got.links, row_of(office, email)) == ([], [], None)


@pytest.mark.parametrize("held", [False, True])
def test_who_asks_while_a_mail_waits_is_not_tracked_by_it(office: Office, alices: Mailbox, held: bool) -> None:
    email, other = office.prepared(alices, html=HTML), office.prepared(alices, to="x@y.example", html=HTML)
    assert draft_of(office, email).pixels
    version = office.read(other).version
    with transaction(office.team.sessions) as session:
        if held:
            outbox.hold(session, office.viewer(alices), session.get_one(ScheduledEmail, email.id))
        tracking.never_track(session, alices.team_id, DORA, office.clock(), source=Source.SELF)
    office.prepare(alices)
    assert office.state(email) == (State.HELD if held else State.QUEUED)
    assert draft_of(office, email).pixels == []
    assert draft_of(office, email).links == []
    assert office.read(other).version == version
    assert draft_of(office, other).pixels
    row = row_of(office, email)
    assert row is not None
    assert (row.opens, row.clicks) == (False, False)
    with office.team.sessions() as session:
        said = tracked.standing(session, office.read(email), URL, is_html=True)
    assert said.words == f"Not tracked: {DORA} asked not to be"


def test_where_nobody_outside_reaches_us_nothing_is_tracked(office: Office, alices: Mailbox) -> None:
    office = replace(office, post=replace(office.post, tracks_at=""))
    email, got = send(office, alices)
    assert URL not in got.body("html")
    assert row_of(office, email) is None


def test_a_mail_that_tracking_would_make_too_large_goes_untracked(
    office: Office, alices: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    email = office.queue(alices, html=HTML)
    with office.team.sessions() as session:
        raw = session.get_one(ScheduledEmail, email.id, options=[undefer(ScheduledEmail.raw)]).raw
    monkeypatch.setattr(letters, "LARGEST", len(raw or b"") + 100)
    office.prepare(alices)
    assert draft_of(office, email).body("html").strip() == HTML
    with office.team.sessions() as session:
        assert tracking.of_scheduled(session, email.id) is None


def test_tracking_that_stumbles_keeps_no_mail_from_going(
    office: Office, alices: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(*_: object, **__: object) -> bytes:
        raise ValueError("a bug")

    monkeypatch.setattr(tracking, "instrument", stumble)
    _, got = send(office, alices)
    assert got.body("html").strip() == HTML


def test_an_answer_quotes_without_our_pixels_and_links(office: Office, alices: Mailbox) -> None:
    """Dora answers from her own mail client, which quotes our mail as it was; Alice answers that with Tracker."""
    _, got = send(office, alices)
    theirs = Letter(
        from_=letters.address("", DORA), to=(letters.address("", ALICE),), subject="Re: Offer", text="Yes",
        html=f"<p>Yes</p>{got.body('html')}",
    )  # fmt: skip
    box = office.sandbox.mailbox(DORA)
    office.sandbox.send(box, letters.as_bytes(theirs))
    office.team.sync(alices)
    with office.team.sessions() as session:
        message = session.scalars(select(Message).where(Message.sender_normalized == DORA)).one()
        assert got.links[0] in (message.html or "")
        user = office.team.read(alices).user_id
        assert user
        quote = writing.quoted(session, writing.original(session, message))
    assert "https://example.com/offer?a=1&amp;b=2" in quote
    assert URL not in quote


def test_a_draft_that_was_edited_in_gmail_is_read_back_as_its_writer_knows_it(
    office: Office, alices: Mailbox
) -> None:
    email = office.prepared(alices, html=HTML)
    assert len(drafts_of(office.sandbox, ALICE)) == 1
    before = draft_of(office, email)
    letter = preparing.draft_letter(office.post, alices.id, office.read(email).draft_id or "")
    assert letter.html.strip() == HTML
    edit(office, email, letter.html)
    office.prepare(alices)
    assert (draft_of(office, email).pixels, draft_of(office, email).links) == (before.pixels, before.links)


def test_a_mail_that_its_sender_sent_in_gmail_was_sent_then(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices, html=HTML)
    box = office.sandbox.mailbox(ALICE)
    raw = box.messages.raw(box.drafts.message(office.read(email).draft_id or ""))
    office.sandbox.send(box, raw, draft_id=office.read(email).draft_id)
    office.clock.advance(minutes=2)
    looking.look(office.post, alices.id)
    row = row_of(office, email)
    assert row is not None
    assert row.sent_at == office.read(email).sent_at is not None


def test_an_uncertain_mail_that_somebody_says_went_was_sent(office: Office, alices: Mailbox) -> None:
    email = office.prepared(alices, html=HTML)
    office.set(email, state="uncertain", claimed_at=office.clock())
    with transaction(office.team.sessions) as session:
        row = session.get_one(ScheduledEmail, email.id)
        outbox.settle_by_hand(session, office.viewer(alices), row, went=True, now=office.clock())
    tracked_row = row_of(office, email)
    assert tracked_row is not None
    assert tracked_row.sent_at == office.clock()


def test_follow_ups_are_tracked_as_the_mail_that_they_follow(office: Office, alices: Mailbox) -> None:
    steps = (Step(2, '<p>Seen <a href="https://example.com/again">it</a>?</p>'),)
    office.team.sync(alices)
    email = office.queue(alices, html=HTML, about=About(track_opens=True, track_clicks=False))
    with transaction(office.team.sessions) as session:
        viewer = people.viewer_of(session.get_one(people.User, alices.user_id), "tests")
        run = sequences.start(
            session, viewer, session.get_one(ScheduledEmail, email.id), steps, now=office.clock()
        )
    office.prepare(alices)
    Chase(office, alices, email, run.id).at(NINE + timedelta(days=2))
    got = newest(office.sandbox, DORA)
    assert "Seen" in got.body("plain")
    assert (len(got.pixels), got.links) == (1, [])


@pytest.mark.parametrize("never", [False, True])
def test_a_draft_that_goes_to_others_by_a_change_in_gmail(office: Office, alices: Mailbox, never: bool) -> None:
    """Nobody is named who did not get it, and nobody is listened to who asked not to be."""
    email = office.prepared(alices, html=HTML)
    if never:
        with transaction(office.team.sessions) as session:
            tracking.never_track(session, alices.team_id, "eve@other.example", office.clock(), source=Source.SELF)
    draft = draft_of(office, email)
    changed = draft.raw.replace(b"To: dora@outside.example", b"To: eve@other.example")
    office.sandbox.mailbox(ALICE).drafts.update(office.read(email).draft_id or "", changed, None)
    office.clock.advance(minutes=1)
    looking.look(office.post, alices.id)
    row = row_of(office, email)
    assert row is not None
    assert (row.recipients, row.opens, row.clicks) == (["eve@other.example"], not never, not never)
    with office.team.sessions() as session:
        said = tracked.standing(session, office.read(email), URL, is_html=True).words
    assert said.startswith("Not tracked: eve@other.example asked not to be" if never else "You are told when")
