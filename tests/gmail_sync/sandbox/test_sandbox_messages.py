"""Messages, labels, threads and listings over HTTP."""

import base64
import http.client
from datetime import UTC, datetime

import pytest

from gmail_sync.sandbox.payload import decode
from tests.sandbox_fixtures import ALICE, BOB, Api, as_raw, mail

FIRST = "first@example.net"


def ids(answer):
    return [message["id"] for message in answer.get("messages", [])]


def test_get_answers_full_metadata_minimal_and_raw(sandbox, api):
    raw = mail("Grüße", body="Good morning, Ålice.")
    message_id = sandbox.mailbox(ALICE).insert(raw)
    full = api.get(f"messages/{message_id}")
    assert {"name": "Subject", "value": "Grüße"} in full["payload"]["headers"]
    assert decode(full["payload"]["body"]["data"]).decode().strip() == "Good morning, Ålice."
    assert full["snippet"] == "Good morning, Ålice."
    assert api.get(f"messages/{message_id}", format="raw")["raw"] == base64.urlsafe_b64encode(raw).decode()
    assert "payload" not in api.get(f"messages/{message_id}", format="minimal")
    metadata = api.get(f"messages/{message_id}", format="metadata", metadataHeaders=["subject", "X-None"])
    assert metadata["payload"]["headers"] == [{"name": "Subject", "value": "Grüße"}]
    assert api.call("GET", f"messages/{message_id}", format="fancy").status_code == 400


def test_ids_have_sixteen_hex_digits_and_grow(sandbox):
    box = sandbox.mailbox(ALICE)
    given = [box.insert(mail()) for _ in range(5)]
    assert given == sorted(given)
    assert {len(message_id) for message_id in given} == {16}


def test_unknown_id_is_404_and_malformed_id_400(api):
    assert api.call("GET", "messages/19ffffffffffffff").status_code == 404
    assert api.call("GET", "messages/not-an-id").status_code == 400


def test_latin1_text_comes_inline_in_utf8(sandbox, api):
    raw = b"Content-Type: text/plain; charset=iso-8859-1\r\nSubject: x\r\n\r\ncaf\xe9"
    answer = api.get(f"messages/{sandbox.mailbox(ALICE).insert(raw)}")
    assert decode(answer["payload"]["body"]["data"]).decode() == "café"


def test_attachment_is_fetched_by_its_id(sandbox, api):
    raw = (
        b"Subject: a\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/plain\r\n\r\nhi\r\n"
        b'--b\r\nContent-Type: application/pdf; name="a.pdf"\r\n'
        b"Content-Transfer-Encoding: base64\r\n\r\nJVBERg==\r\n--b--"
    )
    message_id = sandbox.mailbox(ALICE).insert(raw)
    text, pdf = api.get(f"messages/{message_id}")["payload"]["parts"]
    assert (text["partId"], pdf["partId"], pdf["filename"]) == ("0", "1", "a.pdf")
    assert "data" not in pdf["body"]
    found = api.get(f"messages/{message_id}/attachments/{pdf['body']['attachmentId']}")
    assert decode(found["data"]) == b"%PDF"
    assert found["size"] == pdf["body"]["size"] == 4
    assert api.call("GET", f"messages/{message_id}/attachments/ANGjdJwrong").status_code == 400


def test_large_text_stands_inline(sandbox, api):
    message_id = sandbox.mailbox(ALICE).insert(mail(body="line\n" * 200_000))
    assert len(decode(api.get(f"messages/{message_id}")["payload"]["body"]["data"])) >= 1_000_000


def test_list_pages_newest_first_and_hides_spam_and_trash(sandbox, api):
    box = sandbox.mailbox(ALICE)
    given = [box.insert(mail(str(n)), internal_date=datetime(2026, 1, n, tzinfo=UTC)) for n in range(1, 8)]
    box.trash(given[0])
    box.modify(given[1], add=["SPAM"])
    seen, token, pages = [], None, 0
    while True:
        page = api.get("messages", maxResults=2, **({"pageToken": token} if token else {}))
        seen, token, pages = seen + ids(page), page.get("nextPageToken"), pages + 1
        if not token:
            break
    assert (seen, pages) == (given[:1:-1], 3)
    assert ids(api.get("messages", includeSpamTrash="true")) == given[::-1]
    assert ids(api.get("messages", labelIds="TRASH")) == [given[0]]
    assert api.call("GET", "messages", pageToken="***").status_code == 400


def test_page_tokens_stay_put_when_mail_arrives(sandbox, api):
    box = sandbox.mailbox(ALICE)
    given = [box.insert(mail(), internal_date=datetime(2026, 1, n, tzinfo=UTC)) for n in range(1, 5)]
    token = api.get("messages", maxResults=2)["nextPageToken"]
    box.insert(mail())
    assert ids(api.get("messages", maxResults=2, pageToken=token)) == [given[1], given[0]]


def test_max_results_is_cut_to_500(sandbox, api):
    with sandbox.store.transaction():
        for _ in range(501):
            sandbox.mailbox(ALICE).insert(b"Subject: x\r\n\r\n")
    assert len(ids(api.get("messages", maxResults=1000))) == 500
    assert len(ids(api.get("messages"))) == 100


def test_labels_are_filtered_all_at_once(sandbox, api):
    box = sandbox.mailbox(ALICE)
    box.insert(mail())
    both = box.insert(mail(), label_ids=["INBOX", "STARRED"])
    assert ids(api.get("messages", labelIds=["INBOX", "STARRED"])) == [both]
    assert api.call("GET", "messages", labelIds="Label_99").status_code == 400


def test_modify_adds_and_removes_and_refuses_unknown_labels(sandbox, api):
    message_id = sandbox.mailbox(ALICE).insert(mail(), label_ids=["INBOX", "UNREAD"])
    answer = api.post(f"messages/{message_id}/modify", {"addLabelIds": ["STARRED"], "removeLabelIds": ["UNREAD"]})
    assert answer["labelIds"] == ["INBOX", "STARRED"]
    for bad in ("Label_99", "SENT", "DRAFT"):
        assert api.call("POST", f"messages/{message_id}/modify", {"addLabelIds": [bad]}).status_code == 400


def test_batch_modify_and_batch_delete(sandbox, api):
    box = sandbox.mailbox(ALICE)
    given = [box.insert(mail()) for _ in range(3)]
    api.post("messages/batchModify", {"ids": [*given, "19ffffffffffffff"], "addLabelIds": ["STARRED"]})
    assert all("STARRED" in box.label_ids(message_id) for message_id in given)
    too_many = {"ids": given * 400, "addLabelIds": ["STARRED"]}
    assert api.call("POST", "messages/batchModify", too_many).status_code == 400
    api.post("messages/batchDelete", {"ids": given[:2]})
    assert box.message_ids() == given[2:]


def test_trash_untrash_and_delete(sandbox, api):
    box = sandbox.mailbox(ALICE)
    message_id = box.insert(mail())
    assert api.post(f"messages/{message_id}/trash")["labelIds"] == ["TRASH"]
    assert "labelIds" not in api.post(f"messages/{message_id}/untrash")
    assert api.call("DELETE", f"messages/{message_id}").status_code == 204
    assert api.call("GET", f"messages/{message_id}").status_code == 404


def test_insert_and_import_by_raw_and_by_upload(sandbox, api):
    made = api.post("messages", {"raw": as_raw(mail()), "labelIds": ["INBOX"]}, internalDateSource="dateHeader")
    assert api.get(f"messages/{made['id']}")["internalDate"] == str(1786435200_000)
    url = f"{sandbox.url}/upload/gmail/v1/users/me/messages/import"
    answer = api.session.post(url, params={"uploadType": "media"}, data=mail("Up"))
    assert answer.status_code == 200, answer.text
    related = (
        b'--b\r\nContent-Type: application/json\r\n\r\n{"labelIds": ["STARRED"]}\r\n'
        b"--b\r\nContent-Type: message/rfc822\r\n\r\n" + mail("Two parts") + b"\r\n--b--"
    )
    answer = api.session.post(
        f"{sandbox.url}/upload/gmail/v1/users/me/messages",
        params={"uploadType": "multipart"},
        data=related,
        headers={"Content-Type": "multipart/related; boundary=b"},
    )
    assert answer.json()["labelIds"] == ["STARRED"]
    assert sandbox.mailbox(ALICE).raw(answer.json()["id"]) == mail("Two parts")
    assert api.call("POST", "messages", {"raw": "***"}).status_code == 400
    assert api.call("POST", "messages", {}).status_code == 400


def test_labels_have_a_life(sandbox, api):
    label = api.post("labels", {"name": "Deals", "color": {"textColor": "#000000", "backgroundColor": "#ffffff"}})
    assert label["id"] == "Label_1"
    assert api.call("POST", "labels", {"name": "deals"}).status_code == 409
    assert api.call("POST", "labels", {"name": "INBOX"}).status_code == 400
    bad = {"name": "x", "color": {"textColor": "#123456", "backgroundColor": "#ffffff"}}
    assert api.call("POST", "labels", bad).status_code == 400
    message_id = sandbox.mailbox(ALICE).insert(mail(), label_ids=["Label_1", "UNREAD"])
    counted = api.get("labels/Label_1")
    assert (counted["messagesTotal"], counted["threadsUnread"]) == (1, 1)
    assert api.call("PATCH", "labels/Label_1", {"name": "Won"}).json()["color"] == label["color"]
    assert api.call("DELETE", "labels/Label_1").status_code == 204
    assert sandbox.mailbox(ALICE).label_ids(message_id) == ["UNREAD"]
    assert api.call("DELETE", "labels/INBOX").status_code == 400
    assert {"INBOX", "SENT", "DRAFT"} <= {entry["id"] for entry in api.get("labels")["labels"]}


def test_reply_joins_only_with_reference_and_subject(sandbox):
    box = sandbox.mailbox(ALICE)
    first = box.insert(mail("Offer", message_id=FIRST))
    reply = box.insert(mail("Re: offer", message_id="2@x", reply_to=FIRST))
    changed = box.insert(mail("Another matter", message_id="3@x", reply_to=FIRST))
    alone = box.insert(mail("Offer", message_id="4@x"))
    assert sorted(box.threads().values()) == sorted([[first, reply], [changed], [alone]])


def test_answers_to_a_message_that_never_came_share_a_thread(sandbox):
    box = sandbox.mailbox(ALICE)
    one = box.insert(mail("Re: Lost", message_id="1@x", reply_to="lost@x"))
    other = box.insert(mail("Re: Lost", message_id="2@x", reply_to="lost@x"))
    assert list(box.threads().values()) == [[one, other]]


@pytest.mark.parametrize(
    ("subject", "reply_to", "joins"),
    [("Re: Offer", FIRST, True), ("Re: Offer", "", False), ("Other", FIRST, False), ("Re: Offer", "no@x", False)],
)
def test_explicit_thread_id_must_agree_with_reference_and_subject(sandbox, api, subject, reply_to, joins):
    box = sandbox.mailbox(ALICE)
    thread = api.get(f"messages/{box.insert(mail('Offer', message_id=FIRST))}")["threadId"]
    raw = mail(subject, sender=ALICE, to=BOB, reply_to=reply_to)
    sent = api.post("messages/send", {"raw": as_raw(raw), "threadId": thread})
    assert (sent["threadId"] == thread) is joins
    gone = {"raw": as_raw(raw), "threadId": "19ffffffffffffff"}
    assert api.call("POST", "messages/send", gone).status_code == 404


def test_threads_list_get_modify_trash_delete(sandbox, api):
    box = sandbox.mailbox(ALICE)
    first = box.insert(mail("Offer", message_id=FIRST), internal_date=datetime(2026, 1, 1, tzinfo=UTC))
    box.insert(mail("Later"), internal_date=datetime(2026, 1, 2, tzinfo=UTC))
    box.insert(mail("Re: Offer", reply_to=FIRST), internal_date=datetime(2026, 1, 3, tzinfo=UTC))
    listed = api.get("threads", maxResults=1)
    assert [entry["id"] for entry in listed["threads"]] == [first]
    rest = api.get("threads", maxResults=5, pageToken=listed["nextPageToken"])
    assert len(rest["threads"]) == 1
    assert first not in [entry["id"] for entry in rest["threads"]]
    assert len(api.get(f"threads/{first}")["messages"]) == 2
    assert api.call("GET", f"threads/{first}", format="raw").status_code == 400
    api.post(f"threads/{first}/modify", {"addLabelIds": ["STARRED"]})
    assert len(ids(api.get("messages", q="is:starred"))) == 2
    api.post(f"threads/{first}/trash")
    api.post(f"threads/{first}/untrash")
    assert api.call("DELETE", f"threads/{first}").status_code == 204
    assert api.call("GET", f"threads/{first}").status_code == 404


SEARCHES = [
    ("from:dora", [1]), ("from:dora@example.org", [1]), ("from:or", []), ("to:me", [0, 1, 2]), ("cc:erin", [2]),
    ("bcc:me", []), ("subject:(offer price)", [1]), ("subject:offer OR subject:greetings", [0, 1]),
    ("{subject:offer subject:greetings}", [0, 1]), ('"good morning"', [0]), ("morning -good", []),
    ("-subject:offer", [0, 2]), ("is:unread", [2]), ("is:read", [0, 1]), ("is:starred", [1]), ("in:inbox", [0, 1,
    2]),
    ("in:trash", [3]), ("in:anywhere", [0, 1, 2, 3]), ("label:big-deals", [1]), ("label:none", []),
    ("has:attachment", [2]), ("filename:plan", [2]), ("after:2026/02/15", [1, 2]), ("before:2026/02/15", [0]),
    ("after:1772000000", [2]), ("newer_than:5m", [2]), ("older_than:5m", [0, 1]), ("rfc822msgid:<zero@x>", [0]),
    ("rfc822msgid:zero@x", [0]), ("offer morning OR price", [1]), ("subject:grussen", []), ("", [0, 1, 2]),
    ("((((", [0, 1, 2]), ("from:", []), ("http://x.example/page", [0]),
]  # fmt: skip


@pytest.fixture
def searched(make_sandbox, clock):
    sandbox = make_sandbox(units_per_minute=0, clock=clock)
    box = sandbox.mailbox(ALICE)
    label = box.labels.create({"name": "Big deals"})["id"]
    attached = mail("Files", Cc="Erin <erin@example.com>").replace(
        b"Content-Type: text/plain",
        b'Content-Disposition: attachment; filename="plan b.txt"\nContent-Type: text/plain',
    )
    content = [
        (mail("Greetings", message_id="zero@x", body="Good morning, see http://x.example/page"), ["INBOX"], 1, 2),
        (mail("Offer and price", sender="Dora <dora@example.org>", body="x"), ["INBOX", "STARRED", label], 2, 20),
        (attached, ["INBOX", "UNREAD"], 5, 1),
        (mail("Gone"), ["TRASH"], 6, 1),
    ]
    given = [
        box.insert(raw, label_ids=labels, internal_date=datetime(2026, month, day, tzinfo=UTC))
        for raw, labels, month, day in content
    ]
    return Api(sandbox, ALICE), given


def test_search_language(searched):
    api, given = searched
    for q, wanted in SEARCHES:
        found = sorted(given.index(message_id) for message_id in ids(api.get("messages", q=q)))
        assert found == wanted, q


def test_a_search_that_is_too_deep_or_long_is_refused(api):
    for q in ("(" * 1500, "-" * 500 + "x", "word " * 500, "{" * 101):
        assert api.call("GET", "messages", q=q).status_code == 400
    for q in ("a OR " * 400 + "b", "a " * 400, "from:a OR " * 150 + "b", "{" + "a b " * 300 + "}"):
        assert api.call("GET", "messages", q=q).status_code == 200
    assert api.call("GET", "messages", q="a " * 1023).status_code in (200, 400)


def test_fields_masks(sandbox, api):
    message_id = sandbox.mailbox(ALICE).insert(mail("Masked"))
    place = f"messages/{message_id}"
    assert api.get(place, fields="id") == {"id": message_id}
    assert set(api.get(place, fields="id,payload(headers/name,body/size)")["payload"]) == {"headers", "body"}
    assert set(api.get(place, fields="payload/headers/name")["payload"]["headers"][0]) == {"name"}
    assert set(api.get(place, fields="payload/*")["payload"]) >= {"partId", "body"}
    assert api.get("messages", fields="messages(id),nextPageToken") == {"messages": [{"id": message_id}]}
    for bad in ("idd", "payload(", "a b", ",", "payload)"):
        assert api.call("GET", place, fields=bad).status_code == 400, bad


def test_unknown_query_parameter_is_refused(api):
    answer = api.call("GET", "messages", maxresults=5)
    assert answer.status_code == 400
    assert "maxresults" in answer.json()["error"]["message"]


def test_another_users_mailbox_is_refused(sandbox, api):
    answer = api.session.get(f"{sandbox.url}/gmail/v1/users/{BOB}/profile")
    assert answer.status_code == 403
    assert api.session.get(f"{sandbox.url}/gmail/v1/users/{ALICE}/profile").status_code == 200


def test_token_is_needed_and_scopes_are_checked(sandbox, api):
    message_id = sandbox.mailbox(ALICE).insert(mail())
    reader = Api(sandbox, ALICE, ("https://www.googleapis.com/auth/gmail.readonly",))
    assert reader.call("GET", f"messages/{message_id}").status_code == 200
    refused = reader.call("POST", f"messages/{message_id}/modify", {"addLabelIds": ["STARRED"]})
    assert refused.status_code == 403
    assert refused.json()["error"]["errors"][0]["reason"] == "insufficientPermissions"
    meta = Api(sandbox, ALICE, ("https://www.googleapis.com/auth/gmail.metadata",))
    assert "body" not in meta.get(f"messages/{message_id}")["payload"]
    assert meta.call("GET", "messages", q="x").status_code == 403
    writer = Api(sandbox, ALICE, ("https://www.googleapis.com/auth/gmail.modify",))
    assert writer.call("DELETE", f"messages/{message_id}").status_code == 403
    api.session.headers["Authorization"] = "Bearer wrong"
    answer = api.call("GET", "profile")
    assert answer.status_code == 401
    assert answer.json()["error"]["status"] == "UNAUTHENTICATED"
    assert "WWW-Authenticate" in answer.headers


def test_profile_counts(sandbox, api):
    sandbox.mailbox(ALICE).insert(mail())
    profile = api.get("profile")
    assert (profile["emailAddress"], profile["messagesTotal"], profile["threadsTotal"]) == (ALICE, 1, 1)


def test_a_connection_is_kept_alive(sandbox):
    connection = http.client.HTTPConnection(sandbox.url.removeprefix("http://"))
    used = set()
    for _ in range(3):
        connection.request("GET", "/")
        assert connection.getresponse().read()
        used.add(connection.sock.getsockname())
    connection.close()
    assert len(used) == 1
