"""The HTML part is found and changed; every other byte of a mail stays."""

from __future__ import annotations

import binascii
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler import letters
from scheduler.letters import Attachment, Letter
from webhooks import tracking_mime

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=400)
HTML = "<p>Grüße aus <b>Köln</b>, …</p>"


def a_letter(html: str = HTML, files: tuple[Attachment, ...] = (), text: str = "Grüße") -> bytes:
    address = letters.address("Ann Ö", "ann@ours.example")
    return letters.as_bytes(
        Letter(from_=address, to=(address,), subject="Ünder", html=html, text=text, attachments=files)
    )


KINDS = st.sampled_from(("text/html", "image/png", "message/rfc822"))
FILES = st.lists(st.builds(Attachment, st.just("a.html"), KINDS, st.binary(max_size=200)), max_size=2).map(tuple)


@settings(max_examples=50)
@given(TEXTS, FILES, TEXTS)
def test_all_but_the_html_is_the_same_byte_for_byte(html: str, files: tuple[Attachment, ...], put: str) -> None:
    raw = a_letter(html or "x", files)
    part = tracking_mime.html_part(raw)
    assert part is not None
    made = tracking_mime.replaced(raw, part, part.html + put)
    before, after = raw[: part.begins], raw[part.end :]
    assert made.startswith(before)
    assert made.endswith(after)
    again = tracking_mime.html_part(made)
    assert again is not None
    assert again.html.rstrip("\r\n") == (part.html + put).rstrip("\r\n")
    old, new = (message_from_bytes(one, policy=policy.default) for one in (raw, made))
    kinds = [[one.get_content_type() for one in message.walk()] for message in (old, new)]
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize("html", [HTML, "<p>plain ascii</p>", "字" * 500, "x" * 3_000, "a=b =20\n. \nFrom me \n"])
def test_the_html_that_is_found_is_what_was_written(html: str) -> None:
    part = tracking_mime.html_part(a_letter(html))
    assert part is not None
    assert part.html.replace("\r\n", "\n").rstrip("\n") == html.rstrip("\n")
    assert tracking_mime.html_part(tracking_mime.replaced(a_letter(html), part, part.html)) is not None


def test_a_mail_without_html_or_with_html_as_a_file_has_none() -> None:
    assert tracking_mime.html_part(a_letter("")) is None
    assert tracking_mime.html_part(a_letter("", (Attachment("x.html", "text/html", b"<p>x</p>"),))) is None


def test_a_line_that_grows_too_long_is_written_so_that_mail_carries_it() -> None:
    raw = a_letter("<p>ascii</p>")
    part = tracking_mime.html_part(raw)
    assert part is not None
    assert part.encoding == "7bit"
    made = tracking_mime.replaced(raw, part, f"<p>{'x' * 2_000}</p>")
    assert max(map(len, made.splitlines())) <= 998
    found = message_from_bytes(made, policy=policy.default).get_body(("html",))
    assert isinstance(found, EmailMessage)
    assert found.get_content().strip() == f"<p>{'x' * 2_000}</p>"


def test_what_grows_past_ascii_is_not_called_seven_bits() -> None:
    raw = a_letter("<p>ascii</p>", text="ascii")
    part = tracking_mime.html_part(raw)
    assert part is not None
    assert part.encoding == "7bit"
    made = tracking_mime.replaced(raw, part, "<p>Don’t</p>")
    assert made.isascii()
    found = message_from_bytes(made, policy=policy.default).get_body(("html",))
    assert isinstance(found, EmailMessage)
    assert found.get_content().strip() == "<p>Don’t</p>"


@given(st.binary(max_size=300).map(lambda raw: raw.replace(b"\r", b"")))
def test_quoted_printable_comes_back_as_it_was(body: bytes) -> None:
    body = body.replace(b"\n", b"\r\n")
    written = tracking_mime.quoted_printable(body)
    assert binascii.a2b_qp(written) == body
    assert all(len(line) <= 76 for line in written.splitlines())


@given(st.binary(max_size=300))
def test_any_bytes_are_survived(raw: bytes) -> None:
    part = tracking_mime.html_part(b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n" + raw)
    assert part is None or part.start <= part.end


def test_parts_within_parts_end_somewhere() -> None:
    raw = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(50))
    assert tracking_mime.html_part(raw) is None
