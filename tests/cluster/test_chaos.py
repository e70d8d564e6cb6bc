"""The operator is killed at random moments of a stream of edits, under traffic with known answers: it converges, and nobody notices.

Some edits need new pods, and some have every change go by new pods, so that kills fall into rolls as well.

The seed is printed, and `CLIPMODEL_TEST_SEED` plays it again (the moments are then the same, what the cluster makes of them is not). Five kills
in an ordinary run; `make chaos N=50` is the same with more.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from support.cluster import Kubectl, Namespace, OperatorPod, clip_model, condition, until
from support.lane import Lane, patient_lane
from support.model_server import ModelServer
from support.servers import RESOURCES, assert_settled, edit, lives
from support.tiny_onnx import build_tiny_onnx
from support.traffic import Traffic, traffic

NAME = "chaos"
KILLS = int(os.environ.get("CLIPMODEL_TEST_KILLS", "5"))
SEED = int(os.environ.get("CLIPMODEL_TEST_SEED") or random.SystemRandom().randrange(10**6))
# The last one is of another embedding space: it must never be asked.
FILES = {v: build_tiny_onnx(seed=2 if v == 4 else 1, note=f"chaos {v}") for v in (1, 2, 3, 4)}
#: How often an edit needs new pods, and how often it says anew how pods get what is new.
NEW_PODS, OTHER_STRATEGY = 0.3, 0.3
NOTHING: Mapping[str, Any] = {"latest": None, "all": None, "specific": None}
# Longer than the operator takes to start and to bring an edit to both servers, so that a kill may fall anywhere in it, or after it.
LONGEST_WAIT_S = 6.0
# The backoff of a key that failed often, and two rolls one after the other, on a busy machine.
CONVERGED_WITHIN_S = 360.0


@pytest.fixture(scope="module")
def lane(kubectl: Kubectl) -> Iterator[Lane]:
    """One whose pods serve on as long as users' do: pods are replaced, and no request may fail."""
    with patient_lane(kubectl) as made:
        yield made


@pytest.fixture(scope="module")
def sources(model_server: ModelServer) -> dict[int, tuple[str, str]]:
    return {v: model_server.put(content) for v, content in FILES.items()}


@pytest.fixture(scope="module")
def requests(shared_namespace: Namespace, sources: dict[int, tuple[str, str]]) -> Iterator[Traffic]:
    uri, sha256 = sources[1]
    clip = clip_model(NAME, uri=uri, sha256=sha256)
    clip["spec"]["serving"] = {"replicas": 2, "resources": RESOURCES}
    shared_namespace.kubectl.apply(clip)
    until(lambda: len(lives(shared_namespace, NAME)) == 2, "both pods are there")
    shared_namespace.wait_ready(NAME)
    answers = {v: content for v, content in FILES.items() if v != 4}
    duration_s = 600.0 + 60.0 * KILLS
    with traffic(
        shared_namespace.kubectl,
        name=NAME,
        image=os.environ["CLIPMODEL_SYNC_IMAGE"],
        answers=answers,
        duration_s=duration_s,
        keeps_connections=False,
    ) as made:
        yield made


def _spec(chance: random.Random, sources: Mapping[int, tuple[str, str]]) -> dict[str, Any]:
    """Draw a spec of which every part may be served, but for a version of another space that is refused."""
    numbers = sorted(chance.sample([1, 2, 3], chance.randint(1, 3)))
    if chance.random() < 0.15:
        numbers.append(4)
    good = [n for n in numbers if n != 4]
    policy: dict[str, Any] = chance.choice([
        {"latest": {"count": chance.randint(1, 3)}},
        {"all": {}},
        {"specific": {"versions": sorted(chance.sample(good, chance.randint(1, len(good))))}},
    ])  # fmt: skip
    largest = chance.choice([8, 16, 32])
    spec: dict[str, Any] = {
        "versions": [{"version": n, "source": {"uri": sources[n][0], "sha256": sources[n][1]}} for n in numbers],
        "versionPolicy": {**NOTHING, **policy},
        "batching": {
            "maxBatchSize": largest,
            "preferredBatchSizes": [4, 8],
            "maxQueueDelay": chance.choice(["1ms", "5ms", "20ms"]),
        },
    }
    if chance.random() < NEW_PODS:
        note, cpu = chance.choice(["a", "b", "c"]), chance.choice(["100m", "101m"])
        requests = {**RESOURCES["requests"], "cpu": cpu}
        spec["serving"] = {"podAnnotations": {"example.com/chaos": note}, "resources": {"requests": requests}}
    if chance.random() < OTHER_STRATEGY:
        spec["rollout"] = {"strategy": chance.choice(["InPlace", "Replace", "Replace"])}
    return spec


def _wipe_status(namespace: Namespace) -> None:
    namespace.kubectl.patch(
        "clip", NAME, [{"op": "replace", "path": "/status", "value": {}}], subresource="status", how="json"
    )


def test_the_operator_killed_at_random_moments_of_a_stream_of_edits(
    shared_namespace: Namespace, operator: OperatorPod, sources: dict[int, tuple[str, str]], requests: Traffic
) -> None:
    print(f"CLIPMODEL_TEST_SEED={SEED} CLIPMODEL_TEST_KILLS={KILLS}")  # noqa: T201 - to play it again
    chance, edits = random.Random(SEED), Counter[str]()  # noqa: S311 - to be played again
    began = time.monotonic()
    with requests.unharmed():
        for kill in range(KILLS):
            for _ in range(chance.randint(1, 3)):
                spec = _spec(chance, sources)
                edits.update(["all", *(spec.keys() & {"serving", "rollout"})])
                edit(shared_namespace, NAME, spec)
                time.sleep(chance.uniform(0, LONGEST_WAIT_S / 3))  # the random moment itself
            if chance.random() < 0.2:
                _wipe_status(shared_namespace)
            time.sleep(chance.uniform(0, LONGEST_WAIT_S))
            operator.kill()
            rollout = shared_namespace.clip(NAME).get("status", {}).get("rollout", {})
            print(f"{time.monotonic() - began:.0f} s: kill {kill + 1} in {rollout.get('phase')}, {requests.read()}")  # noqa: T201 - what happened, for who reads the log
            if chance.random() < 0.5:
                operator.wait_ready()  # else the next edits come while it starts
        edit(
            shared_namespace,
            NAME,
            {
                "versions": [
                    {"version": n, "source": {"uri": sources[n][0], "sha256": sources[n][1]}} for n in (1, 2, 3)
                ],
                "versionPolicy": {**NOTHING, "latest": {"count": 2}},
                "batching": {"maxBatchSize": 16, "preferredBatchSizes": [4, 8], "maxQueueDelay": "2ms"},
                "rollout": {"strategy": "InPlace"},
            },
        )
        shared_namespace.wait_ready(NAME, deadline_s=CONVERGED_WITHIN_S)
    assert_settled(shared_namespace, NAME, [2, 3], max_queue_delay_microseconds=2000)
    # A pod that was replaced may be on its way out yet.
    restarts = {count for count, _ in lives(shared_namespace, NAME).values()}
    assert restarts == {0}, "a server was restarted"
    clip = shared_namespace.clip(NAME)
    assert condition(clip, "Reconciling") is None
    counts = requests.read()
    print(f"{KILLS} kills in {time.monotonic() - began:.0f} s, edits {dict(edits)}: {counts}")  # noqa: T201 - the figure
    assert counts.wrong == counts.failed == 0, counts
