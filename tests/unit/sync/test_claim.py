"""Files in claims: read from where the operator mounts them, and from nowhere else."""

import os
from pathlib import Path, PurePosixPath

import pytest

from clipmodel_contract.reasons import SyncReason
from clipmodel_contract.source_uri import ClaimUri, HttpUri
from clipmodel_sync.errors import SyncError
from clipmodel_sync.sources.fetch import parse_source

from .conftest import Place


def test_a_file_in_a_folder_of_the_claim(place: Place, model: bytes) -> None:
    uri = place.put(model, "models/a%20b?c#d.onnx")
    assert place.sync(uri, model)["bytes"] == len(model)
    assert place.layout.version_file.read_bytes() == model


@pytest.mark.parametrize("name", ["missing.onnx", "folder", "folder/missing", "model.onnx/inside", "loop", "pipe"])
def test_what_is_no_file(place: Place, model: bytes, name: str) -> None:
    place.put(model)
    (place.claim / "folder").mkdir()
    (place.claim / "loop").symlink_to("loop")
    os.mkfifo(place.claim / "pipe")
    assert place.fail(f"pvc://claim/{name}", model)[0] is SyncReason.SOURCE_NOT_FOUND


def test_a_claim_that_is_not_mounted(place: Place, model: bytes) -> None:
    assert place.fail("pvc://other/model.onnx", model)[0] is SyncReason.SOURCE_NOT_FOUND


def test_links_stay_inside_their_claim(place: Place, model: bytes) -> None:
    place.put(model)
    (place.root / "secret").write_bytes(model)
    (place.claim / "out").symlink_to(place.root / "secret")
    (place.claim / "in").symlink_to("model.onnx")
    assert place.fail("pvc://claim/out", model)[0] is SyncReason.SOURCE_REJECTED
    assert place.sync("pvc://claim/in", model)["result"] == "Synced"


def test_a_file_that_may_not_be_read(place: Place, model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = place.put(model)
    real = os.open

    # Tests may run as root, which may read everything.
    def refuse(path: str | Path, *arguments: int, **named: int) -> int:
        if Path(path) == place.claim / "model.onnx":
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **named)

    monkeypatch.setattr(os, "open", refuse)
    assert place.fail(uri, model)[0] is SyncReason.SOURCE_FORBIDDEN


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "model.onnx",
        "ftp://host/model.onnx",
        "s3://bucket/model.onnx",
        "file:///etc/passwd",
        "http://",
        "http:///model.onnx",
        "http://[::1/model.onnx",
        "http://host:port/model.onnx",
        "https://user:secret@host/model.onnx",
        "pvc://claim",
        "pvc://claim/",
        "pvc:///model.onnx",
        "pvc://../model.onnx",
        "pvc://claim/a b.onnx",
        "pvc://claim/.",
        "pvc://claim/../other/model.onnx",
        "pvc://claim/a/../../other/model.onnx",
    ],
)
def test_a_uri_that_cannot_be_understood(uri: str) -> None:
    with pytest.raises(SyncError) as caught:
        parse_source(uri)
    assert caught.value.reason is SyncReason.SOURCE_REJECTED
    assert "secret" not in caught.value.message


def test_what_a_message_shows_of_a_uri() -> None:
    found = parse_source("https://host:8443/a/b.onnx?sig=secret#part")
    assert found == HttpUri("https://host:8443/a/b.onnx?sig=secret#part", "https://host:8443/a/b.onnx")
    claim = parse_source("pvc://claim/a/b.onnx")
    assert claim == ClaimUri("claim", PurePosixPath("a/b.onnx"))
    assert claim.shown == "pvc://claim/a/b.onnx"
