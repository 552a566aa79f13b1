"""Answers: to whom, under which subject, referring to what, quoting what."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from scheduler import replies, rich_text
from scheduler.letters import address
from scheduler.replies import Original

ANNA, CARL = address("Anna", "anna@theirs.example"), address("Carl", "carl@theirs.example")
BOB, ALICE = address("Bob", "bob@ours.example"), address("Alice", "alice@ours.example")
OWN = {BOB.normalized}
MAIL = Original(
    ANNA, to=(BOB, CARL), cc=(ALICE, ANNA), subject="Offer", message_id="3@x", references=("1@x", "2@x"),
    written_at=datetime(2026, 11, 24, 9), text="Hello\n> older",
)  # fmt: skip


def test_a_reply_goes_to_the_sender_alone() -> None:
    assert replies.recipients(MAIL, OWN, everybody=False) == ((ANNA,), ())


def test_a_reply_to_all_leaves_out_ones_own_address_and_writes_to_nobody_twice() -> None:
    assert replies.recipients(MAIL, OWN, everybody=True) == ((ANNA,), (CARL, ALICE))


def test_reply_to_is_respected() -> None:
    desk = address("Desk", "desk@theirs.example")
    assert replies.recipients(replace(MAIL, reply_to=(desk,)), OWN, everybody=False) == ((desk,), ())


def test_answering_ones_own_mail_writes_to_its_recipients_again() -> None:
    mine = replace(MAIL, sender=BOB, to=(ANNA, BOB), cc=(CARL,))
    assert replies.recipients(mine, OWN, everybody=True) == ((ANNA,), (CARL,))
    assert replies.recipients(mine, OWN, everybody=False) == ((ANNA,), ())


def test_a_mail_to_oneself_is_answered_to_oneself() -> None:
    assert replies.recipients(Original(BOB, to=(BOB,)), OWN, everybody=True) == ((BOB,), ())


@pytest.mark.parametrize(
    ("before", "after"),
    [("Offer", "Re: Offer"), ("RE: Offer", "RE: Offer"), ("Re[2]: Offer", "Re[2]: Offer"), ("", "Re:"),
     ("AW: Angebot", "Re: AW: Angebot"), ("Regards: x", "Re: Regards: x"), ("a\r\nBcc: x", "Re: a Bcc: x")],
)  # fmt: skip
def test_the_subject_says_re_once(before: str, after: str) -> None:
    assert replies.subject(before) == after
    assert replies.same_thread(before, after)


def test_another_subject_is_another_thread() -> None:
    assert not replies.same_thread("Offer", "Re: Offer 2")


def test_references_are_the_mails_own_and_the_mail() -> None:
    assert replies.references(MAIL) == ("1@x", "2@x", "3@x")
    assert replies.references(replace(MAIL, references=(), in_reply_to=("1@x",))) == ("1@x", "3@x")
    assert replies.references(replace(MAIL, references=(), in_reply_to=("1@x", "9@x"))) == ("3@x",)


def test_a_quotation_says_who_wrote_when_in_both_forms() -> None:
    quoted = replies.quoted_html(MAIL)
    assert rich_text.to_plain(quoted) == "On Tue 24 Nov 2026 at 09:00, Anna wrote:\n\n> Hello\n> > older"
    assert replies.split(f"<p>Hi</p>{quoted}") == ("<p>Hi</p>", quoted)


def test_hostile_html_is_quoted_without_what_runs_or_loads() -> None:
    evil = '<script>x()</script><img src="https://spy.test/p.gif"><a href="javascript:x()" onclick="x()">go</a>'
    quoted = replies.quoted_html(replace(MAIL, html=evil))
    assert "<a>go</a>" in quoted
    assert not any(word in quoted for word in ("script", "img", "onclick", "spy"))


def test_lists_links_and_quotations_in_plain_text() -> None:
    markup = (
        '<p>See <a href="https://x.test/a">here</a>, <a href="https://x.test/">https://x.test</a></p>'
        "<ul><li>one<ol><li>a</li><li>b<br>c</li></ol></li><li><p>two</p></li></ul>"
        "<blockquote>old<blockquote>older</blockquote></blockquote><pre>a\n  b</pre>"
    )
    assert rich_text.to_plain(rich_text.clean(markup)) == (
        "See here <https://x.test/a>, https://x.test\n\n- one\n  1. a\n  2. b\n     c\n- two\n\n"
        "> old\n>\n> > older\n\na\n  b"
    )


def test_plain_text_becomes_paragraphs_and_links() -> None:
    assert rich_text.from_plain("Hi <b>\nsee https://x.test/?a=1&b=2.\n\nBye") == (
        '<p>Hi &lt;b&gt;<br>\nsee <a href="https://x.test/?a=1&amp;b=2">https://x.test/?a=1&amp;b=2</a>.</p>\n<p>Bye</p>'
    )
