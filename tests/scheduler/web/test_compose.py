"""Writing a mail: what the form shows and says, what it queues, and what it refuses with what was typed kept."""

from __future__ import annotations

from io import BytesIO

import pytest
from flask import Flask
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from config import teams
from scheduler import letters, outbox, snippets
from scheduler.outbox import ScheduledEmail
from scheduler.web import compose as web_compose
from tests.scheduler.web.conftest import DANA, MONDAY, Desk
from tests.tracker.domain import a_box
from tests.tracker.web.factories_web import ALICE, BOB, a_mail, a_mailbox, browser_of, counted
from tracker import contacts, people
from tracker.conversations import Conversation
from tracker.messages import Copy, Message

HX = {"HX-Request": "true"}
TOKYO_NINE = "Tue 24 Nov, 09:00 in Tokyo (your 00:00)"


def letter(email: ScheduledEmail) -> letters.Letter:
    found = outbox.letter_of(email)
    assert found is not None
    return found


def message_of(session: Session, conversation: Conversation) -> Message:
    return session.scalars(select(Message).where(Message.conversation_id == conversation.id)).one()


def test_the_form_says_when_it_goes_there_and_here_and_why(desk: Desk) -> None:
    page = desk.alice.get(f"/compose?box={desk.box.key}").text
    assert f"Dana Okafor &lt;{DANA}&gt;" in page
    assert TOKYO_NINE in page
    assert "Asia/Tokyo" in page
    assert "Their location says Tokyo" in page, page.split('class="where"')[1][:600]
    assert "Next Monday" in page
    assert "Mon 30 Nov, 09:00 in Tokyo" in page


def test_what_is_written_is_queued_for_their_nine(desk: Desk) -> None:
    answer = desk.alice.post("/compose", data=desk.write())
    assert (answer.status_code, answer.location) == (303, f"/b/{desk.box.key}")
    (email,) = desk.queued()
    assert (email.zone, email.zone_rule, str(email.wall_time)) == (
        "Asia/Tokyo",
        "recipient",
        "2026-11-24 09:00:00",
    )
    assert (email.box_id, email.country, email.guards_off) == (desk.box.id, "JP", [])
    written = letter(email)
    assert written.from_.address == ALICE
    assert (written.text, written.html) == ("Hi Dana,\n\nhere it is.", "<p>Hi Dana,</p>\n<p>here it is.</p>")
    page = desk.alice.get(f"/b/{desk.box.key}").text
    assert f"Queued. It goes {TOKYO_NINE}" in page
    undo = desk.alice.post("/outbox/take-back", data={"emails": email.key, "_next": f"/b/{desk.box.key}"})
    assert (undo.status_code, desk.queued()[0].state) == (303, "cancelled")


def test_rich_text_is_cleaned_and_has_a_plain_alternative(desk: Desk) -> None:
    body = (
        '<div>Hi <b>Dana</b><script>x()</script></div><ul><li onclick="x()">one</li></ul><img src=x onerror=x()>'
    )
    desk.alice.post("/compose", data=desk.write(body=body, rich="1"))
    written = letter(desk.queued()[0])
    assert written.html == "<div>Hi <b>Dana</b></div><ul><li>one</li></ul>"
    assert written.text == "Hi Dana\n- one"


def test_files_go_along_and_are_kept_or_taken_out_when_it_is_edited(desk: Desk) -> None:
    files = [(BytesIO(b"a" * 10), "a.pdf"), (BytesIO(b"b"), "../b.txt")]
    desk.alice.post("/compose", data=desk.write(files=files), content_type="multipart/form-data")
    (email,) = desk.queued()
    assert [(one.name, one.size) for one in letter(email).attachments] == [("a.pdf", 10), ("b.txt", 1)]
    form = desk.write(when="keep", keep="1", files=[(BytesIO(b"c"), "c.txt")], version=str(email.version))
    answer = desk.alice.post(f"/outbox/{email.key}/edit", data=form, content_type="multipart/form-data")
    assert answer.status_code == 303
    assert [one.name for one in letter(desk.queued()[0]).attachments] == ["b.txt", "c.txt"]


CHOICES = [
    ({"when": "tomorrow"}, "2026-11-24 09:00", "recipient", True),
    ({"when": "monday"}, "2026-11-30 09:00", "recipient", True),
    ({"when": "days", "days": "5"}, "2026-11-30 09:00", "recipient", True),  # Saturday, and Sunday, are off
    ({"when": "days", "days": "5", "working_days": None}, "2026-11-28 09:00", "recipient", False),
    ({"when": "there", "at": "14:30"}, "2026-11-24 14:30", "recipient", True),
    ({"when": "there", "at": "14:30", "on": "2026-11-28"}, "2026-11-28 14:30", "recipient", False),
    ({"when": "mine", "at": "16:00", "on": "2026-11-25"}, "2026-11-25 16:00", "sender", False),
    ({"when": "now"}, "2026-11-23 21:00", "now", False),
]


def test_every_choice_is_stored_as_a_wall_time(desk: Desk) -> None:
    for choice, *_ in CHOICES:
        desk.alice.post("/compose", data=desk.write(**choice))
    got = [(f"{one.wall_time:%Y-%m-%d %H:%M}", one.zone_rule, one.working_days) for one in desk.queued()]
    assert got == [tuple(wanted) for _, *wanted in CHOICES]


def test_several_recipients_in_several_zones_get_one_mail_or_one_each(desk: Desk) -> None:
    pau = contacts.add(desk.session, desk.team.viewer, "Pau", "pau@acme.test")
    contacts.change(desk.session, desk.team.viewer, pau, location="Berlin, Germany")
    desk.session.commit()
    both = desk.write(to=f"{DANA}, Pau <pau@acme.test>", subject="For {{first_name}}")
    page = desk.alice.post("/compose/preview", data=both).text
    assert "No hour is between 9 and 17 for everybody" in page or "Within working hours for everybody" in page
    desk.alice.post("/compose", data=both | {"each": "1"})
    one, other = desk.queued()
    assert [(email.zone, email.subject) for email in (one, other)] == [
        ("Asia/Tokyo", "For Dana"), ("Europe/Berlin", "For Pau"),
    ]  # fmt: skip


def test_a_reply_threads_quotes_and_goes_to_whom_it_should(desk: Desk) -> None:
    mailbox = desk.session.merge(desk.team.mailbox)
    talk = a_mail(desk.session, mailbox, "Rooms", sender=DANA, sender_name="Dana Okafor",
                  to=[ALICE, BOB, "pau@acme.test"], text="How much?", thread="t-rooms", at=MONDAY)  # fmt: skip
    message = message_of(desk.session, talk)
    desk.session.commit()
    page = desk.alice.get(f"/compose?reply={message.key}&all=1").text
    assert "Reply to all" in page
    assert f"{BOB}, pau@acme.test" in page
    form = desk.write(to=DANA, subject="Re: Rooms", reply=message.key, quote="1", box=None)
    answer = desk.alice.post("/compose", data=form)
    assert answer.location == f"/c/{talk.key}"
    (email,) = desk.queued()
    written = letter(email)
    assert (email.reply_thread_id, email.conversation_id, email.box_id) == ("t-rooms", talk.id, desk.box.id)
    assert (written.in_reply_to, written.references) == (message.rfc822_message_id, (message.rfc822_message_id,))
    assert "On Mon 23 Nov 2026 at 12:00, Dana Okafor wrote:\n\n> How much?" in written.text
    assert "Queued mail" in desk.alice.get(f"/c/{talk.key}").text
    assert "begins a thread of its own" not in desk.alice.post("/compose/preview", data=form).text
    other = desk.alice.post("/compose/preview", data=form | {"subject": "Another"}).text
    assert "begins a thread of its own" in other


def test_fields_that_the_writer_did_not_write_are_never_filled_in(desk: Desk) -> None:
    mailbox = desk.session.merge(desk.team.mailbox)
    talk = a_mail(desk.session, mailbox, "Offer {{box.name}}", sender=DANA, text="{{box.name}}?", thread="t-1")
    key = message_of(desk.session, talk).key
    desk.session.commit()
    page = desk.alice.get(f"/compose?reply={key}").text
    assert r'value="Re: Offer \{{box.name}}"' in page
    assert "begins a thread of its own" not in page
    form = desk.write(subject=r"Re: Offer \{{box.name}}", body=r"\{{x}} {{box.name}}", reply=key, quote="1")
    desk.alice.post("/compose", data=form)
    (email,) = desk.queued()
    before = letter(email)
    assert before.subject == "Re: Offer {{box.name}}"
    assert before.text.startswith("{{x}} Acme")
    assert "> {{box.name}}?" in before.text
    page = desk.alice.get(f"/outbox/{email.key}/edit").text
    assert r'value="Re: Offer \{{box.name}}"' in page
    assert r"\{{x}} Acme</textarea>" in page
    form = desk.write(subject=before.subject.replace("{{", r"\{{"), body=r"\{{x}} Acme", when="keep", quote="1",
                      version=str(email.version), box=None)  # fmt: skip
    assert desk.alice.post(f"/outbox/{email.key}/edit", data=form).status_code == 303
    after = letter(desk.queued()[0])
    assert (after.subject, after.text) == (before.subject, before.text)


def test_references_of_the_answered_mail_are_carried_on(desk: Desk) -> None:
    talk = a_mail(
        desk.session, desk.session.merge(desk.team.mailbox), "Rooms", sender=DANA, message_id="3@acme.test"
    )
    copy = desk.session.scalars(select(Copy)).one()
    copy.headers = [["References", "<1@acme.test>\r\n <2@acme.test>"]]
    message = message_of(desk.session, talk)
    desk.session.commit()
    desk.alice.post("/compose", data=desk.write(reply=message.key, subject="Re: Rooms"))
    assert letter(desk.queued()[0]).references == ("1@acme.test", "2@acme.test", "3@acme.test")


WRONG = [
    ({"to": "", "bcc": ""}, "to", "Whom does it go to"),
    ({"to": "dana"}, "to", "“dana” is no address"),
    ({"cc": "käthe@acme.test"}, "cc", "before the @"),
    ({"when": "yesterday"}, "when", "Choose when"),
    ({"when": "there", "at": "25:00"}, "when", "09:00"),
    ({"when": "days", "days": "0"}, "when", "1 to 365"),
    ({"when": "there", "on": "2026-11-20"}, "when", "has passed in Tokyo"),
    ({"when": "mine", "on": "2029-01-01"}, "when", "more than a year"),
    ({"body": "{{frist_name}}"}, "body", "did you mean {{first_name}}"),
    ({"subject": "{{nope"}, "subject", "never closed"),
    ({"body": "For {{title}}"}, "body", "Nothing is known for"),
    ({"body": "", "subject": ""}, "body", "nothing in it yet"),
    ({"each": "1", "cc": "x@acme.test"}, "cc", "one person each"),
]


def test_a_refusal_stands_at_its_field_and_what_was_typed_stays(desk: Desk) -> None:
    for wrong, place, words in WRONG:
        form = desk.write(**({"bcc": "keep@acme.test", "days": "17"} | wrong))
        answer = desk.alice.post("/compose", data=form)
        assert answer.status_code == 422, wrong
        assert words in answer.text.split(f'id="said-{place}"')[1][:400].replace("&#39;", "'"), wrong
        assert str(form["bcc"]) in answer.text
        assert str(form["subject"]) in answer.text
        fragment = desk.alice.post("/compose", data=form, headers=HX)
        assert fragment.status_code == 422
        assert words in fragment.text.replace("&#39;", "'")
        assert "<textarea" not in fragment.text  # what is typed, and the files, stay where they are
    assert desk.queued() == []


def test_a_guard_can_be_switched_off(desk: Desk) -> None:
    desk.alice.post("/compose", data=desk.write(guard=["answered"], late="nine"))
    (email,) = desk.queued()
    assert (sorted(email.guards_off), email.late_rule) == (["box_closed", "daily_limit", "same_text"], "nine")


def test_a_template_fills_the_form_and_is_previewed_for_the_recipient(desk: Desk) -> None:
    made = snippets.add(desk.session, desk.team.viewer, "First", "{{company}}: rooms",
                        "<p>Dear {{first_name|there}}, {{box.name}}</p>", shared=True)  # fmt: skip
    desk.session.commit()
    page = desk.alice.get(f"/compose?box={desk.box.key}&template={made.key}").text
    assert "<h3>Acme: rooms</h3>" in page
    assert "<p>Dear Dana, Acme</p>" in page
    again = desk.alice.post("/compose", data=desk.write(do="template", template=made.key)).text
    assert "{{company}}: rooms" in again
    assert desk.alice.get(f"/templates/{made.key}/text").json["subject"] == "{{company}}: rooms"
    assert desk.queued() == []


def test_contacts_are_suggested_behind_what_is_typed(desk: Desk) -> None:
    found = desk.alice.get("/compose/people", query_string={"to": "eve@x.test, dan"}).text
    assert f"eve@x.test, Dana Okafor &lt;{DANA}&gt;" in found
    assert desk.alice.get("/compose/people", query_string={"cc": "d"}).text == ""


def test_editing_keeps_the_time_or_chooses_another_and_notices_who_was_faster(desk: Desk) -> None:
    desk.alice.post("/compose", data=desk.write())
    (email,) = desk.queued()
    page = desk.alice.get(f"/outbox/{email.key}/edit").text
    assert "As it is" in page
    assert "here it is." in page
    form = desk.write(subject="A better offer", when="keep", version=str(email.version), box=None)
    assert desk.alice.post(f"/outbox/{email.key}/edit", data=form).status_code == 303
    (after,) = desk.queued()
    assert (after.subject, after.due_at, after.box_id) == ("A better offer", email.due_at, desk.box.id)
    late = desk.alice.post(f"/outbox/{email.key}/edit", data=form | {"subject": "Again"})
    assert late.status_code == 409
    assert "changed meanwhile" in late.text
    assert "Again" in late.text
    form |= {"guard": ["answered"], "late": "hours", "working_days": None, "version": str(after.version)}
    form = {name: value for name, value in form.items() if value is not None}
    assert desk.alice.post(f"/outbox/{email.key}/edit", data=form).status_code == 303
    (after,) = desk.queued()
    assert (after.due_at, after.late_rule, after.working_days) == (email.due_at, "hours", False)
    assert after.guards_off == ["box_closed", "daily_limit", "same_text"]
    form |= {"when": "monday", "version": str(after.version)}
    assert desk.alice.post(f"/outbox/{email.key}/edit", data=form).status_code == 303
    assert str(desk.queued()[0].wall_time) == "2026-11-30 09:00:00"


def test_without_a_mailbox_the_page_says_what_to_do(desk: Desk, app: Flask) -> None:
    gina = browser_of(app, desk.team.gina)
    assert "Connect your mailbox" in gina.get("/compose").text
    assert gina.post("/compose", data=desk.write()).status_code == 404


def test_only_ones_own_mailbox_sends_and_keys_of_others_are_not_there(desk: Desk) -> None:
    eve = teams.found(desk.session, "Others", "eve@others.example", "Eve")
    theirs = a_box(desk.session, people.viewer_of(eve, "test"), "Theirs", "x@theirs.test")
    a_mailbox(desk.session, eve)
    private = a_mail(
        desk.session, desk.session.merge(desk.team.bobs), "Private", sender="friend@home.test", to=[BOB]
    )
    hidden = message_of(desk.session, private)
    template = snippets.add(desk.session, people.viewer_of(eve, "test"), "T", "", "<p>x</p>", shared=True)
    desk.session.commit()
    bobs, eves = desk.team.bobs.key, theirs.key
    for address in (f"/compose?box={eves}", f"/compose?contact={theirs.contacts[0].key}",
                    f"/compose?reply={hidden.key}", f"/compose?template={template.key}",
                    f"/templates/{template.key}", f"/templates/{template.key}/text"):  # fmt: skip
        assert desk.alice.get(address).status_code == 404, address
    for wrong in ({"mailbox": bobs}, {"box": eves}, {"reply": hidden.key},
                  {"do": "template", "template": template.key}):  # fmt: skip
        assert desk.alice.post("/compose", data=desk.write(**wrong)).status_code == 404, wrong
    assert desk.queued() == []


FIELDS = ("to", "cc", "subject", "body", "when", "at", "on", "days", "late", "guard", "keep", "each", "mailbox",
          "box", "reply", "do", "template", "version", "rich")  # fmt: skip
HOSTILE = ["\x00", b"\xed\xa0\x80", "9" * 400, "<script>x()</script>\r\nBcc: spy@x.test", "{{" * 500]


def test_a_hostile_form_breaks_nothing(desk: Desk) -> None:
    for field in FIELDS:
        for value in HOSTILE:
            form = desk.write(**{field: value})
            for address in ("/compose", "/compose/preview"):
                answer = desk.alice.post(address, data=form)
                assert answer.status_code in (200, 303, 400, 404, 422), (field, value, address)
                assert "<script>x()" not in answer.text, field
    for email in desk.queued():
        assert letter(email).bcc == ()
    two = desk.write(to=f"{DANA}, x@acme.test", each="1", when="keep", version=str(email.version))
    assert desk.alice.post(f"/outbox/{email.key}/edit", data=two).status_code in (303, 409)


def test_a_form_that_is_too_large_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_compose, "LARGEST_FORM", 2_500_000)
    large = desk.write(files=[(BytesIO(b"x" * 2_600_000), "film.mp4")])
    answer = desk.alice.post("/compose", data=large, content_type="multipart/form-data", headers=HX)
    assert answer.status_code == 413
    fits = desk.write(files=[(BytesIO(b"x" * 2_200_000), "film.mp4")])  # more than other forms may have
    assert desk.alice.post("/compose", data=fits, content_type="multipart/form-data").status_code == 303
    monkeypatch.setattr(letters, "LARGEST", 1_000_000)
    again = desk.write(files=[(BytesIO(b"x" * 2_200_000), "film.mp4")])
    refused = desk.alice.post("/compose", data=again, content_type="multipart/form-data")
    assert refused.status_code == 422
    assert "MB; Gmail takes" in refused.text.split('id="said-files"')[1][:300]


@pytest.mark.parametrize("where", ["acme.test", "nowhere.test"], ids=["contacts", "strangers"])
def test_a_preview_takes_as_many_queries_for_ten_contacts_as_for_two(
    desk: Desk, engine: Engine, where: str
) -> None:
    for number in range(10):
        contacts.add(desk.session, desk.team.viewer, f"P {number}", f"p{number}@acme.test")
    desk.session.commit()

    def queries(count: int) -> int:
        to = ", ".join(f"p{number}@{where}" for number in range(count))
        form = desk.write(to=to, subject="{{first_name}}", each="1")
        desk.alice.post("/compose/preview", data=form)  # zones are worked out once
        with counted(engine) as seen:
            assert "is no address" not in desk.alice.post("/compose/preview", data=form).text
        return len(seen)

    assert queries(2) == queries(10)


@pytest.mark.parametrize("sent_as", ["multipart/form-data", "application/x-www-form-urlencoded"])
def test_a_long_text_goes_and_one_that_is_too_long_is_told_so(desk: Desk, sent_as: str) -> None:
    def post(size: int, **headers: str) -> TestResponse:
        form = desk.write(body="<p>Hi,</p>" + "<p>é 19 %</p>" * (size // 13), rich="1")
        return desk.alice.post("/compose", data=form, content_type=sent_as, headers=headers)

    assert post(520_000).status_code == 303
    (email,) = desk.queued()
    assert len(email.raw or b"") > 520_000
    answer = post(1_010_000, **HX)
    assert answer.status_code == 422
    assert "at most 1,000,000 characters" in answer.text.split('id="said-body"')[1][:300]
    assert len(desk.queued()) == 1
