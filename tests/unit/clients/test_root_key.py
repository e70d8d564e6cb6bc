"""The root key: read where it is, made where it is not, and one even where two operators make it at once."""

from __future__ import annotations

import base64
import json

import pytest

from clipmodel_operator.clients.cluster import Cluster
from clipmodel_operator.clients.root_key import ensure_root_key
from clipmodel_operator.models.errors import RetryError
from support.http_server import FakeServer, refuse, reply

SECRET = {"data": {"key": base64.b64encode(b"k" * 32).decode()}}


async def test_it_is_read(server: FakeServer, cluster: Cluster) -> None:
    server.answer(reply(SECRET))
    assert await ensure_root_key(cluster, "system") == b"k" * 32
    assert [(s.method, s.path) for s in server.seen] == [
        ("GET", "/api/v1/namespaces/system/secrets/clipmodel-operator-root-key")
    ]


async def test_it_is_made(server: FakeServer, cluster: Cluster) -> None:
    server.answer(refuse(404, "not found"), reply({}, 201), reply(SECRET))
    assert await ensure_root_key(cluster, "system") == b"k" * 32
    made = json.loads(server.seen[1].body)
    assert made["immutable"] is True
    assert len(base64.b64decode(made["data"]["key"])) == 32


async def test_another_one_was_quicker(server: FakeServer, cluster: Cluster) -> None:
    server.answer(refuse(404, "not found"), refuse(409, "there is one", reason="AlreadyExists"), reply(SECRET))
    assert await ensure_root_key(cluster, "system") == b"k" * 32


async def test_it_stays_away(server: FakeServer, cluster: Cluster) -> None:
    taken = refuse(409, "there is one", reason="AlreadyExists")
    server.answer(refuse(404, "not found"), reply({}, 201), refuse(404, "not found"), taken)
    with pytest.raises(RetryError, match="cannot be read after it was made"):
        await ensure_root_key(cluster, "system")
