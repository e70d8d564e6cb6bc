"""What a sync finds at a version's source, or does not, and what serves meanwhile."""

from __future__ import annotations

from support.builders import SHA_2, TWO, URI_1, URI_2, build_spec, build_version
from support.simulation import Simulation, build_ready


async def test_a_wrong_digest_stalls_and_a_corrected_one_becomes_ready() -> None:
    simulation = Simulation()
    simulation.create(build_spec(build_version(sha256=SHA_2)))
    await simulation.settle()
    assert simulation.says("Ready") == ("False", "DigestMismatch")
    assert simulation.says("Stalled") == ("True", "DigestMismatch")
    assert simulation.condition("Reconciling") is None
    assert simulation.status["versions"][0]["state"] == "Failed"
    assert simulation.cluster.find("Deployment") is None
    await simulation.assert_converged()
    simulation.update(build_spec())
    await simulation.settle()
    simulation.assert_ready()
    assert simulation.events() == ["Syncing", "DigestMismatch", "Syncing", "VersionSynced", "Serving"]
    await simulation.assert_converged()


async def test_a_source_that_is_away_for_a_while_is_tried_again() -> None:
    simulation = Simulation()
    simulation.kubelet.uploads[URI_1].failure = ("Retry", "SourceUnavailable")
    simulation.create()
    await simulation.settle()
    assert simulation.says("Ready") == ("False", "SourceUnavailable")
    assert simulation.says("Reconciling") == ("True", "ProgressingWithRetry")
    assert simulation.condition("Stalled") is None
    assert len(simulation.cluster.all("Pod")) == 4, "the Job's own tries"
    job = simulation.cluster.all("Job")[0]["metadata"]["uid"]
    await simulation.assert_converged()
    simulation.advance(60)
    await simulation.settle()
    assert simulation.cluster.all("Job")[0]["metadata"]["uid"] == job, "not before five minutes"
    simulation.kubelet.uploads[URI_1].failure = None
    await simulation.settle_waiting(seconds=600)
    simulation.assert_ready()
    await simulation.assert_converged()


async def test_a_source_that_stays_away_is_asked_every_five_minutes_and_no_more() -> None:
    simulation = Simulation()
    simulation.kubelet.uploads[URI_1].failure = ("Retry", "SourceUnavailable")
    simulation.create()
    await simulation.settle_waiting(seconds=3600)
    made = sum(w.startswith("create Job") for w in simulation.cluster.writes)
    assert 11 <= made <= 13


async def test_a_report_that_is_lost_is_read_again_from_the_volume() -> None:
    simulation = Simulation()
    simulation.kubelet.loses_reports = True
    simulation.create()
    for _ in range(400):
        simulation.deliver_all()
        if len(simulation.queue):
            await simulation.work()
        elif any(
            c["type"] == "Complete"
            for j in simulation.cluster.all("Job")
            for c in j.get("status", {}).get("conditions", ())
        ):
            break
        else:
            simulation._step(simulation.controllers.steps()[0])
    simulation.kubelet.loses_reports = False
    await simulation.settle()
    simulation.assert_ready()
    assert any(w.startswith("delete Job") for w in simulation.cluster.writes)


async def test_version_1_serves_until_version_2_is_synced() -> None:
    simulation = await build_ready()
    simulation.kubelet.uploads[URI_2].failure = ("Retry", "SourceUnavailable")
    simulation.update(build_spec(TWO))
    await simulation.settle()
    assert simulation.can_embed(1)
    assert simulation.status["servingVersions"] == [1]
    assert simulation.says("Ready") == ("False", "SourceUnavailable")
    assert simulation.says("Available") == ("True", "PodsReady")
    assert "Meanwhile version 1 serves." in simulation.condition("Ready")["message"]  # type: ignore[index]  # it is there
    simulation.kubelet.uploads[URI_2].failure = None
    await simulation.settle_waiting(seconds=600)
    simulation.assert_ready(2)
    assert [v["version"] for v in simulation.status["versions"]] == [2]
    await simulation.assert_converged()


async def test_a_version_2_of_wrong_bytes_leaves_version_1_alone() -> None:
    simulation = await build_ready()
    before = simulation.pods()
    simulation.update(build_spec(build_version(2, uri=URI_2, sha256="3" * 64)))
    await simulation.settle()
    assert simulation.says("Stalled") == ("True", "DigestMismatch")
    assert simulation.status["servingVersions"] == [1]
    assert [p["metadata"]["uid"] for p in simulation.pods()] == [p["metadata"]["uid"] for p in before]
    simulation.update(build_spec())
    await simulation.settle()
    simulation.assert_ready(1)
    await simulation.assert_converged()


async def test_other_bytes_under_a_version_that_is_on_the_volume_are_refused() -> None:
    simulation = await build_ready()
    simulation.update(build_spec(build_version(uri=URI_2, sha256=SHA_2)))
    await simulation.settle()
    assert simulation.says("Stalled") == ("True", "VersionImmutable")
    assert simulation.can_embed(1)
