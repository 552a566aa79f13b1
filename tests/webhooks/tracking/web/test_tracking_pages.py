"""What is tracked, by the user's door: the form that writes, the queue, settings, a contact's page, shown mail."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from sqlalchemy import Engine, select

from config.rooms import tracks_at
from config.settings import load
from scheduler.outbox import letter_of
from scheduler.snippets import MailTemplate
from tests.scheduler.web.conftest import DANA, MONDAY, Desk
from tests.tracker.web.factories_web import a_mail, counted
from tests.webhooks.tracking.got import URL
from tracker import contacts
from tracker.events import Event
from tracker.messages import Message
from tracker.people import Role
from webhooks import tracking, tracking_settings
from webhooks.tracking_settings import NeverTracked, Source
from webhooks.tracks import TrackedEmail, TrackedLink

READ, CLICKED = "Tell me when it is read", "and when a link is clicked"
BOTH = "You are told when it is read, and when a link is clicked"


def ticked(page: str, name: str) -> bool:
    box = re.search(rf'<input type="checkbox" name="{name}"[^>]*>', page)
    assert box is not None
    return "checked" in box[0]


def form(desk: Desk, **fields: object) -> dict[str, object]:
    return desk.write(tracking="1", track_opens="1", track_clicks="1") | fields


def never(desk: Desk, value: str, source: Source = Source.PERSON) -> None:
    tracking.never_track(desk.session, desk.team.alice.team_id, value, MONDAY, source=source)
    desk.session.commit()


def tracked_link(desk: Desk) -> tuple[TrackedEmail, TrackedLink]:
    mail = TrackedEmail(team_id=desk.team.alice.team_id, scheduled_email_id=10_000)
    desk.session.add(mail)
    desk.session.flush()
    link = TrackedLink(
        team_id=mail.team_id, tracked_email_id=mail.id, position=0, url="https://example.com/?a=1&b=2"
    )
    desk.session.add(link)
    desk.session.commit()
    return mail, link


# -- writing


def test_the_form_asks_and_tells(desk: Desk) -> None:
    page = desk.alice.get(f"/compose?box={desk.box.key}").text
    assert READ in page
    assert CLICKED in page
    assert (ticked(page, "track_opens"), ticked(page, "track_clicks")) == (True, True)
    assert f"{BOTH}. It has no link that leads through us." in page
    linked = form(desk, body='<a href="https://example.com">here</a>', rich="1")
    assert f"{BOTH}.<" in desk.alice.post("/compose/preview", data=linked).text


@pytest.mark.parametrize(
    ("fields", "kept", "words"),
    [
        ({"tracking": "1", "track_opens": "1"}, (True, False), "You are told when it is read."),
        ({"tracking": "1", "track_clicks": "1"}, (False, True), "You are told when a link is clicked."),
        ({"tracking": "1"}, (False, False), "Not tracked: you left it off for this mail."),
        ({}, (None, None), f"{BOTH}."),
    ],
)
def test_what_is_ticked_is_kept_and_shown(
    desk: Desk, fields: dict[str, str], kept: tuple[bool | None, bool | None], words: str
) -> None:
    desk.alice.post("/compose", data=desk.write(**fields))
    (email,) = desk.queued()
    assert (email.track_opens, email.track_clicks) == kept
    assert f"<p>{words}" in desk.alice.get(f"/outbox/{email.key}").text
    again = desk.alice.get(f"/outbox/{email.key}/edit").text
    assert (ticked(again, "track_opens"), ticked(again, "track_clicks")) == tuple(one is not False for one in kept)


def test_it_is_changed_when_the_mail_is_edited(desk: Desk) -> None:
    desk.alice.post("/compose", data=form(desk))
    (email,) = desk.queued()
    edited = desk.write(tracking="1", track_opens="1", when="keep", version=str(email.version), box=None)
    assert desk.alice.post(f"/outbox/{email.key}/edit", data=edited).status_code == 303
    (email,) = desk.queued()
    assert (email.track_opens, email.track_clicks, email.behind) == (True, False, True)
    assert "chose anew whether “The offer” is tracked" in desk.alice.get(f"/outbox/{email.key}").text


def test_what_was_chosen_stays_when_something_else_is_refused(desk: Desk) -> None:
    answer = desk.alice.post("/compose", data=desk.write(tracking="1", track_clicks="1", to="nobody"))
    assert answer.status_code == 422
    assert (ticked(answer.text, "track_opens"), ticked(answer.text, "track_clicks")) == (False, True)


def test_it_is_told_why_a_mail_is_not_tracked(desk: Desk) -> None:
    never(desk, DANA, Source.SELF)
    words = "Not tracked: Dana Okafor asked not to be."
    assert words in desk.alice.get(f"/compose?box={desk.box.key}").text
    to_both = form(desk, to=f"x@y.example, {DANA}", when="mine", on="2026-11-24", at="15:00")
    assert words in desk.alice.post("/compose/preview", data=to_both).text
    desk.alice.post("/compose", data=form(desk))
    assert words in desk.alice.get(f"/outbox/{desk.queued()[0].key}").text


def test_of_separate_mails_it_is_told_for_how_many(desk: Desk) -> None:
    never(desk, DANA)
    many = form(desk, to=f"a@x.example, {DANA}, b@x.example", each="1", body="Hello", when="now")
    page = desk.alice.post("/compose/preview", data=many).text
    assert f"2 of 3: {BOTH}" in page
    assert "1 of 3: Not tracked: Dana Okafor is marked so." in page


def test_of_a_mail_to_several_nobody_is_named(desk: Desk) -> None:
    page = desk.alice.post("/compose/preview", data=form(desk, to=f"a@x.example, {DANA}", when="now")).text
    assert "By whom of the 2 can’t be known." in page


def test_more_recipients_take_no_more_queries(desk: Desk, engine: Engine) -> None:
    def asked(people: Sequence[str]) -> int:
        never(desk, "x.example")
        with counted(engine) as statements:
            desk.alice.post("/compose/preview", data=form(desk, to=", ".join(people), each="1", when="now"))
        return sum("tracking_" in one for one in statements)

    assert asked(["a@x.example"]) == asked([f"a{number}@x{number}.example" for number in range(30)]) > 0


def test_a_form_of_a_tracker_that_nobody_reaches_says_so(desk: Desk) -> None:
    outbox = desk.alice.application.extensions["tracker_outbox"]
    unheard = replace(outbox, post=replace(outbox.post, tracks_at=""))
    desk.alice.application.extensions["tracker_outbox"] = unheard
    page = desk.alice.post("/compose/preview", data=form(desk)).text
    assert "Not tracked: nobody outside reaches this Tracker" in page
    local = load(database_url="postgresql://x/y", secret_key="k" * 40)
    assert tracks_at(local) == ""
    assert tracks_at(local.model_copy(update={"public_url": URL})) == URL
    assert tracks_at(local.model_copy(update={"gmail_api_url": "http://127.0.0.1:8081"})) == local.url


def test_mail_within_the_team_is_not_tracked(desk: Desk) -> None:
    own = desk.team.mailbox.address
    page = desk.alice.post("/compose/preview", data=form(desk, to=own)).text
    assert "Not tracked: it stays within the team." in page
    page = desk.alice.post("/compose/preview", data=form(desk, to=f"{own}, {DANA}", when="now")).text
    assert BOTH in page


@pytest.mark.parametrize("rich", ["1", ""])
def test_what_is_pasted_from_tracked_mail_leads_where_it_led(desk: Desk, engine: Engine, rich: str) -> None:
    mail, link = tracked_link(desk)
    body = f"See {URL}/l/{link.token}"
    if rich:
        foot = f'<div><a href="{URL}/privacy/{mail.token}">Don’t tell</a></div>'
        body = f'<p>See <a href="{URL}/l/{link.token}">it</a></p>{foot}'
    desk.alice.post("/compose", data=form(desk, body=body, rich=rich))
    desk.alice.post("/templates", data={"name": "One", "body": body, "rich": rich})
    (email,) = desk.queued()
    letter, template = letter_of(email), desk.session.scalars(select(MailTemplate)).one()
    assert letter is not None
    for said in (letter.html, letter.text, template.html):
        assert "https://example.com/?a=1&" in said
        assert "tracker.example.com" not in said
        assert mail.token not in said
    with counted(engine) as statements:
        desk.alice.post("/compose/preview", data=form(desk))
    assert not any("tracked_links" in one for one in statements)


# -- settings


def shown_in(page: str) -> str:
    """The team's list as its form shows it."""
    return re.findall(r'name="shown" value="([^"]*)"', page)[-1]


def test_a_mark_that_was_made_while_the_page_was_open_stays(desk: Desk) -> None:
    desk.alice.post("/tracking/team", data={"never": "old.example\nother.example"})
    page = desk.alice.get("/tracking").text
    assert shown_in(page) == "old.example other.example"
    never(desk, DANA)
    refused = desk.alice.post("/tracking/team", data={"never": "no", "shown": shown_in(page), "_place": "team"})
    assert shown_in(refused.text) == shown_in(page)
    desk.alice.post("/tracking/team", data={"never": "other.example", "shown": shown_in(refused.text)})
    values = desk.session.scalars(select(NeverTracked.value).order_by(NeverTracked.value)).all()
    assert values == [DANA, "other.example"]


def test_a_mailbox_says_what_its_mail_begins_with(desk: Desk) -> None:
    page = desk.alice.get("/tracking").text
    assert all(ticked(page, name) for name in ("opens", "clicks"))
    assert not any(ticked(page, name) for name in ("bare_links", "opt_out"))
    address = f"/tracking/mailboxes/{desk.team.mailbox.key}"
    said = {"clicks": "1", "opt_out": "1", "opt_out_words": "  No   <b>thanks "}
    assert desk.alice.post(address, data=said).status_code == 303
    page = desk.alice.get("/tracking").text
    assert [ticked(page, name) for name in ("opens", "clicks", "opt_out")] == [False, True, True]
    assert "No &lt;b&gt;thanks" in page
    written = desk.alice.get("/compose").text
    assert (ticked(written, "track_opens"), ticked(written, "track_clicks")) == (False, True)
    kinds = desk.session.scalars(select(Event.kind).where(Event.kind.like("tracking.%"))).all()
    assert kinds == ["tracking.changed"]


def test_nobody_changes_anothers_mailbox(desk: Desk) -> None:
    assert desk.bob.post(f"/tracking/mailboxes/{desk.team.mailbox.key}", data={}).status_code == 404
    assert tracking_settings.of_mailbox(desk.session, desk.team.mailbox).opens


def test_lists_are_kept_changed_and_taken_back(desk: Desk) -> None:
    assert desk.alice.post(
        "/tracking/team", data={"never": "Client.Example\n@other.example, Anna@X.example"}
    ).location
    page = desk.bob.get("/tracking").text
    assert "anna@x.example\nclient.example\nother.example" in page
    desk.bob.post("/tracking/team", data={"never": "client.example", "shown": shown_in(page)})
    reason = tracking.may_track(desk.session, desk.team.alice.team_id, ["b@mail.client.example"])
    assert reason == "mail to client.example never is, says the team’s list"
    assert tracking.may_track(desk.session, desk.team.alice.team_id, ["b@other.example"]) is None
    desk.alice.post(
        "/tracking/mine", data={"links": "https://www.linkedin.com/in/Alice/", "never": "mine.example"}
    )
    assert "linkedin.com/in/alice" in desk.alice.get("/tracking").text
    assert "mine.example" not in desk.bob.get("/tracking").text
    for user, said in ((desk.team.alice, "mail to mine.example never is, says your list"), (desk.team.bob, None)):
        assert tracking.may_track(desk.session, user.team_id, ["x@mine.example"], user.id) == said


@pytest.mark.parametrize(
    ("address", "data", "words"),
    [
        ("/tracking/team", {"never": "good.example\nbad one", "_place": "team"}, "“bad one” is neither"),
        ("/tracking/mine", {"links": "nowhere", "never": "", "_place": "mine"}, "“nowhere” is no address"),
        ("/tracking/mine", {"links": "", "never": "nonsense", "_place": "mine"}, "“nonsense” is neither"),
        ("/tracking/team", {"never": "x.example\n" * 2001, "_place": "team"}, "At most 2000 lines"),
    ],
)
def test_what_is_wrong_is_said_and_what_was_typed_stays(
    desk: Desk, address: str, data: dict[str, str], words: str
) -> None:
    answer = desk.alice.post(address, data=data)
    assert (answer.status_code, words in answer.text) == (422, True)
    assert data["never"].strip()[:40] in answer.text
    assert data.get("links", "") in answer.text
    assert desk.session.scalars(select(NeverTracked)).all() == []


def test_what_people_asked_themselves_no_list_takes_back(desk: Desk) -> None:
    never(desk, DANA, Source.SELF)
    page = desk.alice.get("/tracking").text
    assert "1 person asked not to be tracked" in page
    assert DANA not in page
    desk.alice.post("/tracking/team", data={"never": "", "shown": DANA})
    assert tracking.may_track(desk.session, desk.team.alice.team_id, [DANA]) == "Dana Okafor asked not to be"
    tracking.withdraw(desk.session, desk.team.alice.team_id, DANA)
    assert tracking.may_track(desk.session, desk.team.alice.team_id, [DANA]) is None


def test_guests_look(desk: Desk) -> None:
    desk.session.merge(desk.team.bob).role = Role.GUEST.value
    desk.session.commit()
    assert desk.bob.get("/tracking").status_code == 200
    assert desk.bob.post("/tracking/team", data={"never": "x.example"}).status_code == 403


# -- a contact


def test_a_contact_is_marked_and_unmarked_by_any_of_their_addresses(desk: Desk) -> None:
    dana = contacts.by_address(desk.session, desk.team.alice.team_id, DANA)
    assert dana is not None
    page = f"/contacts/{dana.key}"
    assert "Never track" in desk.alice.get(page).text
    assert desk.alice.post(f"{page}/never-track").status_code == 303
    contacts.add_address(desk.session, desk.team.viewer, dana, "dana@private.example")
    desk.session.commit()
    told = desk.alice.get(page).text
    assert "Mail to Dana Okafor is never tracked." in told
    assert "Track again" in told
    said = tracking.may_track(desk.session, dana.team_id, ["dana@private.example"])
    assert said == "Dana Okafor is marked so"
    fragment = desk.alice.post(f"{page}/never-track", data={"again": "1"}, headers={"HX-Request": "true"})
    assert fragment.text.strip().startswith('<div id="contact-tracking"')
    assert tracking.may_track(desk.session, dana.team_id, [DANA]) is None
    assert DANA not in str(desk.session.scalars(select(Event.data).where(Event.kind.like("tracking.%"))).all())


def test_who_asked_themselves_has_no_button(desk: Desk) -> None:
    never(desk, DANA, Source.SELF)
    dana = contacts.by_address(desk.session, desk.team.alice.team_id, DANA)
    assert dana is not None
    page = desk.alice.get(f"/contacts/{dana.key}").text
    assert "Dana Okafor asked not to be tracked. Only they take that back." in page
    assert "Track again" not in page
    desk.alice.post(f"/contacts/{dana.key}/never-track", data={"again": "1"})
    assert tracking.may_track(desk.session, dana.team_id, [DANA]) is not None


# -- mail as our pages show it


def test_our_pages_load_no_pixel_of_ours_and_links_lead_where_they_led(desk: Desk) -> None:
    mail, link = tracked_link(desk)
    pixel = f'<img src="{URL}/t/{mail.token}.gif" width="1" height="1" alt="">'
    odd = f"<img/src=https:&#x2F;/tracker.example.com&#47;t/{mail.token}.gif>"
    proxied = f'<img src="https://ci3.googleusercontent.com/x#{URL}/t/{mail.token}.gif">'
    html = f'<p>Hi <a href="{URL}/l/{link.token}">x</a>{pixel}{odd}{proxied}</p>'
    a_mail(desk.session, desk.session.merge(desk.team.mailbox), "Tracked", html=html)
    other = a_mail(desk.session, desk.session.merge(desk.team.mailbox), "Pixel", html=f"<p>Hi{pixel}</p>")
    desk.session.commit()
    message = desk.session.scalars(select(Message).where(Message.subject == "Tracked")).one()
    for images in ("", "?images=1"):
        page = desk.alice.get(f"/m/{message.key}/frame{images}").text
        assert 'href="https://example.com/?a=1&amp;b=2"' in page
        assert "tracker.example.com" not in page
        assert mail.token not in page
    assert "Show images" not in desk.alice.get(f"/c/{other.key}").text  # a single pixel is nothing to show


def test_a_picture_of_somebody_elses_is_offered_as_ever(desk: Desk) -> None:
    html = '<img src="https://other.example/t/1.png" width="100" height="1">'
    other = a_mail(desk.session, desk.session.merge(desk.team.mailbox), "Theirs", html=html)
    desk.session.commit()
    assert "Show images" in desk.alice.get(f"/c/{other.key}").text
    message = desk.session.scalars(select(Message).where(Message.subject == "Theirs")).one()
    assert "https://other.example/t/1.png" in desk.alice.get(f"/m/{message.key}/frame?images=1").text
