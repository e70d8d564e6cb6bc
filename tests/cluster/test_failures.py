"""Every way in which a version can be wrong: a condition and an event name it, and correcting the spec is all that it takes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from support.cluster import Namespace, clip_model, condition, until
from support.model_server import ModelServer
from support.tiny_onnx import Fault, build_tiny_onnx

NOT_THE_DIGEST = "ab" * 32


@dataclass(frozen=True)
class Case:
    name: str
    uri: str
    sha256: str
    reason: str
    says: tuple[str, ...]
    is_stalled: bool = True


def _cases(server: ModelServer, tiny: tuple[str, str]) -> list[Case]:
    uri, sha256 = tiny
    served = {
        "not-onnx": server.put(b"<html>404 not found</html>" * 40),
        "other-names": server.put(build_tiny_onnx(input_name="pixels")),
        "other-shape": server.put(build_tiny_onnx(dimension=768)),
        "other-size": server.put(build_tiny_onnx(image_size=336)),
        "not-finite": server.put(build_tiny_onnx(fault=Fault.NAN)),
        "batch-dependent": server.put(build_tiny_onnx(fault=Fault.BATCH_DEPENDENT)),
    }
    return [
        Case("wrong-digest", uri, NOT_THE_DIGEST, "DigestMismatch", (sha256, NOT_THE_DIGEST)),
        Case("missing-file", server.uri("nowhere.onnx"), sha256, "SourceNotFound", ("nowhere.onnx", "404")),
        Case("truncated", server.truncating_uri, sha256, "DownloadTruncated", ("1000", "100000"), is_stalled=False),
        Case("not-onnx", *served["not-onnx"], "NotOnnx", ()),
        Case("other-names", *served["other-names"], "SignatureMismatch", ("pixels", "image")),
        Case("other-shape", *served["other-shape"], "SignatureMismatch", ("768", "512")),
        Case("other-size", *served["other-size"], "SignatureMismatch", ("336", "224")),
        Case("not-finite", *served["not-finite"], "ProofFailed", ("finite",)),
        Case("batch-dependent", *served["batch-dependent"], "ProofFailed", ("batch",)),
    ]


NAMES = [
    "wrong-digest",
    "missing-file",
    "truncated",
    "not-onnx",
    "other-names",
    "other-shape",
    "other-size",
    "not-finite",
    "batch-dependent",
]


@pytest.fixture(scope="module")
def applied(shared_namespace: Namespace, model_server: ModelServer, tiny: tuple[str, str]) -> dict[str, Case]:
    """Apply all of them at once: each takes a Job, and they do not know of each other."""
    cases = {c.name: c for c in _cases(model_server, tiny)}
    assert sorted(cases) == sorted(NAMES)
    for case in cases.values():
        shared_namespace.kubectl.apply(clip_model(case.name, uri=case.uri, sha256=case.sha256))
    return cases


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_version_is_named(name: str, applied: dict[str, Case], shared_namespace: Namespace) -> None:
    case = applied[name]
    ready = shared_namespace.wait_reason(name, "Ready", case.reason)
    assert ready["status"] == "False"
    for text in ("version 1", *case.says):
        assert text in ready["message"].replace(",", ""), ready["message"]
    obj = shared_namespace.clip(name)
    stalled, reconciling = condition(obj, "Stalled"), condition(obj, "Reconciling")
    assert (stalled is not None, reconciling is not None) == (case.is_stalled, not case.is_stalled)
    assert obj["status"]["servingVersions"] == []
    events = until(
        lambda: [e for e in shared_namespace.events(name) if e["reason"] == case.reason] or None,
        f"an event {case.reason}",
    )
    assert events[0]["type"] == "Warning"
    assert "version 1" in events[0]["message"]
    assert not shared_namespace.server_pods(name), "nothing may serve a version that is not proven"


#: These serve in the end, one that stalled and one that was tried again; of the others the version is fetched and proven.
SERVED = ("wrong-digest", "truncated")


@pytest.fixture(scope="module")
def mended(applied: dict[str, Case], shared_namespace: Namespace, tiny: tuple[str, str]) -> str:
    """Correct the specs of all of them at once. Gives the right digest."""
    uri, sha256 = tiny
    for name in applied:
        clip = clip_model(name, uri=uri, sha256=sha256)
        clip["spec"]["serving"]["replicas"] = int(name in SERVED)
        shared_namespace.kubectl.apply(clip)
    return sha256


@pytest.mark.parametrize("name", NAMES)
def test_correcting_the_spec_is_all_that_it_takes(name: str, mended: str, shared_namespace: Namespace) -> None:
    if name in SERVED:
        shared_namespace.wait_ready(name)
    else:
        shared_namespace.wait_reason(name, "Ready", "ScaledToZero")
    obj = shared_namespace.clip(name)
    assert condition(obj, "Stalled") is None
    assert condition(obj, "Synced")["reason"] == "VersionSynced"  # type: ignore[index]  # it is there
    assert obj["status"]["versions"][0]["sha256"] == mended
