"""What single fields of the spec become, beside the golden case `tuned`; and that one which is not used changes no pod and no config."""

from __future__ import annotations

from typing import Any

import pytest

from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.api.v1alpha1.spec import Profile
from clipmodel_operator.models.update_strategy import UpdateStrategy
from clipmodel_operator.rendering.canonical import without_none
from clipmodel_operator.rendering.claim import render_claim
from clipmodel_operator.rendering.config_pbtxt import config_id, render_config
from clipmodel_operator.rendering.deployment import render_deployment
from clipmodel_operator.rendering.service import render_service
from clipmodel_operator.rendering.settings import RenderSettings
from clipmodel_operator.rendering.sync_job import render_sync_job
from support.builders import build_model, build_spec

SETTINGS = RenderSettings()
SURGE = UpdateStrategy(has_surge=True, why="there is room")


def model(**fields: Any) -> ClipModel:
    return build_model(build_spec(**fields))


def template(subject: ClipModel, settings: RenderSettings = SETTINGS) -> dict[str, Any]:
    deployment = without_none(render_deployment(subject, settings, control_secret="s", strategy=SURGE))  # noqa: S106 - a name
    found: dict[str, Any] = deployment["spec"]["template"]
    return found


def job(subject: ClipModel, *, binds_volume: bool = False, node: str | None = None) -> dict[str, Any]:
    version = subject.spec.versions[0]
    found: dict[str, Any] = without_none(
        render_sync_job(subject, version, SETTINGS, binds_volume=binds_volume, node=node)
    )
    return found


#: Each as if it had been written out: what a field's default says is what its absence does.
SAME_AS_NOTHING: dict[str, dict[str, Any]] = {
    "probes": {
        "serving": {"probes": {"startup": {"deadline": "15m"}, "readiness": {"period": "5s", "failureThreshold": 3}}}
    },
    "terminationGracePeriod": {"serving": {"terminationGracePeriod": "60s"}},
    "service": {"service": {"type": "ClusterIP"}},
    "instances": {"instances": {"count": 1}},
    "optimization": {"optimization": {"graphLevel": "All"}},
    "preserveOrdering": {"batching": {"preserveOrdering": False}},
    "paused": {"paused": True},
    "rollout": {"rollout": {"strategy": "InPlace"}},
    "empty maps": {
        "serving": {"podLabels": {}, "podAnnotations": {}, "imagePullSecrets": []},
        "service": {"annotations": {}},
    },
    "accessModes": {"storage": {"accessModes": ["ReadWriteOnce"]}},
}


@pytest.mark.parametrize("case", SAME_AS_NOTHING)
def test_a_default_that_is_written_out_changes_nothing(case: str) -> None:
    plain, said = model(), model(**SAME_AS_NOTHING[case])
    assert template(said) == template(plain)
    assert job(said) == job(plain)
    assert render_service(said) == render_service(plain)
    assert render_claim(said) == render_claim(plain)
    for profile in (Profile.CPU, Profile.GPU):
        assert render_config(said, versions=[1], profile=profile) == render_config(plain, versions=[1], profile=profile)


CONFIGS: dict[str, tuple[dict[str, Any], str, Any]] = {
    "graph level Disabled": ({"optimization": {"graphLevel": "Disabled"}}, "optimization", {"graph": {"level": 2}}),
    "graph level Basic": ({"optimization": {"graphLevel": "Basic"}}, "optimization", {"graph": {"level": -1}}),
    "graph level Extended": ({"optimization": {"graphLevel": "Extended"}}, "optimization", {"graph": {"level": 1}}),
    "three instances": ({"instances": {"count": 3}}, "instance_group", [{"kind": "KIND_CPU", "count": 3}]),
    "a queue": (
        {"batching": {"queuePolicy": {"maxQueueSize": 5}}},
        "dynamic_batching",
        {
            "preferred_batch_size": [4, 8, 16, 32],
            "max_queue_delay_microseconds": 5000,
            "default_queue_policy": {"timeout_action": "REJECT", "max_queue_size": 5},
        },
    ),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_what_triton_is_told(case: str) -> None:
    fields, key, expected = CONFIGS[case]
    told, plain = (render_config(m, versions=[1], profile=Profile.CPU) for m in (model(**fields), model()))
    assert told[key] == expected
    assert config_id(told) != config_id(plain), "running servers would not be asked to load it"
    assert template(model(**fields)) == template(model()), "it changes in running servers: no pod restarts"


@pytest.mark.parametrize(
    ("fields", "gpus"),
    [
        ({}, [0]),
        ({"serving": {"gpu": {"count": 3}}}, [0, 1, 2]),
        ({"serving": {"gpu": {"count": 3}}, "instances": {"gpus": [2, 0]}}, [0, 2]),
    ],
)
def test_the_model_runs_on_all_gpus_unless_told_which(fields: dict[str, Any], gpus: list[int]) -> None:
    [group] = render_config(model(profile="gpu", **fields), versions=[1], profile=Profile.GPU)["instance_group"]
    assert group["gpus"] == gpus


def test_branches_in_parallel_are_asked_for_with_their_threads() -> None:
    told = render_config(model(optimization={"interOpThreads": 4}), versions=[1], profile=Profile.CPU)["parameters"]
    assert told["inter_op_thread_count"]["string_value"] == "4"
    assert told["execution_mode"]["string_value"] == "1", "without it ONNX Runtime ignores the threads"


def test_an_existing_claim_is_used_and_nothing_is_made() -> None:
    subject = model(storage={"existingClaim": "mine"})
    assert render_claim(subject) is None
    for spec in (template(subject)["spec"], job(subject)["spec"]["template"]["spec"]):
        assert [v["persistentVolumeClaim"]["claimName"] for v in spec["volumes"] if "persistentVolumeClaim" in v] == [
            "mine"
        ]


def test_access_modes_are_those_of_the_claim() -> None:
    claim = render_claim(model(storage={"accessModes": ["ReadWriteMany"]}))
    assert claim is not None
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_the_job_that_binds_the_volume_asks_for_the_same_gpus() -> None:
    subject = model(profile="gpu", serving={"gpu": {"resourceName": "nvidia.com/mig-1g.10gb", "count": 2}})
    asked = {"nvidia.com/mig-1g.10gb": 2}
    [container] = template(subject)["spec"]["containers"]
    assert container["resources"] == {"requests": asked, "limits": asked}
    [binding] = job(subject, binds_volume=True)["spec"]["template"]["spec"]["containers"]
    assert binding["resources"]["limits"] == asked
    [later] = job(subject)["spec"]["template"]["spec"]["containers"]
    assert "limits" not in later["resources"]
    tolerated = {t["key"] for t in template(subject)["spec"]["tolerations"]}
    assert tolerated == {"nvidia.com/gpu", "nvidia.com/mig-1g.10gb"}


NODES = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}


def test_jobs_obey_affinity_about_nodes_and_not_about_pods() -> None:
    spread = [{"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}}]
    affinity = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": NODES},
        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": spread},
    }
    subject = model(serving={"affinity": affinity}, storage={"accessModes": ["ReadWriteMany"]})
    assert template(subject)["spec"]["affinity"] == affinity
    assert job(subject)["spec"]["template"]["spec"]["affinity"] == {"nodeAffinity": affinity["nodeAffinity"]}
    pinned = job(subject, node="n")["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    assert "matchFields" in str(pinned), "where the volume is mounted weighs more"
    assert job(subject, node="n")["metadata"]["name"] == job(subject)["metadata"]["name"]


TOGETHER = {
    "labelSelector": {
        "matchLabels": {"app.kubernetes.io/component": "server", "clipmodel.dev/model": "clip"},
    },
    "topologyKey": "kubernetes.io/hostname",
}


def test_pods_of_a_volume_that_one_node_can_mount_are_on_one_node() -> None:
    assert template(model())["spec"]["affinity"] == {
        "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [TOGETHER]}
    }
    for storage in ({"accessModes": ["ReadWriteOnce", "ReadWriteMany"]}, {"existingClaim": "mine"}):
        assert "affinity" not in template(model(storage=storage))["spec"]


def test_the_users_own_pod_affinity_holds_beside_it() -> None:
    theirs = {"topologyKey": "topology.kubernetes.io/zone", "labelSelector": {"matchLabels": {"a": "b"}}}
    wish = [{"weight": 5, "podAffinityTerm": theirs}]
    subject = model(
        serving={
            "affinity": {
                "podAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": [theirs],
                    "preferredDuringSchedulingIgnoredDuringExecution": wish,
                }
            }
        }
    )
    assert template(subject)["spec"]["affinity"]["podAffinity"] == {
        "requiredDuringSchedulingIgnoredDuringExecution": [theirs, TOGETHER],
        "preferredDuringSchedulingIgnoredDuringExecution": wish,
    }


def test_our_labels_and_annotations_win() -> None:
    """The CRD refuses such keys; an older one may not have."""
    subject = model(
        serving={"podLabels": {"clipmodel.dev/model": "x", "a": "b"}, "podAnnotations": {"clipmodel.dev/profile": "x"}}
    )
    assert template(subject)["metadata"]["labels"]["clipmodel.dev/model"] == "clip"
    assert template(subject)["metadata"]["labels"]["a"] == "b"
    assert template(subject)["metadata"]["annotations"]["clipmodel.dev/profile"] == "cpu"


def test_triton_ends_before_the_pod_does() -> None:
    spec = template(model(serving={"terminationGracePeriod": "2m"}))["spec"]
    assert spec["terminationGracePeriodSeconds"] == 120
    [container] = spec["containers"]
    assert "--exit-timeout-secs=90" in container["args"], "120 s without 10 s of preStop and 20 s of reserve"


@pytest.mark.parametrize(
    ("pre_stop_s", "asked", "grace_s", "exit_s"),
    [(10, "60s", 60, 30), (2, "60s", 60, 38), (10, "35s", 35, 5), (2, "35s", 35, 13), (20, "35s", 45, 5), (300, "60s", 325, 5)],
)  # fmt: skip
def test_a_pod_serves_on_as_long_as_the_operator_says_and_its_grace_period_is_longer(
    pre_stop_s: int, asked: str, grace_s: int, exit_s: int
) -> None:
    subject = model(serving={"terminationGracePeriod": asked})
    spec = template(subject, RenderSettings(pre_stop_s=pre_stop_s))["spec"]
    [container] = spec["containers"]
    assert container["lifecycle"] == {"preStop": {"sleep": {"seconds": pre_stop_s}}}
    assert spec["terminationGracePeriodSeconds"] == grace_s
    assert f"--exit-timeout-secs={exit_s}" in container["args"]


def test_the_startup_deadline_is_rounded_up_to_whole_runs_of_the_probe() -> None:
    [container] = template(model(serving={"probes": {"startup": {"deadline": "31s"}}}))["spec"]["containers"]
    probe = container["startupProbe"]
    assert (probe["periodSeconds"], probe["failureThreshold"]) == (1, 7), "a run that fails takes 5 s"
