"""What pages show of reads, and to whom."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler.emails import ScheduledEmail
from tests.tracker.domain import NOW, a_box, pipeline
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import BOB, browser_of
from tests.webhooks.reading import ANNA, SENT, TOM, a_hit
from tests.webhooks.reads.sent_mail import a_sent_mail, an_answer
from tracker import filing
from tracker.boxes import Box
from tracker.conversations import Conversation
from webhooks import reads
from webhooks.answers import Round
from webhooks.tracks import TrackedEmail, TrackedLink
from webhooks.verdicts import agents

CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36"
NEW: dict[str, Any] = {"rules": 0, "verdict": None, "why": None}


def opened(session: Session, mail: TrackedEmail, hours: float = 1, **more: Any) -> None:
    a_hit(session, mail, SENT + timedelta(hours=hours), **{**NEW, **more})


def judged(session: Session) -> None:
    reads.judge_some(session, NOW)
    session.commit()


def in_a_box(
    session: Session, team: Team, conversation: Conversation, mail: TrackedEmail, name: str = "Acme"
) -> Box:
    box = a_box(session, team.viewer, name)
    filing.file(session, team.viewer, conversation, box, "")
    mail.box_id = box.id
    return box


def page(browser: FlaskClient, address: str) -> str:
    answer = browser.get(address)
    assert answer.status_code == 200, address
    return answer.text


def test_below_a_sent_mail_stands_what_came_of_it_and_each_hit_with_its_reason(
    browser: FlaskClient, write: Session, team: Team
) -> None:
    mail, conversation = a_sent_mail(write, team)
    opened(write, mail, agent=agents.GMAIL_PREFETCH)
    opened(write, mail, 2)
    opened(write, mail, 9)
    judged(write)
    html = page(browser, f"/c/{conversation.key}")
    assert "Read, likely" in html
    assert "2 views" in html
    assert "via Gmail’s proxy" in html
    assert "Gmail fetched it ahead, before anybody looked." in html
    assert html.count('class="hit ') == 3
    assert page(browser, f"/reads/{mail.key}/line") in html


def test_each_state_has_words_of_its_own(browser: FlaskClient, write: Session, team: Team) -> None:
    def shown(subject: str, *hits: dict[str, Any], to: tuple[str, ...] = (ANNA,)) -> str:
        mail, conversation = a_sent_mail(write, team, *to, subject=subject, links=["https://acme.test/a"])
        for one in hits:
            opened(write, mail, **one)
        judged(write)
        return page(browser, f"/c/{conversation.key}")

    assert "Not opened yet" in shown("nothing")
    assert "Not read, as far as can be told" in shown("machine", {"agent": "Mozilla/5.0"})
    assert "Perhaps read" in shown("maybe", {"agent": "something"})
    clicked = {"kind": "click", "agent": CHROME, "address": "203.0.113.9"}
    assert "clicked once" in shown("clicked", clicked)
    assert "One of 2 read it, likely" in shown("two", {}, to=(ANNA, TOM))
    mail, conversation = a_sent_mail(write, team, subject="answered")
    an_answer(write, team, TOM, SENT + timedelta(hours=3), "answered")
    Round().step(write, NOW)
    write.commit()
    assert "Answered by somebody of their company" in page(browser, f"/c/{conversation.key}")
    mail.opens = mail.clicks = False
    mail.answered_at = None
    write.commit()
    assert f"reading-{mail.key}" not in page(browser, f"/c/{conversation.key}")


def test_only_who_may_read_the_mail_learns_of_it(app: Flask, write: Session, team: Team) -> None:
    mail, conversation = a_sent_mail(write, team)
    opened(write, mail)
    judged(write)
    alice, bob = browser_of(app, team.alice), browser_of(app, team.bob)
    assert alice.get(f"/reads/{mail.key}").status_code == 200
    for address in (f"/reads/{mail.key}", f"/reads/{mail.key}/line", "/reads/nothing", "/reads/%00"):
        assert bob.get(address).status_code == 404
    in_a_box(write, team, conversation, mail)
    write.commit()
    assert "Read, likely" in page(bob, f"/reads/{mail.key}")


def test_until_it_is_synced_only_its_sender_sees_it(app: Flask, write: Session, team: Team) -> None:
    mail, conversation = a_sent_mail(write, team)
    in_a_box(write, team, conversation, mail)
    mail.message_id = mail.conversation_id = None
    opened(write, mail)
    judged(write)
    assert "not in the mailbox yet" in page(browser_of(app, team.alice), f"/reads/{mail.key}")
    assert browser_of(app, team.bob).get(f"/reads/{mail.key}").status_code == 404


def test_all_hits_have_a_page_that_goes_on(browser: FlaskClient, write: Session, team: Team) -> None:
    mail, _ = a_sent_mail(write, team)
    for number in range(120):
        opened(write, mail, 1 + number / 100, agent="curl/8.4.0")
    judged(write)
    first = page(browser, f"/reads/{mail.key}")
    assert first.count('class="hit ') == 100
    rest = page(browser, first.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&"))
    assert rest.count('class="hit ') == 20
    assert page(browser, f"/reads/{mail.key}?after=nonsense").count('class="hit ') == 100


def test_what_agents_say_of_themselves_is_shown_as_text(browser: FlaskClient, write: Session, team: Team) -> None:
    mail, conversation = a_sent_mail(write, team)
    opened(write, mail, agent="<script>alert(1)</script>")
    judged(write)
    html = page(browser, f"/c/{conversation.key}")
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html


def test_the_timeline_tells_who_read_and_who_clicked(app: Flask, write: Session, team: Team) -> None:
    mail, conversation = a_sent_mail(write, team, links=["https://docs.acme.test/x"])
    box = in_a_box(write, team, conversation, mail)
    opened(write, mail)
    opened(write, mail, 2, kind="click", agent=CHROME, address="203.0.113.9", link_id=_link(write, mail))
    judged(write)
    html = page(browser_of(app, team.bob), f"/b/{box.key}")
    assert f"<strong>{ANNA}</strong> probably read" in html or f"<strong>{ANNA}</strong> read" in html
    assert f"<strong>{ANNA}</strong> clicked a link to docs.acme.test" in html
    assert "heard that" not in html


def _link(session: Session, mail: TrackedEmail) -> int:
    return session.scalars(select(TrackedLink.id).where(TrackedLink.tracked_email_id == mail.id)).one()


def test_a_read_of_mail_that_a_teammate_may_not_read_is_in_nobody_elses_timeline(
    app: Flask, write: Session, team: Team
) -> None:
    mail, conversation = a_sent_mail(write, team, BOB, subject="Between us")  # internal: only its holders read it
    box = in_a_box(write, team, conversation, mail)
    opened(write, mail)
    judged(write)
    assert "Between us" in page(browser_of(app, team.alice), f"/b/{box.key}")
    html = page(browser_of(app, team.bob), f"/b/{box.key}")
    assert "probably read" not in html
    assert "Between us" not in html


def test_cards_and_the_table_say_when_mail_was_last_read(browser: FlaskClient, write: Session, team: Team) -> None:
    sales = pipeline(write, team.alice.team_id)
    for number, hours in enumerate((1, 30)):
        mail, conversation = a_sent_mail(write, team, subject=f"Offer {number}")
        in_a_box(write, team, conversation, mail, f"Deal {number}")
        opened(write, mail, hours)
    in_a_box(write, team, *reversed(a_sent_mail(write, team, subject="Unread")), "Quiet deal")
    judged(write)
    board = page(browser, f"/p/{sales.key}")
    assert board.count('class="card-mark') == 2
    table = page(browser, f"/p/{sales.key}/table?show=name,last_read,reads&sort=-last_read")
    assert table.index("Deal 1") < table.index("Deal 0") < table.index("Quiet deal")


def test_questions_do_not_grow_with_mails(
    app: Flask, browser: FlaskClient, write: Session, team: Team, count_queries: Any
) -> None:
    sales = pipeline(write, team.alice.team_id)

    def asked(count: int) -> tuple[int, ...]:
        for number in range(count):
            mail, conversation = a_sent_mail(write, team, subject=f"Offer {count}-{number}")
            box = in_a_box(write, team, conversation, mail, f"Deal {count}-{number}")
            opened(write, mail)
            also, there = a_sent_mail(write, team, subject=f"More {count}-{number}", box_id=box.id)
            filing.file(write, team.viewer, there, box, "")
            opened(write, also)
        judged(write)
        found = []
        for address in (f"/p/{sales.key}", f"/p/{sales.key}/table?show=name,last_read,reads"):
            with count_queries() as statements:
                page(browser, address)
            found.append(len(statements))
        return tuple(found)

    asked(1)
    assert asked(2) == asked(5)


def test_a_box_with_many_tracked_mails_asks_no_more_than_one_with_few(
    browser: FlaskClient, write: Session, team: Team, count_queries: Any
) -> None:
    mail, conversation = a_sent_mail(write, team, subject="First")
    box = in_a_box(write, team, conversation, mail)
    opened(write, mail)

    def asked(count: int) -> int:
        for number in range(count):
            one, there = a_sent_mail(write, team, subject=f"Offer {count}-{number}", box_id=box.id)
            filing.file(write, team.viewer, there, box, "")
            opened(write, one)
        judged(write)
        with count_queries() as statements:
            page(browser, f"/b/{box.key}")
        return len(statements)

    asked(1)
    assert asked(2) == asked(6)


def test_the_outbox_says_what_came_of_sent_mail(
    app: Flask, browser: FlaskClient, write: Session, team: Team, count_queries: Any
) -> None:
    def asked(count: int) -> int:
        for number in range(count):
            subject = f"Queued {count}-{number}"
            email = ScheduledEmail(
                team_id=team.alice.team_id, user_id=team.alice.id, mailbox_id=team.mailbox.id, origin="gmail",
                state="sent", subject=subject, recipients=[ANNA], due_at=SENT, sent_at=SENT, zone="UTC",
                wall_time=SENT.replace(tzinfo=None), next_at=SENT,
            )  # fmt: skip
            write.add(email)
            write.flush()
            mail, _ = a_sent_mail(write, team, subject=subject, scheduled_email_id=email.id)
            opened(write, mail)
        judged(write)
        with count_queries() as statements:
            html = page(browser, "/outbox?show=sent")
        assert html.count("Read, likely") >= count
        return len(statements)

    asked(1)
    assert asked(2) == asked(5)
