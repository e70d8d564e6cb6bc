"""What `clipmodel diff` says of revisions, where status knows of them: which is proven, and how another one would reach the servers."""

from __future__ import annotations

from typing import Any

import pytest

from clipmodel_operator.inspection.codes import DiffCode
from clipmodel_operator.inspection.consequences import changes_config
from clipmodel_operator.inspection.difference import ObjectDiff
from support.builders import ONE, OTHER, SHA_2, TWO, build_spec, build_version
from support.simulation import Simulation
from unit.inspection.test_diff import diff, running

Object = dict[str, Any]
R1, R2 = "1a" * 16, "2b" * 16
P1, P2 = R1[:12], R2[:12]
SLOWER = {"batching": {"maxQueueDelay": "20ms"}}
SLOWEST = {"batching": {"maxQueueDelay": "50ms"}}
LOOSER = {"verification": {"tolerance": "0.999"}}
REPLACE = {"rollout": {"strategy": "Replace"}}


def say(simulation: Simulation, *, is_observed: bool = True, **rollout: Any) -> None:
    """Put revisions into status, as the operator does."""
    told = {"provenRevision": R1, "targetRevision": R1} | rollout
    told = {key: value for key, value in told.items() if value is not None}
    generation = {"observedGeneration": simulation.clip["metadata"]["generation"]} if is_observed else {}
    simulation.cluster.edit(simulation.clip, lambda o: o["status"].update(rollout=told, **generation))


async def proven(spec: Object | None = None, **rollout: Any) -> Simulation:
    simulation = await running(spec)
    say(simulation, **rollout)
    return simulation


async def pending(spec: Object, **rollout: Any) -> Simulation:
    """Give a world in which the spec asks for more than what is proven."""
    simulation = await running()
    simulation.update(spec)
    say(simulation, **{"targetRevision": R2} | rollout)
    return simulation


async def bullets(simulation: Simulation, spec: Object) -> list[tuple[str, str]]:
    """Give what follows from an edit: kind and sentence."""
    _, out = await diff(simulation, spec)
    listed = [line.strip() for line in out.splitlines() if line.startswith("  ") and line[2:3].isalpha()]
    known = {"refused", "fetch", "restart", "live", "verify", "next", "remove", "made"}
    return [(kind, " ".join(rest.split())) for kind, _, rest in (b.partition(" ") for b in listed) if kind in known]


async def test_at_rest_there_is_nothing_to_say() -> None:
    simulation = await proven()
    code, out = await diff(simulation, build_spec())
    assert code is DiffCode.SAME
    assert P1 not in out
    assert await bullets(simulation, build_spec(**REPLACE)) == [], "the strategy alone reaches no server"


async def test_another_revision_goes_in_place_and_takes_the_memory_of_two() -> None:
    [(kind, said)] = await bullets(await proven(), build_spec(**SLOWER))
    assert kind == "live"
    assert said == (
        f"config.pbtxt: another revision than {P1}, which is proven; running servers prove it whole under a name that no client asks for, "
        "one pod first, and then load it, without a restart. Meanwhile each holds two copies of the model."
    )


async def test_another_version_is_another_revision() -> None:
    said = dict(await bullets(await proven(), build_spec(ONE, TWO)))
    assert said["live"].startswith(f"version 2, by a new config.pbtxt: another revision than {P1}")
    assert "Until then version 1 serves on." in said["fetch"]


async def test_a_version_that_may_not_follow_is_no_other_revision() -> None:
    simulation = await running()
    simulation.update(build_spec(ONE, OTHER))
    await simulation.settle()
    say(simulation)
    said = dict(await bullets(simulation, build_spec(ONE, OTHER)))
    assert said.keys() == {"refused"}


@pytest.mark.parametrize("replicas", [1, 2])
async def test_under_replace_it_goes_by_new_pods(replicas: int) -> None:
    serving = {"serving": {"replicas": replicas}}
    simulation = await proven(build_spec(**serving))
    said = await bullets(simulation, build_spec(**SLOWER, **REPLACE, **serving))
    assert said.pop() == ("made", "ConfigMap clip-config-b"), "what the new pods read"
    assert [kind for kind, _ in said] == ["restart", "live"]
    for pod in simulation.pods():
        assert pod["metadata"]["name"] in said[0][1]
    assert f"another revision than {P1}, which is proven, by new pods (rollout.strategy Replace)" in said[0][1]
    assert ("gap in service" in said[0][1]) is (replicas == 1)
    assert (
        said[1][1]
        == f"revision {P1}, which is proven, serves on until the new pods are ready, and again where one fails."
    )
    assert not [words for _, words in said if "two copies" in words]


async def test_a_tolerance_is_only_verified() -> None:
    [(kind, said)] = await bullets(await proven(), build_spec(**LOOSER))
    assert kind == "verify"
    assert f"only the tolerance changes: a revision that differs from {P1} in nothing else." in said
    assert "nothing is loaded, and no pod restarts" in said
    [(kind, _)] = await bullets(await proven(), build_spec(**LOOSER, **REPLACE))
    assert kind == "verify", "whatever the strategy"


async def test_a_tolerance_beside_a_config_is_another_revision() -> None:
    [(kind, said)] = await bullets(await proven(), build_spec(**LOOSER, **SLOWER))
    assert kind == "live"
    assert "another revision" in said


async def test_where_pods_are_replaced_for_other_reasons_the_revision_follows_in_place() -> None:
    said = await bullets(await proven(), build_spec(**SLOWER, serving={"nodeSelector": {"disk": "fast"}}))
    assert [kind for kind, _ in said][:2] == ["restart", "live"]
    assert said[0][1].startswith("the pod template changes")
    assert "once the pods are replaced running servers prove it" in said[1][1]


async def test_what_pods_have_no_gpu_for_goes_by_new_pods() -> None:
    gpu = build_spec() | {"profile": "gpu"}
    simulation = await proven(gpu)
    said = dict(await bullets(simulation, gpu | {"serving": {"gpu": {"count": 2}}}))
    assert said["live"].endswith(
        "pods that run cannot hold it (another profile, or more GPUs), so the new ones start with it."
    )
    fewer = await proven(gpu | {"serving": {"gpu": {"count": 2}}})
    said = dict(await bullets(fewer, gpu))
    assert "once the pods are replaced" in said["live"]


async def test_the_other_profile_is_no_other_revision() -> None:
    """A revision holds the configuration of both."""
    said = await bullets(await proven(), build_spec() | {"profile": "gpu"})
    assert [kind for kind, _ in said] == ["restart"]


async def test_another_config_of_another_profile_goes_by_new_pods_as_well() -> None:
    said = dict(await bullets(await proven(), build_spec(**SLOWER) | {"profile": "gpu"}))
    assert "the new ones start with it" in said["live"]


async def test_other_bytes_under_a_number_make_no_other_revision() -> None:
    said = await bullets(await proven(), build_spec(build_version(1, sha256=SHA_2)))
    assert not [words for _, words in said if "revision" in words]
    assert "VersionImmutable" in dict(said)["refused"]


async def test_a_version_that_is_not_synced_yet_is_ahead_of_the_target() -> None:
    """Status calls target what can be proven by now."""
    simulation = await running()
    simulation.update(build_spec(ONE, TWO))
    say(simulation)
    said = dict(await bullets(simulation, build_spec(ONE, TWO)))
    assert said["live"].startswith(f"version 2, by a new config.pbtxt: another revision than {P1}")


async def test_a_config_that_was_edited_by_hand_is_no_other_revision() -> None:
    simulation = await proven()
    config_map = simulation.cluster.find("ConfigMap")
    assert config_map is not None
    simulation.cluster.edit(config_map, lambda o: o["data"].update({"cpu.pbtxt": "mine"}))
    assert not [said for _, said in await bullets(simulation, build_spec()) if "another revision" in said]


async def test_a_spec_in_the_cluster_that_cannot_be_read_keeps_nobody_from_asking() -> None:
    simulation = await proven()
    simulation.cluster.edit(simulation.clip, lambda o: o["spec"].update(batching={"maxQueueDelay": "soon"}))
    [(_, said)] = await bullets(simulation, build_spec(**SLOWER))
    assert "taken over by running servers" in said


async def test_without_pods_the_proven_one_starts_first() -> None:
    simulation = await proven(build_spec(serving={"replicas": 0}))
    [(_, said)] = await bullets(simulation, build_spec(**SLOWER, serving={"replicas": 0}))
    assert "Pods that start, start on that one; then running servers prove it whole" in said


async def test_while_nothing_is_proven_servers_start_on_what_is_asked_for() -> None:
    simulation = await proven(provenRevision=None, targetRevision=R2, phase="Trial")
    [(kind, said)] = await bullets(simulation, build_spec(**SLOWER))
    assert kind == "live"
    assert "no revision is proven yet; servers start on this one." in said


async def test_the_proven_one_again_gives_the_attempt_up() -> None:
    simulation = await pending(build_spec(**SLOWER), phase="Proving")
    [(kind, said)] = await bullets(simulation, build_spec())
    assert (kind, said) == (
        "live",
        f"revision {P1}, which is proven, is asked for again: revision {P2} is given up, and pods that have it go back.",
    )


async def test_under_replace_the_one_before_comes_back_by_new_pods() -> None:
    """Which one it is cannot be told from here: pods may read either slot."""
    simulation = await pending(build_spec(**SLOWER), phase="Replacing")
    (kind, said), (_, serves) = await bullets(simulation, build_spec(**REPLACE))
    assert (kind, said.partition(":")[0]) == (
        "restart",
        f"another revision than {P2}, which is the target, by new pods (rollout.strategy Replace)",
    )
    assert serves.startswith(f"revision {P1}, which is proven, serves on")


async def test_a_third_one_takes_the_place_of_the_target() -> None:
    simulation = await pending(build_spec(**SLOWER), phase="Proving")
    [(_, said)] = await bullets(simulation, build_spec(**SLOWEST))
    assert said.startswith(f"config.pbtxt: another revision than {P1}")
    assert said.endswith(f"It takes the place of revision {P2}, which is not proven.")


STANDS = {
    "waits": (
        {"phase": "Waiting", "tries": 2, "notBefore": "2026-11-22T12:04:00Z", "reason": "Triton refuses it."},
        "live",
        ". It failed, tried 2 times (Triton refuses it), and is tried again not before 2026-11-22T12:04:00Z.",
    ),
    "is given up": (
        {"phase": "Waiting", "tries": 1, "reason": "other embeddings"},
        "refused",
        ". It failed, tried 1 time (other embeddings), and is not tried again by itself.",
    ),
    "is on its way": ({"phase": "Switching", "tries": 1}, "live", ", and is on its way: Switching, tried 1 time."),
    "goes back": ({"targetRevision": R1, "phase": "Returning"}, "live", ", and is on its way: Returning."),
    "has not begun": ({}, "live", ", and is about to be tried."),
}


@pytest.mark.parametrize(("rollout", "kind", "words"), STANDS.values(), ids=STANDS)
async def test_what_the_spec_asks_for_already_is_told_as_it_stands(rollout: Object, kind: str, words: str) -> None:
    simulation = await pending(build_spec(**SLOWER), **rollout)
    serves = f" Revision {P1}, which is proven, serves."
    target = rollout.get("targetRevision", R2)[:12]
    expected = (kind, f"revision {target} is what the spec asks for already{words}{serves}")
    assert await bullets(simulation, build_spec(**SLOWER)) == [expected]


async def test_of_an_operator_that_knows_no_revisions_it_is_told_as_before() -> None:
    simulation = await running()
    simulation.cluster.edit(simulation.clip, lambda o: o["status"].pop("rollout", None))
    [(_, said)] = await bullets(simulation, build_spec(**SLOWER))
    assert said == "config.pbtxt: taken over by running servers without a restart, pod by pod, proven first."


@pytest.mark.parametrize("phase", [None, "Proving"])
async def test_a_status_of_an_earlier_spec_says_nothing_of_the_present_one(phase: str | None) -> None:
    simulation = await running()
    simulation.update(build_spec(**SLOWER))
    say(simulation, is_observed=False, targetRevision=R2 if phase else R1, phase=phase)
    [(kind, said)] = await bullets(simulation, build_spec(**SLOWER))
    assert kind == "live"
    assert said.startswith(f"config.pbtxt: another revision than {P1}")
    assert ("takes the place of" in said) is bool(phase)
    simulation.update(build_spec(instances={"count": 1}))
    say(simulation, is_observed=False, targetRevision=R2, phase=phase)
    assert await bullets(simulation, build_spec()) == [], "what pods run already"


async def test_what_pods_run_already_is_nothing_new_where_an_edit_was_not_looked_at() -> None:
    simulation = await running()
    simulation.update(build_spec(**SLOWER))
    say(simulation, is_observed=False)
    assert await bullets(simulation, build_spec()) == []


CHANGES: dict[str, tuple[str, bool, set[str], bool]] = {
    "a config": ("ConfigMap", False, {"gpu.pbtxt"}, True),
    "records": ("ConfigMap", False, {"records.json", "versions.json"}, False),
    "another slot": ("ConfigMap", True, set(), True),
    "another object": ("Secret", True, set(), False),
}


@pytest.mark.parametrize(("kind", "is_new", "entries", "changes"), CHANGES.values(), ids=CHANGES)
def test_what_pods_start_with_changes(kind: str, is_new: bool, entries: set[str], changes: bool) -> None:  # noqa: FBT001 - a table
    found = ObjectDiff(kind, "clip-config-b", is_new, ("+",), restarts=False, entries=frozenset(entries))
    assert changes_config([found]) is changes
