"""history.list, watches and pushes."""

import base64
import json
import threading
import time
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from google.auth import jwt

from tests.sandbox_fixtures import ALICE, BOB, Api, mail

TOPIC = {"topicName": "projects/p/topics/gmail"}


def test_history_is_chronological_with_gaps(sandbox, api):
    box, start = sandbox.mailbox(ALICE), sandbox.mailbox(ALICE).history_id
    message_id = box.insert(mail())
    box.modify(message_id, add=["STARRED"], remove=["INBOX"])
    box.delete(message_id)
    answer = api.get("history", startHistoryId=start)
    numbers = [int(record["id"]) for record in answer["history"]]
    assert numbers == sorted(numbers)
    assert any(after - before > 1 for before, after in zip([start, *numbers], numbers, strict=False))
    kinds = [next(key for key in record if key.startswith(("messages", "labels")) and key != "messages")
             for record in answer["history"]]  # fmt: skip
    assert kinds == ["messagesAdded", "labelsAdded", "labelsRemoved", "messagesDeleted"]
    assert answer["history"][1]["labelsAdded"][0]["labelIds"] == ["STARRED"]
    assert answer["history"][0]["messages"] == [{"id": message_id, "threadId": message_id}]
    assert int(answer["historyId"]) == box.history_id == numbers[-1]


def test_what_changes_nothing_leaves_no_history(sandbox):
    box = sandbox.mailbox(ALICE)
    message_id = box.insert(mail())
    before = box.history_id
    box.modify(message_id, add=["INBOX"], remove=["STARRED"])
    assert box.history_id == before


def test_filtered_pages_may_be_empty_and_carry_a_token(sandbox, api):
    box, start = sandbox.mailbox(ALICE), sandbox.mailbox(ALICE).history_id
    first = box.insert(mail(), label_ids=[])
    box.insert(mail())
    box.delete(first)
    query = {"startHistoryId": start, "historyTypes": "messageDeleted", "maxResults": 2}
    page = api.get("history", **query)
    assert "history" not in page
    last = api.get("history", **query, pageToken=page["nextPageToken"])
    assert [entry["message"]["id"] for entry in last["history"][0]["messagesDeleted"]] == [first]
    assert "nextPageToken" not in last
    assert len(api.get("history", startHistoryId=start, labelId="INBOX")["history"]) == 1


def test_an_empty_first_page_can_be_switched_on(sandbox, api):
    box, start = sandbox.mailbox(ALICE), sandbox.mailbox(ALICE).history_id
    box.insert(mail())
    box.history.empty_first_page = True
    page = api.get("history", startHistoryId=start)
    assert "history" not in page
    assert len(api.get("history", startHistoryId=start, pageToken=page["nextPageToken"])["history"]) == 1


def test_expired_and_future_cursors_are_404_and_bad_ones_400(sandbox, api):
    box = sandbox.mailbox(ALICE)
    box.insert(mail())
    old = box.history_id
    box.expire_history()
    assert api.call("GET", "history", startHistoryId=old).status_code == 404
    assert api.get("history", startHistoryId=box.history_id)["historyId"] == str(box.history_id)
    assert api.call("GET", "history", startHistoryId=box.history_id + 99).status_code == 404
    assert api.call("GET", "history", startHistoryId="x").status_code == 400
    assert api.call("GET", "history").status_code == 400


def test_a_cursor_lasts_a_week(make_sandbox, clock):
    sandbox = make_sandbox(clock=clock)
    start = sandbox.mailbox(ALICE).history_id
    sandbox.mailbox(ALICE).insert(mail())
    clock.advance(days=6.9)
    assert Api(sandbox, ALICE).call("GET", "history", startHistoryId=start).status_code == 200
    clock.advance(days=0.2)
    assert Api(sandbox, ALICE).call("GET", "history", startHistoryId=start).status_code == 404


def test_history_ids_take_64_unsigned_bits(make_sandbox):
    sandbox = make_sandbox(first_history_id=(1 << 63) + 5)
    box = sandbox.mailbox(ALICE)
    message_id = box.insert(mail())
    api = Api(sandbox, ALICE)
    assert int(api.get(f"messages/{message_id}")["historyId"]) > 1 << 63
    assert len(api.get("history", startHistoryId=(1 << 63) + 5)["history"]) == 1


def test_histories_of_two_users_are_apart(sandbox, api):
    start = sandbox.mailbox(ALICE).history_id
    sandbox.mailbox(BOB).insert(mail())
    assert "history" not in api.get("history", startHistoryId=start)


class Receiver:
    """An endpoint for pushes that notes what comes and answers what it is told."""

    def __init__(self):
        self.seen, self.answers = [], []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.seen.append((json.loads(body), self.headers["Authorization"]))
                self.send_response(outer.answers.pop(0) if outer.answers else 204)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/push"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def wait(self, count, seconds=5.0):
        end = time.monotonic() + seconds
        while len(self.seen) < count and time.monotonic() < end:
            time.sleep(0.01)
        return [json.loads(base64.urlsafe_b64decode(body["message"]["data"])) for body, _ in self.seen]


@pytest.fixture
def receiver(sandbox):
    found = Receiver()
    sandbox.pushes.endpoint = found.url
    sandbox.pushes.throttle = 0
    yield found
    found.server.shutdown()
    found.server.server_close()


def test_a_watched_change_is_pushed_with_a_signed_token(sandbox, api, receiver):
    answer = api.post("watch", TOPIC)
    week = timedelta(days=7).total_seconds()
    assert abs(int(answer["expiration"]) / 1000 - time.time() - week) < 60
    receiver.wait(1)
    sandbox.mailbox(ALICE).insert(mail())
    data = receiver.wait(2)[1]
    assert data == {"emailAddress": ALICE, "historyId": sandbox.mailbox(ALICE).history_id}
    body, bearer = receiver.seen[1]
    assert {"messageId", "publishTime", "data"} <= set(body["message"])
    assert body["subscription"]
    certificates = requests.get(f"{sandbox.url}/oauth2/v1/certs", timeout=5).json()
    claims = jwt.decode(bearer.removeprefix("Bearer "), certs=certificates, audience=receiver.url)
    assert claims["email"] == sandbox.pushes.service_account
    assert claims["email_verified"] is True


def test_no_watch_no_push_and_stop_ends_it(sandbox, api, receiver):
    sandbox.mailbox(ALICE).insert(mail())
    api.post("watch", TOPIC)
    receiver.wait(1)
    api.post("stop")
    sandbox.mailbox(ALICE).insert(mail())
    time.sleep(0.2)
    assert len(receiver.seen) == 1
    assert api.call("POST", "watch", {"topicName": "wrong"}).status_code == 400


def test_a_push_that_is_not_acknowledged_comes_again(sandbox, api, receiver):
    sandbox.pushes.backoff = 0.02
    receiver.answers = [500, 302, 200]
    api.post("watch", TOPIC)
    data = receiver.wait(3)
    time.sleep(0.15)
    assert len(receiver.seen) == 3
    assert data[0] == data[1] == data[2]


def test_pushes_are_one_a_second_and_the_rest_dropped(sandbox, api, receiver):
    sandbox.pushes.throttle = 1.0
    api.post("watch", TOPIC)
    for _ in range(5):
        sandbox.mailbox(ALICE).insert(mail())
    time.sleep(0.2)
    assert len(receiver.seen) == 1
    assert sandbox.pushes.dropped == 5


def test_pushes_are_lost_doubled_delayed_and_reordered(sandbox, api, receiver):
    api.post("watch", TOPIC)
    receiver.wait(1)
    box = sandbox.mailbox(ALICE)
    sandbox.pushes.mode = {"lose": 1, "double": True}
    box.insert(mail())
    box.insert(mail())
    assert [entry["historyId"] for entry in receiver.wait(3)[1:]] == [box.history_id] * 2
    sandbox.pushes.mode = {"double": False, "reorder": True}
    box.insert(mail())
    earlier = box.history_id
    box.insert(mail())
    assert [entry["historyId"] for entry in receiver.wait(5)[3:]] == [box.history_id, earlier]
    sandbox.pushes.mode = {"reorder": False, "delay": 0.3}
    box.insert(mail())
    time.sleep(0.1)
    assert len(receiver.seen) == 5
    assert len(receiver.wait(6)) == 6


def test_a_watch_for_labels_leaves_others_out(sandbox, api, receiver):
    api.post("watch", TOPIC | {"labelIds": ["STARRED"], "labelFilterBehavior": "include"})
    receiver.wait(1)
    message_id = sandbox.mailbox(ALICE).insert(mail())
    time.sleep(0.1)
    assert len(receiver.seen) == 1
    sandbox.mailbox(ALICE).modify(message_id, add=["STARRED"])
    assert len(receiver.wait(2)) == 2
