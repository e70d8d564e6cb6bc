"""An answer of the API server that is no success, as data: the `Status` object (meta/v1), or whatever came in its place.

Errors are sorted by `code`, `reason` and `causes`, which are the API's. `message` is for people: its words differ between releases.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FORBIDDEN = "Forbidden"
ALREADY_EXISTS = "AlreadyExists"
CONFLICT = "Conflict"
#: A cause of the refusal to make something in a namespace that is being deleted (core/v1, NamespaceTerminatingCause).
NAMESPACE_TERMINATING = "NamespaceTerminating"

# How the messages of plugin/resourcequota begin, after the name of the object (Kubernetes 1.34, controller.go; the same since 1.8).
_QUOTA_REFUSALS = (
    "exceeded quota: ",
    "failed quota: ",
    "insufficient quota to consume: ",
    "quota usage is negative for resource(s): ",
    "status unknown for quota: ",
)


@dataclass(frozen=True, slots=True)
class Cause:
    """One of `details.causes`. Validation names the field; an admission policy gives only its message."""

    type: str = ""
    field: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class ApiStatus:
    """What was answered."""

    code: int
    message: str
    """The text of the Status, else of the body; never empty."""
    reason: str = ""
    causes: tuple[Cause, ...] = ()
    details_group: str = ""
    details_kind: str = ""
    """The resource in the plural, in most refusals; the kind, in those of validation."""
    details_name: str = ""
    retry_after_s: float | None = None
    is_status: bool = False
    """False for what no API server writes: a proxy's page, the answer of a pod behind it."""

    def has_cause(self, cause_type: str) -> bool:
        return any(c.type == cause_type for c in self.causes)

    @property
    def fields(self) -> tuple[Cause, ...]:
        """The causes that name a field."""
        return tuple(c for c in self.causes if c.field)

    @property
    def refusal(self) -> str:
        """The message without the name of the object, which `NewForbidden` of apimachinery puts before each refusal."""
        resource = f"{self.details_kind}.{self.details_group}" if self.details_group else self.details_kind
        named = f'{resource} "{self.details_name}"' if self.details_name else resource
        return self.message.removeprefix(f"{named} is forbidden: ")


def is_quota_refusal(status: ApiStatus) -> bool:
    """Tell whether a ResourceQuota refuses. By words, the only ones that are read: quota's Status is that of any other admission plugin.

    They must come first in the refusal, where RBAC, webhooks and policies have words of their own. A wording that is not known is treated as any
    other refusal of admission.
    """
    return status.code == 403 and status.reason == FORBIDDEN and status.refusal.startswith(_QUOTA_REFUSALS)


def parse_status(code: int, body: str, headers: Mapping[str, str] | None = None) -> ApiStatus:
    """Read an answer that is no success, whatever it is."""
    lower = {k.lower(): v for k, v in (headers or {}).items()}
    parsed = _object(_json(body))
    # That of a request that ran out of time has no kind (Kubernetes 1.34).
    if parsed.get("kind") != "Status" and parsed.get("status") != "Failure":
        message = _text(parsed.get("message")) or " ".join(body.split()) or f"HTTP {code}"
        return ApiStatus(code, message, retry_after_s=_seconds(lower.get("retry-after")))
    details = _object(parsed.get("details"))
    listed = details.get("causes")
    causes = [_object(c) for c in listed] if isinstance(listed, list) else []
    return ApiStatus(
        code,
        message=_text(parsed.get("message")) or f"HTTP {code}",
        reason=_text(parsed.get("reason")),
        causes=tuple(Cause(_text(c.get("reason")), _text(c.get("field")), _text(c.get("message"))) for c in causes),
        details_group=_text(details.get("group")),
        details_kind=_text(details.get("kind")),
        details_name=_text(details.get("name")),
        # The API server sets the header from the details; a proxy may leave it out.
        retry_after_s=_seconds(lower.get("retry-after")) or _seconds(str(details.get("retryAfterSeconds", ""))),
        is_status=True,
    )


def _json(body: str) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdecimal() else None
