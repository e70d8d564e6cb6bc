"""An upgrade: today's operator starts on what an earlier release left, whatever that was in the middle of. No pod is restarted, clients notice nothing, and what is committed stays.

The worlds are recordings of the earlier releases' own operators in their own simulation (hack/record_release.py).
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from clipmodel_operator.api.v1alpha1.spec import Profile
from clipmodel_operator.models.resources import CONFIG_MAPS, DEPLOYMENTS
from clipmodel_operator.offline import load_clip_model
from clipmodel_operator.rendering.canonical import canonical_json, content_hash
from clipmodel_operator.rendering.config_pbtxt import config_id, render_config
from clipmodel_operator.rendering.read_pbtxt import read_config_pbtxt
from support.builders import ONE, TWO, VECTORS_1, build_spec
from support.fake_triton import At, Call, Stage, TritonServer
from support.recordings import RELEASES, STATES, restore
from support.simulation import KEY, Killed, Simulation

CORRECTED = {"maxQueueDelay": "7ms"}
#: What may be written while a world is adopted in which nothing is pending.
BOOKKEEPING = frozenset({"apply ConfigMap clip-config", "apply ConfigMap clip-rollout", "apply ClipModel clip status"})


def never(_model: str, _config: Mapping[str, Any]) -> bool:
    return False


def is_slower(_model: str, config: Mapping[str, Any]) -> bool:
    """Tell the batching edit of the recordings."""
    return bool(config["dynamic_batching"]["max_queue_delay_microseconds"] == 50_000)


def is_optimized(_model: str, config: Mapping[str, Any]) -> bool:
    """Tell the optimization edit of the recordings."""
    return "optimization" in config


@dataclass(frozen=True, slots=True)
class State:
    """What there is to know of a recording."""

    versions: tuple[int, ...] = (1,)
    """That clients get, from before the upgrade until after it."""
    after: tuple[int, ...] | None = None
    """That they get in the end, where an edit is taken over."""
    replicas: int = 1
    spec: Mapping[str, Any] = field(default_factory=dict)
    """What the user's spec has beside version 1 and the edit that failed."""
    sees_wrong: bool = False
    """Clients get wrong embeddings at first: the earlier release's fault."""
    refuses: Callable[[str, Mapping[str, Any]], bool] = never
    distorts: Callable[[str, Mapping[str, Any]], bool] = never


TWO_PODS: Mapping[str, Any] = {"serving": {"replicas": 2}}
AT_REST: Mapping[str, State] = {
    "at-rest": State(),
    "two-versions": State(
        versions=(1, 2),
        replicas=2,
        spec={"versions": [ONE, TWO], "versionPolicy": {"latest": {"count": 2}}, **TWO_PODS},
    ),
    "gpu": State(spec={"profile": "gpu"}),
    "scaled-to-zero": State(versions=(), replicas=0, spec={"serving": {"replicas": 0}}),
    "paused": State(spec={"paused": True}),
}
#: An edit did not get through: servers end on what is committed, and status says why.
FAILED: Mapping[str, State] = {
    "failed-edit": State(replicas=2, spec=TWO_PODS, refuses=is_slower),
    "failed-edit-runs": State(replicas=2, spec=TWO_PODS, refuses=is_slower),
    "wrong-edit-runs": State(sees_wrong=True, distorts=is_optimized),
    "failed-version": State(replicas=2, spec=TWO_PODS),
}
#: The upgrade itself ended the earlier operator in the middle of an edit: today's takes it over.
UNFINISHED: Mapping[str, State] = {
    "killed-while-proving": State(after=(2,), replicas=2, spec=TWO_PODS),
    "killed-while-switching": State(after=(1,), replicas=2, spec=TWO_PODS),
}
#: What is committed was never proven: the earlier release's fault.
UNPROVEN: Mapping[str, State] = {
    "unproven-commit": State(versions=(), replicas=0, spec={"serving": {"replicas": 0}}),
}
ALL = {**AT_REST, **FAILED, **UNFINISHED, **UNPROVEN}
WITH_PODS = [name for name, state in ALL.items() if state.replicas and state.after is None]


class Upgrade:
    """A recorded world, and what must not change in it."""

    def __init__(self, name: str, *, release: str = RELEASES[0], is_strict: bool = True) -> None:
        self.state = ALL[name]
        self.world = restore(name, release=release)
        self.world.triton.is_suspended = self.world.triton.is_strict = is_strict
        self.world.triton.refuses, self.world.triton.distorts = self.state.refuses, self.state.distorts
        self.status = self.world.status
        self.lives = self._lives()
        self.template = self._template()
        self.committed = self.boot()
        self._saw_right = not self.state.sees_wrong
        assert len(self.lives) == self.state.replicas
        assert self.world.cluster.writes == []

    def _lives(self) -> dict[str, str]:
        """Give each pod's uid with its container's id: equal before and after means that nothing was restarted."""
        return {
            p["metadata"]["uid"]: c["containerID"] for p in self.world.pods() for c in p["status"]["containerStatuses"]
        }

    def _template(self) -> str:
        return canonical_json(self.world.cluster.get(DEPLOYMENTS.kind)["spec"]["template"])

    def boot(self) -> dict[str, str]:
        """Give the id of each profile's config that a starting pod would read."""
        data = self.world.cluster.get(CONFIG_MAPS.kind, "clip-config")["data"]
        return {name: config_id(read_config_pbtxt(data[name])) for name in ("cpu.pbtxt", "gpu.pbtxt")}

    async def start(self) -> None:
        """Start today's operator, and let everything happen for an hour of waiting."""
        await self.world.restart_operator()
        self.world.queue.add(KEY)
        await self.world.settle_waiting(look=self.look)

    def look(self) -> None:
        """Nothing was restarted, and clients get what they got; called after whatever happens."""
        assert self._lives() == self.lives, self.world.log[-20:]
        assert self._template() == self.template, "a template that is written restarts every pod"
        assert self.world.triton.violations == [], self.world.log[-20:]
        asked = self.asked()
        self._saw_right = self._saw_right or not asked or not any(map(self._is_wrong, asked))
        assert bool(asked) or not self.state.replicas or self.state.sees_wrong, self.world.log[-20:]
        for server in asked:
            assert tuple(server.versions("clip")) in {self.state.versions, self.state.after}, self.world.log[-20:]
            assert not (self._saw_right and self._is_wrong(server)), self.world.log[-20:]

    def asked(self) -> list[TritonServer]:
        """List the servers that clients may reach: of ready pods, with the model loaded, or they are not in the Service."""
        return [s for s in self.world.ready_servers() if "clip" in s.configs]

    def _is_wrong(self, server: TritonServer) -> bool:
        return self.world.triton.distorts("clip", server.configs["clip"]) or any(
            server.volume[v].is_wrong for v in server.versions("clip")
        )

    def running(self) -> list[str]:
        """Name the config of every server that clients reach."""
        return [config_id(s.configs["clip"]) for s in self.asked()]

    def writes(self, start: str) -> list[str]:
        return [w for w in self.world.cluster.writes if w.startswith(start)]

    def assert_on_what_is_committed(self) -> None:
        """Every pod runs what was committed before the upgrade, and a starting one would too."""
        profile = self.world.status["profile"]
        assert self.boot() == self.committed
        assert self.running() == [self.committed[f"{profile}.pbtxt"]] * self.state.replicas, self.world.log[-20:]
        assert self.loaded_names() <= {"clip"}, "candidates are gone"

    def loaded_names(self) -> set[str]:
        return {name for s in self.world.triton.servers.values() for name in s.configs}

    def correct(self) -> None:
        """Change batching as a user does, to something that works, and undo what failed. Where nothing ran or was paused, it begins."""
        spec: dict[str, Any] = {**build_spec(), **self.state.spec, "batching": CORRECTED}
        spec.pop("paused", None)
        if not self.state.replicas:
            spec["serving"] = {"replicas": 1}
        self.world.update(spec)


def told(status: Mapping[str, Any]) -> dict[str, Any]:
    """Give what people and programs read in a status of something at rest."""
    conditions = [{k: v for k, v in c.items() if k != "lastTransitionTime"} for c in status["conditions"]]
    return {**{k: v for k, v in status.items() if k not in {"rollout", "pods"}}, "conditions": conditions}


def test_every_recording_is_adopted_here() -> None:
    assert sorted(ALL) == sorted(STATES)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("name", AT_REST)
async def test_what_is_at_rest_stays_as_it_is(name: str, release: str) -> None:
    upgrade = Upgrade(name, release=release)
    await upgrade.start()
    world = upgrade.world
    upgrade.assert_on_what_is_committed()
    assert set(world.cluster.writes) <= BOOKKEEPING
    assert len(upgrade.writes("apply ConfigMap clip-config")) <= 1
    assert len(upgrade.writes("apply ClipModel")) <= 1
    assert name != "paused" or set(world.cluster.writes) <= {"apply ClipModel clip status"}
    assert told(world.status) == told(upgrade.status), "no word of status is another"
    before = {c["type"]: c["lastTransitionTime"] for c in upgrade.status["conditions"]}
    assert {c["type"]: c["lastTransitionTime"] for c in world.status["conditions"]} == before
    await world.assert_converged()
    upgrade.look()


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("name", FAILED)
async def test_an_edit_that_failed_leaves_servers_on_what_is_committed(name: str, release: str) -> None:
    # Needs the new core for failed-edit-runs: 88f7a21 takes a config that all servers run for proven, and commits it.
    upgrade = Upgrade(name, release=release)
    await upgrade.start()
    world = upgrade.world
    upgrade.assert_on_what_is_committed()
    assert len(upgrade.writes("apply ConfigMap clip-config")) <= 1
    ready = world.condition("Ready")
    assert ready is not None
    assert ready["status"] == "False"
    assert ready["reason"] == next(c for c in upgrade.status["conditions"] if c["type"] == "Ready")["reason"]
    assert "Meanwhile version 1 serves." in ready["message"]
    assert world.status["servingVersions"] == [1]
    assert world.status["readyReplicas"] == upgrade.state.replicas


@pytest.mark.parametrize("name", FAILED)
async def test_an_edit_that_failed_is_quiet_afterwards(name: str) -> None:
    # Needs the new core: 88f7a21 forgets failures when it ends, and tries anew after each start.
    upgrade = Upgrade(name)
    await upgrade.start()
    await upgrade.world.assert_converged()
    upgrade.look()
    upgrade.assert_on_what_is_committed()


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("name", UNFINISHED)
async def test_an_edit_in_which_the_operator_ended_is_taken_over(name: str, release: str) -> None:
    upgrade = Upgrade(name, release=release)
    await upgrade.start()
    upgrade.world.assert_ready(*(upgrade.state.after or ()))
    assert upgrade.running() == [upgrade.boot()["cpu.pbtxt"]] * 2
    assert upgrade.boot() != upgrade.committed
    await upgrade.world.assert_converged()


@pytest.mark.parametrize("pod", [0, 1])
async def test_a_load_that_the_earlier_operator_left_behind_is_outlasted(pod: int) -> None:
    """It had begun to try again, unproven, as it did: what the server says before that load is done says nothing."""
    upgrade = Upgrade("failed-edit")
    world = upgrade.world
    world.triton.refuses, world.triton.distorts = never, is_slower
    left = leave_load(world, world.pods()[pod]["status"]["podIP"])

    def keep_for_last() -> None:
        queue = left.server.working["clip"] if left.server is not None else []
        is_waited_for = queue[:1] == [left] and len(queue) > 1
        world.triton.calls.sort(key=lambda call: is_waited_for if call is not left else not is_waited_for)

    keep_for_last()
    await world.restart_operator()
    world.queue.add(KEY)
    await world.settle_waiting(look=keep_for_last)
    assert left.stage is Stage.DONE
    upgrade.assert_on_what_is_committed()
    assert not any(map(upgrade._is_wrong, world.ready_servers()))
    assert upgrade._lives() == upgrade.lives
    assert world.status["readyReplicas"] == 2
    await world.assert_converged()


#: Within the default of the proven ones, and not within what `tighten` asks for.
VECTORS_NEARER_1 = tuple((0.995 * a, 1.005 * b, 0.995 * c, 1.005 * d) for a, b, c, d in VECTORS_1)


@pytest.mark.parametrize("name", ["at-rest", "two-versions"])
async def test_a_stricter_tolerance_that_is_met_is_verified_and_committed(name: str) -> None:
    upgrade = Upgrade(name)
    tighten(upgrade, "0.999999", is_met=True)
    await upgrade.start()
    upgrade.world.assert_ready(*upgrade.state.versions)
    assert not upgrade.writes("load"), "nothing is loaded for it"
    upgrade.assert_on_what_is_committed()
    proofs = json.loads(upgrade.world.cluster.get(CONFIG_MAPS.kind, "clip-config")["data"]["versions.json"])["proofs"]
    assert proofs[upgrade.committed["cpu.pbtxt"]]["minCosine"] == 0.999999
    await upgrade.world.assert_converged()


@pytest.mark.parametrize("name", ["at-rest", "failed-version"])
async def test_a_tolerance_that_was_committed_unproven_takes_no_pod_out_of_the_service(name: str) -> None:
    """The earlier release wrote it for the next start of a pod, and went by what it had asked before."""
    upgrade = Upgrade(name)
    world = upgrade.world
    tighten(upgrade, "0.999999")
    await upgrade.start()
    assert upgrade.running() == [upgrade.committed["cpu.pbtxt"]] * upgrade.state.replicas
    assert name not in AT_REST or not upgrade.writes("load"), world.log[-20:]
    ready = world.condition("Ready")
    assert ready is not None
    assert (ready["status"], ready["reason"]) == ("False", "GoldenCheckFailed")
    assert world.status["servingVersions"] == [1]
    world.kubelet.kill(world.pods()[0])
    await world.settle_waiting()
    assert len(upgrade.running()) == upgrade.state.replicas, "it starts by the tolerance that holds"
    await world.assert_converged()


def tighten(upgrade: Upgrade, tolerance: str, *, is_met: bool = False) -> None:
    """Have the earlier release commit a tolerance, which what is served does not meet."""
    world = upgrade.world
    for server in world.triton.servers.values():
        server.volume[1].served = None if is_met else VECTORS_NEARER_1
    spec = {**world.clip["spec"], "verification": {"tolerance": tolerance}}
    world.cluster.objects[world.cluster._identity(world.clip)]["spec"] = spec
    config_map = world.cluster.get(CONFIG_MAPS.kind, "clip-config")
    data = config_map["data"]
    data["versions.json"] = json.dumps({**json.loads(data["versions.json"]), "minCosine": float(tolerance)}, indent=1)
    hashed = content_hash([data["versions.json"], data["records.json"]])
    config_map["metadata"]["annotations"]["clipmodel.dev/content-hash"] = hashed


@pytest.mark.parametrize("name", ["at-rest", "two-versions", "failed-version", "killed-while-proving"])
async def test_a_candidate_that_the_earlier_operator_left_behind_goes(name: str) -> None:
    """It asked for the unload once, and lost that at times."""
    upgrade = Upgrade(name)
    world = upgrade.world
    for server in world.triton.servers.values():
        server.load("clip__candidate", {**server.configs["clip"], "name": "clip__candidate"})
    await upgrade.start()
    assert upgrade.loaded_names() == {"clip"}
    if upgrade.state.after is None:
        upgrade.assert_on_what_is_committed()
    if name in AT_REST:
        assert not upgrade.writes("load"), "it is unloaded, and nothing else"
    await world.assert_converged()


def leave_load(world: Simulation, address: str) -> Call:
    """Have a server be in the middle of a load of the batching edit, of which nobody waits for the answer."""
    server = world.triton.servers[address]
    model = load_clip_model(canonical_json(world.clip))
    edited = render_config(model, versions=[1], profile=Profile.CPU)
    nobody = asyncio.get_running_loop().create_future()
    nobody.cancel()

    def load(found: TritonServer) -> None:
        world.triton.meet(found, "clip", edited, At.REAL)

    call = Call(0, "load", "clip", server.pod, server, load, nobody, epoch=0, sent_at=0.0, config=edited)
    call.stage = Stage.WORKING
    server.working["clip"].append(call)
    world.triton.calls.append(call)
    return call


@pytest.mark.parametrize("name", ["killed-while-switching", "failed-edit-runs"])
async def test_where_servers_run_what_is_refused_now_they_end_on_what_is_committed(name: str) -> None:
    # Needs the new core for failed-edit-runs: 88f7a21 takes a config that all servers run already for proven.
    upgrade = Upgrade(name)
    upgrade.world.triton.refuses = is_slower
    await upgrade.start()
    upgrade.assert_on_what_is_committed()
    assert upgrade.world.status["readyReplicas"] == 2


@pytest.mark.parametrize("name", ALL)
async def test_an_edit_after_the_upgrade_is_taken_over(name: str) -> None:
    upgrade = Upgrade(name)
    await upgrade.start()
    world = upgrade.world
    upgrade.correct()
    await world.settle_waiting()
    versions = upgrade.state.versions or (1,)
    world.assert_ready(*versions)
    for server in world.ready_servers():
        assert server.configs["clip"]["dynamic_batching"]["max_queue_delay_microseconds"] == 7000
    assert upgrade._template() == upgrade.template
    assert not upgrade.state.replicas or upgrade._lives() == upgrade.lives
    await world.assert_converged()


async def test_what_waited_for_a_pause_is_taken_over_after_it() -> None:
    upgrade = Upgrade("paused")
    await upgrade.start()
    world = upgrade.world
    world.update(build_spec(ONE, TWO, batching={"maxQueueDelay": "50ms"}))
    await world.settle_waiting()
    world.assert_ready(2)
    assert upgrade._lives() == upgrade.lives
    assert all(is_slower("clip", s.configs["clip"]) for s in world.ready_servers())
    await world.assert_converged()


async def test_a_commit_that_was_never_proven_can_be_corrected() -> None:
    """Pods that start on it are not ready, and the next edit still gets through: adoption must not take it for proven, once and for all."""
    upgrade = Upgrade("unproven-commit")
    await upgrade.start()
    world = upgrade.world
    world.update({**build_spec(ONE, TWO), "serving": {"replicas": 1}})
    await world.settle_waiting()
    assert world.status["readyReplicas"] == 0
    ready = world.condition("Ready")
    assert ready is not None
    assert ready["status"] == "False"
    world.update({**build_spec(ONE), "serving": {"replicas": 1}})
    await world.settle_waiting()
    world.assert_ready(1)
    await world.assert_converged()


@pytest.mark.parametrize("name", WITH_PODS)
async def test_a_pod_that_restarts_after_the_upgrade_comes_back(name: str) -> None:
    # Needs the new core for failed-edit-runs, as above.
    upgrade = Upgrade(name)
    await upgrade.start()
    world = upgrade.world
    world.kubelet.restart(world.pods()[0])
    await world.settle_waiting()
    upgrade.assert_on_what_is_committed()
    assert world.status["readyReplicas"] == upgrade.state.replicas


@pytest.mark.parametrize("name", WITH_PODS)
async def test_a_pod_that_restarts_while_it_is_adopted_comes_back(name: str) -> None:
    """Its container ends at the first write of today's operator."""
    upgrade = Upgrade(name)
    world = upgrade.world
    victims = [world.pods()[0]]

    def kill(_: str) -> None:
        if victims:
            world.kubelet.kill(victims.pop())

    world.cluster.after_write = kill
    await world.restart_operator()
    world.queue.add(KEY)
    await world.settle_waiting()
    assert not victims or not world.cluster.writes
    upgrade.assert_on_what_is_committed()
    assert world.triton.violations == []
    assert world.status["readyReplicas"] == upgrade.state.replicas


EDITS: Mapping[str, Mapping[str, Any]] = {
    "no edit": {},
    "batching": {"batching": CORRECTED},
    "a version less": {"versionPolicy": {"latest": {"count": 1}}},
}


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("stale", ["config", "proof", "config proof"])
async def test_a_pod_that_restarts_with_files_of_both_releases_comes_back(stale: str, edit: str, release: str) -> None:
    """Its two volumes are refreshed apart: the earlier release's probe meets what was committed since, or today's probe what was before."""
    upgrade = Upgrade("two-versions", release=release)
    world = upgrade.world
    world.kubelet.stale = set(stale.split())
    await upgrade.start()
    if EDITS[edit]:
        world.update({**build_spec(), **upgrade.state.spec, **EDITS[edit]})
        await world.settle_waiting()
    versions = (2,) if edit == "a version less" else (1, 2)
    world.assert_ready(*versions)
    assert upgrade._lives() == upgrade.lives
    committed = upgrade.boot()["cpu.pbtxt"]

    def look() -> None:
        assert world.triton.violations == [], world.log[-20:]
        assert upgrade.asked(), world.log[-20:]
        for server in upgrade.asked():
            assert tuple(server.versions("clip")) in {(1, 2), versions}, world.log[-20:]

    world.kubelet.kill(world.pods()[0])
    await world.settle_waiting(seconds=60, look=look)
    # The earlier release's probe asks for the versions of its own file, which it has beside it.
    waits = edit == "a version less" and stale == "proof"
    assert upgrade.running() == [committed] * (1 if waits else 2), world.log[-20:]
    world.kubelet.stale.clear()
    await world.settle_waiting(look=look)
    world.assert_ready(*versions)
    assert upgrade.running() == [committed] * 2
    assert sum(upgrade._lives()[uid] != run for uid, run in upgrade.lives.items()) == 1, "no other is restarted"
    assert upgrade._template() == upgrade.template
    await world.assert_converged()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", AT_REST)
async def test_an_operator_that_ends_while_it_adopts_has_changed_nothing(name: str, when: str) -> None:
    """It is killed at its first, second, … write, until it makes no more of them."""
    for count in range(1, 20):
        upgrade = Upgrade(name)
        if not await kill_at(upgrade, count, when=when):
            break
        setattr(upgrade.world.cluster, f"{when}_write", lambda _: None)
        await upgrade.start()
        upgrade.assert_on_what_is_committed()
        assert told(upgrade.world.status) == told(upgrade.status)
    else:
        pytest.fail("it never ends to write")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("name", ["failed-edit-runs", "wrong-edit-runs", "killed-while-switching"])
async def test_an_operator_that_ends_while_it_mends_is_followed_by_one_that_goes_on(
    name: str, count: int, when: str
) -> None:
    upgrade = Upgrade(name)
    upgrade.world.triton.refuses = is_slower
    assert await kill_at(upgrade, count, when=when)
    setattr(upgrade.world.cluster, f"{when}_write", lambda _: None)
    await upgrade.start()
    upgrade.assert_on_what_is_committed()


@pytest.mark.parametrize("how", ["lost", "edited"])
@pytest.mark.parametrize("name", ["at-rest", "two-versions", "gpu", "failed-version"])
async def test_what_serves_goes_on_where_the_commit_cannot_be_read(name: str, how: str) -> None:
    upgrade = Upgrade(name)
    cluster = upgrade.world.cluster
    config_map = cluster.get(CONFIG_MAPS.kind, "clip-config")
    if how == "lost":
        del cluster.objects[cluster._identity(config_map)]
        cluster.applied = {k: v for k, v in cluster.applied.items() if k[0] != cluster._identity(config_map)}
    else:
        config_map["data"]["records.json"] += " "
    await upgrade.start()
    profile = upgrade.world.status["profile"]
    assert upgrade.boot()[f"{profile}.pbtxt"] == upgrade.committed[f"{profile}.pbtxt"]
    assert upgrade.running() == [upgrade.committed[f"{profile}.pbtxt"]] * upgrade.state.replicas
    if name in AT_REST:
        assert not upgrade.writes("load"), "what serves is asked for its config, and that is committed"
    await upgrade.world.assert_converged()


async def kill_at(upgrade: Upgrade, count: int, *, when: str) -> bool:
    """Kill the operator at a write. Gives whether there was one."""
    left = count

    def kill(what: str) -> None:
        nonlocal left
        left -= not what.startswith("load ")
        if not left:
            raise Killed

    setattr(upgrade.world.cluster, f"{when}_write", kill)
    try:
        await upgrade.start()
    except Killed:
        return True
    return False


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["two-versions", "paused", "failed-version", "killed-while-proving"])
async def test_whatever_order_things_happen_in(name: str, seed: int) -> None:
    upgrade = Upgrade(name, is_strict=False)
    world = upgrade.world
    await world.restart_operator()
    world.queue.add(KEY)
    rng = random.Random(seed)  # noqa: S311 - a test that can be repeated
    await world.settle_at_random(rng)
    assert upgrade._lives() == upgrade.lives
    upgrade.correct()
    await world.settle_at_random(rng)
    world.assert_ready(*upgrade.state.versions)
    assert upgrade._lives() == upgrade.lives
    assert upgrade._template() == upgrade.template
    await world.assert_converged()


def test_a_recording_is_the_world_that_it_was() -> None:
    """Guards the loading: managed fields, servers and volumes are those of the objects."""
    world: Simulation = restore("two-versions")
    assert {s.pod for s in world.triton.servers.values()} == {p["metadata"]["name"] for p in world.pods()}
    assert world.can_embed(1, 2)
    deployment = world.cluster.get(DEPLOYMENTS.kind)
    applied = world.cluster.applied[("Deployment", "demo", "clip"), ""]
    assert applied["spec"]["selector"] == deployment["spec"]["selector"]
