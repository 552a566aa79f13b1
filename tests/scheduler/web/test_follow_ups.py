"""Follow-ups that the compose form asks for: set with the mail or not at all, and nothing typed is lost."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlalchemy import select

from scheduler import outbox, sequences, snippets
from scheduler.sequences import SequenceRun
from tests.scheduler.web.conftest import DANA, MONDAY, Desk
from tests.tracker.web.factories_web import ALICE, a_mail

HX = {"HX-Request": "true"}
TWO = {"follow_days-1": "2", "follow_text-1": "Have you seen it?", "follow_days-2": "5", "follow_text-2": "Last."}


def runs(desk: Desk) -> Sequence[SequenceRun]:
    desk.session.rollback()
    query = select(SequenceRun).order_by(SequenceRun.id).execution_options(populate_existing=True)
    return desk.session.scalars(query).all()


def folded(page: str) -> bool:
    """Whether the form's follow-ups are folded."""
    found = re.search(r'<details class="fold"( open)?><summary class="quiet-link">Follow up if', page)
    assert found is not None
    return found[1] is None


def test_a_mail_is_queued_with_its_follow_ups_and_the_box_lists_them(desk: Desk) -> None:
    says = "<p>Any news, {{first_name}}?</p>"
    nudge = snippets.add(desk.session, desk.team.viewer, "Nudge", "", says, shared=True)
    desk.session.commit()
    page = desk.alice.get(f"/compose?box={desk.box.key}").text
    assert folded(page)
    assert 'name="follow_days-10"' in page
    form = TWO | {"follow_text-1": "", "follow_template-1": nudge.key}
    assert desk.alice.post("/compose", data=desk.write(**form)).status_code == 303
    (run,), (email,) = runs(desk), desk.queued()
    assert (run.email_id, run.box_id, run.state) == (email.id, desk.box.id, "waiting")
    assert [(one.days, one.html) for one in run.steps] == [
        (2, says), (5, "<p>Last.</p>"),
    ]  # fmt: skip
    page = desk.alice.get(f"/b/{desk.box.key}").text
    assert "and 2 follow-ups if no answer comes" in page
    for words in ("2 days after the mail before it", "5 days after the mail before it", "Begins when the mail"):
        assert words in page, words


def test_each_of_separate_mails_has_follow_ups_of_its_own_and_without_a_box_the_mails_page_lists_them(
    desk: Desk,
) -> None:
    form = desk.write(to=f"{DANA}, Pau <pau@acme.test>", each="1", box=None, **TWO)
    desk.alice.post("/compose", data=form)
    one, other = runs(desk)
    assert (one.recipients, other.recipients) == ([DANA], ["pau@acme.test"])
    address = f"/outbox/{desk.queued()[1].key}"
    assert "5 days after the mail before it" in desk.alice.get(address).text
    paused = desk.alice.post(f"/sequences/{other.key}/pause")
    assert paused.location == f"{address}#follow-ups"
    assert "Paused" in desk.alice.get(address).text


REFUSED = [
    ({"follow_days-2": "999"}, "Follow-up 2: expected 1 to 365 days"),
    ({"follow_days-2": "two"}, "Follow-up 2: expected a number of days"),
    ({"follow_days-2": ""}, "Follow-up 2: say after how many days"),
    ({"follow_text-2": ""}, "Follow-up 2 says nothing"),
    ({"follow_text-2": "{{frist_name}}"}, "Follow-up 2: "),
]


def test_a_refusal_stands_beside_the_follow_ups_and_what_was_typed_stays(desk: Desk) -> None:
    for wrong, words in REFUSED:
        form = desk.write(**TWO | wrong)
        answer = desk.alice.post("/compose", data=form)
        assert answer.status_code == 422, wrong
        assert words in answer.text.split('id="said-follow"')[1][:400], wrong
        assert not folded(answer.text)
        for typed in filter(None, (TWO | wrong).values()):
            assert f'value="{typed}"' in answer.text or f">{typed}</textarea>" in answer.text, (wrong, typed)
        assert "here it is." in answer.text
        assert words in desk.alice.post("/compose", data=form, headers=HX).text
    assert (desk.queued(), runs(desk)) == ([], [])


def test_who_wants_no_follow_ups_gets_neither_mail_nor_follow_up(desk: Desk) -> None:
    sequences.unsubscribe(desk.session, desk.team.viewer, DANA, "asked", now=MONDAY)
    desk.session.commit()
    refused = desk.alice.post("/compose", data=desk.write(**TWO))
    assert "has asked for no follow-ups" in refused.text.split('id="said-follow"')[1][:400]
    assert (refused.status_code, desk.queued(), runs(desk)) == (422, [], [])


def test_without_scripts_a_preview_keeps_what_was_typed(desk: Desk) -> None:
    page = desk.alice.post("/compose", data=desk.write(do="preview", **TWO)).text
    assert not folded(page)
    assert 'value="5"' in page
    assert ">Have you seen it?</textarea>" in page


def test_a_queued_mail_is_given_follow_ups_once_when_it_is_edited(desk: Desk) -> None:
    desk.alice.post("/compose", data=desk.write())
    (email,) = desk.queued()
    address = f"/outbox/{email.key}/edit"
    form = desk.write(when="keep", version=str(email.version), **TWO)
    assert desk.alice.post(address, data=form).status_code == 303
    assert [len(run.steps) for run in runs(desk)] == [2]
    assert "follow_days-1" not in desk.alice.get(address).text
    again = desk.alice.post(address, data=form | {"version": str(desk.queued()[0].version), "subject": "Other"})
    assert "has follow-ups already" in again.text
    assert (again.status_code, desk.queued()[0].subject, len(runs(desk))) == (422, "The offer", 1)


def test_in_some_days_if_no_answer_has_come_means_that_an_answer_holds_it(desk: Desk) -> None:
    form = desk.write(when="days", days="3", guard=["box_closed"])
    refused = desk.alice.post("/compose", data=form)
    assert "Hold it if they answer first" in refused.text.split('id="said-when"')[1][:400]
    assert desk.queued() == []
    desk.alice.post("/compose", data=form | {"guard": ["answered"]})
    assert outbox.Guard.ANSWERED.value not in desk.queued()[0].guards_off


def test_follow_ups_are_saved_under_a_name_and_begun_from_it_again(desk: Desk) -> None:
    assert desk.alice.post("/compose", data=desk.write(**TWO, follow_save=" Gentle  nudge ")).status_code == 303
    page = desk.alice.get(f"/compose?box={desk.box.key}").text
    key = re.search(r'<option value="([^"]+)">Gentle nudge \(2\)', page)
    assert key is not None
    assert "Gentle nudge" not in desk.bob.get(f"/compose?box={desk.box.key}").text
    form = desk.write(subject="Another", body="Else", follow_plan=key[1])
    assert desk.bob.post("/compose", data=form).status_code == 422
    assert desk.alice.post("/compose", data=form).status_code == 303
    first, again = runs(desk)
    assert [(one.days, one.html) for one in again.steps] == [(one.days, one.html) for one in first.steps]
    other = TWO | {"follow_days-1": "9", "follow_plan": key[1], "follow_save": "gentle nudge"}
    desk.alice.post("/compose", data=desk.write(subject="Third", **other))
    assert [one.days for one in runs(desk)[2].steps] == [9, 5]  # what is written in the form counts, and is saved
    templates = desk.alice.get("/templates").text
    assert "after 9, 5 days" in templates
    assert desk.bob.post(f"/sequences/plans/{key[1]}/delete").status_code == 404
    assert desk.alice.post(f"/sequences/plans/{key[1]}/delete").status_code == 303
    desk.alice.get("/templates")  # which says that they are deleted
    assert "gentle nudge" not in desk.alice.get("/templates").text
    assert len(runs(desk)[1].steps) == 2


def test_what_can_not_be_saved_is_told_and_kept(desk: Desk) -> None:
    for form, words in (
        ({"follow_save": "Empty"}, "There are no follow-ups to save"),
        (TWO | {"follow_save": "x" * 61}, "a name of at most 60 characters"),
        ({"follow_plan": "gone"}, "Those saved follow-ups are gone"),
    ):
        answer = desk.alice.post("/compose", data=desk.write(**form))
        assert answer.status_code == 422
        assert words in answer.text.split('id="said-follow"')[1][:400]
        assert not folded(answer.text)
    assert desk.queued() == []


def test_the_last_mail_of_a_conversation_is_followed_up_from_its_page(desk: Desk) -> None:
    mailbox = desk.session.merge(desk.team.mailbox)
    mine = a_mail(desk.session, mailbox, "From my phone", sender=ALICE, to=[DANA], labels=["SENT"])
    theirs = a_mail(desk.session, mailbox, "From Dana", sender=DANA)
    desk.session.commit()
    assert "Follow up your last mail" not in desk.alice.get(f"/c/{theirs.key}").text
    address = f"/c/{mine.key}"
    assert "Follow up your last mail" in desk.alice.get(address).text
    assert "Follow up your last mail" not in desk.bob.get(address).text
    action, form = f"/sequences/after/{mine.key}", TWO | {"_place": f"follow-{mine.key}"}
    wrong = desk.alice.post(action, data=form | {"follow_days-2": "999"})
    assert wrong.status_code == 422
    assert "Follow-up 2: expected 1 to 365 days" in wrong.text
    assert desk.bob.post(action, data=form).status_code in (404, 409)
    assert desk.alice.post(action, data=form).location == f"{address}#follow-ups"
    (run,) = runs(desk)
    assert (run.state, run.recipients, len(run.steps)) == ("running", [DANA], 2)
    page = desk.alice.get(address).text
    assert "2 days after the mail before it" in page
    assert "Follow up your last mail" not in page
    assert desk.alice.post(action, data=form).status_code == 409
