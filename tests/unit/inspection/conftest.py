"""A world to look at: the simulated cluster as a person reads it, and consoles that keep what was printed."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from clipmodel_operator.clients.reader import ReadError, ReadForbiddenError
from clipmodel_operator.models.resources import Resource
from support.fake_api_server import FakeApiServer

Object = dict[str, Any]


def fields_of(applied: Any, *, keys: tuple[str, ...] = ("mountPath", "name", "containerPort", "uid")) -> Object:
    """Write what a manager applied as the API server keeps it in managedFields."""
    if isinstance(applied, dict):
        return {f"f:{k}": fields_of(v) for k, v in applied.items()}
    if isinstance(applied, list):
        for key in keys:
            if applied and all(isinstance(e, dict) and key in e for e in applied):
                return {"k:" + json.dumps({key: e[key]}): {".": {}} | fields_of(e) for e in applied}
    return {}


class FakeReads:
    """Reads of the cluster in memory; what is in `refused` the user may not, what is in `broken` does not answer."""

    def __init__(self, cluster: FakeApiServer) -> None:
        self.cluster = cluster
        self.logs: dict[str, str] = {}
        self.answers: dict[str, str] = {}
        self.refused: set[str] = set()
        self.broken: set[str] = set()
        self.asked: list[str] = []

    def _check(self, what: str) -> None:
        self.asked.append(what)
        if what in self.broken:
            raise ReadError("the cluster does not answer.")
        if what in self.refused:
            raise ReadForbiddenError(f"you may not do this: {what}. Ask for the role `view` in that namespace.")

    async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        self._check(resource.kind)
        identity = (resource.kind, namespace, name)
        found = copy.deepcopy(self.cluster.objects.get(identity))
        applied = self.cluster.applied.get((identity, ""))
        if found is not None and applied is not None:
            entry = {"manager": "clipmodel-operator", "operation": "Apply", "fieldsV1": fields_of(applied)}
            found["metadata"]["managedFields"] = [{"manager": "other", "operation": "Update", "fieldsV1": {}}, entry]
        return found

    async def list(
        self, resource: Resource, namespace: str | None, *, labels: str = "", fields: str = "", at_most: int = 2000
    ) -> list[Object]:
        del fields, at_most
        self._check(resource.kind if namespace else f"{resource.kind} everywhere")
        wanted = dict(pair.split("=") for pair in labels.split(",")) if labels else {}
        return [
            copy.deepcopy(o)
            for o in self.cluster.all(resource.kind)
            if namespace in {None, o["metadata"]["namespace"]}
            and wanted.items() <= (o["metadata"].get("labels") or {}).items()
        ]

    async def log(self, namespace: str, pod: str, *, lines: int) -> str:
        del namespace, lines
        self._check("log")
        if pod not in self.logs:
            raise ReadError("container is waiting to start")
        return self.logs[pod]

    async def ask_pod(self, namespace: str, pod: str, port: int, path: str) -> str:
        del namespace
        self._check("proxy")
        assert (port, path) == (8000, "/v2/models/clip/stats")
        if pod not in self.answers:
            raise ReadError("no answer")
        return self.answers[pod]


MakeReads = Callable[[FakeApiServer], FakeReads]


@pytest.fixture
def make_reads() -> MakeReads:
    return FakeReads


@pytest.fixture
def console() -> Console:
    """Give no terminal: a file, as wide as a page."""
    return Console(file=io.StringIO(), width=120, highlight=False, emoji=False, markup=False)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Console:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return Console(file=io.StringIO(), width=100, force_terminal=True, highlight=False, emoji=False, markup=False)
