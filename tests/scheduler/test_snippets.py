"""Templates: fields are found, told where they are wrong, filled in safely; whose they are."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event as sql_event
from sqlalchemy.orm import Session

from scheduler import placeholders, rich_text, snippets
from scheduler.letters import address
from scheduler.placeholders import fill
from scheduler.snippets import TemplateError
from tests.tracker.domain import NOW, a_box, a_team
from tracker import contacts, fields, people
from tracker.people import Role, viewer_of

VALUES = {"first_name": "Anna", "company": "Berg & Co <x>", "title": ""}


def test_fields_are_filled_in_and_fallbacks_stand_where_nothing_is_known() -> None:
    made = fill(
        "{{First name}}: {{title|x}}", "<p>{{ company }}, {{title|dear &amp; you}}, {{phone|}}.</p>", VALUES
    )
    assert (made.subject, made.missing) == ("Anna: x", ())
    assert made.html == "<p>Berg &amp; Co &lt;x&gt;, dear &amp; you, .</p>"


def test_what_nothing_is_known_for_is_told_and_stays() -> None:
    made = fill("{{title}}", "<p>{{title}} {{first_name}}</p>", VALUES)
    assert (made.subject, made.html, made.missing) == ("{{title}}", "<p>{{title}} Anna</p>", ("title",))


def test_two_braces_can_be_written() -> None:
    assert fill(r"\{{ x }}", r"<p>\{{first_name}}</p>", VALUES).html == "<p>{{first_name}}</p>"
    assert placeholders.problems(r"\{{ x }}", "") == []


@pytest.mark.parametrize(
    "said", ["{{company}}", r"\{{x}}", "{{{x}}", "{{{{", '<a href="https://x.test/{{x}}">x</a>']
)
def test_what_is_escaped_says_the_same_once_filled_in(said: str) -> None:
    made = fill(placeholders.escaped(said), placeholders.escaped(rich_text.clean(said)), VALUES)
    assert (made.subject, made.html, made.missing) == (said, rich_text.clean(said), ())


def test_a_field_that_an_editor_broke_by_tags_is_still_one() -> None:
    assert rich_text.to_plain(fill("", "<p>{{<b>first</b>_name}}</p>", VALUES).html) == "Anna"


def test_what_is_unknown_is_told_where_it_stands() -> None:
    told = placeholders.problems(
        "Hi {{frist_name}}", "<p>One</p><p>{{field:Valeu}} {{self.__class__}}<br>{{first_name</p>", ["Value"]
    )
    assert told == [
        "Subject: there is no field {{frist_name}}; did you mean {{first_name}}?",
        "Line 3: there is no field {{field:Valeu}}; did you mean {{field:value}}?",
        r"Line 3: there is no field {{self.__class__}}; for braces as they are write “\{{”",
        r"Line 4: “{{” is never closed; write “}}” behind the name, or “\{{” for two braces",
    ]


@settings(max_examples=120, deadline=None)
@given(
    template=st.text(alphabet=st.sampled_from("{}|\\<>&;\"' ab_first_name/="), max_size=60),
    value=st.text(min_size=1, alphabet=st.sampled_from("{}|<>&\"' ab="), max_size=20).filter(str.strip),
)
def test_no_value_becomes_markup_or_another_field(template, value) -> None:
    html = fill("", f'<p><a href="https://x.test/{template}">{template}</a>{{{{first_name}}}}</p>',
                {"first_name": value, "b": "SECRET"}).html  # fmt: skip
    assert "SECRET" not in html or "{{b}}" in template.replace(" ", "")
    assert html == rich_text.clean(html)
    plain = rich_text.to_plain(fill("", "<p>-{{first_name}}-</p>", {"first_name": value}).html)
    assert plain.split() == f"-{value}-".split()


def test_what_is_known_of_a_recipient_a_box_and_oneself(session: Session) -> None:
    user = a_team(session)
    viewer = viewer_of(user, "web")
    box = a_box(session, viewer, "Berg deal", "anna.berg@berg.example")
    contact = (
        box.contacts[0] if box.contacts else contacts.by_address(session, user.team_id, "anna.berg@berg.example")
    )
    assert contact is not None
    contacts.change(session, viewer, contact, title="CTO")
    column = fields.add(session, viewer, box.pipeline_id, "Renewal", "date")
    box.values = {**box.values, column.key: "2026-12-01"}
    session.flush()
    asked = [address("", "Anna.Berg@berg.example"), address("Someone New", "new@x.test")]
    told = snippets.values(session, user, asked, box)
    anna, new = (told[one.normalized] for one in asked)
    assert (anna["first_name"], anna["title"], anna["company"]) == ("Anna", "CTO", "Berg")
    assert (anna["box.name"], anna["field:renewal"], anna["my_name"]) == ("Berg deal", "1 December 2026", "Alice")
    assert (new["first_name"], new["last_name"], new.get("title")) == ("Someone", "New", None)


def test_values_take_as_many_queries_for_fifty_recipients_as_for_one(session: Session) -> None:
    user = a_team(session)
    box = a_box(session, viewer_of(user, "web"), "Deal")

    def queries(number: int) -> int:
        asked = [address("", f"p{one}@x.test") for one in range(number)]
        seen: list[str] = []
        count = lambda *given: seen.append(str(given[2]))  # noqa: E731
        sql_event.listen(session.get_bind(), "before_cursor_execute", count)
        snippets.values(session, user, asked, box)
        sql_event.remove(session.get_bind(), "before_cursor_execute", count)
        return len(seen)

    queries(1)
    assert queries(1) == queries(50)


def test_a_private_template_is_its_owners_and_a_shared_one_everybodys(session: Session) -> None:
    alice = a_team(session)
    bob = people.add_user(session, alice.team_id, "bob@team.example", name="Bob")
    by_alice, by_bob = viewer_of(alice, "web"), viewer_of(bob, "web")
    assert by_alice.role == Role.ADMIN
    mine = snippets.add(session, by_bob, "Mine", "Hi", "<p>{{first_name|there}}</p>", shared=False)
    ours = snippets.add(session, by_bob, "Ours", "Hi", "<p>Hello</p>", shared=True)
    assert [one.name for one in snippets.of_team(session, by_alice)] == ["Ours"]
    assert snippets.by_key(session, by_alice, mine.key) is None
    assert snippets.may_change(by_alice, ours)  # an admin
    theirs = snippets.add(session, by_alice, "Theirs", "", "<p>x</p>", shared=True)
    with pytest.raises(TemplateError, match="teammate"):
        snippets.delete(session, by_bob, theirs)


@pytest.mark.parametrize(
    ("name", "subject", "html", "field"),
    [("", "", "<p>x</p>", "name"), ("x" * 61, "", "<p>x</p>", "name"), ("taken", "", "<p>x</p>", "name"),
     ("New", "{{nope}}", "<p>x</p>", "subject"), ("New", "", "<p>{{nope}}</p>", "body"),
     ("New", "", "<p> <img src=x></p>", "body"), ("New", "x" * 301, "<p>x</p>", "subject")],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused_beside_its_field(session: Session, name, subject, html, field) -> None:
    viewer = viewer_of(a_team(session), "web")
    snippets.add(session, viewer, "Taken", "", "<p>x</p>", shared=False)
    with pytest.raises(TemplateError) as caught:
        snippets.add(session, viewer, name, subject, html, shared=False)
    assert caught.value.field == field


def test_a_template_keeps_only_harmless_html(session: Session) -> None:
    viewer = viewer_of(a_team(session), "web")
    made = snippets.add(session, viewer, "A", "S", "<p onclick=x()>Hi<script>x()</script></p>", shared=True)
    assert made.html == "<p>Hi</p>"
    snippets.change(session, viewer, made, NOW, name="A", subject="T", html="<p>New</p>", shared=False)
    assert (made.subject, made.html, made.shared, made.changed_at) == ("T", "<p>New</p>", False, NOW)
