"""Drafts and sending."""

import requests

from gmail_sync.sandbox.payload import decode
from tests.sandbox_fixtures import ALICE, BOB, CHARLIE, Api, as_raw, mail

FIRST = "first@example.net"


def make_draft(api, raw=None, **message):
    raw = raw or mail(sender=ALICE, to=BOB, message_id="mine@example.com")
    return api.post("drafts", {"message": {"raw": as_raw(raw), **message}})


def headers(api, message_id):
    full = api.get(f"messages/{message_id}")
    return {header["name"]: header["value"] for header in full["payload"]["headers"]}


def test_update_keeps_the_draft_and_replaces_its_message(sandbox, api):
    draft = make_draft(api)
    changed = {"message": {"raw": as_raw(mail("Second", to=BOB))}}
    updated = api.call("PUT", f"drafts/{draft['id']}", changed).json()
    assert updated["id"] == draft["id"]
    assert updated["message"]["id"] != draft["message"]["id"]
    assert updated["message"]["threadId"] == draft["message"]["threadId"]
    assert api.call("GET", f"messages/{draft['message']['id']}").status_code == 404
    assert [entry["id"] for entry in api.get("drafts")["drafts"]] == [draft["id"]]
    shown = api.get(f"drafts/{draft['id']}", format="raw")
    assert b"Subject: Second" in decode(shown["message"]["raw"])


def test_send_removes_the_draft_and_gives_a_new_message_in_its_thread(sandbox, api):
    box = sandbox.mailbox(ALICE)
    thread = box.insert(mail("Offer", message_id=FIRST))
    draft = make_draft(api, mail("Re: Offer", sender=ALICE, to=CHARLIE, reply_to=FIRST), threadId=thread)
    assert draft["message"]["threadId"] == thread
    sent = api.post("drafts/send", {"id": draft["id"]})
    assert sent["id"] != draft["message"]["id"]
    assert (sent["threadId"], sent["labelIds"]) == (thread, ["SENT"])
    assert api.call("GET", f"drafts/{draft['id']}").status_code == 404
    assert api.call("GET", f"messages/{draft['message']['id']}").status_code == 404
    assert box.threads()[thread] == [thread, sent["id"]]


def test_sending_a_draft_that_is_gone_is_404(api):
    draft = make_draft(api)
    assert api.call("DELETE", f"drafts/{draft['id']}").status_code == 204
    assert api.call("POST", "drafts/send", {"id": draft["id"]}).status_code == 404
    assert api.call("POST", "drafts/send", {}).status_code == 400


def test_deleting_a_drafts_message_deletes_the_draft(sandbox, api):
    draft = make_draft(api)
    sandbox.mailbox(ALICE).delete(draft["message"]["id"])
    assert api.call("GET", f"drafts/{draft['id']}").status_code == 404
    assert "drafts" not in api.get("drafts")


def test_message_id_is_replaced_on_send_and_the_same_for_all(sandbox, api):
    sent = api.post("drafts/send", {"id": make_draft(api)["id"]})
    real = headers(api, sent["id"])["Message-ID"]
    assert "mine@example.com" not in real
    assert real.endswith("@mail.gmail.com>")
    bobs = sandbox.mailbox(BOB).message_ids()[0]
    assert headers(Api(sandbox, BOB), bobs)["Message-ID"] == real


def test_a_send_reaches_the_sandboxs_users_without_bcc(sandbox, api):
    raw = mail(sender=ALICE, to=CHARLIE, Bcc=BOB)
    sent = api.post("messages/send", {"raw": as_raw(raw)})
    assert headers(api, sent["id"])["Bcc"] == BOB
    (received,) = sandbox.mailbox(BOB).message_ids()
    assert sandbox.mailbox(BOB).label_ids(received) == ["INBOX", "UNREAD"]
    assert "Bcc" not in headers(Api(sandbox, BOB), received)


def test_a_send_to_oneself_is_one_message(sandbox, api):
    sent = api.post("messages/send", {"raw": as_raw(mail(sender=ALICE, to=ALICE))})
    assert sent["labelIds"] == ["INBOX", "SENT", "UNREAD"]
    assert sandbox.mailbox(ALICE).message_ids() == [sent["id"]]


def test_a_false_from_is_corrected(api):
    sent = api.post("messages/send", {"raw": as_raw(mail(sender=CHARLIE, to=BOB))})
    shown = headers(api, sent["id"])
    assert shown["From"] == f"Alice Archer <{ALICE}>"
    assert shown["X-Google-Original-From"] == CHARLIE


def test_bad_recipients_are_400_and_leave_the_draft(api):
    many = ", ".join(f"u{n}@example.com" for n in range(501))
    for to in ("", "nobody", many):
        draft = make_draft(api, f"To: {to}\r\nSubject: x\r\n\r\n".encode())
        assert api.call("POST", "drafts/send", {"id": draft["id"]}).status_code == 400, to
        assert api.call("GET", f"drafts/{draft['id']}").status_code == 200


def test_sends_of_a_day_are_limited(sandbox, api):
    sandbox.sends_per_day = 2
    body = {"raw": as_raw(mail(sender=ALICE, to=BOB))}
    assert [api.call("POST", "messages/send", body).status_code for _ in range(3)] == [200, 200, 429]


def test_hooks_hear_of_a_send_outside_the_lock(sandbox, api):
    heard = []

    def hook(address, message_id, raw, recipients):
        other = requests.get(f"{sandbox.url}/sandbox/stats", timeout=5)  # would hang under the lock
        heard.append((address, message_id, recipients, other.status_code))
        assert b"Subject: Hello" in raw
        raise ValueError("a hook that fails does no harm")

    sandbox.on_sent.append(hook)
    sent = api.post("messages/send", {"raw": as_raw(mail(sender=ALICE, to=f"{BOB}, {CHARLIE}"))})
    assert heard == [(ALICE, sent["id"], [BOB, CHARLIE], 200)]


def test_delivery_lands_unread_and_adds_a_missing_message_id(sandbox):
    sandbox.deliver(mail(to=BOB), [BOB.upper(), CHARLIE])
    (received,) = sandbox.mailbox(BOB).message_ids()
    assert sandbox.mailbox(BOB).label_ids(received) == ["INBOX", "UNREAD"]
    assert "Message-ID" in headers(Api(sandbox, BOB), received)
    assert sandbox.mailbox(ALICE).message_ids() == []


def test_a_sent_drafts_history_tells_of_both(sandbox, api):
    draft = make_draft(api)
    start = sandbox.mailbox(ALICE).history_id
    sent = api.post("drafts/send", {"id": draft["id"]})
    records = api.get("history", startHistoryId=start)["history"]
    added = [entry["message"] for record in records for entry in record.get("messagesAdded", [])]
    gone = [entry["message"]["id"] for record in records for entry in record.get("messagesDeleted", [])]
    assert [(entry["id"], entry["labelIds"]) for entry in added] == [(sent["id"], ["SENT"])]
    assert gone == [draft["message"]["id"]]
