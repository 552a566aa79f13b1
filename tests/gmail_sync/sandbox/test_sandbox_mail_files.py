"""Whole mailboxes and broken messages: mbox files, restarts, fuzzed MIME."""

import gzip
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gmail_sync.sandbox import Sandbox
from gmail_sync.sandbox.headers import prepend, read_headers, without
from gmail_sync.sandbox.payload import body_text, decode, parse, snippet
from gmail_sync.sandbox.threads import subject_key
from tests import discovery
from tests.sandbox_fixtures import ALICE, Api, mail

ROOT = Path(__file__).resolve().parents[3]
HAM = ROOT.parent / "shared/mail/ham.mbox.gz"

TAKEOUT = b"""From 1785634412345678901@xxx Tue Aug 11 08:00:00 +0000 2026
X-GM-THRID: 1785634412345678900
X-Gmail-Labels: Inbox,Unread,"Big deals",=?UTF-8?Q?Gesch=C3=A4fte?=,Opened,Category Promotions
Message-ID: <one@example.net>
Subject: One

>From here on it is quoted.
>>From twice.

From the middle of a text? No: this follows a blank line but is a separator.

From 2@xxx Tue Aug 11 09:00:00 +0000 2026
X-GM-THRID: 1785634412345678900
X-Gmail-Labels: Sent
Subject: Something else

bye
"""


def write(path, data):
    path.write_bytes(data)
    return path


def test_takeouts_threads_labels_dates_and_quoting(tmp_path):
    sandbox = Sandbox()
    box = sandbox.add_user(ALICE)
    text = TAKEOUT.replace(b"\nFrom the middle", b"\n>From the middle")
    assert sandbox.load_mbox(write(tmp_path / "a.mbox", text), ALICE) == 2
    (thread,) = box.threads().values()
    one, two = (box.messages.get(message_id) for message_id in thread)
    names = {label["id"]: label["name"] for label in box.labels.all()}
    assert sorted(names[label] for label in one.label_ids) == [
        "Big deals", "CATEGORY_PROMOTIONS", "Geschäfte", "INBOX", "UNREAD",
    ]  # fmt: skip
    assert two.label_ids == ("SENT",)
    assert f"{one.thread_id}" == "1785634412345678900"
    assert one.internal_date == datetime(2026, 8, 11, 8, tzinfo=UTC).timestamp() * 1000
    raw = box.raw(thread[0])
    assert b"X-GM-THRID" not in raw
    assert b"\r\nFrom here" in raw
    assert b"\r\n>From twice" in raw
    assert b"\r\nFrom the middle" in raw


def test_a_gzipped_mbox_loads_the_same(tmp_path):
    sandbox = Sandbox()
    sandbox.add_user(ALICE)
    assert sandbox.load_mbox(write(tmp_path / "a.mbox.gz", gzip.compress(TAKEOUT)), ALICE) == 3


def test_loading_twice_into_a_file_does_not_double_and_a_restart_keeps_all(tmp_path):
    mbox, data = write(tmp_path / "a.mbox", TAKEOUT), tmp_path / "sandbox.db"
    first = Sandbox(data)
    first.add_user(ALICE)
    assert first.load_mbox(mbox, ALICE) == 3
    state = first.mailbox(ALICE).threads(), first.mailbox(ALICE).history_id, first.keys.key_id
    secret = first.client_secret
    first.close()
    again = Sandbox(data)
    again.add_user(ALICE)
    assert again.load_mbox(mbox, ALICE) == 0
    box = again.mailbox(ALICE)
    assert (box.threads(), box.history_id, again.keys.key_id) == state
    assert again.client_secret == secret
    assert box.insert(mail()) > max(box.message_ids()[1:])
    again.close()


def test_an_interrupted_load_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("gmail_sync.sandbox.mbox.BATCH", 2)
    lines = b"".join(b"From x@y Tue Aug 11 09:00:00 2026\nSubject: s%d\n\nbody\n\n" % n for n in range(5))
    path = write(tmp_path / "a.mbox", lines)
    sandbox = Sandbox()
    box = sandbox.add_user(ALICE)
    add, calls = box.messages.add, []

    def failing(*args, **options):
        calls.append(1)
        if len(calls) == 4:
            raise OSError("killed")
        return add(*args, **options)

    monkeypatch.setattr(box.messages, "add", failing)
    with pytest.raises(OSError, match="killed"):
        sandbox.load_mbox(path, ALICE)
    assert len(box.message_ids()) == 2
    assert sandbox.load_mbox(path, ALICE) == 3
    assert len(box.message_ids()) == 5


@pytest.mark.skipif(not HAM.exists(), reason=f"{HAM.name} is not beside the repository")
def test_the_ham_mailbox_loads_in_seconds_and_every_message_is_shown(make_sandbox):
    sandbox = make_sandbox(units_per_minute=0)
    started = time.monotonic()
    assert sandbox.load_mbox(HAM, ALICE) == 4150
    assert time.monotonic() - started < 20
    box = sandbox.mailbox(ALICE)
    for message_id in box.message_ids()[::4]:
        answer = box.messages.as_json(box.messages.get(message_id))
        discovery.check("messages.get", answer)
    assert 2000 < len(box.threads()) < 3500
    api, seen, token = Api(sandbox, ALICE), set(), None
    while True:
        page = api.get("messages", maxResults=500, **({"pageToken": token} if token else {}))
        seen |= {message["id"] for message in page["messages"]}
        token = page.get("nextPageToken")
        if not token:
            break
    assert len(seen) == 4150
    assert len(api.get("threads", maxResults=500)["threads"]) == 500


SERVE = """
import sys
from pathlib import Path
from gmail_sync.sandbox import serve
def ready(sandbox, server):
    print(server.url, len(sandbox.mailbox("alice@example.com").message_ids()), flush=True)
serve("127.0.0.1", 0, [(Path(sys.argv[1]), "alice@example.com")], Path(sys.argv[2]), 6000, None, ready=ready)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_ends_cleanly_on_a_signal(tmp_path, number):
    mbox = write(tmp_path / "a.mbox", TAKEOUT)
    command = [sys.executable, "-c", SERVE, str(mbox), str(tmp_path / "s.db")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().endswith(" 3\n")
        os.kill(process.pid, number)
        assert process.wait(timeout=10) == 0
        assert process.stderr.read() == ""


# -- any bytes

ODD = [
    b"", b"\n", b"\r\n\r\n", b"\x00\xff", b": x\n\n", b"Subject:\n folded\n\tmore\n\nbody",
    b" leading\nSubject: x\n\n",
    b"Content-Type: text/plain; charset=nonsense\n\ncaf\xe9", b"Content-Type: multipart/mixed\n\nno boundary",
    b"Content-Type: multipart/mixed; boundary=b\n\n--b\n--b\n--b--", b"Content-Type: ;;;;\n\nx",
    b"Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n!!!!",
    b"Content-Type: message/rfc822\n\nSubject: inner\n\nx", b"Content-Type: message/delivery-status\n\n\n\n",
    b"Content-Type: message/external-body\n\n", b"Content-Transfer-Encoding: uuencode\n\nbegin\n###\nend",
    b"Subject: =?utf-8?b?!!!?= =?x?q?=FF?=\nFrom: \xff\xfe\n\n", b"Content-Type: text/plain; charset*=''%ff\n\nx",
    b"Content-Disposition: attachment; filename*=utf-16''%00\n\nx", b"Date: Tue, 99 Foo 99999\n\n",
    b"Subject: =?unicode_escape?q?=5Cud800?=\nFrom: =?utf-7?q?+2AA-?= <a@b>\n\n",
    b"Content-Type: text/plain; charset=base64_codec\n\nx", b"Content-Type: text/html; charset=idna\n\n.....",
    b"Content-Type: multipart/mixed; boundary=x\n\n"
    + b"--x\nContent-Type: multipart/mixed; boundary=x\n\n" * 2000,
    b"X: y\n" * 2000 + b"\nbody", b"Subject: " + b"long " * 200_000 + b"\n\nx",
    b"To: " + b"a@b," * 20_000 + b"\n\n",
    b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(400)),
]  # fmt: skip


def shown(raw, box=None):
    """A message's full payload, checked; through the mailbox where one is given."""
    if box is None:
        answer = {"id": "1", "payload": parse(raw).as_json("1"), "snippet": snippet(parse(raw))}
    else:
        answer = box.messages.as_json(box.messages.get(box.insert(raw)))
    discovery.check("messages.get", answer)
    return answer


@pytest.mark.parametrize("raw", ODD, ids=range(len(ODD)))
def test_odd_messages_are_shown(sandbox, api, raw):
    message_id = sandbox.mailbox(ALICE).insert(raw)
    for fmt in ("full", "metadata", "minimal", "raw"):
        api.get(f"messages/{message_id}", format=fmt)
    api.get("messages", q="something has:attachment")


def test_pythons_own_test_messages_are_shown():
    test_email = pytest.importorskip("test.test_email", reason="this Python comes without its e-mail tests")

    folder = Path(test_email.__file__).parent / "data"
    messages = sorted(folder.glob("*.txt"))
    if not messages:
        pytest.skip("this Python comes without the data of its e-mail tests")
    box = Sandbox().add_user(ALICE)
    for path in messages:
        shown(path.read_bytes(), box)


HEADER = st.sampled_from(
    [b"Content-Type: multipart/mixed; boundary=b\n", b"Content-Type: text/html; charset=utf-16\n", b"--b\n",
     b"--b--\n",
     b"Content-Transfer-Encoding: quoted-printable\n", b"Content-Transfer-Encoding: base64\n", b"\n", b"\r\n",
     b"\r",
     b"Content-Type: message/rfc822\n", b"Content-Disposition: attachment; filename=", b"Subject: =?utf-8?q?",
     b"?=",
     b"References: <a@b>\n", b"From: x <a@b>\n", b"Content-Type: text/plain; name*0*=us-ascii'en'%41\n"]
)  # fmt: skip
MESSAGES = st.lists(st.one_of(HEADER, st.binary(max_size=30)), max_size=25).map(b"".join)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(MESSAGES)
def test_any_bytes_have_a_full_payload(raw):
    root = shown(raw)["payload"]
    assert root["partId"] == ""
    body_text(parse(raw))


BOX = Sandbox().add_user(ALICE)


@settings(max_examples=100, deadline=None)
@given(MESSAGES)
def test_any_bytes_can_be_inserted_and_come_back_as_they_were(raw):
    message_id = BOX.insert(raw)
    assert BOX.raw(message_id) == raw
    BOX.delete(message_id)


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\n\x00"), max_size=200))
def test_a_text_and_a_subject_come_back_as_they_were(text):
    message = EmailMessage()
    message.set_content(text + "\n", charset="utf-8", cte="base64")
    answer = shown(message.as_bytes())
    assert decode(answer["payload"]["body"]["data"]).decode().rstrip("\n") == text.rstrip("\n")


@settings(max_examples=200, deadline=None)
@given(MESSAGES)
def test_headers_can_be_put_before_and_taken_away(raw):
    added = prepend(raw, [("X-Test", "1")])
    assert read_headers(added)[0][0] == "X-Test"
    assert "x-test" not in {name.lower() for name, _ in read_headers(without(added, "x-test"))}


@pytest.mark.parametrize(
    ("subject", "key"),
    [("Re: Fwd: AW:  Hello  there", "hello there"), ("RE[2]: x", "x"), ("Regarding: x", "regarding: x"), ("", "")],
)
def test_subject_key_leaves_prefixes_out(subject, key):
    assert subject_key(subject) == key
