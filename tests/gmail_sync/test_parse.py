"""A Gmail resource as a message: what each field says, and what makes two messages the same."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmail_sync.parse import ParsedMessage, parse
from tests.gmail_payload import header, mail, part, resource, resource_of

SENT = datetime(2025, 3, 3, 17, 0, tzinfo=UTC)


def test_plain_mail_is_read() -> None:
    message = parse(
        mail("Hello Bob,\r\nyes.\r\n", In_Reply_To="<0@acme.example>", References="<a@b> <0@acme.example>")
    )
    assert (message.gmail_id, message.gmail_thread_id, message.history_id) == ("18c2f0", "18c2f0", 12345)
    assert (message.message_id, message.in_reply_to) == ("1@customer.example", ("0@acme.example",))
    assert message.references == ("a@b", "0@acme.example")
    assert message.sender is not None
    assert (message.sender.name, message.sender.normalized) == ("Jane Doe", "jane@customer.example")
    assert [address.normalized for address in message.to] == ["bob@acme.example"]
    assert (message.subject, message.text, message.html) == ("Offer", "Hello Bob,\nyes.", None)
    assert (message.sent_at, message.utc_offset, message.internal_date) == (SENT, 60, SENT)
    assert (message.automatic, message.auto_reply, message.defects, message.unreadable) == (None, False, (), False)
    assert message.headers[0] == ("From", "Jane Doe <jane@customer.example>")
    assert message.snippet == "Hello Bob, yes."


@pytest.mark.parametrize(
    ("date", "sent", "offset"),
    [
        ("Mon, 3 Mar 2025 18:00:00 +0100", SENT, 60),
        ("3 Mar 2025 22:30:00 +0530 (IST)", SENT, 330),
        ("Mon, 3 Mar 2025 12:00:00 EST", SENT, -300),
        ("Mon, 3 Mar 2025 17:00:00 GMT", SENT, 0),
        ("Mon, 3 Mar 2025 17:00:00 -0000", SENT, None),
        ("Mon, 3 Mar 2025 17:00:00", SENT, None),
        ("Mon, 3 Mar 2025 17:00:00 XYZ", SENT, None),
        ("Mon, 3 Mar 2025 18:00:00 +9900", SENT, None),
        ("Mon, 3 Mar 2025 18:00:00 +0107", SENT, None),
        ("Thu, 1 Jan 1970 00:00:00 +0000", SENT, None),
        ("Sat, 31 Feb 2025 18:00:00 +0100", SENT, None),
        ("yesterday", SENT, None),
        ("", SENT, None),
        ("Wed, 5 Mar 2025 17:00:01 +0000", SENT, 0),
        ("Wed, 5 Mar 2025 16:00:00 +0000", datetime(2025, 3, 5, 16, 0, tzinfo=UTC), 0),
        ("Sun, 3 Mar 2024 17:00:00 +0000", datetime(2024, 3, 3, 17, 0, tzinfo=UTC), 0),
    ],
)
def test_senders_clock_is_believed_within_reason(date: str, sent: datetime, offset: int | None) -> None:
    message = parse(mail(Date=date))
    assert (message.sent_at, message.utc_offset) == (sent, offset)


def test_without_googles_time_the_senders_stands_for_both() -> None:
    message = parse(mail() | {"internalDate": None})
    assert message.internal_date == message.sent_at == SENT
    assert message.defects == ("Gmail gave no internalDate",)


@pytest.mark.parametrize(
    ("written", "subject"),
    [
        ("=?utf-8?B?QW5nZWJvdCBmw7xy?= =?utf-8?Q?_Bob?=", "Angebot für Bob"),
        ("=?utf-8?B?5pel5pw=?= =?utf-8?B?rOiqng==?=", "日本語"),
        ("=?ISO-8859-1?Q?Gr=FC=DFe?=", "Grüße"),
        ("=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"),
        ("=?utf-8*de?Q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        ("=?x-nonsense?Q?Gr=FC=DFe?=", "Grüße"),
        ("=?utf-8?B?R3LDvMOfZQ?=", "Grüße"),
        ("=?utf-8?Q?Hello World?=", "Hello World"),
        ("Angebot für Bob", "Angebot für Bob"),
        ("a\r\n\tb\x00\ud800", "a b"),
        ("=?utf-8?Q?half", "=?utf-8?Q?half"),
    ],
)
def test_subject_is_decoded_whether_gmail_did_or_not(written: str, subject: str) -> None:
    assert parse(mail(Subject=written)).subject == subject


@pytest.mark.parametrize(
    ("charset", "data", "text"),
    [
        ("utf-8", "Grüße".encode(), "Grüße"),
        ("iso-8859-1", "Grüße".encode("latin-1"), "Grüße"),
        ("iso-8859-1", "Grüße".encode(), "Grüße"),
        ("windows-1252", "„5 €“".encode("cp1252"), "„5 €“"),
        ("us-ascii", "Grüße".encode("latin-1"), "Grüße"),
        ("shift_jis", "日本語".encode("cp932"), "日本語"),
        ("gb2312", "你好，世界".encode("gbk"), "你好，世界"),
        ("koi8-r", "Привет".encode("koi8-r"), "Привет"),
        ("iso-2022-jp", "日本語".encode("iso2022_jp"), "日本語"),
        ("utf-16", "Grüße".encode("utf-16"), "Grüße"),
        ("ks_c_5601-1987", "안녕하세요".encode("cp949"), "안녕하세요"),
        ("no-such-charset", "Grüße".encode(), "Grüße"),
        ("no-such-charset", "Grüße".encode("latin-1"), "Grüße"),
        ("zip", b"Hello", "Hello"),
        ("utf-8", "Grüße".encode("latin-1"), "Grüße"),
        ("", "Привет, как дела? Всё хорошо, спасибо.".encode("cp1251"), "Привет, как дела? Всё хорошо, спасибо."),
    ],
)
def test_text_is_decoded_by_its_charset_or_else_by_what_it_is(charset: str, data: bytes, text: str) -> None:
    payload = part("text/plain", data)
    message = parse(resource_of({"Content_Type": f'text/plain; charset="{charset}"'}, payload))
    assert message.text == text


def test_alternatives_give_the_best_text_and_the_best_html() -> None:
    tree = part("multipart/alternative", "", part("text/plain", "plain"), part("text/html", "<p>rich</p>"))
    message = parse(resource_of({"From": "a@x.com"}, tree))
    assert (message.text, message.html) == ("plain", "<p>rich</p>")
    assert message.attachments == ()


def test_footer_beside_an_alternative_is_in_text_and_html() -> None:
    choice = part("multipart/alternative", "", part("text/plain", "plain"), part("text/html", "<p>rich</p>"))
    message = parse(resource_of({}, part("multipart/mixed", "", choice, part("text/plain", "footer <1>"))))
    assert message.text == "plain\nfooter <1>"
    assert message.html is not None
    assert "<p>rich</p>" in message.html
    assert "footer &lt;1&gt;" in message.html


def test_html_around_an_attachment_is_put_together() -> None:
    pdf = part("application/pdf", "x", filename="a.pdf")
    rich = part("multipart/mixed", "", part("text/html", "<p>one</p>"), pdf, part("text/html", "<p>two</p>"))
    tree = part("multipart/alternative", "", part("text/plain", "plain"), rich)
    message = parse(resource_of({}, tree))
    assert (message.text, message.html) == ("plain", "<p>one</p>\n<p>two</p>")
    assert [attachment.filename for attachment in message.attachments] == ["a.pdf"]


def test_text_is_made_from_html_when_there_is_no_other() -> None:
    message = parse(resource_of({}, part("text/html", "<p>Hello <b>Bob</b></p><p>Bye</p>")))
    assert message.text == "Hello Bob\n\nBye"


def test_empty_plain_part_does_not_hide_the_html() -> None:
    tree = part("multipart/alternative", "", part("text/plain", " \r\n"), part("text/html", "<p>rich</p>"))
    assert parse(resource_of({}, tree)).text == "rich"


def test_attached_message_is_an_attachment_and_its_text_not_ours() -> None:
    inner = part("multipart/mixed", "", part("text/plain", "theirs"), part("image/png", "x", filename="their.png"))
    body = {"attachmentId": "A1", "size": 5000}
    forwarded = part("message/rfc822", "", filename="mail.eml") | {"body": body, "parts": [inner]}
    message = parse(resource_of({}, part("multipart/mixed", "", part("text/plain", "ours"), forwarded)))
    assert message.text == "ours"
    (attachment,) = message.attachments
    assert (attachment.filename, attachment.mime_type, attachment.attachment_id) == (
        "mail.eml",
        "message/rfc822",
        "A1",
    )
    assert attachment.size == 5000


def test_pictures_of_the_html_are_inline() -> None:
    logo = part("image/png", "x", filename="logo.png") | {"headers": [header("Content-ID", "<logo@acme>")]}
    tree = part("multipart/related", "", part("text/html", "<img src=cid:logo@acme>"), logo)
    (attachment,) = parse(resource_of({}, tree)).attachments
    assert (attachment.content_id, attachment.inline) == ("logo@acme", True)


def test_attached_text_is_an_attachment() -> None:
    notes = part("text/plain", "notes", filename="notes.txt")
    bare = part("text/plain", "bare") | {"headers": [header("Content-Disposition", "attachment")]}
    message = parse(resource_of({}, part("multipart/mixed", "", part("text/plain", "hi"), notes, bare)))
    assert message.text == "hi"
    assert [attachment.filename for attachment in message.attachments] == ["notes.txt", ""]


@pytest.mark.parametrize(
    ("disposition", "filename"),
    [
        ('attachment; filename="offer.pdf"', "offer.pdf"),
        ("attachment; filename=offer.pdf; size=3", "offer.pdf"),
        ("attachment; filename*=utf-8''Angebot%20f%C3%BCr.pdf", "Angebot für.pdf"),
        (
            "attachment; filename*0*=iso-8859-1''Angebot%20f; filename*1*=%FCr; filename*2=\".pdf\"",
            "Angebot für.pdf",
        ),
        ('attachment; filename="=?utf-8?B?QW5nZWJvdCBmw7xyLnBkZg==?="', "Angebot für.pdf"),
        (r'attachment; filename="C:\\temp\\..\\evil.exe"', "evil.exe"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="gpj.\u202eexe"', "gpj. exe"),
        (f'attachment; filename="{"x" * 999}.pdf"', "x" * 235 + ".pdf"),
        ("attachment", ""),
    ],
)
def test_filename_is_decoded_and_has_no_folder(disposition: str, filename: str) -> None:
    pdf = part("application/pdf", "x") | {"headers": [header("Content-Disposition", disposition)]}
    (attachment,) = parse(resource_of({}, part("multipart/mixed", "", pdf))).attachments
    assert attachment.filename == filename


def test_invitation_is_kept_as_text() -> None:
    invitation = "BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nEND:VCALENDAR\r\n"
    tree = part("multipart/alternative", "", part("text/plain", "hi"), part("text/calendar", invitation))
    message = parse(resource_of({"From": "a@x.com"}, tree))
    assert message.calendars == (invitation.replace("\r\n", "\n"),)
    assert (message.text, message.automatic) == ("hi", None)


def test_text_that_gmail_keeps_apart_is_listed_with_a_defect() -> None:
    huge = part("text/plain", "") | {"body": {"attachmentId": "A1", "size": 9_000_000}}
    message = parse(resource_of({"From": "a@x.com"}, huge))
    assert message.text == ""
    assert [attachment.attachment_id for attachment in message.attachments] == ["A1"]
    assert message.defects == ("Gmail keeps a text of this message apart, as an attachment",)


def test_snippet_loses_the_entities_that_gmail_writes() -> None:
    assert parse(mail() | {"snippet": "It&#39;s R&amp;D"}).snippet == "It's R&D"


def test_ids_without_brackets_and_with_words_around_them_are_read() -> None:
    message = parse(
        mail(Message_ID="1@x.com", In_Reply_To='Your message of "Monday" <2@x.com>', References="<3@x.com\r\n >")
    )
    assert (message.message_id, message.in_reply_to, message.references) == ("1@x.com", ("2@x.com",), ("3@x.com",))


AUTOMATIC = [
    ({"List_Id": "<news.x.com>"}, "List-Id", False),
    ({"Auto_Submitted": "auto-replied (vacation)"}, "Auto-Submitted: auto-replied", True),
    ({"Auto_Submitted": "auto-generated"}, "Auto-Submitted: auto-generated", False),
    ({"Auto_Submitted": "no"}, None, False),
    ({"Precedence": "bulk"}, "Precedence: bulk", False),
    ({"Precedence": "auto_reply"}, "Precedence: auto_reply", True),
    ({"X_Autoreply": "yes"}, "X-Autoreply", True),
    ({"X_Auto_Response_Suppress": "All"}, "X-Auto-Response-Suppress", False),
    ({"X_Auto_Response_Suppress": "All", "Subject": "Out of office next week"}, "out-of-office reply", True),
    ({"Subject": "Out of office next week"}, None, False),
    ({"Subject": "Automatic reply: Offer"}, "subject of an automatic reply", True),
    ({"Subject": "=?utf-8?Q?R=C3=A9ponse_automatique=3A?= Offre"}, "subject of an automatic reply", True),
    ({"Subject": "Re: Automatic reply: Offer"}, None, False),
    ({"From": "Acme <no-reply@acme.example>"}, "no-reply@ sender", False),
    ({"From": "drive-shares-noreply@google.com"}, "drive-shares-noreply@ sender", False),
    ({"From": "notifications@github.com"}, "notifications@ sender", False),
    ({"From": "noreen@acme.example"}, None, False),
    ({"From": "replyall@acme.example"}, None, False),
    ({"From": "Mail Delivery <MAILER-DAEMON@acme.example>"}, "delivery report", True),
    ({"X_Failed_Recipients": "a@x.com"}, "delivery report", True),
    ({"List_Unsubscribe": "<mailto:x@y.com>"}, "List-Unsubscribe", False),
]


@pytest.mark.parametrize(("headers", "reason", "auto_reply"), AUTOMATIC)
def test_machines_are_told_from_people(headers: dict[str, str], reason: str | None, auto_reply: bool) -> None:
    message = parse(mail(**headers))
    assert (message.automatic, message.auto_reply) == (reason, auto_reply)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("delivery-status", "delivery report"), ("disposition-notification", "read receipt"), ("x", "report")],
)
def test_reports_are_not_answers(kind: str, reason: str) -> None:
    tree = part(
        "multipart/report", "", part("text/plain", "sorry"), part("message/delivery-status", "Action: failed")
    )
    message = parse(resource_of({"Content_Type": f'multipart/report; report-type="{kind}"; boundary=x'}, tree))
    assert (message.automatic, message.auto_reply, message.text) == (reason, True, "sorry")


def test_calendar_answer_is_automatic() -> None:
    tree = part("multipart/alternative", "", part("text/plain", "ok"), part("text/calendar", "METHOD:REPLY\r\n"))
    message = parse(resource_of({"From": "a@x.com"}, tree))
    assert (message.automatic, message.auto_reply) == ("calendar answer", False)


def identity(**headers: str) -> bytes:
    return parse(mail(**headers)).identity


def test_senders_copy_and_recipients_copy_are_one_message() -> None:
    sent = mail("Hello\nBob", Bcc="Carol <carol@acme.example>")
    received = mail(
        "Hello \r\nBob\r\n", Received="from a by b", Return_Path="<jane@customer.example>", DKIM_Signature="v=1"
    )
    received |= {
        "id": "f00",
        "threadId": "f01",
        "historyId": "9",
        "internalDate": "1741021205000",
        "labelIds": ["UNREAD"],
    }
    received |= {"snippet": "Hello", "sizeEstimate": 99}
    assert parse(sent).identity == parse(received).identity
    assert len(parse(sent).identity) == 32


@given(
    st.lists(
        st.tuples(st.sampled_from(["Received", "Bcc", "X-Spam", "ARC-Seal", "Delivered-To"]), st.text(max_size=30))
    ),
    st.lists(st.text(max_size=10)),
    st.text(max_size=10),
    st.sampled_from([" ", "\n", "\r\n", "\t ", "\n\n"]),
)
def test_identity_ignores_hops_labels_ids_and_blanks(
    extra: list[tuple[str, str]], labels: list[str], gmail_id: str, blank: str
) -> None:
    copy = mail(f"Hello{blank}Bob{blank}", Subject=f"An{blank}offer")
    copy["payload"]["headers"] = [header(*pair) for pair in extra] + copy["payload"]["headers"]
    copy |= {"labelIds": labels, "id": gmail_id}
    assert parse(copy).identity == parse(mail("Hello Bob", Subject="An offer")).identity


@pytest.mark.parametrize(
    "other",
    [
        mail("Hello", Message_ID="<2@customer.example>"),
        mail("Hello", From="Jane Doe <other@customer.example>"),
        mail("Hello", To="Carol <carol@acme.example>"),
        mail("Hello", Cc="Carol <carol@acme.example>"),
        mail("Hello", Date="Mon, 3 Mar 2025 18:00:01 +0100"),
        mail("Hello", Subject="Offer 2"),
        mail("Hello", List_Id="<x>"),
        mail("Hello you"),
        mail("Hel lo"),
    ],
)
def test_identity_tells_other_content_under_the_same_message_id(other: dict[str, object]) -> None:
    assert parse(other).identity != parse(mail("Hello")).identity


def test_identity_tells_other_html_and_other_attachments() -> None:
    def message(html: str, *files: tuple[str, int]) -> ParsedMessage:
        parts = [part("application/pdf", "x" * size, filename=name) for name, size in files]
        return parse(
            resource_of({"Message_ID": "<1@x>"}, part("multipart/mixed", "", part("text/html", html), *parts))
        )

    same_text = [message("<p>x</p>"), message("<p><b>x</b></p>")]
    files = [message("<p>x</p>", ("a", 1)), message("<p>x</p>", ("a", 2)), message("<p>x</p>", ("b", 1))]
    both = [message("<p>x</p>", ("a", 1), ("b", 1)), message("<p>x</p>", ("b", 1), ("a", 1))]
    assert same_text[0].text == same_text[1].text
    assert len({each.identity for each in [*same_text, *files, *both]}) == 7


def test_to_and_cc_are_not_the_same() -> None:
    assert identity(To="a@x.com", Cc="b@x.com") != identity(To="a@x.com, b@x.com")


def test_gmails_form_of_a_mail_and_its_raw_form_are_one_message() -> None:
    raw = (
        b"From: =?utf-8?Q?Ren=C3=A9e?= <r@x.fr>\r\nTo: bob@acme.example\r\nSubject: =?iso-8859-1?Q?Gr=FC=DFe?=\r\n"
        b"Message-ID: <1@x.fr>\r\nDate: Mon, 3 Mar 2025 18:00:00 +0100\r\n"
        b"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\xfc\xdfe\r\n"
    )
    undecoded = parse(resource(raw))
    decoded_headers = {
        "From": "Renée <r@x.fr>",
        "To": "bob@acme.example",
        "Subject": "Grüße",
        "Message_ID": "<1@x.fr>",
    }
    decoded_headers |= {"Date": "Mon, 3 Mar 2025 18:00:00 +0100", "Content_Type": "text/plain; charset=iso-8859-1"}
    decoded = parse(resource_of(decoded_headers, part("text/plain", "Grüße\r\n")))
    assert undecoded.text == decoded.text == "Grüße"
    assert undecoded.sender == decoded.sender
    assert undecoded.identity == decoded.identity
