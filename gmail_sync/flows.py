"""Flows at Google on their way: begun here, and what was kept of one when the person is back."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta

from flask import redirect, session

from gmail_sync import oauth
from gmail_sync.oauth import Google
from tracker.web.frame import Page

FLOW = "flow"  #: in the person's signed cookie
NEXT = "next"
LASTS = timedelta(minutes=30)


def begin(
    google: Google, kind: str, redirect_uri: str, onwards: str, now: datetime, *, login_hint: str = ""
) -> Page:
    """Off to Google's consent page; the kind is `sign-in`, or `connect` for what lets us at Gmail."""
    begun = oauth.begin(
        google, redirect_uri, gmail=kind == "connect", nonce=secrets.token_urlsafe(24), login_hint=login_hint
    )
    told = {name: value for name, value in asdict(begun).items() if name != "address"}
    session[FLOW] = {**told, "kind": kind, "at": now.isoformat(), NEXT: onwards}
    return redirect(begun.address, 303)


def kept(kind: str, now: datetime) -> Mapping[str, str]:
    """What was kept of the flow of this kind, once; nothing if it was not begun here, or too long ago."""
    found = session.pop(FLOW, None)
    if not isinstance(found, dict) or found.get("kind") != kind:
        return {}
    begun = datetime.fromisoformat(str(found.get("at", "")))
    return found if begun > now - LASTS else {}
