"""Changes in running servers: proven under the candidate's name, loaded, committed last; no pod restarts, and whatever fails leaves what was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from clipmodel_operator.reconcile import server_steps
from support.builders import (
    ONE,
    OTHER,
    SHA_2,
    TWO,
    URI_1,
    URI_2,
    URI_OTHER,
    VECTORS_1,
    build_spec,
    build_version,
)
from support.driver import Driver
from support.fake_triton import At, Fault, Harm, Upload
from support.simulation import KEY, Killed, Simulation


async def ready(*versions: dict[str, Any], replicas: int = 2, **fields: Any) -> Simulation:
    simulation = Simulation()
    simulation.create(build_spec(*versions, serving={"replicas": replicas}, **fields))
    await simulation.settle()
    assert simulation.says("Ready") == ("True", "Serving"), simulation.condition("Ready")
    return simulation


def change(simulation: Simulation, *versions: dict[str, Any], replicas: int = 2, **fields: Any) -> None:
    simulation.update(build_spec(*versions, serving={"replicas": replicas}, **fields))


def runs_of(simulation: Simulation) -> list[tuple[str, str]]:
    return [(p["metadata"]["uid"], p["status"]["containerStatuses"][0]["containerID"]) for p in simulation.pods()]


def loads(simulation: Simulation) -> list[str]:
    return [w.split(" on ")[0] for w in simulation.cluster.writes if w.startswith("load ")]


def state_of(simulation: Simulation) -> dict[int, str]:
    return {v["version"]: v["state"] for v in simulation.status["versions"]}


async def test_version_2_takes_over_without_a_restart() -> None:
    simulation = await ready()
    before = runs_of(simulation)
    change(simulation, ONE, TWO)
    await simulation.settle()
    simulation.assert_ready(2)
    assert runs_of(simulation) == before
    assert loads(simulation) == ["load clip__candidate [2]"] * 2 + ["load clip [2]"] * 2, (
        "each pod proves before any pod serves it"
    )
    assert state_of(simulation) == {1: "Retired", 2: "Serving"}
    writes = [w for w in simulation.cluster.writes if w.startswith(("load", "apply ConfigMap"))]
    first_load = next(n for n, w in enumerate(writes) if w.startswith("load"))
    assert "apply ConfigMap clip-rollout" in writes[:first_load], "an operator that dies knows what was attempted"
    last_load = max(n for n, w in enumerate(writes) if w.startswith("load"))
    assert writes[last_load + 1 :] == ["apply ConfigMap clip-config", "apply ConfigMap clip-rollout"], (
        "commit last, then its attempt is forgotten"
    )
    await simulation.assert_converged()


def test_status_goes_on_saying_what_serves_while_all_pods_switch() -> None:
    """They all load at the same time, and none is missed meanwhile."""
    driver = Driver()
    try:
        world = driver.world
        world.kubelet.uploads[URI_1] = Upload(ONE["source"]["sha256"], VECTORS_1)
        world.create(build_spec(serving={"replicas": 2}))
        assert driver.rest()
        driver.decide = lambda call, choices: None if (call.kind, call.model) == ("load", "clip") else choices[0]
        driver.ask(build_spec(serving={"replicas": 2}, batching={"maxQueueDelay": "50ms"}))
        driver.settle_for(5.0)
        assert [c.kind for c in world.triton.calls] == ["load", "load"]
        assert world.status["rollout"]["phase"] == "Switching"
        assert (world.status["servingVersions"], world.says("Available")) == ([1], ("True", "PodsReady"))
        assert (world.says("Ready"), world.says("Verified")) == (
            ("Unknown", "RollingOut"),
            ("True", "GoldenCheckPassed"),
        )
    finally:
        driver.close()


def test_status_goes_on_saying_what_serves_while_one_pod_is_asked_whether_a_failed_proof_took_it_along() -> None:
    driver = Driver()
    try:
        world = driver.world
        world.kubelet.uploads[URI_1] = Upload(ONE["source"]["sha256"], VECTORS_1)
        world.create(build_spec())
        assert driver.rest()
        world.triton.faults = [Fault(Harm.REFUSED, lambda _: True, frozenset({At.CANDIDATE}))]
        told: set[object] = set()
        driver.look_too = lambda: told.add((tuple(world.status["servingVersions"]), world.says("Available")))
        driver.ask(build_spec(batching={"maxQueueDelay": "50ms"}))
        driver.settle_for(10.0)
        assert world.says("Ready") == ("False", "ServerRejected")
        assert told == {((1,), ("True", "PodsReady"))}
    finally:
        driver.close()


async def test_a_candidate_goes_while_the_next_pod_proves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unloading takes a second or more. No server loads anything before its candidate is gone: the fake says so."""
    monkeypatch.setattr(server_steps, "UNLOAD_POLL_S", 0)
    versions = ONE, TWO, build_version(3, uri=URI_2, sha256=SHA_2)
    simulation = await ready(*versions, versionPolicy={"specific": {"versions": [1]}})
    simulation.triton.listed_after_unload = 3
    simulation.triton.seen.clear()
    change(simulation, *versions, versionPolicy={"all": {}})
    await simulation.settle()
    simulation.assert_ready(1, 2, 3)
    pods = list(dict.fromkeys(line.rpartition(" ")[2] for line in simulation.triton.seen))
    assert len(pods) == 2
    unload = ["unload clip__candidate", "gone clip__candidate"]
    one_by_one = [line for v in (2, 3) for line in (f"load clip__candidate [{v}]", *unload)]
    proof = ["load clip__candidate [1, 2, 3]", *unload]
    for pod in pods:
        told = [line.removesuffix(f" on {pod}") for line in simulation.triton.seen if line.endswith(f" on {pod}")]
        assert told == [*one_by_one, *proof, "load clip [1, 2, 3]"]
    words = [line.rpartition(" on ") for line in simulation.triton.seen]
    first_of_second = next(n for n, (_, _, pod) in enumerate(words) if pod == pods[1])
    assert words.index(("load clip__candidate [1, 2, 3]", " on ", pods[0])) < first_of_second, "one pod first, alone"
    last_gone = max(n for n, line in enumerate(simulation.triton.seen) if line == f"gone clip__candidate on {pods[0]}")
    assert first_of_second < last_gone, "nobody waits for it to be gone but who loads on that server"
    last_proof = max(n for n, (what, _, _) in enumerate(words) if what == "load clip__candidate [1, 2, 3]")
    assert all(n > last_proof for n, (what, _, _) in enumerate(words) if what == "load clip [1, 2, 3]")
    await simulation.assert_converged()


async def test_a_candidate_whose_unloading_got_lost_is_unloaded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_steps, "UNLOAD_DEADLINE_S", -1.0)
    simulation = await ready()
    simulation.triton.loses_unloads = 1
    change(simulation, ONE, TWO)
    await simulation.settle()
    assert simulation.triton.loses_unloads == 0
    simulation.assert_ready(2)
    assert all("clip__candidate" not in s.configs for s in simulation.ready_servers())


async def test_and_back_again() -> None:
    simulation = await ready()
    change(simulation, ONE, TWO)
    await simulation.settle()
    before = runs_of(simulation)
    change(simulation, ONE)
    await simulation.settle()
    simulation.assert_ready(1)
    assert runs_of(simulation) == before
    await simulation.assert_converged()


async def test_all_and_specific_choose() -> None:
    simulation = await ready(ONE, TWO)
    simulation.assert_ready(2)
    change(simulation, ONE, TWO, versionPolicy={"all": {}})
    await simulation.settle()
    simulation.assert_ready(1, 2)
    change(simulation, ONE, TWO, versionPolicy={"specific": {"versions": [1]}})
    await simulation.settle()
    simulation.assert_ready(1)
    change(simulation, ONE, TWO, versionPolicy={"latest": {"count": 2}})
    await simulation.settle()
    simulation.assert_ready(1, 2)
    await simulation.assert_converged()


async def test_batching_takes_effect_in_running_servers() -> None:
    simulation = await ready()
    before = runs_of(simulation)
    change(simulation, ONE, batching={"maxQueueDelay": "50ms"})
    await simulation.settle()
    simulation.assert_ready(1)
    assert runs_of(simulation) == before
    for server in simulation.ready_servers():
        assert server.configs["clip"]["dynamic_batching"]["max_queue_delay_microseconds"] == 50_000
    assert loads(simulation) == ["load clip__candidate [1]"] * 2 + ["load clip [1]"] * 2, (
        "by these settings version 1 is not proven yet"
    )
    config_map = simulation.cluster.find("ConfigMap")
    assert config_map is not None
    assert "max_queue_delay_microseconds: 50000" in config_map["data"]["cpu.pbtxt"]
    await simulation.assert_converged()


async def test_edited_back_and_forth_the_last_one_counts() -> None:
    simulation = await ready()
    for delay in ("50ms", "5ms", "1ms", "5ms", "50ms"):
        change(simulation, ONE, batching={"maxQueueDelay": delay})
        simulation.deliver_all()
        await simulation.work()
    await simulation.settle()
    simulation.assert_ready(1)
    assert simulation.ready_servers()[0].configs["clip"]["dynamic_batching"]["max_queue_delay_microseconds"] == 50_000
    await simulation.assert_converged()


# What fails leaves, or brings back, what was.


async def assert_version_1_stays(simulation: Simulation, reason: str, *, is_tried_again: bool = False) -> None:
    """Version 1 serves, and nothing is loaded any more. What was refused is tried again before: Triton says no to what may be mended, too."""
    assert simulation.says("Ready") == ("False", reason)
    if is_tried_again:
        assert simulation.says("Stalled") is None
        assert simulation.says("Reconciling") == ("True", "ProgressingWithRetry")
        await simulation.settle_waiting(seconds=60 * (1 + 4 + 16 + 60))
        assert simulation.says("Ready") == ("False", reason)
    assert simulation.says("Stalled") == ("True", reason)
    assert simulation.says("Available") == ("True", "PodsReady")
    assert simulation.can_embed(1)
    assert simulation.status["servingVersions"] == [1]
    before = len(loads(simulation))
    for _ in range(12):
        simulation.advance(600)
        simulation.queue.add(KEY)
        await simulation.settle_waiting(seconds=60)
    assert len(loads(simulation)) == before, "the same is not tried again"


async def test_bytes_that_triton_refuses_never_serve() -> None:
    simulation = await ready()
    simulation.kubelet.uploads[URI_2].is_refused = True
    change(simulation, ONE, TWO)
    await simulation.settle()
    await assert_version_1_stays(simulation, "ServerRejected", is_tried_again=True)
    assert state_of(simulation)[2] == "Failed"
    assert loads(simulation) == ["load clip__candidate [2]"] * 5, "one pod tries it, five times"
    change(simulation, ONE)
    await simulation.settle()
    simulation.assert_ready(1)
    await simulation.assert_converged()


async def test_bytes_that_triton_embeds_otherwise_never_serve() -> None:
    simulation = await ready()
    simulation.kubelet.uploads[URI_2].is_wrong = True
    change(simulation, ONE, TWO)
    await simulation.settle()
    await assert_version_1_stays(simulation, "GoldenCheckFailed")
    assert loads(simulation) == ["load clip__candidate [2]"], "one pod finds it out, once"
    assert all("clip__candidate" not in s.configs for s in simulation.ready_servers())


async def test_a_second_pod_that_refuses_brings_the_first_one_back() -> None:
    simulation = await ready()
    count = 0

    def refuses(model: str, config: Mapping[str, Any]) -> bool:
        nonlocal count
        if model == "clip" and config["version_policy"]["specific"]["versions"] == [2]:
            count += 1
            return count > 1
        return False

    simulation.triton.refuses = refuses
    change(simulation, ONE, TWO)
    await simulation.settle()
    assert count == 2
    await assert_version_1_stays(simulation, "ServerRejected", is_tried_again=True)
    assert count == 2 * 5
    simulation.triton.refuses = lambda _model, _config: False
    change(simulation, ONE, TWO, batching={"maxQueueDelay": "6ms"})
    await simulation.settle()
    simulation.assert_ready(2)
    await simulation.assert_converged()


async def test_a_failure_is_not_forgotten_by_a_pod_that_starts() -> None:
    """A pod that starts reads what is committed, and that is version 1."""
    simulation = await ready()
    simulation.kubelet.uploads[URI_2].is_refused = True
    change(simulation, ONE, TWO)
    await simulation.settle()
    simulation.cluster.remove(simulation.pods()[0])
    await simulation.settle()
    assert simulation.can_embed(1)
    assert simulation.says("Ready") == ("False", "ServerRejected")
    assert loads(simulation) == ["load clip__candidate [2]"], "no event cancels the time of the next try"
    await assert_version_1_stays(simulation, "ServerRejected", is_tried_again=True)
    assert loads(simulation) == ["load clip__candidate [2]"] * 5


async def test_another_embedding_space_is_refused_unless_it_is_said() -> None:
    simulation = await ready()
    change(simulation, ONE, OTHER)
    await simulation.settle()
    await assert_version_1_stays(simulation, "EmbeddingSpaceMismatch")
    assert loads(simulation) == []
    assert "newEmbeddingSpace" in simulation.condition("Ready")["message"]  # type: ignore[index]  # it is there
    change(simulation, ONE, build_version(3, uri=URI_OTHER, sha256="f" * 64, newEmbeddingSpace=True))
    await simulation.settle()
    simulation.assert_ready(3)
    spaces = {v["version"]: v["embeddingSpaceId"] for v in simulation.status["versions"]}
    assert spaces[1] != spaces[3]
    await simulation.assert_converged()


async def test_the_space_gate_does_not_fail_open_without_status() -> None:
    simulation = await ready()
    simulation.cluster.edit(
        simulation.clip, lambda o: o.update(status={"observedGeneration": -1}, spec=build_spec(ONE, OTHER))
    )
    await simulation.restart_operator()
    await simulation.settle()
    assert simulation.says("Stalled") == ("True", "EmbeddingSpaceMismatch")
    assert simulation.can_embed(1)


async def test_versions_of_one_space_share_its_name() -> None:
    simulation = await ready(ONE, TWO)
    assert len({v["embeddingSpaceId"] for v in simulation.status["versions"]}) == 1


# Pods and the operator come and go meanwhile.


async def test_a_pod_that_restarts_before_the_commit_comes_back_with_what_was() -> None:
    simulation = await ready()
    change(simulation, ONE, TWO)
    for _ in range(400):
        simulation.deliver_all()
        await simulation.let_run()
        if "load clip [2]" in loads(simulation):
            break
        if len(simulation.queue):
            await simulation.work()
        elif steps := simulation.controllers.steps():
            simulation._step(steps[0])
    assert "versions: [ 1 ]" in simulation.cluster.get("ConfigMap")["data"]["cpu.pbtxt"], "not committed"
    simulation.kubelet.restart(simulation.pods()[0])
    await simulation.settle()
    # Nobody says why it ended while it loaded: that counts once, and is tried again after a minute.
    assert simulation.can_embed(1)
    await simulation.settle_waiting(seconds=simulation.clock.seconds + 120)
    simulation.assert_ready(2)
    await simulation.assert_converged()


@pytest.mark.parametrize("victim", range(1, 9))
async def test_an_operator_that_is_killed_in_the_middle_of_a_switch(victim: int) -> None:
    simulation = await ready()
    before, count = runs_of(simulation), 0

    def kill(what: str) -> None:
        nonlocal count
        count += 1
        if count == victim:
            simulation.log.append(f"killed after {what}")
            raise Killed

    change(simulation, ONE, TWO)
    simulation.cluster.after_write = kill
    try:
        await simulation.settle()
    except Killed:
        assert simulation.can_embed(1) or simulation.ready_servers()
        await simulation.restart_operator()
        await simulation.settle()
    simulation.assert_ready(2)
    assert runs_of(simulation) == before, "no pod restarts"
    await simulation.assert_converged()


async def test_a_server_that_was_meddled_with_is_put_right() -> None:
    simulation = await ready(ONE, TWO)
    server = simulation.ready_servers()[0]
    server.configs["clip"] = {
        **server.configs["clip"],
        "version_policy": {"specific": {"versions": [1]}},
        "parameters": {},
    }
    await simulation.restart_operator()
    await simulation.settle()
    simulation.assert_ready(2)


async def test_versions_sync_while_others_serve_and_at_most_two_at_once() -> None:
    simulation = await ready()
    more = [build_version(n, uri=URI_2, sha256=SHA_2) for n in range(2, 7)]
    change(simulation, ONE, *more)
    most = 0

    def look() -> None:
        nonlocal most
        jobs = simulation.cluster.all("Job")
        most = max(most, sum(not j.get("status", {}).get("codes") for j in jobs))
        assert simulation.can_embed(1) or simulation.can_embed(6)

    await simulation.settle(steps=600, look=look)
    simulation.assert_ready(6)
    assert most <= 2
    assert simulation.status["versions"][0]["version"] == 1


# Pausing, and volumes of the user's.


async def test_paused_nothing_is_changed_and_what_serves_goes_on() -> None:
    simulation = await ready()
    before = len(simulation.cluster.writes)
    change(simulation, ONE, TWO, batching={"maxQueueDelay": "50ms"}, paused=True)
    await simulation.settle()
    assert simulation.says("Ready") == ("True", "Serving")
    assert simulation.says("Paused") == ("True", "Paused")
    assert simulation.can_embed(1)
    written = [w for w in simulation.cluster.writes[before:] if not w.startswith(("apply ClipModel", "create Event"))]
    assert written == []
    change(simulation, ONE, TWO, batching={"maxQueueDelay": "50ms"})
    await simulation.settle()
    simulation.assert_ready(2)
    assert simulation.condition("Paused") is None
    await simulation.assert_converged()


async def test_an_existing_claim_is_waited_for_and_left_when_the_resource_goes() -> None:
    simulation = Simulation()
    simulation.create(build_spec(storage={"existingClaim": "mine"}))
    await simulation.settle()
    assert simulation.says("Reconciling") == ("True", "Progressing")
    metadata = {"name": "mine", "namespace": "demo"}
    simulation.cluster.add(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": metadata,
            "spec": {"accessModes": ["ReadWriteOnce"]},
        }
    )
    await simulation.settle()
    simulation.assert_ready()
    await simulation.assert_converged()
    assert not any("PersistentVolumeClaim" in w for w in simulation.cluster.writes), "it is not ours"
    simulation.cluster.remove(simulation.clip)
    await simulation.settle()
    assert simulation.cluster.find("PersistentVolumeClaim", "mine") is not None
