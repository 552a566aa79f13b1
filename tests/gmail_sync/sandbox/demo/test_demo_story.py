"""The story is consistent in itself."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gmail_sync.sandbox.demo.compose import sent_at
from gmail_sync.sandbox.demo.languages import LANGUAGES
from gmail_sync.sandbox.demo.story import Box, Days, Money, Story, load

STAGES = {
    "Connections": {"Contacted", "Connected", "Contact back"},
    "Sales": {"Prospect", "Lead", "Qualified", "Negotiating", "Won", "Lost & Rejected", "Revisit"},
}
FIELDS: dict[str, dict[str, type]] = {
    "Connections": {"Location": str, "Company": str, "How we met": str},
    "Sales": {"Value": Money, "Expected close": Days, "Source": str, "Reason lost": str, "Revisit on": Days},
}
CHOICES = {
    "How we met": {"introduced", "met at an event", "reached out"},
    "Source": {"connection", "e-mail", "website", "phone"},
}
RESERVED = re.compile(r"(.+\.)?(example|test|example\.(com|net|org))")


@pytest.fixture(scope="module")
def story() -> Story:
    return load()


def boxes_in(story: Story, pipeline: str) -> list[Box]:
    return [box for box in story.boxes if box.pipeline == pipeline]


def participants(story: Story, keys: tuple[str, ...]) -> set[str]:
    mails = [mail for key in keys for mail in story.conversation(key).mails]
    return {address for mail in mails for address in (mail.sender, *mail.recipients)}


def test_it_is_as_large_as_promised(story: Story) -> None:
    assert len(story.reps) == 3
    assert len(story.conversations) >= 60
    assert sum(1 for _ in story.mails()) >= 210
    assert len([person for person in story.people if not person.automatic]) >= 40
    assert len(story.organizations) >= 25
    assert len(boxes_in(story, "Connections")) == 14
    assert len(boxes_in(story, "Sales")) == 26
    assert len(story.beats) >= 13


def test_every_address_is_known_and_unique(story: Story) -> None:
    addresses = [person.address.casefold() for person in story.everyone()]
    assert len(set(addresses)) == len(addresses)
    for mail in story.mails():
        for address in (mail.sender, *mail.recipients):
            assert story.person(address)


def test_every_person_writes_or_is_written_to(story: Story) -> None:
    seen = participants(story, tuple(conversation.key for conversation in story.conversations))
    assert {person.address for person in story.everyone()} <= seen


def test_no_address_is_outside_the_reserved_domains(story: Story) -> None:
    texts = [person.address for person in story.everyone()]
    texts += [text for mail in story.mails() for text in (mail.text, mail.html, *mail.headers.values())]
    texts += [beat.text for beat in story.beats]
    for text in texts:
        for domain in re.findall(r"(?:@|https?://)([\w.-]+\w)", text):
            assert RESERVED.fullmatch(domain), domain


def test_a_mail_comes_from_or_goes_to_a_rep(story: Story) -> None:
    reps = {rep.address for rep in story.reps}
    for mail in story.mails():
        assert reps & {mail.sender, *mail.recipients}
        assert len({mail.sender, *mail.recipients}) == 1 + len(mail.recipients)


def test_no_message_id_twice(story: Story) -> None:
    ids = Counter([mail.message_id for mail in story.mails()] + [beat.message_id for beat in story.beats])
    assert ids.most_common(1)[0][1] == 1


def test_people_write_in_many_languages(story: Story) -> None:
    spoken = {person.language for person in story.people}
    assert {"en", "de", "fr", "es", "it", "pt", "nl", "ja", "sv"} == spoken == LANGUAGES
    assert spoken == set(story.replies)
    assert {mail.language for mail in story.mails()} >= {"en", "de", "fr", "es", "it", "pt", "nl", "ja"}
    assert len({person.time_zone for person in story.everyone()}) >= 15


@pytest.mark.parametrize("pipeline", STAGES)
def test_every_stage_has_boxes_of_several_owners(story: Story, pipeline: str) -> None:
    boxes = boxes_in(story, pipeline)
    assert {box.stage for box in boxes} == STAGES[pipeline]
    assert {box.owner for box in boxes} == {rep.address for rep in story.reps}


def test_every_contact_of_a_box_is_an_outsider_in_its_conversations(story: Story) -> None:
    reps = {rep.address for rep in story.reps}
    for box in story.boxes:
        assert box.contacts
        assert not reps & set(box.contacts)
        assert set(box.contacts) <= participants(story, box.conversations), box.name
        assert box.owner in participants(story, box.conversations), box.name


def test_fields_are_those_of_the_pipeline(story: Story) -> None:
    for box in story.boxes:
        for name, value in box.fields.items():
            assert isinstance(value, FIELDS[box.pipeline][name])
            assert value in CHOICES.get(name, {value})
        if box.pipeline == "Sales":
            assert isinstance(box.fields["Value"], Money)
        assert ("Reason lost" in box.fields) == (box.stage == "Lost & Rejected")
        assert ("Revisit on" in box.fields) == (box.stage == "Revisit")


def test_connections_stand_where_their_mail_puts_them(story: Story) -> None:
    for box in boxes_in(story, "Connections"):
        senders = {mail.sender for mail in story.mails()}
        assert (box.contacts[0] in senders) == (box.stage != "Contacted"), box.name


def test_the_first_beats_move_connections(story: Story) -> None:
    contacted = {box.contacts[0] for box in boxes_in(story, "Connections") if box.stage == "Contacted"}
    assert [beat.sender in contacted for beat in story.beats[:6]] == [True] * 6
    assert not story.beats[0].automatic
    assert sum(beat.automatic for beat in story.beats) == 1


def test_a_beat_answers_a_rep_who_waits(story: Story) -> None:
    reps = {rep.address for rep in story.reps}
    for beat in story.beats:
        assert beat.answers.sender in reps
        assert beat.sender in beat.answers.recipients


def test_people_write_in_working_hours(story: Story) -> None:
    for mail in story.mails():
        if not story.person(mail.sender).automatic and mail.sender != "gus.albright@example.com":
            assert mail.at.ago is None
            assert 5 <= mail.at.clock.hour <= 21


def test_the_story_has_what_real_mailboxes_have(story: Story) -> None:
    mails = list(story.mails())
    reps = {rep.address for rep in story.reps}
    assert any("List-Id" in mail.headers and "https://" in mail.html for mail in mails)
    assert any(mail.headers.get("Auto-Submitted") == "auto-replied" for mail in mails)
    assert any({mail.sender, *mail.recipients} <= reps for mail in mails)
    assert any(mail.invitation for mail in mails)
    assert any(mail.html_only for mail in mails)
    assert {item.kind for mail in mails for item in mail.attachments} == {"pdf", "png"}
    assert any(len(reps & {mail.sender, *mail.recipients}) == 2 for mail in mails)
    answered = Counter(mail.answers.message_id for mail in mails if mail.answers)
    assert answered.most_common(1)[0][1] >= 2, "no conversation forks"
    boxed = {key for box in story.boxes for key in box.conversations}
    assert len({conversation.key for conversation in story.conversations} - boxed) >= 15


def test_most_deals_are_awake_on_any_day_of_the_week(story: Story) -> None:
    told = tomllib.loads((Path(__file__).parents[4] / "config/pipelines/sales.toml").read_text("utf-8"))
    limits = {stage["name"]: stage["sleep_days"] for stage in told["stages"] if stage["name"] in AWAKE}
    deals = [box for box in boxes_in(story, "Sales") if box.stage in limits]
    for day in range(7):
        now = datetime(2026, 11, 16, 12, tzinfo=UTC) + timedelta(days=day)
        asleep = [box for box in deals if min(box.stage_days, rest(story, box, now)) >= limits[box.stage]]
        assert 1 <= len(asleep) <= len(deals) / 4, [box.name for box in asleep]


AWAKE = {"Prospect", "Lead", "Qualified", "Negotiating"}


def rest(story: Story, box: Box, now: datetime) -> int:
    """The days since the last mail of a box."""
    mails = [mail for key in box.conversations for mail in story.conversation(key).mails]
    return (now - max(sent_at(story, mail, now) for mail in mails)).days


def test_there_is_something_to_decide_on_the_first_morning(story: Story) -> None:
    contacts = Counter(address for box in story.boxes for address in set(box.contacts))
    twice = Counter(story.person(address).name for address in contacts)
    assert [name for name, count in twice.items() if count > 1] == ["Priya Raman"]  # a pair to merge
    deals = {box.contacts[0] for box in boxes_in(story, "Sales") if box.stage in AWAKE}
    boxed = {key for box in story.boxes for key in box.conversations}
    for_two = [
        one
        for one in story.conversations
        if one.key not in boxed and len(participants(story, (one.key,)) & deals) > 1
    ]
    assert for_two, "no conversation that two boxes could have"
    begun = {
        one.mails[0].recipients for one in story.conversations if one.mails[0].sender == story.reps[0].address
    }
    assert any(
        set(to).isdisjoint(contacts) and not story.person(to[0]).automatic for to in begun
    )  # a new box is offered
