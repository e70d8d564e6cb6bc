"""What becomes of each refusal in `statuses/`, as a real API server wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from clipmodel_operator.clients.access import REVIEWS
from clipmodel_operator.clients.api_status import parse_status
from clipmodel_operator.clients.cluster import Cluster
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
from clipmodel_operator.models.resources import JOBS
from support.http_server import FakeServer, raw, refuse, reply

STATUSES = Path(__file__).parent / "statuses"


class Case(NamedTuple):
    error: type[ClipModelError]
    words: str
    lacking: str | None = None
    """The verb that the access review says no to; all others are allowed."""
    asked: tuple[str, ...] = ()
    """The verbs that are asked for."""


CASES = {
    "already_exists": Case(AlreadyExistsError, "already exists"),
    "bad_request": Case(RejectedError, "cannot be handled as a ConfigMap"),
    "bad_request_apply": Case(RetryError, "field not declared in schema"),
    "claim_cannot_grow": Case(DeniedError, "only dynamically provisioned pvc", asked=("patch", "create")),
    "conflict_apply_resource_version": Case(ConflictError, "has been modified"),
    "conflict_apply_status_resource_version": Case(ConflictError, "has been modified"),
    "conflict_apply_uid": Case(ConflictError, "metadata.uid"),
    "conflict_apply_uid_absent": Case(ConflictError, "no existing object was found"),
    "conflict_delete_uid": Case(ConflictError, "does not match the UID in record"),
    "expired": Case(GoneError, "too old"),
    "invalid": Case(RejectedError, '….nodeSelectorTerms[0].matchFields[0].key: Invalid value: "metadata.uid"'),
    "invalid_custom": Case(RejectedError, 'spec.profile: Unsupported value: "tpu"'),
    "invalid_immutable": Case(RejectedError, "spec.selector: Invalid value"),
    "namespace_terminating_apply": Case(GoneError, "unable to create new content"),
    "not_found": Case(GoneError, 'configmaps "y" not found'),
    "not_found_namespace": Case(GoneError, 'namespaces "nowhere" not found'),
    "not_found_path": Case(GoneError, "404 page not found"),
    "not_found_status": Case(GoneError, '"gone" not found'),
    "owner_reference": Case(DeniedError, "cannot set blockOwnerDeletion", asked=("create",)),
    "podsecurity": Case(DeniedError, 'violates PodSecurity "restricted:latest"', asked=("create",)),
    "policy_forbidden": Case(DeniedError, "ValidatingAdmissionPolicy 'p-forbidden'"),
    "policy_invalid": Case(DeniedError, "ValidatingAdmissionPolicy 'p-invalid'"),
    "policy_too_large": Case(DeniedError, "ValidatingAdmissionPolicy 'p-requestentitytoolarge'"),
    "quota_exceeded": Case(RetryError, "raise the quota"),
    "quota_exceeded_apply": Case(RetryError, "raise the quota"),
    "quota_unknown": Case(RetryError, "raise the quota"),
    "rbac_create": Case(ForbiddenError, "to create configmaps in namespace demo", "create", ("create",)),
    "rbac_create_by_apply": Case(ForbiddenError, "to create configmaps in namespace", "create", ("patch", "create")),
    "rbac_get": Case(ForbiddenError, "to get configmaps in namespace demo"),
    "rbac_list_nodes": Case(ForbiddenError, "to list nodes in the whole cluster"),
    "rbac_patch": Case(ForbiddenError, "to patch configmaps in namespace demo", "patch", ("patch",)),
    "rbac_review": Case(ForbiddenError, "to create selfsubjectaccessreviews.authorization.k8s.io", "create", ("create",)),
    "timeout": Case(RetryError, "did not complete within the allotted timeout"),
    "too_many_requests": Case(RetryError, "storage is (re)initializing"),
    "too_many_requests_in_flight": Case(RetryError, "Too many requests"),
    "unauthorized": Case(RetryError, "is its ServiceAccount there?"),
    "unsupported_media_type": Case(RejectedError, "unknown format"),
    "webhook_conflict": Case(RetryError, "denied the request"),
    "webhook_denied": Case(DeniedError, "you cannot, not even with a quota", asked=("create",)),
    "webhook_denied_code_only": Case(DeniedError, "denied the request", asked=("create",)),
    "webhook_denied_without_code": Case(DeniedError, "validation error: rule x"),
    "webhook_down": Case(RetryError, "failed calling webhook"),
    "webhook_slow": Case(RetryError, "failed calling webhook"),
}  # fmt: skip


def recorded(name: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads((STATUSES / f"{name}.json").read_text("utf-8"))
    return parsed


def test_each_recorded_refusal_has_a_case() -> None:
    assert sorted(CASES) == sorted(p.stem for p in STATUSES.glob("*.json"))


def answer_with(server: FakeServer, status: dict[str, Any], *reviews: bool) -> None:
    body, headers = status["body"], status.get("headers")
    refusal = (
        raw(body.encode(), status["code"], headers) if isinstance(body, str) else reply(body, status["code"], headers)
    )
    server.answer(refusal, *(reply({"status": {"allowed": r}}, 201) for r in reviews))


@pytest.mark.parametrize("name", CASES)
async def test_what_becomes_of_it(server: FakeServer, cluster: Cluster, name: str) -> None:
    case, status = CASES[name], recorded(name)
    answer_with(server, status, *(verb != case.lacking for verb in case.asked))
    method, path = status["request"].split()
    with pytest.raises(ClipModelError) as raised:
        await cluster.request(method, path)
    assert type(raised.value) is case.error
    assert case.words in str(raised.value)
    reviews = [json.loads(s.body)["spec"]["resourceAttributes"] for s in server.seen[1:]]
    assert tuple(r["verb"] for r in reviews) == case.asked
    assert {s.path for s in server.seen[1:]} <= {REVIEWS}
    if case.asked:
        _, _, *rest = path.split("/")
        assert all(str(v) in {*rest, r["verb"]} for r in reviews for v in r.values()), "it asks about this request"


async def test_retry_after_is_read_from_the_body_where_a_proxy_ate_the_header(
    server: FakeServer, cluster: Cluster
) -> None:
    status = recorded("too_many_requests")
    answer_with(server, {**status, "headers": {}})
    with pytest.raises(RetryError) as raised:
        await cluster.request("GET", "/api/v1/pods")
    assert raised.value.retry_after_s == 1


@pytest.mark.parametrize(
    "review",
    [refuse(403, "you may not ask"), refuse(500, "etcd is sad"), reply({"no": "status"}), raw(b"<html>")],
    ids=["forbidden", "error", "another object", "a page"],
)
async def test_where_nobody_says_what_is_missing_it_is_tried_again(
    server: FakeServer, cluster: Cluster, review: Any
) -> None:
    status = recorded("rbac_patch")
    server.answer(reply(status["body"], 403), review)
    with pytest.raises(RetryError) as raised:
        await cluster.request("PATCH", "/api/v1/namespaces/demo/configmaps/x")
    assert type(raised.value) is RetryError
    assert 'cannot patch resource "configmaps"' in str(raised.value)
    assert "cannot be found out" in str(raised.value)
    assert len(server.seen) == 2


@pytest.mark.parametrize("code", [400, 403, 405, 413, 415, 422])
async def test_a_proxy_that_refuses_is_not_taken_for_the_api_server(
    server: FakeServer, cluster: Cluster, code: int
) -> None:
    server.answer(raw(b"<html>Access denied, your quota is used up</html>", code))
    with pytest.raises(RetryError, match="a proxy's answer") as raised:
        await cluster.request("PATCH", "/api/v1/namespaces/demo/configmaps/x")
    assert type(raised.value) is RetryError
    assert len(server.seen) == 1


async def test_a_delete_that_a_webhook_denies_with_409_did_not_delete(server: FakeServer, cluster: Cluster) -> None:
    """The conflict that a delete may pass over is about the object's uid; a webhook that chooses 409 says nothing of an object."""
    answer_with(server, recorded("webhook_conflict"))
    with pytest.raises(RetryError, match="denied the request"):
        await cluster.delete_object(JOBS, "demo", "job", uid="u")
    answer_with(server, recorded("conflict_delete_uid"))
    await cluster.delete_object(JOBS, "demo", "job", uid="u")


async def test_a_patch_of_what_is_there_needs_no_permission_to_create(server: FakeServer, cluster: Cluster) -> None:
    """Its uid is named, so it is there: what refuses is admission, whatever the role lacks."""
    answer_with(server, recorded("podsecurity"), True, False)
    with pytest.raises(DeniedError):
        await cluster.apply_object(JOBS, "demo", {"metadata": {"name": "x", "uid": "u"}})
    answer_with(server, recorded("podsecurity"), True, False)
    with pytest.raises(ForbiddenError, match="create"):
        await cluster.apply_object(JOBS, "demo", {"metadata": {"name": "x"}})


@pytest.mark.parametrize(
    "changed",
    [
        {"message": 'configmaps "exceeded quota: x" is forbidden: User "u" cannot patch resource "configmaps"'},
        {"message": 'admission webhook "w" denied the request: exceeded quota: x'},
    ],
    ids=["a name", "a webhook"],
)
async def test_a_quota_is_not_found_in_the_words_of_others(
    server: FakeServer, cluster: Cluster, changed: dict[str, str]
) -> None:
    status = recorded("quota_exceeded_apply")
    answer_with(server, {**status, "body": {**status["body"], **changed}}, True, True)
    with pytest.raises(DeniedError):
        await cluster.request("PATCH", "/api/v1/namespaces/demo/configmaps/x")


@pytest.mark.parametrize("name", CASES)
def test_whose_words_they_are_is_known(name: str) -> None:
    """A Status is read also where it has no kind, as that of a timeout; a page or a line of text is none."""
    status = recorded(name)
    body = status["body"]
    parsed = parse_status(status["code"], body if isinstance(body, str) else json.dumps(body))
    assert parsed.is_status == isinstance(body, dict)
    if isinstance(body, dict):
        assert (parsed.reason, parsed.message) == (body.get("reason", ""), body["message"])
        assert len(parsed.causes) == len((body.get("details") or {}).get("causes") or ())
