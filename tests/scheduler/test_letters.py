"""A letter as bytes, read back by Python's own parser: the same subject, people, bodies and files."""

from __future__ import annotations

import re
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scheduler import letters, rich_text
from scheduler.letters import Attachment, Letter, LetterError, address, as_bytes, read
from tracker.charsets import clean_line

BOB = address("Bob", "bob@ours.example")
ANNA = address("Anna", "anna@theirs.example")

lines = st.text(max_size=120)
names = st.text(max_size=80) | st.sampled_from(
    ['"', "\\", "Doe, Jane (Sales)", "a@b.test", "=?utf-8?q?x?=", "李 小龍", "x\r\nBcc: evil@x.test", "O'Neil"]
)
locals_ = st.from_regex(r"[a-z0-9][a-z0-9+_.-]{0,20}[a-z0-9]", fullmatch=True)
domains = st.sampled_from(["theirs.example", "münchen.example", "例え.example", "xn--mnchen-3ya.example"])
people = st.builds(lambda name, local, domain: address(name, f"{local}@{domain}"), names, locals_, domains)
bodies = st.text(max_size=400).map(lambda text: rich_text.plain(text).rstrip("\n"))


def parsed(letter: Letter) -> EmailMessage:
    found = BytesParser(policy=policy.default).parsebytes(as_bytes(letter))
    assert isinstance(found, EmailMessage)
    return found


def _tight(name: str) -> str:
    return name.replace(" ", "")


def bodies_of(message: EmailMessage) -> tuple[str, str]:
    plain, rich = message.get_body(("plain",)), message.get_body(("html",))
    assert plain is not None
    told = [part.get_content().replace("\r\n", "\n") if part else "" for part in (plain, rich)]
    return told[0], told[1]


@settings(max_examples=60, deadline=None)
@given(subject=lines, to=st.lists(people, min_size=1, max_size=4), cc=st.lists(people, max_size=2), text=bodies)
@example("Re: Größe\r\nBcc: evil@x.test", [address("\r\n evil", "a@theirs.example")], [], "From me\n.")
def test_a_letter_comes_back_as_it_was_written(subject, to, cc, text) -> None:
    html = rich_text.from_plain(text)
    written = Letter(BOB, tuple(to), tuple(cc), subject=subject, html=html, text=text)
    message = parsed(written)
    assert str(message["Subject"] or "") == clean_line(subject)
    for header, wanted in (("To", to), ("Cc", cc)):
        got = message[header].addresses if message[header] else ()
        # Python's parser leaves blanks between the encoded words of a long name in, against RFC 2047 §6.2.
        assert [_tight(one.display_name) for one in got] == [_tight(clean_line(one.name)) for one in wanted]
        assert [one.addr_spec for one in got] == [letters.mailable(one) for one in wanted]
    plain, rich = bodies_of(message)
    assert plain.rstrip("\n") == text
    assert rich.rstrip("\n") == html.rstrip("\n")
    assert set(message.keys()) <= {"From", "To", "Cc", "Subject", "MIME-Version", "Content-Type",
                                   "Content-Transfer-Encoding"}  # fmt: skip
    again = read(as_bytes(written))
    assert (again.subject, [one.normalized for one in again.recipients]) == (
        clean_line(subject),
        [one.normalized for one in written.recipients],
    )
    for before, after in zip(written.recipients, again.recipients, strict=True):
        assert after.name == clean_line(before.name) or not clean_line(before.name).isalpha()
    assert again.text == text


@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(st.text(alphabet=st.sampled_from("a\r\n\t\0\x85\u2028:<>@ =?,;\""), max_size=60), min_size=5,
                    max_size=5)
)  # fmt: skip
def test_no_value_begins_a_header_of_its_own(values) -> None:
    subject, name, reference, file, kind = values
    letter = Letter(
        address(name, "bob@ours.example"), (ANNA,), subject=subject, text="x", in_reply_to=reference,
        references=(reference, "a@b"), attachments=(Attachment(file, kind, b"1"),),
    )  # fmt: skip
    message = parsed(letter)
    assert set(message.keys()) <= {"From", "To", "Subject", "In-Reply-To", "References", "MIME-Version",
                                   "Content-Type"}  # fmt: skip
    assert not [defect for part in message.walk() for defect in part.defects]


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300), lines, lines)
def test_files_come_back_byte_by_byte(content, name, kind) -> None:
    letter = Letter(BOB, (ANNA,), text="x", attachments=(Attachment(name, kind, content),))
    (found,) = read(as_bytes(letter)).attachments
    assert found.content == content
    assert found.name == letters.file_name(name)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
@example(b"From: \xff\r\nSubject: =?x?q?=\r\nContent-Type: multipart/mixed; boundary=\r\n\r\n--")
def test_anything_can_be_read(raw) -> None:
    assert isinstance(read(raw), Letter)


def test_lines_are_never_longer_than_mail_allows() -> None:
    many = tuple(address("Ä" * 200, f"person{number}@theirs.example") for number in range(60))
    raw = as_bytes(Letter(BOB, many, subject="wort " * 300, text="x" * 5000, html="<p>" + "x" * 5000 + "</p>"))
    assert max(len(line) for line in raw.split(b"\r\n")) <= 998
    assert b"\n" not in raw.replace(b"\r\n", b"")


def test_bcc_and_threading_headers_are_written() -> None:
    message = parsed(
        Letter(BOB, (ANNA,), bcc=(address("", "eve@ours.example"),), text="x", in_reply_to="two@x",
               references=("one@x", "two@x"))
    )  # fmt: skip
    assert message["Bcc"] == "eve@ours.example"
    assert (message["In-Reply-To"], message["References"]) == ("<two@x>", "<one@x> <two@x>")


def test_the_first_reference_and_the_last_ones_are_kept() -> None:
    ids = [f"{number}.{'x' * 40}@mail.example" for number in range(60)]
    kept = letters.trimmed(ids)
    assert kept[0] == ids[0]
    assert list(kept[1:]) == ids[-len(kept) + 1 :]
    assert sum(len(one) + 3 for one in kept) <= letters.REFERENCES_LIMIT


def test_an_address_that_mail_cannot_carry_is_named() -> None:
    for spec in ("käthe@theirs.example", "a b@theirs.example", "anna@th\neirs.example", "anna"):
        with pytest.raises(LetterError, match=re.escape(spec.partition("\n")[0][:3])) as caught:
            as_bytes(Letter(BOB, cc=(letters.Address("", spec, spec),)))
        assert caught.value.field == "cc"


def test_more_than_gmail_takes_is_refused_in_words() -> None:
    large = Attachment("film.mp4", "video/mp4", bytes(19_500_000))
    with pytest.raises(LetterError, match=r"26\.\d MB; Gmail takes 25 MB"):
        as_bytes(Letter(BOB, (ANNA,), attachments=(large,)))
    with pytest.raises(LetterError, match="at most 500"):
        as_bytes(Letter(BOB, (ANNA,) * 501))


def test_a_forwarded_mail_as_a_file_is_not_taken_for_parts() -> None:
    inner = Attachment("mail.eml", "message/rfc822", b"Subject: x\r\n\r\ny")
    (found,) = read(as_bytes(Letter(BOB, (ANNA,), attachments=(inner,)))).attachments
    assert (found.name, found.content) == ("mail.eml", inner.content)
