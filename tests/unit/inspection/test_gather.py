from __future__ import annotations

from typing import Any

import pytest

from clipmodel_operator.clients.reader import ReadError
from clipmodel_operator.inspection.gather import Gatherer, NoSuchClipModelError
from support.builders import NAME, NAMESPACE, build_server_pod
from support.simulation import Simulation, build_ready

Object = dict[str, Any]


async def test_all_of_a_clip_model_is_read(make_reads: Any) -> None:
    simulation = await build_ready()
    reads = make_reads(simulation.cluster)
    pod = simulation.pods()[0]["metadata"]["name"]
    reads.answers[pod] = "{}"
    found = await Gatherer(reads).one(NAMESPACE, NAME)
    assert found.stats == {pod: "{}"}
    assert sorted(e["reason"] for e in found.events) == ["Serving", "Syncing", "VersionSynced"]
    assert found.notes == ()


async def test_what_may_not_be_read_is_said_and_not_asked_again(make_reads: Any) -> None:
    simulation = await build_ready()
    reads = make_reads(simulation.cluster)
    reads.refused = {"Event", "proxy"}
    gatherer = Gatherer(reads)
    for _ in range(3):
        found = await gatherer.one(NAMESPACE, NAME)
    assert reads.asked.count("Event") == 1
    assert reads.asked.count("proxy") == 1
    assert len(found.notes) == 2
    assert all("you may not" in note for note in found.notes)


async def test_a_cluster_that_does_not_answer_is_an_error_and_not_a_missing_right(make_reads: Any) -> None:
    simulation = await build_ready()
    reads = make_reads(simulation.cluster)
    gatherer = Gatherer(reads)
    reads.broken = {"Pod"}
    with pytest.raises(ReadError, match="does not answer"):
        await gatherer.one(NAMESPACE, NAME)
    reads.broken = set()
    assert (await gatherer.one(NAMESPACE, NAME)).pods


async def test_without_the_right_to_list_pods_the_rest_is_there(make_reads: Any) -> None:
    simulation = await build_ready()
    reads = make_reads(simulation.cluster)
    reads.refused = {"Pod"}
    found = await Gatherer(reads).one(NAMESPACE, NAME)
    assert found.clip["metadata"]["name"] == NAME
    assert found.pods == []
    assert found.notes


async def test_a_server_that_does_not_answer_is_no_note(make_reads: Any) -> None:
    simulation = await build_ready()
    found = await Gatherer(make_reads(simulation.cluster)).one(NAMESPACE, NAME)
    assert found.stats == {simulation.pods()[0]["metadata"]["name"]: ""}
    assert found.notes == ()


def add_event(simulation: Simulation, name: str, kind: str, about: str, type_: str, uid: str = "") -> None:
    simulation.cluster.add({
        "kind": "Event",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "type": type_,
        "reason": name,
        "involvedObject": {"kind": kind, "name": about, "uid": uid},
    })  # fmt: skip


async def test_warnings_of_children_are_told_and_strangers_are_not(make_reads: Any) -> None:
    simulation = await build_ready()
    pod = simulation.pods()[0]
    name, owner = pod["metadata"]["name"], pod["metadata"]["ownerReferences"][0]["name"]
    add_event(simulation, "Unhealthy", "Pod", name, "Warning")
    add_event(simulation, "Pulled", "Pod", name, "Normal")
    add_event(simulation, "FailedCreate", "ReplicaSet", owner, "Warning")
    add_event(simulation, "ProvisioningFailed", "PersistentVolumeClaim", f"{NAME}-models", "Warning")
    add_event(simulation, "Stranger", "Pod", "other", "Warning")
    add_event(simulation, "Predecessor", "ClipModel", NAME, "Normal", uid="of one before it")
    reasons = {e["reason"] for e in (await Gatherer(make_reads(simulation.cluster)).one(NAMESPACE, NAME)).events}
    assert reasons == {"Syncing", "VersionSynced", "Serving", "Unhealthy", "FailedCreate", "ProvisioningFailed"}


async def test_the_log_of_a_working_job_is_read(make_reads: Any) -> None:
    simulation = await build_ready()
    pod = next(p for p in simulation.cluster.all("Pod") if p not in simulation.pods())
    pod["status"] = build_server_pod()["status"]  # it still runs
    reads = make_reads(simulation.cluster)
    reads.logs = {pod["metadata"]["name"]: "fetching x: 1 % 1 B of 100 B 1 B/s"}
    assert (await Gatherer(reads).one(NAMESPACE, NAME)).logs == reads.logs


class TestNoSuchClipModel:
    async def test_those_that_there_are_are_named(self, make_reads: Any) -> None:
        simulation = await build_ready()
        with pytest.raises(
            NoSuchClipModelError, match=f"no ClipModel clop in namespace {NAMESPACE}; there are: {NAME}"
        ):
            await Gatherer(make_reads(simulation.cluster)).one(NAMESPACE, "clop")

    async def test_another_namespace_is_named(self, make_reads: Any) -> None:
        simulation = await build_ready()
        with pytest.raises(NoSuchClipModelError, match=f"there is one in {NAMESPACE}: -n {NAMESPACE}"):
            await Gatherer(make_reads(simulation.cluster)).one("default", NAME)

    async def test_no_right_to_look_elsewhere_is_no_error_of_its_own(self, make_reads: Any) -> None:
        simulation = await build_ready()
        reads = make_reads(simulation.cluster)
        reads.refused = {"ClipModel everywhere"}
        with pytest.raises(NoSuchClipModelError, match="nor any other"):
            await Gatherer(reads).one("default", NAME)


async def test_many_are_read_in_few_requests(make_reads: Any) -> None:
    simulation = await build_ready()
    for i in range(20):
        simulation.cluster.add(
            {
                "apiVersion": "clipmodel.dev/v1alpha1",
                "kind": "ClipModel",
                "metadata": {"name": f"more-{i}", "namespace": NAMESPACE},
                "spec": {},
            }
        )
    reads = make_reads(simulation.cluster)
    found = await Gatherer(reads).many(None)
    assert len(found) == 21
    assert reads.asked == ["ClipModel everywhere", "Pod everywhere"]
