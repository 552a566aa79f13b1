"""Mail that is broken, hostile or simply real: the parser gets through all of it."""

from __future__ import annotations

import gzip
import importlib.util
import mailbox
import shutil
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gmail_sync.parse import ParsedMessage, parse
from gmail_sync.sandbox import payload as sandbox_payload
from tests.gmail_payload import header, mail, part, resource, resource_of
from tracker.html_mail import sanitize
from tracker.signatures import phone_numbers, split_quoted

HAM = Path(__file__).resolve().parents[3] / "shared" / "mail" / "ham.mbox.gz"
#: Every how many-th message of the mailbox is read: all of them take half a minute, mostly in the mail library.
STRIDE = 3


def strings_of(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, tuple):
        return [text for item in value for text in strings_of(item)]
    slots = getattr(value, "__slots__", ()) if not isinstance(value, (bytes, datetime)) else ()
    return [text for name in slots for text in strings_of(getattr(value, name))]


def assert_sound(message: ParsedMessage) -> None:
    """What holds for every message, so that it can be stored."""
    for text in strings_of(message):
        assert "\0" not in text
        text.encode("utf-8")
    assert message.internal_date.tzinfo is UTC
    assert message.sent_at.tzinfo is UTC
    assert 0 <= message.history_id < 2**64
    assert len(message.identity) == 32
    assert len(message.text.encode()) <= 1024 * 1024
    assert len((message.html or "").encode()) <= 2 * 1024 * 1024
    assert message.automatic is not None or not message.auto_reply


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.binary(max_size=10),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=10,
)
header_names = st.sampled_from(
    [
        *(
            "From",
            "To",
            "Cc",
            "Date",
            "Subject",
            "Message-ID",
            "References",
            "In-Reply-To",
            "Content-Type",
            "from",
        ),
        *("Precedence", "Content-Disposition", "Content-ID", "Auto-Submitted", "List-Id"),
    ]
)
header_text = st.text(
    st.sampled_from("=?utf-8BbQq_*'\"\\<>@,;:()[]. \r\n\t\x00\ud800é日0123456789+-abcfilenames"), max_size=80
)
odd = st.none() | st.integers() | st.text(max_size=10) | st.lists(st.integers(), max_size=2)
headers = st.lists(
    st.fixed_dictionaries({}, optional={"name": header_names | odd, "value": header_text | odd}) | odd, max_size=6
)
mime_types = st.sampled_from(
    [
        *(
            "text/plain",
            "text/html",
            "multipart/mixed",
            "multipart/alternative",
            "multipart/related",
            "nonsense",
            "",
        ),
        *("multipart/report", "message/rfc822", "text/calendar", "image/png", "TEXT/HTML; charset=x"),
    ]
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "data": st.text(max_size=60) | odd,
        "size": st.integers() | odd,
        "attachmentId": st.text(max_size=5) | odd,
    },
)


def parts_around(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    optional = {
        "partId": st.text(max_size=3) | odd,
        "mimeType": mime_types | odd,
        "filename": st.text(max_size=20) | odd,
        "headers": headers | odd,
        "body": bodies | odd,
        "parts": st.lists(children, max_size=4) | odd,
    }
    return st.fixed_dictionaries({}, optional=optional)


payloads = st.recursive(odd, parts_around, max_leaves=8)
resources = st.fixed_dictionaries(
    {},
    optional={
        "id": st.text(max_size=5) | odd,
        "threadId": odd,
        "historyId": st.text(max_size=25) | odd,
        "internalDate": st.integers().map(str) | odd,
        "labelIds": st.lists(st.text(max_size=5) | st.integers(), max_size=3) | odd,
        "snippet": st.text(max_size=20) | odd,
        "sizeEstimate": odd,
        "payload": payloads,
    },
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(json_like | st.dictionaries(st.sampled_from(["payload", "id", "internalDate", "labelIds"]), json_like))
def test_no_json_breaks_it(value: Any) -> None:
    assert_sound(parse(value))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(resources)
def test_no_resource_breaks_it(value: Any) -> None:
    message = parse(value)
    assert_sound(message)
    assert not any("parser failed" in defect for defect in message.defects)
    assert parse(value).identity == message.identity


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(header_names, header_text), max_size=8))
def test_no_header_breaks_it(pairs: list[tuple[str, str]]) -> None:
    tree = part("multipart/mixed", "", part("text/plain", "hi") | {"headers": [header(*pair) for pair in pairs]})
    message = parse(resource_of({}, tree) | {"payload": tree | {"headers": [header(*pair) for pair in pairs]}})
    assert_sound(message)
    assert not any("parser failed" in defect for defect in message.defects)


@settings(max_examples=120, deadline=None)
@given(
    st.binary(max_size=300), st.sampled_from(["text/plain", "text/html", "text/calendar"]), st.text(max_size=12)
)
def test_no_bytes_break_a_text(data: bytes, mime_type: str, charset: str) -> None:
    assert_sound(parse(resource_of({"Content_Type": f"{mime_type}; charset={charset}"}, part(mime_type, data))))


@pytest.mark.parametrize(
    "value", [None, [], "x", 7, {}, {"payload": None}, {"payload": []}, {"payload": {}}, {"raw": "x"}]
)
def test_message_without_a_payload_is_unreadable(value: Any) -> None:
    message = parse(value)
    assert message.unreadable
    assert message.defects


def test_a_mapping_that_fails_is_unreadable_and_says_so() -> None:
    class Broken(dict[str, Any]):
        def get(self, key: object, default: object = None) -> Any:
            raise RuntimeError(key)

    message = parse(Broken(payload={}))
    assert message.unreadable
    assert message.defects[0] == "the parser failed on it (RuntimeError)"
    assert_sound(message)


@pytest.mark.parametrize("data", ["SGVsbG8", "SGVsbG8=", "SGVsbG8==", "SGVs\r\nbG8", "SGVsbG8*"])
def test_body_data_is_read_whatever_its_padding(data: str) -> None:
    tree = part("text/plain") | {"body": {"size": 5, "data": data}}
    assert parse(resource_of({}, tree)).text == "Hello"


def seconds(value: Any) -> float:
    started = time.process_time()
    assert_sound(parse(value))
    return time.process_time() - started


def test_deep_nesting_is_cut_with_a_defect() -> None:
    tree = part("text/plain", "bottom")
    for _ in range(5_000):
        tree = part("multipart/mixed", "", tree)
    message = parse(resource_of({}, tree))
    assert "parts nested more than 50 deep were left out" in message.defects


def test_a_circle_is_cut() -> None:
    tree = part("multipart/mixed", "", part("text/plain", "x"))
    tree["parts"] += [tree, tree]
    assert seconds({"payload": tree}) < 3


def test_a_bomb_of_shared_parts_is_cut() -> None:
    tree = part("text/plain", "x" * 100_000)
    for _ in range(40):
        tree = part("multipart/mixed", "", *[tree] * 10)
    message = parse({"payload": tree})
    assert "parts beyond the first 1000 were left out" in message.defects
    assert "the text was cut at 1048576 bytes" in message.defects
    assert seconds({"payload": tree}) < 5


@pytest.mark.parametrize("mime_type", ["text/plain", "text/html"])
def test_giant_text_is_cut_with_a_defect(mime_type: str) -> None:
    message = parse(
        resource_of({"Content_Type": "text/x; charset=utf-8"}, part(mime_type, "Grüße, Bob. " * 900_000))
    )
    assert_sound(message)
    assert len(message.text.encode()) > 1_000_000
    assert any("was cut at" in defect for defect in message.defects)


@pytest.mark.parametrize("piece", ["<div>", "<table><tr><td>", "<p><b>", "&", "<a href='"])
def test_tangled_html_takes_no_time(piece: str) -> None:
    assert seconds(resource_of({}, part("text/html", piece * (200_000 // len(piece))))) < 5


@pytest.mark.parametrize(
    "name", ["To", "Subject", "References", "Date", "Content-Type", "Message-ID", "X-Any", "From"]
)
@pytest.mark.parametrize("piece", ["a@b.c, ", "=?utf-8?Q?=C3?= ", '"', "(", "<", ';a="', "<a@b> ", "\\", " "])
def test_giant_headers_take_no_time_and_are_cut(name: str, piece: str) -> None:
    tree = part("text/plain", "x") | {"headers": [header(name, piece * (200_000 // len(piece)))]}
    message = parse({"payload": tree})
    assert f"the header {name} was cut at 65536 characters" in message.defects
    assert seconds({"payload": tree}) < 3


def test_a_cut_list_of_recipients_holds_no_half_address() -> None:
    people = ", ".join(f"person{number}@customer.example" for number in range(5_000))
    recipients = parse(mail(To=people)).to
    assert len(recipients) > 1_000
    assert all(address.address.endswith("@customer.example") for address in recipients)


def test_many_headers_are_cut() -> None:
    tree = part("text/plain", "x") | {"headers": [header(f"X-{number}", "y" * 1_000) for number in range(5_000)]}
    message = parse({"payload": tree})
    assert sum(len(name) + len(value) for name, value in message.headers) <= 256 * 1024 + 2_000
    assert "headers beyond 262144 characters were left out" in message.defects


def both_forms(raw: bytes) -> list[ParsedMessage]:
    """The mail as Gmail mostly shows it, and undecoded."""
    shown = {"payload": sandbox_payload.parse(raw).as_json("1"), "internalDate": "1741021200000"}
    return [parse(shown), parse(resource(raw))]


def test_pythons_own_collection_of_odd_mail_is_read() -> None:
    spec = importlib.util.find_spec("test.test_email")
    folder = Path(spec.origin).parent / "data" if spec and spec.origin else None
    if folder is None or not folder.is_dir():
        pytest.skip("this Python is installed without its e-mail test data (test.test_email)")
    files = sorted(folder.glob("msg_*.txt"))
    assert len(files) > 30
    for file in files:
        for message in both_forms(file.read_bytes()):
            assert_sound(message)
            assert not message.unreadable, file.name
            assert not any("parser failed" in defect for defect in message.defects), file.name


@pytest.fixture(scope="module")
def ham(tmp_path_factory: pytest.TempPathFactory) -> list[ParsedMessage]:
    if not HAM.is_file():
        pytest.skip(f"the mailbox of real messages is missing ({HAM.name}, beside the checkout)")
    path = tmp_path_factory.mktemp("ham") / "ham.mbox"
    with gzip.open(HAM) as packed, path.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked)
    box = mailbox.mbox(path, create=False)
    raws = [box.get_bytes(key) for key in list(box.keys())[::STRIDE]]
    return [parse(resource(raw)) for raw in raws]


def test_real_mail_is_read(ham: list[ParsedMessage]) -> None:
    assert len(ham) > 1_000
    for message in ham:
        assert_sound(message)
    assert not any(message.unreadable for message in ham)
    assert sum(bool(message.text.strip()) for message in ham) > 0.99 * len(ham)
    assert sum(message.sender is not None for message in ham) > 0.99 * len(ham)
    assert sum(message.message_id is not None for message in ham) > 0.99 * len(ham)


def test_real_mail_has_no_markup_or_transfer_encoding_in_its_text(ham: list[ParsedMessage]) -> None:
    made_from_html = [message for message in ham if message.html and message.text]
    assert made_from_html
    leftovers = [
        message for message in made_from_html if "<td" in message.text.lower() or "</p>" in message.text.lower()
    ]
    assert len(leftovers) < 0.02 * len(made_from_html)
    assert not any("=?" in message.subject and "?=" in message.subject for message in ham)


def test_offsets_of_real_mail_are_plausible(ham: list[ParsedMessage]) -> None:
    offsets = Counter(message.utc_offset for message in ham)
    assert offsets[None] < 0.25 * len(ham)
    assert all(offset is None or -720 <= offset <= 840 for offset in offsets)
    assert {-420, -240, 60} <= {offset for offset, _ in offsets.most_common(5)}
    assert {message.sent_at.year for message in ham} <= {2001, 2002, 2003, 2025}


def test_most_real_list_mail_is_known_as_automatic(ham: list[ParsedMessage]) -> None:
    by_list = [message for message in ham if any(name.lower() == "list-id" for name, _ in message.headers)]
    assert len(by_list) > 0.3 * len(ham)
    assert all(message.automatic for message in by_list)


def test_quotes_signatures_and_html_of_real_mail_are_read(ham: list[ParsedMessage]) -> None:
    split = [split_quoted(message.text) for message in ham[:400]]
    assert sum(bool(own) for own, _ in split) > 0.97 * len(split)
    assert sum(bool(quoted) for _, quoted in split) > 0.2 * len(split)
    assert any(phone_numbers(message.text, "US") for message in ham[:400])
    for message in ham:
        if message.html:
            assert "<script" not in sanitize(message.html)
