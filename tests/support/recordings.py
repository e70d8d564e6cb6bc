"""What earlier releases left in a cluster: their recordings (tests/data/adoption, by hack/record_release.py), as the world of a Simulation.

The only place that knows how a recording becomes the fake API server's, kubelet's and Triton's; what nothing recorded, the world has at its start.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipmodel_operator.models.names import ANNOTATION_PROFILE
from clipmodel_operator.models.resources import CONFIG_MAPS
from clipmodel_operator.rendering.config_pbtxt import config_id
from clipmodel_operator.rendering.read_pbtxt import read_config_pbtxt
from support.builders import NAME
from support.fake_kubelet import is_ready
from support.fake_triton import TritonServer, Upload, content_of, versions_of
from support.server_side_apply import Object
from support.simulation import Simulation

ADOPTION = Path(__file__).parents[1] / "data/adoption"
RECORDED = "8be080b"
#: Releases that leave the same but for the probe's text in the ConfigMap, and the hash over it.
ALIKE = ("88f7a21",)
RELEASES = (RECORDED, *ALIKE)
STATES = tuple(sorted(p.stem for p in (ADOPTION / RECORDED).glob("*.json") if p.stem != "golden"))


def read_golden() -> Mapping[str, Any]:
    """Give the release's golden inputs, each with the hash of its pod template and of its configs' texts."""
    found: Mapping[str, Any] = json.loads((ADOPTION / RECORDED / "golden.json").read_text("utf-8"))
    return found


def restore(state: str, *, release: str = RECORDED) -> Simulation:
    """Give the world as a release left it, without an operator: `restart_operator` starts today's."""
    recording: Object = json.loads((ADOPTION / RECORDED / f"{state}.json").read_text("utf-8"))
    recording = _with_texts(recording, ADOPTION / release)
    if release in ALIKE:
        annotations = json.loads((ADOPTION / release / "config-map.json").read_text("utf-8"))[state]
        (config_map,) = (o for o in recording["objects"] if o["kind"] == "ConfigMap")
        config_map["metadata"]["annotations"] = annotations
    simulation = Simulation()
    simulation.clock.seconds = recording["seconds"]
    cluster = simulation.cluster
    cluster._counter = recording["number"]
    for obj in recording["objects"]:
        cluster.objects[cluster._identity(obj)] = obj
    for applied in recording["applied"]:
        kind, namespace, name = applied["identity"]
        identity = (kind, namespace, name)
        cluster.applied[identity, applied["part"]] = _with_equals(applied["fields"], cluster.objects[identity])
    for claim, versions in recording["volumes"].items():
        simulation.kubelet.volumes[claim] = {int(v): _upload(u) for v, u in versions.items()}
    for address, server in recording["servers"].items():
        _take_over(simulation, address, server)
    return simulation


def _take_over(simulation: Simulation, address: str, recorded: Object) -> None:
    """Have the kubelet know a pod that runs, with the server in it. It mounts what is committed: that was long ago."""
    (pod,) = (p for p in simulation.pods() if p["metadata"]["name"] == recorded["pod"])
    (container,) = pod["status"]["containerStatuses"]
    # Every cluster tells them; the simulation of the release did not.
    container |= {"started": is_ready(pod), "restartCount": 0}
    server = TritonServer(
        recorded["pod"],
        recorded["controlKey"],
        simulation.kubelet.volumes[recorded["claim"]],
        run=container["containerID"],
        address=address,
        configs=recorded["configs"],
        # Under the real name a config says itself what it is: from its start, Triton tells it in protobuf's words.
        contents={model: content_of(config) for model, config in recorded["configs"].items()},
        proven=set(recorded["proven"]),
        is_started=is_ready(pod),
    )
    committed = simulation.cluster.get(CONFIG_MAPS.kind, f"{NAME}-config")["data"]
    profile = pod["metadata"]["annotations"][ANNOTATION_PROFILE]
    config = read_config_pbtxt(committed[f"{profile}.pbtxt"])
    if server.is_started:
        # All ready pods proved what was committed, and the startup probe what they started with.
        images = {(v, i) for v in versions_of(config) for i in range(len(server.volume[v].vectors))}
        server.checked[config_id(config)] = images
    simulation.kubelet.take_over(pod, server)


def _upload(upload: Object) -> Upload:
    return Upload(
        upload["sha256"],
        tuple(tuple(v) for v in upload["vectors"]),
        is_refused=upload["isRefused"],
        is_wrong=upload["isWrong"],
    )


def _with_texts(value: Any, folder: Path) -> Any:
    """Put texts where their files' names stand."""
    if isinstance(value, dict):
        return {k: _with_texts(v, folder) for k, v in value.items()}
    if isinstance(value, list):
        return [_with_texts(v, folder) for v in value]
    if isinstance(value, str) and value.startswith("@"):
        return (folder / value.removeprefix("@")).read_text("utf-8")
    return value


def _with_equals(applied: Any, live: Any) -> Any:
    """Put what is there where "=" says that it was applied so."""
    if applied == "=":
        return live
    return {k: _with_equals(v, live.get(k)) for k, v in applied.items()} if isinstance(applied, dict) else applied
