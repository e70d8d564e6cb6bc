"""Asks Triton from a pod inside the cluster: what a client there sees, without a port forward or a kubectl that starts in between.

The pod is started before anything is measured; a program in it reads tasks from a `kubectl exec` that stays open, and says when each is true.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from pathlib import Path
from typing import Any, Self

from bench.api import Api, Object, path_of, until
from bench.errors import BenchError
from bench.timeline import has_condition
from clipmodel_contract import golden

_PROGRAM = Path(__file__).with_name("asker_main.py.txt")
# A line of what kubectl prints.
_LINE_BYTES = 1 << 20


def program() -> str:
    return inspect.getsource(golden) + _PROGRAM.read_text("utf-8")


def render_pod(name: str, image: str, *, claim: str | None = None) -> Object:
    """Render a pod that waits; with a claim, its volume is at /volume."""
    volumes = [{"name": "volume", "persistentVolumeClaim": {"claimName": claim}}] if claim else []
    mounts = [{"name": "volume", "mountPath": "/volume"}] if claim else []
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000},
            "containers": [{"name": "asker", "image": image, "command": ["sleep", "86400"], "volumeMounts": mounts}],
            "volumes": volumes,
        },
    }


class Asker:
    """One pod, and the open line to it."""

    def __init__(
        self, api: Api, *, kubeconfig: Path, namespace: str, name: str = "asker", image: str, claim: str | None = None
    ) -> None:
        self._api, self._kubeconfig, self._namespace, self._name = api, kubeconfig, namespace, name
        self._pod = render_pod(name, image, claim=claim)

    async def __aenter__(self) -> Self:
        await self._api.request("POST", path_of("Pod", self._namespace), self._pod)

        async def is_ready() -> bool:
            pod = await self._api.get(path_of("Pod", self._namespace, self._name))
            return pod is not None and has_condition(pod, "Ready")

        await until(is_ready, f"pod {self._name} is ready", deadline_s=120, poll_s=0.2)
        command = ["kubectl", "--kubeconfig", str(self._kubeconfig), "--namespace", self._namespace]
        command += ["exec", "--stdin", self._name, "--", "python3", "-u", "-c", program()]
        pipe = asyncio.subprocess.PIPE
        self._child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=_LINE_BYTES)
        await self._answer(60)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._child.returncode is None:
            self._child.terminate()
            await self._child.wait()

    async def _answer(self, deadline_s: float) -> dict[str, Any]:
        assert self._child.stdout is not None  # noqa: S101 - asked for above
        try:
            async with asyncio.timeout(deadline_s):
                line = await self._child.stdout.readline()
        except TimeoutError as error:
            raise BenchError(
                f"pod {self._name} has not answered within {deadline_s:.0f} s: see its namespace {self._namespace}"
            ) from error
        if not line:
            raise BenchError(f"the program in pod {self._name} ended; its words are above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def do(self, what: str, *, deadline_s: float = 300, **task: Any) -> None:
        """Have a task done, or asked about until it is true. Raises BenchError where it is not in time."""
        assert self._child.stdin is not None  # noqa: S101 - asked for above
        self._child.stdin.write(json.dumps({"do": what, "deadline_s": deadline_s, **task}).encode() + b"\n")
        await self._child.stdin.drain()
        answer = await self._answer(deadline_s + 90)
        if answer["error"]:
            raise BenchError(f"{what} was not so within {deadline_s:.0f} s: {answer['error']}")
