"""Errors in the shape Google's JSON APIs answer them.

Source: https://developers.google.com/workspace/gmail/api/guides/handle-errors
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: google.rpc.Code names by HTTP status (https://cloud.google.com/apis/design/errors).
STATUS_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    412: "FAILED_PRECONDITION",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

#: What Google says when nothing more particular is known.
DEFAULT_MESSAGES = {
    400: "Request contains an invalid argument.",
    401: "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or "
    "other valid authentication credential. See "
    "https://developers.google.com/identity/sign-in/web/devconsole-project.",
    403: "The caller does not have permission",
    404: "Requested entity was not found.",
    429: "Resource has been exhausted (e.g. check quota).",
    500: "Internal error encountered.",
    502: "Bad gateway",
    503: "The service is currently unavailable.",
    504: "Deadline expired before operation could complete.",
}

#: Reasons that Google files under the domain "usageLimits" rather than "global".
USAGE_REASONS = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "dailyLimitExceeded", "quotaExceeded"})


@dataclass
class ApiError(Exception):
    """A refusal, carrying all that Google's answer would carry.

    `status` is the HTTP status, `reason` and `message` Google's words, `detail` the message of
    the inner error where it differs, `headers` extra answer headers.
    """

    status: int
    reason: str
    message: str = ""
    detail: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    location: str = ""

    def body(self) -> dict[str, Any]:
        """The JSON body: `{"error": {code, message, errors, status}}`."""
        message = self.message or DEFAULT_MESSAGES.get(self.status, "Unknown error.")
        domain = "usageLimits" if self.reason in USAGE_REASONS else "global"
        inner = {"message": self.detail or message, "domain": domain, "reason": self.reason}
        if self.location:
            inner |= {"location": self.location, "locationType": "header"}
        error: dict[str, Any] = {"code": self.status, "message": message, "errors": [inner]}
        if self.status in STATUS_NAMES:
            error["status"] = STATUS_NAMES[self.status]
        return {"error": error}


def invalid(message: str = "") -> ApiError:
    """400: the request itself is wrong."""
    return ApiError(400, "invalidArgument", message)


def not_found(message: str = "") -> ApiError:
    """404: no such message, thread, label, draft, or a history cursor too old."""
    return ApiError(404, "notFound", message)


def unauthenticated() -> ApiError:
    """401: no access token, or one that is expired, revoked or unknown."""
    return ApiError(
        401,
        "authError",
        detail="Invalid Credentials",
        location="Authorization",
        headers={"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/", error="invalid_token"'},
    )


def insufficient_scopes() -> ApiError:
    """403: a valid access token without a scope that the method asks for."""
    return ApiError(
        403,
        "insufficientPermissions",
        "Request had insufficient authentication scopes.",
        detail="Insufficient Permission",
        headers={"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/", error="insufficient_scope"'},
    )
