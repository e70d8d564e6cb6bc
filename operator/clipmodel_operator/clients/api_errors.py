"""What a refusal of the API server is to us: the one table from code, reason and causes to our errors, which ask whether waiting would fix it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from clipmodel_operator.clients.access import Access
from clipmodel_operator.clients.api_status import (
    ALREADY_EXISTS,
    CONFLICT,
    NAMESPACE_TERMINATING,
    ApiStatus,
    is_quota_refusal,
)
from clipmodel_operator.models.errors import (
    AlreadyExistsError,
    ClipModelError,
    ConflictError,
    DeniedError,
    ForbiddenError,
    GoneError,
    RejectedError,
    RetryError,
)

_MESSAGE_LENGTH = 400
# Enough for nodeSelectorTerms[0].matchExpressions[0].key and what is around it.
_PATH_LENGTH = 80


@dataclass(frozen=True, slots=True)
class _Rule:
    codes: tuple[int, ...]
    error: Callable[[str], ClipModelError]
    only: Callable[[ApiStatus], object] = lambda _: True
    advice: str = ""
    words: Callable[[ApiStatus], str] | None = None
    """In place of the request and the API server's message: a condition has no room for them."""


def _short_path(path: str) -> str:
    """Leave out the part of a path that is longer than a line, at a field's begin."""
    tail = path[-_PATH_LENGTH:]
    return path if tail == path else f"….{tail[tail.find('.') + 1 :]}"


def _invalid_fields(status: ApiStatus) -> str:
    return "; ".join(f"{_short_path(c.field)}: {c.message}" for c in status.fields[:3])


def _refusal(status: ApiStatus) -> str:
    return status.refusal


# The first that fits. What fits none is the world's failure: 429, 500, 503, 504, and 409 without a reason that we know.
_RULES = (
    _Rule((404, 410), GoneError),
    _Rule((409,), AlreadyExistsError, lambda s: s.reason == ALREADY_EXISTS),
    # A webhook may choose 409 too: then nothing is said of the object, and its details are not there.
    _Rule((409,), ConflictError, lambda s: s.reason == CONFLICT and s.details_name),
    _Rule((403,), GoneError, lambda s: s.has_cause(NAMESPACE_TERMINATING)),
    _Rule((403,), RetryError, is_quota_refusal, "raise the quota, or delete what is not needed"),
    _Rule((400, 403, 405, 413, 415, 422), RetryError, lambda s: not s.is_status, "this is a proxy's answer"),
    _Rule((403,), DeniedError, words=_refusal),
    # How the API server says that an apply names another uid than the object's; a delete gets a 409.
    _Rule((422,), ConflictError, lambda s: any(c.field == "metadata.uid" for c in s.causes)),
    _Rule((422,), RejectedError, lambda s: s.fields, words=_invalid_fields),
    # The codes that a ValidatingAdmissionPolicy can choose, besides 403. Its message is a cause that names no field.
    _Rule((413, 422), DeniedError, lambda s: s.causes, words=_refusal),
    # A webhook that denies without a code: the API server makes it 400. One of its own has a reason.
    _Rule((400,), DeniedError, lambda s: s.is_status and not s.reason, words=_refusal),
    _Rule((401,), RetryError, advice="the operator's token is not accepted: is its ServiceAccount there?"),
    _Rule((400, 405, 413, 415, 422), RejectedError),
)


def translate(status: ApiStatus, what: str) -> ClipModelError:
    """Turn an answer that is no success into an error of ours. `what` names the request for the message.

    A 403 that is not settled counts as admission's: ask first whether a permission is missing.
    """
    message = f"{what}: {status.message[:_MESSAGE_LENGTH]}"
    for rule in _RULES:
        if status.code in rule.codes and rule.only(status):
            text = rule.words(status)[:_MESSAGE_LENGTH] if rule.words else message
            return rule.error(f"{text} ({rule.advice})" if rule.advice else text)
    return RetryError(message, retry_after_s=status.retry_after_s)


def is_settled(status: ApiStatus) -> bool:
    """Tell whether a Status says by itself what it is. A 403 of the authorizer does not, as it has no causes; nor do most of admission."""
    return status.code != 403 or bool(status.causes) or not status.is_status or is_quota_refusal(status)


def lacks_permission(status: ApiStatus, what: str, missing: Access) -> ForbiddenError:
    """Say which permission is missing, and what gives it."""
    return ForbiddenError(
        f"{what}: the operator's role lacks the permission to {missing}: apply manifests/ of this release, and bind the role there. "
        f"The API server says: {status.refusal[:_MESSAGE_LENGTH]}"
    )
