"""A server on the loopback, and a connection to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio import client

from clipmodel_operator.clients.cluster import Cluster, build_client
from support.http_server import FakeServer, reply


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    fake = FakeServer(answers=[reply()])
    application = web.Application(client_max_size=2**24)
    application.router.add_route("*", "/{path:.*}", fake.handle)
    test_server = TestServer(application)
    await test_server.start_server(shutdown_timeout=0.1)
    assert test_server.port is not None
    fake.port = test_server.port
    yield fake
    await test_server.close()


@pytest.fixture
async def cluster(server: FakeServer) -> AsyncIterator[Cluster]:
    configuration = client.Configuration()
    configuration.host = f"http://127.0.0.1:{server.port}"
    configuration.api_key = {"BearerToken": "Bearer secret-token"}
    made = Cluster(build_client(configuration))
    yield made
    await made.close()
