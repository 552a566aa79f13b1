"""What Google is told of the side panel: the deployment that an admin pastes into the Cloud console. Pure.

Source: https://developers.google.com/workspace/add-ons/reference/rest/v1/projects.deployments
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from gmail_sync.addon import web

LOGO = "/static/logo.png"
COLOUR = "#2f5fde"
NAME = "Tracker"
#: The panel reads no mail through Google: which message is open, whom the draft is to, and that is all.
SCOPES = (
    "https://www.googleapis.com/auth/gmail.addons.execute",
    "https://www.googleapis.com/auth/gmail.addons.current.message.metadata",
    "https://www.googleapis.com/auth/gmail.addons.current.action.compose",
    "https://www.googleapis.com/auth/userinfo.email",
    "https://www.googleapis.com/auth/script.locale",  # the time zone that Gmail is set to
)


def deployment(url: str, name: str = NAME) -> dict[str, Any]:
    """The deployment for a Tracker at this address, without a slash at its end."""
    return {
        "oauthScopes": list(SCOPES),
        "addOns": {
            "common": {
                "name": name,
                "logoUrl": url + LOGO,
                "layoutProperties": {"primaryColor": COLOUR, "secondaryColor": COLOUR},
                "useLocaleFromApp": True,
                "homepageTrigger": {"runFunction": url + web.HOME},
                "universalActions": [{"label": f"Open {name}", "openLink": f"{url}/"}],
                "openLinkUrlPrefixes": [f"{url}/"],
            },
            "gmail": {
                "contextualTriggers": [{"unconditional": {}, "onTriggerFunction": url + web.OPEN}],
                "composeTrigger": {
                    "actions": [{"runFunction": url + web.COMPOSE, "label": name, "logoUrl": url + LOGO}],
                    "draftAccess": "METADATA",
                },
            },
            "httpOptions": {"authorizationHeader": "SYSTEM_ID_TOKEN"},
        },
    }


def problem(url: str | None, *, reachable: bool) -> str:
    """Why Google can't post to this address, in words; empty if nothing is known against it."""
    if not url:
        return "Set TRACKER_PUBLIC_URL to the https address that the world reaches Tracker by"
    if urlsplit(url).scheme != "https":
        return f"Google posts to https addresses only, and TRACKER_PUBLIC_URL is {url}"
    if not reachable:
        return f"Google can't reach {url}: TRACKER_PUBLIC_URL has to be an address that the world reaches"
    return ""
