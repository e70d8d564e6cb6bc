"""What `clipmodel diff` says against what the operator then does, in the simulated cluster."""

from __future__ import annotations

import io
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from rich.console import Console

from clipmodel_operator.inspection.codes import DiffCode
from clipmodel_operator.inspection.compare import Images, show_diff
from clipmodel_operator.inspection.difference import compare
from clipmodel_operator.models.errors import ClipModelError
from clipmodel_operator.rendering.settings import RenderSettings
from support.builders import (
    NAME,
    NAMESPACE,
    ONE,
    OTHER,
    SHA_1,
    SHA_2,
    TWO,
    VECTORS_2,
    build_config_map,
    build_record,
    build_spec,
    build_version,
)
from support.simulation import Simulation
from support.strategies import specs
from unit.inspection.conftest import FakeReads

Object = dict[str, Any]
IMAGES = Images(RenderSettings().triton_image, RenderSettings().sync_image)


def file_of(spec: Object, **metadata: Any) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "clipmodel.dev/v1alpha1",
            "kind": "ClipModel",
            "metadata": {"name": NAME, **metadata},
            "spec": spec,
        }
    )


async def diff(
    simulation: Simulation, spec: Object, *, reads: FakeReads | None = None, images: Images = IMAGES
) -> tuple[DiffCode, str]:
    out = io.StringIO()
    console = Console(file=out, width=200, highlight=False, emoji=False, markup=False)
    code = await show_diff(
        reads or FakeReads(simulation.cluster),
        file_of(spec),
        console,
        namespace=None,
        context_namespace=NAMESPACE,
        images=images,
        profile=None,
        operator_namespace="clipmodel-system",
    )
    return code, out.getvalue()


async def running(spec: Object | None = None) -> Simulation:
    simulation = Simulation()
    simulation.create(spec)
    await simulation.settle()
    return simulation


def changes(out: str) -> list[str]:
    return [line for line in out.splitlines() if line[:1] in set("+-") and line[:3] not in {"+++", "---"}]


async def test_at_rest_there_is_no_difference() -> None:
    simulation = await running()
    code, out = await diff(simulation, build_spec())
    assert (code, changes(out)) == (DiffCode.SAME, [])
    assert "No difference" in out


EDITS: dict[str, Object] = {
    "a longer delay": build_spec(batching={"maxQueueDelay": "20ms"}),
    "another version": build_spec(ONE, TWO),
    "two versions at once": build_spec(ONE, TWO, versionPolicy={"all": {}}),
    "a node selector": build_spec(serving={"nodeSelector": {"disk": "fast"}}),
    "resources": build_spec(serving={"resources": {"requests": {"cpu": "1500m", "memory": "2048Mi"}}}),
    "an image": build_spec(serving={"image": "registry.example.com/triton:1"}),
    "more replicas": build_spec(serving={"replicas": 3}),
    "none": build_spec(serving={"replicas": 0}),
    "a larger volume": build_spec(storage={"size": "9Gi"}),
    "a volume that goes": build_spec(storage={"reclaimPolicy": "Delete"}),
    "the other profile": build_spec() | {"profile": "gpu"},
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
@pytest.mark.parametrize("back", [False, True], ids=["there", "and back"])
async def test_what_differs_before_an_edit_differs_no_more_after_it(edit: Object, back: bool) -> None:  # noqa: FBT001 - a table
    """And back: what the operator rendered before and renders no more is a difference too."""
    one = build_spec(serving={"replicas": 1})  # said, or what was scaled would stay
    before, after = (edit, one) if back else (one, edit)
    simulation = await running(before)
    code, out = await diff(simulation, after)
    assert code is DiffCode.DIFFERENT, out
    simulation.update(after)
    await simulation.settle()
    code, out = await diff(simulation, after)
    assert (code, changes(out)) == (DiffCode.SAME, [])


RESTARTS = {"a node selector", "resources", "an image", "the other profile"}


@pytest.mark.parametrize("edit", EDITS)
async def test_it_says_which_pods_restart_and_they_do(edit: str) -> None:
    simulation = await running()
    pod = simulation.pods()[0]["metadata"]["name"]
    _, out = await diff(simulation, EDITS[edit])
    told = [line for line in out.splitlines() if line.strip().startswith("restart")]
    assert bool(told) is (edit in RESTARTS), out
    assert all(pod in line for line in told)
    simulation.update(EDITS[edit])
    await simulation.settle()
    still = [p["metadata"]["name"] for p in simulation.pods()]
    assert (pod in still) is (edit not in RESTARTS | {"none"}), "what was said is what happens"


@pytest.mark.parametrize(
    ("replicas", "said"),
    [
        (1, "where there is room for one pod more, else with a gap in service."),
        (2, "where there is room for one pod more."),
    ],
)
async def test_it_says_when_there_may_be_a_gap(replicas: int, said: str) -> None:
    simulation = await running(build_spec(serving={"replicas": replicas}))
    _, out = await diff(
        simulation, build_spec(serving={"replicas": replicas, "image": "registry.example.com/triton:1"})
    )
    assert said in " ".join(out.split())


async def test_a_batching_edit_is_taken_over_by_running_servers() -> None:
    simulation = await running()
    _, out = await diff(simulation, build_spec(batching={"maxQueueDelay": "20ms"}))
    assert "-      max_queue_delay_microseconds: 5000" in out
    assert "+      max_queue_delay_microseconds: 20000" in out
    assert "without a restart" in out
    assert "Deployment" not in out


async def test_a_new_version_is_fetched_first_and_its_proof_is_not_made_up() -> None:
    simulation = await running()
    _, out = await diff(simulation, build_spec(ONE, TWO))
    assert "+++ rendered Job/" in out
    assert "(proven by the sync Job)" in out
    assert "version 2 is fetched and proven first" in out
    assert "Until then version 1 serves on." in out


def stored(simulation: Simulation, name: str = "clip-config") -> Object:
    (found,) = (o for o in simulation.cluster.all("ConfigMap") if o["metadata"]["name"] == name)
    return found


def test_golden_vectors_are_shown_by_digest() -> None:
    live = build_config_map(1, records=[build_record(), build_record(2, sha256=SHA_2)])
    desired = build_config_map(1, records=[build_record(vectors=VECTORS_2), build_record(2, sha256=SHA_2)])
    lines = compare(live, desired).lines
    assert "vectors" not in "".join(lines)
    before, after = ([line.strip() for line in lines if line.startswith(f'{sign}      "{SHA_1}": "(')] for sign in "-+")
    assert len(before) == len(after) == 1, "where they stand, once"
    assert before != after


async def test_revisions_and_configs_are_shown_by_their_ids() -> None:
    """What configs say stands in the .pbtxt already."""
    simulation = await running()
    _, out = await diff(simulation, build_spec(batching={"maxQueueDelay": "20ms"}))
    proven = simulation.clip["status"]["rollout"]["provenRevision"]
    assert f'-     "proven": "{proven}",' in out
    assert f'+     "previous": "{proven}",' in out
    assert "TYPE_FP32" not in out
    assert len(changes(out)) < 60


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"revisions": [{}]}', '{"revisions": null}'])
async def test_what_cannot_be_read_is_shown_as_it_is(text: str) -> None:
    simulation = await running()
    simulation.cluster.edit(stored(simulation), lambda o: o["data"].update({"revisions.json": text}))
    code, out = await diff(simulation, build_spec())
    assert code is DiffCode.DIFFERENT
    assert text in out


async def test_of_an_attempt_that_is_open_nothing_is_said() -> None:
    simulation = await running()
    simulation.update(build_spec(batching={"maxQueueDelay": "20ms"}))
    await simulation.settle()
    assert "clip-rollout" in [o["metadata"]["name"] for o in simulation.cluster.all("ConfigMap")]
    for spec in (build_spec(), build_spec(batching={"maxQueueDelay": "20ms"})):
        _, out = await diff(simulation, spec)
        assert "clip-rollout" not in out


async def test_a_version_of_another_space_is_refused_as_the_operator_would() -> None:
    simulation = await running()
    simulation.update(build_spec(ONE, OTHER))
    await simulation.settle()
    assert simulation.says("Ready") == ("False", "EmbeddingSpaceMismatch")
    code, out = await diff(simulation, build_spec(ONE, OTHER))
    assert "refused  version 3: its embeddings are of another space" in out
    assert (code, changes(out)) == (DiffCode.SAME, []), "it would change nothing"


async def test_other_bytes_under_a_number_that_is_taken_are_refused() -> None:
    simulation = await running()
    _, out = await diff(simulation, build_spec(build_version(1, sha256=SHA_2)))
    assert "VersionImmutable" in out


async def test_without_a_clip_model_all_is_new() -> None:
    simulation = Simulation()
    code, out = await diff(simulation, build_spec())
    assert code is DiffCode.DIFFERENT
    assert "is not in the cluster" in out
    assert "the Secret of the control key" in out
    assert "running servers" not in out, "there are none"
    assert not [line for line in changes(out) if line.startswith("-")]
    for kind in ("PersistentVolumeClaim", "ConfigMap", "Service", "Deployment", "Job"):
        assert f"+++ rendered {kind}/" in out


async def test_drift_is_what_the_operator_would_repair() -> None:
    simulation = await running()
    service = simulation.cluster.find("Service")
    assert service is not None
    simulation.cluster.edit(service, lambda o: o["spec"]["selector"].update({"app.kubernetes.io/component": "else"}))
    code, out = await diff(simulation, build_spec())
    assert code is DiffCode.DIFFERENT
    assert [line.strip("+- ") for line in changes(out)] == [
        "app.kubernetes.io/component: else",
        "app.kubernetes.io/component: server",
    ]


async def test_what_others_added_is_no_difference() -> None:
    simulation = await running()
    deployment = simulation.cluster.find("Deployment")
    assert deployment is not None

    def meddle(obj: Object) -> None:
        obj["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "3"
        obj["spec"]["template"]["spec"]["containers"].append({"name": "mesh", "image": "mesh"})

    simulation.cluster.edit(deployment, meddle)
    assert (await diff(simulation, build_spec()))[0] is DiffCode.SAME


async def test_a_service_of_somebody_else_is_named() -> None:
    simulation = Simulation()
    simulation.cluster.add(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME, "namespace": NAMESPACE},
            "spec": {"ports": []},
        }
    )
    _, out = await diff(simulation, build_spec())
    assert f"Service {NAME} is there and is not this ClipModel's" in out


async def test_kubectl_scale_is_not_undone_by_a_file_without_replicas() -> None:
    simulation = await running()
    simulation.update(build_spec(serving={"replicas": 2}))
    await simulation.settle()
    assert (await diff(simulation, build_spec()))[0] is DiffCode.SAME
    assert (await diff(simulation, build_spec(serving={"replicas": 1})))[0] is DiffCode.DIFFERENT


class TestSettings:
    def operator(self, simulation: Simulation, *more: Object) -> None:
        env = [
            {"name": "CLIPMODEL_TRITON_IMAGE", "value": "triton:of-the-operator"},
            {"name": "CLIPMODEL_SYNC_IMAGE", "value": "sync:of-the-operator"},
            *more,
        ]
        containers = [{"name": "operator", "env": env}]
        simulation.cluster.add({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "clipmodel-operator", "namespace": "clipmodel-system"},
            "spec": {"template": {"spec": {"containers": containers}}},
        })  # fmt: skip

    async def test_they_are_those_of_the_operator(self) -> None:
        simulation = await running()
        self.operator(simulation)
        _, out = await diff(simulation, build_spec(), images=Images(None, None))
        assert "+        image: triton:of-the-operator" in out

    async def test_so_is_how_long_a_pod_that_ends_serves(self) -> None:
        simulation = await running()
        self.operator(simulation, {"name": "CLIPMODEL_PRE_STOP_SECONDS", "value": "2"})
        _, out = await diff(simulation, build_spec())
        assert "seconds: 2" in [line.removeprefix("+").strip() for line in changes(out) if line.startswith("+")]

    async def test_without_the_operator_it_is_that_of_the_pods_that_run(self) -> None:
        simulation = await running()
        seconds = {"lifecycle": {"preStop": {"sleep": {"seconds": 7}}}}
        simulation.cluster.edit(
            simulation.cluster.get("Deployment"),
            lambda o: o["spec"]["template"]["spec"]["containers"][0].update(seconds),
        )
        _, out = await diff(simulation, build_spec())
        assert "seconds: 10" not in out

    async def test_what_is_given_counts_more(self) -> None:
        simulation = await running()
        self.operator(simulation)
        _, out = await diff(simulation, build_spec(), images=Images("triton:given", None))
        assert "+        image: triton:given" in out

    async def test_else_those_that_run(self) -> None:
        simulation = await running()
        code, out = await diff(simulation, build_spec(), images=Images(None, None))
        assert code is DiffCode.SAME, out
        assert "not known" not in out

    async def test_else_it_says_that_it_does_not_know(self) -> None:
        _, out = await diff(Simulation(), build_spec(), images=Images(None, None))
        assert "The operator's images are not known" in out


async def test_auto_is_what_runs_or_what_is_supposed() -> None:
    simulation = await running()
    assert (await diff(simulation, build_spec() | {"profile": "auto"}))[0] is DiffCode.SAME
    with pytest.raises(ClipModelError, match="--profile cpu or --profile gpu"):
        await diff(Simulation(), build_spec() | {"profile": "auto"})


def _made_small(spec: Object) -> Object:
    """Give a spec that the simulated world can run: versions that it has files of, a claim that it makes, few pods."""
    kept = {k: v for k, v in spec.items() if k not in {"versionPolicy", "verification", "storage"}}
    return kept | {"versions": [ONE, TWO], "serving": {**kept.get("serving", {}), "replicas": 2}}


_known_specs = specs.map(_made_small)
_QUICKLY = [Phase.explicit, Phase.reuse, Phase.generate]  # shrinking runs whole worlds, for minutes


@given(before=_known_specs, after=_known_specs)
@settings(max_examples=20, deadline=None, phases=_QUICKLY, suppress_health_check=[HealthCheck.too_slow])
async def test_any_spec_differs_from_another_until_it_is_applied(before: Object, after: Object) -> None:
    simulation = await running(before)
    if simulation.says("Ready") not in {("True", "Serving"), ("False", "ScaledToZero")}:
        return
    # As the cluster has it: the fake API server writes quantities of a ClipModel its own way too.
    code, out = await diff(simulation, simulation.clip["spec"])
    assert (code, changes(out)) == (DiffCode.SAME, [])
    await diff(simulation, after)
