"""The story's mails are real mail."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from email.utils import parsedate_to_datetime
from zoneinfo import ZoneInfo

import pytest

from gmail_sync.sandbox import Sandbox
from gmail_sync.sandbox.demo.compose import compose, sent_at
from gmail_sync.sandbox.demo.moments import Moment, last_working_day, working_days_after, working_days_before
from gmail_sync.sandbox.demo.play import in_order, load_story
from gmail_sync.sandbox.demo.story import Story, load

NOW = datetime(2026, 11, 21, 21, 0, tzinfo=UTC)
#: Around changes of summer time, on weekends, just after midnight.
NOWS = [
    NOW,
    datetime(2026, 3, 30, 0, 5, tzinfo=UTC),
    datetime(2026, 4, 6, 12, 0, tzinfo=UTC),
    datetime(2026, 10, 26, 6, 30, tzinfo=UTC),
    datetime(2027, 1, 3, 23, 59, tzinfo=UTC),
    *(datetime(2026, 6, 8, 9, 0, tzinfo=UTC) + timedelta(days=day) for day in range(7)),
]


@pytest.fixture(scope="module")
def story() -> Story:
    return load()


@pytest.fixture(scope="module")
def parsed(story: Story) -> list[EmailMessage]:
    parser = BytesParser(policy=policy.default)
    return [parser.parsebytes(compose(story, mail, NOW)) for mail in story.mails()]


@pytest.fixture(scope="module")
def sandbox(story: Story) -> Sandbox:
    sandbox = Sandbox()
    load_story(sandbox, NOW, story)
    return sandbox


def test_mails_parse_without_defects(parsed: list[EmailMessage]) -> None:
    for message in parsed:
        for part in message.walk():
            assert not part.defects
            assert not [value for value in part.values() if getattr(value, "defects", ())]
            if not part.is_multipart():
                assert part.get_content()


def test_headers_say_what_the_story_says(story: Story, parsed: list[EmailMessage]) -> None:
    for mail, message in zip(story.mails(), parsed, strict=True):
        assert message["message-id"] == mail.message_id
        assert message["subject"] == mail.subject
        assert message["from"].addresses[0].display_name == story.person(mail.sender).name
        assert [address.addr_spec for address in message["to"].addresses] == list(mail.to)
        if mail.answers:
            assert message["in-reply-to"] == mail.answers.message_id
            assert message["references"].split()[-1] == mail.answers.message_id


@pytest.mark.parametrize("now", NOWS, ids=lambda now: now.isoformat())
def test_dates_carry_the_offset_of_the_writer_then(story: Story, now: datetime) -> None:
    for mail in story.mails():
        at = sent_at(story, mail, now)
        zone = ZoneInfo(story.person(mail.sender).time_zone)
        assert at.utcoffset() == at.astimezone(UTC).astimezone(zone).utcoffset()
        assert at < now
        assert mail.at.ago or at.weekday() < 5


def test_the_date_header_is_that_moment(story: Story, parsed: list[EmailMessage]) -> None:
    offsets = set()
    for mail, message in zip(story.mails(), parsed, strict=True):
        at = parsedate_to_datetime(message["date"])
        assert at == sent_at(story, mail, NOW)
        assert at.utcoffset() == sent_at(story, mail, NOW).utcoffset()
        offsets.add(at.utcoffset())
    assert len(offsets) >= 10


@pytest.mark.parametrize("now", NOWS, ids=lambda now: now.isoformat())
def test_answers_come_after_what_they_answer(story: Story, now: datetime) -> None:
    for mail in story.mails():
        if mail.answers:
            assert sent_at(story, mail.answers, now) < sent_at(story, mail, now), mail.text[:40]


def test_the_story_covers_four_months(story: Story) -> None:
    first, last = in_order(story, NOW)[0], in_order(story, NOW)[-1]
    assert timedelta(days=110) < NOW - sent_at(story, first[1], NOW) < timedelta(days=125)
    assert NOW - sent_at(story, last[1], NOW) < timedelta(hours=6)


def test_mails_come_in_several_charsets_and_kinds(parsed: list[EmailMessage]) -> None:
    parts = [part for message in parsed for part in message.walk()]
    assert {"utf-8", "iso-8859-1", "iso-2022-jp"} <= {part.get_content_charset() for part in parts}
    kinds = {part.get_content_type() for part in parts}
    assert {"text/plain", "text/html", "text/calendar", "application/pdf", "image/png"} <= kinds
    assert any(message.get_content_type() == "text/html" for message in parsed)


def test_attachments_are_what_they_say(parsed: list[EmailMessage]) -> None:
    starts = {"application/pdf": b"%PDF-1.4", "image/png": b"\x89PNG\r\n\x1a\n"}
    files = [part for message in parsed for part in message.iter_attachments()]
    assert len(files) >= 20
    for part in files:
        assert part.get_content().startswith(starts[part.get_content_type()])
        assert part.get_filename()


def test_an_answer_quotes_in_the_language_of_its_program(parsed: list[EmailMessage]) -> None:
    texts = [part.get_content() for message in parsed if (part := message.get_body(("plain",)))]
    for words in ("schrieb Chloé", "a écrit :", "escribió:", "ha scritto:", "escreveu:", "schreef", "wrote:"):
        assert any(words in text and "\n> " in text for text in texts), words


def test_each_rep_holds_what_they_sent_or_received(story: Story, sandbox: Sandbox) -> None:
    for rep in story.reps:
        mailbox = sandbox.mailbox(rep.address)
        held = [mail for mail in story.mails() if rep.address in (mail.sender, *mail.recipients)]
        assert len(mailbox.message_ids()) == len(held)
        sent = [found for found in mailbox.message_ids() if mailbox.label_ids(found) == ["SENT"]]
        assert len(sent) == sum(mail.sender == rep.address for mail in held)
        labels = [set(mailbox.label_ids(found)) for found in mailbox.message_ids()]
        assert any("UNREAD" in found for found in labels)
        assert any("STARRED" in found for found in labels)
        assert any(not found & {"SENT", "INBOX"} for found in labels), "nothing is archived"


def test_threads_hold_together_in_a_mailbox(story: Story, sandbox: Sandbox) -> None:
    alice = "alice@juniper.example"
    thread = max(sandbox.mailbox(alice).threads().values(), key=len)
    mails = story.conversation("kestrel-vaccines").mails
    assert len(thread) == sum(alice in (mail.sender, *mail.recipients) for mail in mails) < len(mails)


def test_a_user_label_is_made(sandbox: Sandbox) -> None:
    assert sandbox.mailbox("chloe@juniper.example").labels.id_of("Trade fairs")


def test_loading_twice_changes_nothing(story: Story, sandbox: Sandbox) -> None:
    before = [mailbox.message_ids() for mailbox in sandbox.mailboxes()]
    load_story(sandbox, NOW + timedelta(days=1), story)
    assert [mailbox.message_ids() for mailbox in sandbox.mailboxes()] == before


@pytest.mark.parametrize("count", range(12))
def test_working_days_are_counted_both_ways(count: int) -> None:
    for shift in range(7):
        day = last_working_day(NOW + timedelta(days=shift))
        back = working_days_before(day, count)
        assert back.weekday() < 5
        assert working_days_after(back, count) == day


def test_a_moment_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="not a moment"):
        Moment.parse("yesterday")
