"""Pub/Sub's notifications from Gmail: verify, note the wish to sync, wake a worker. The work is elsewhere.

The notification's history id is no cursor to start from, so nothing is taken from it but the mailbox's address.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jwt
from flask import Blueprint, Flask, Response, request
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request
from google.oauth2 import id_token

from tracker import mailboxes
from tracker.db import Sessions, transaction
from tracker.mailboxes import State
from tracker.web.frame import public

log = logging.getLogger(__name__)

PATH = "/gmail/push"
SIZE_LIMIT = 64 * 1024  # bytes; a notification has some hundred


class PushError(ValueError):
    """What came is no notification."""


class PushRefused(Exception):
    """What came is not from whom we expect it."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who may push to us: how their token has to look."""

    certs_url: str
    audience: str
    service_account: str


@dataclass(frozen=True, slots=True)
class Door:
    """What the door is handed."""

    sessions: Sessions
    sender: Sender
    wake: Callable[[int], Any]
    now: Callable[[], datetime]


def init_app(app: Flask, door: Door) -> Blueprint:
    """Add the door to the application; returns its blueprint (which wants no CSRF token)."""
    blueprint = Blueprint("gmail_push", __name__)

    @blueprint.post(PATH)
    @public
    def push() -> Response:
        status, said = receive(door, request.get_data(cache=False), request.headers.get("Authorization", ""))
        return Response(said, status, mimetype="application/json")

    app.register_blueprint(blueprint)
    return blueprint


def receive(door: Door, body: bytes, authorization: str) -> tuple[int, str]:
    """Take in one notification: the status and the JSON to answer with.

    Anything but 204 is delivered again by Pub/Sub, so what can never succeed is answered 204 too once it is
    known to come from Google: an address that we don't sync (any more).
    """
    try:
        verify(door.sender, authorization)
        address = address_in(body)
    except PushRefused as error:
        return 401, json.dumps({"error": {"code": 401, "message": str(error)}})
    except PushError as error:
        return 400, json.dumps({"error": {"code": 400, "message": str(error)}})
    with transaction(door.sessions) as session:
        mailbox = mailboxes.by_address(session, address)
        if mailbox is None or mailbox.state == State.DISCONNECTED:
            log.info("A push for an address that is not connected")
            return 204, ""
        mailboxes.pushed(session, mailbox.id, door.now())
    try:
        door.wake(mailbox.id)  # after the commit: the row is the wish
    except Exception:
        log.exception("A push could not wake a worker; the next tick finds the wish")
    return 204, ""


def verify(sender: Sender, authorization: str) -> Mapping[str, Any]:
    """Verify the bearer token: signature, audience, service account. Raises `PushRefused`.

    Source: Google Cloud, "Authentication for push subscriptions".
    """
    kind, _, token = authorization.partition(" ")
    if kind.lower() != "bearer" or not token:
        raise PushRefused("A bearer token is missing")
    try:
        claims = id_token.verify_token(token, Request(), audience=sender.audience, certs_url=sender.certs_url)
    except (GoogleAuthError, ValueError, jwt.PyJWTError) as error:
        raise PushRefused("The bearer token is not valid") from error
    if claims.get("email") != sender.service_account or claims.get("email_verified") is not True:
        raise PushRefused("The bearer token is somebody else's")
    return dict(claims)


def address_in(body: bytes) -> str:
    """The mailbox's address in a notification. Raises `PushError`."""
    if len(body) > SIZE_LIMIT:
        raise PushError("The notification is too large")
    try:
        data = json.loads(body)["message"]["data"]
        padded = str(data) + "=" * (-len(str(data)) % 4)
        address = json.loads(base64.urlsafe_b64decode(padded))["emailAddress"]
    except (ValueError, KeyError, TypeError, binascii.Error, RecursionError) as error:
        raise PushError("This is no notification of Gmail's") from error
    if not isinstance(address, str) or not 3 <= len(address) <= 320:
        raise PushError("There is no address in the notification")
    return address
