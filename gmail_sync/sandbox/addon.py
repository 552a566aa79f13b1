"""Google's side of a Workspace add-on: what happens in Gmail as events, signed for the address that they go to.

It knows addresses and Gmail's ids, and nothing of who answers. Sources:
https://developers.google.com/workspace/add-ons/concepts/event-objects and
https://developers.google.com/workspace/add-ons/guides/alternate-runtimes
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests

from gmail_sync.sandbox.ids import from_hex
from gmail_sync.sandbox.oauth import ISSUER
from gmail_sync.sandbox.tokens import ACCESS_LIFETIME

if TYPE_CHECKING:
    from gmail_sync.sandbox.sandbox import Sandbox

Json = dict[str, Any]

#: As `gcloud workspace-add-ons get-authorization` would tell.
SERVICE_ACCOUNT = "service-100000000000@gcp-sa-gsuiteaddons.iam.gserviceaccount.com"
CLIENT_ID = "100000000000-addon.apps.googleusercontent.com"
#: From an address and a body to the status and the body of the answer.
Post = Callable[[str, Json], tuple[int, Json]]


@dataclass(frozen=True)
class Seen:
    """What the user looks at: nothing, a message, or a draft that they write."""

    message_id: str = ""  #: the API's form
    thread_id: str = ""
    to: Sequence[str] | None = None  #: the draft's recipients
    cc: Sequence[str] = ()
    bcc: Sequence[str] = ()
    subject: str = ""

    def gmail(self) -> Json:
        """The event's `gmail`, with ids as Gmail's page writes them."""
        found: Json = {}
        if self.message_id:
            found["messageId"] = f"msg-f:{from_hex(self.message_id)}"
            found["threadId"] = f"thread-f:{from_hex(self.thread_id or self.message_id)}"
            found["accessToken"] = "a-token-for-the-open-message"
        if self.to is not None:
            found |= {"toRecipients": list(self.to), "ccRecipients": list(self.cc)}
            found |= {"bccRecipients": list(self.bcc), "subject": self.subject}
        return found


@dataclass(frozen=True)
class Form:
    """What the user pressed, and what the form held: texts by name, or Google's own inputs."""

    params: Mapping[str, str]
    inputs: Mapping[str, Any]

    def common(self) -> Json:
        """These fields of the event's `commonEventObject`."""
        return {
            "parameters": dict(self.params),
            "formInputs": {name: _input(given) for name, given in self.inputs.items()},
        }


def _input(given: Any) -> Json:
    if isinstance(given, Mapping):
        return dict(given)
    return {"stringInputs": {"value": [given] if isinstance(given, str) else list(given)}}


class AddOn:
    """One add-on, installed for all users of a sandbox."""

    def __init__(
        self,
        sandbox: Sandbox,
        *,
        service_account: str = SERVICE_ACCOUNT,
        client_id: str = CLIENT_ID,
        post: Post | None = None,
        zone: str = "Europe/London",
    ) -> None:
        self._sandbox = sandbox
        self.service_account, self.client_id, self.zone = service_account, client_id, zone
        self._post = post or over_http

    def event(self, address: str, url: str, seen: Seen | None = None, form: Form | None = None) -> Json:
        """What is posted to `url` when this user does something. Raises `KeyError` for an unknown address."""
        common: Json = {
            "hostApp": "GMAIL",
            "platform": "WEB",
            "userLocale": "en-GB",
            "timeZone": {"id": self.zone, "offset": 0},
        }
        return {
            "commonEventObject": common | (form.common() if form else {}),
            "authorizationEventObject": {
                "userOAuthToken": "ya29.a-token-of-the-user",
                "userIdToken": self.user_token(address),
                "systemIdToken": self.system_token(url),
            },
            "gmail": (seen or Seen()).gmail(),
        }

    def post(self, address: str, url: str, seen: Seen | None = None, form: Form | None = None) -> tuple[int, Json]:
        """Post that event; the status and the JSON of the answer."""
        return self._post(url, self.event(address, url, seen, form))

    def system_token(self, url: str, **changes: Any) -> str:
        """Says that Google posts to this address; `changes` to its claims make bad ones for tests."""
        claims: Json = {"aud": url, "azp": "1" * 21, "sub": "1" * 21}
        claims |= {"email": self.service_account, "email_verified": True}
        return self._signed(claims, changes)

    def user_token(self, address: str, **changes: Any) -> str:
        """Says which user it is; `changes` as above."""
        mailbox = self._sandbox.mailbox(address)
        claims: Json = {"aud": self.client_id, "azp": self.client_id, "sub": f"1{mailbox.user_id:020d}"}
        claims |= {"email": mailbox.address, "email_verified": True}
        return self._signed(claims, changes)

    def _signed(self, claims: Json, changes: Json) -> str:
        now = int(time.time())  # whoever verifies it has no other clock
        found = {"iss": ISSUER, "iat": now, "exp": now + ACCESS_LIFETIME} | claims | changes
        return self._sandbox.keys.sign({name: value for name, value in found.items() if value is not None})


def over_http(url: str, event: Json) -> tuple[int, Json]:
    """Post an event as Google does."""
    answer = requests.post(url, json=event, timeout=30, allow_redirects=False)
    return answer.status_code, answer.json()


def from_control(sandbox: Sandbox, body: Json) -> Json:
    """The sandbox's own verb `addon`: a signed event for other processes, which post it themselves.

    body: `user` and `url`; `message_id`, `thread_id`; `to`, `cc`, `bcc`, `subject`; `params`, `inputs`; `zone`.
    Raises `KeyError` for an unknown user.
    """
    names = ("message_id", "thread_id", "to", "cc", "bcc", "subject")
    seen = Seen(**{name: body[name] for name in names if name in body})
    form = Form(body.get("params", {}), body.get("inputs", {}))
    add_on = AddOn(sandbox, zone=body.get("zone", "Europe/London"))
    return add_on.event(body["user"], body["url"], seen, form)
