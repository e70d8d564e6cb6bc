"""Records what a release leaves in a cluster, for tests/sequence/test_adoption.py: that release's own operator, in its own simulated cluster.

  git worktree add /tmp/old 8be080b
  PYTHONPATH=/tmp/old/operator:/tmp/old/tests .venv/bin/python hack/record_release.py /tmp/old tests/data/adoption/8be080b

With --alike, for a release that leaves the same objects but for the probe's text, only that text and the ConfigMaps' annotations, its hashes.

Writes a file for each state: what the API server has, what was applied by whom (managedFields, as the fake API server keeps them), what lies on
the volumes, and what each Triton server has loaded. Texts that are in all of them, the probe's, are files of their own. And the hashes of the pod
templates and configs of the release's golden inputs. A recording is never made again: it is what clusters have, whatever is found to be wrong with it.
"""
# ruff: noqa: INP001 - a script, no package

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

# Of the release that is recorded, not of this checkout: nothing here may know their types.
simulated: Any = importlib.import_module("support.simulation")
builders: Any = importlib.import_module("support.builders")
offline: Any = importlib.import_module("clipmodel_operator.offline")
canonical: Any = importlib.import_module("clipmodel_operator.rendering.canonical")
settings: Any = importlib.import_module("clipmodel_operator.rendering.settings")

Object = dict[str, Any]
ONE = builders.build_version()
TWO = builders.build_version(2, uri=builders.URI_2, sha256=builders.SHA_2)
SLOWER = {"batching": {"maxQueueDelay": "50ms"}}
BASIC = {"optimization": {"graphLevel": "Basic"}}


async def _served(*versions: Object, **fields: Any) -> Any:
    simulation = simulated.Simulation()
    simulation.create(builders.build_spec(*versions, **fields))
    await simulation.settle()
    simulation.assert_ready(len(versions))
    return simulation


async def _change(simulation: Any, *versions: Object, **fields: Any) -> Any:
    simulation.update(builders.build_spec(*versions, **fields))
    await simulation.settle_waiting(seconds=60)
    return simulation


def _is_slower(config: Mapping[str, Any]) -> bool:
    return bool(config["dynamic_batching"]["max_queue_delay_microseconds"] == 50_000)


async def at_rest() -> Any:
    """One version, profile cpu."""
    return await _served(ONE)


async def two_versions() -> Any:
    """Two replicas serve two versions; batching and optimization were edited, and taken over."""
    fields = {"serving": {"replicas": 2}, "versionPolicy": {"latest": {"count": 2}}}
    simulation = await _served(ONE, **fields)
    await _change(simulation, ONE, TWO, **fields)
    await _change(simulation, ONE, TWO, **fields, **SLOWER, **BASIC)
    simulation.assert_ready(1, 2)
    return simulation


async def failed_edit() -> Any:
    """Both pods refuse a batching edit: they run what is committed, and the edit is pending."""
    simulation = await _served(ONE, serving={"replicas": 2})
    simulation.triton.refuses = lambda _model, config: _is_slower(config)
    return await _change(simulation, ONE, serving={"replicas": 2}, **SLOWER)


async def failed_edit_runs() -> Any:
    """The second pod refused a batching edit once: it is not committed."""
    simulation = await _served(ONE, serving={"replicas": 2})
    loads = 0

    def refuses(_model: str, config: Mapping[str, Any]) -> bool:
        nonlocal loads
        loads += _is_slower(config)
        return loads == 2 and _is_slower(config)

    simulation.triton.refuses = refuses
    return await _change(simulation, ONE, serving={"replicas": 2}, **SLOWER)


async def wrong_edit_runs() -> Any:
    """By an edit of optimization Triton embeds otherwise: it is not committed."""
    simulation = await _served(ONE)
    ask = simulation.triton.embed_golden

    async def embed(server: Any, *, model: str, **arguments: Any) -> tuple[float, ...]:
        vector: tuple[float, ...] = await ask(server, model=model, **arguments)
        config = simulation.triton.servers[server.address].configs[model]
        return tuple(reversed(vector)) if "optimization" in config else vector

    # FakeTriton has slots: the method is replaced for the operator's fleet and rollout alone.
    for part in (simulation.reconciler._fleet, simulation.reconciler._rollout):  # noqa: SLF001 - the old release's own
        part._triton = _Asked(simulation.triton, embed)  # noqa: SLF001
    return await _change(simulation, ONE, **BASIC)


class _Asked:
    """A Triton whose answers to golden pictures are another's."""

    def __init__(self, triton: Any, embed: Callable[..., Awaitable[tuple[float, ...]]]) -> None:
        self._triton = triton
        self.embed_golden = embed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._triton, name)


async def paused() -> Any:
    """Paused, with an edit of batching and a version that wait."""
    simulation = await _served(ONE)
    return await _change(simulation, ONE, TWO, paused=True, **SLOWER)


async def gpu() -> Any:
    """One version, profile gpu."""
    simulation = simulated.Simulation()
    simulation.create(builders.build_spec(ONE) | {"profile": "gpu"})
    await simulation.settle()
    simulation.assert_ready(1)
    return simulation


async def scaled_to_zero() -> Any:
    """One version that served; no replica."""
    simulation = await _served(ONE)
    return await _change(simulation, ONE, serving={"replicas": 0})


async def unproven_commit() -> Any:
    """No replica; version 2, which Triton embeds otherwise, was pushed meanwhile, and committed as nobody was there to prove it."""
    simulation = await _served(ONE)
    await _change(simulation, ONE, serving={"replicas": 0})
    simulation.kubelet.uploads[builders.URI_2].is_wrong = True
    return await _change(simulation, ONE, TWO, serving={"replicas": 0})


async def failed_version() -> Any:
    """Version 2 fails the golden check under the candidate's name; version 1 serves, with two replicas."""
    simulation = await _served(ONE, serving={"replicas": 2})
    simulation.kubelet.uploads[builders.URI_2].is_wrong = True
    return await _change(simulation, ONE, TWO, serving={"replicas": 2})


async def _kill(simulation: Any, at: str, *versions: Object, **fields: Any) -> Any:
    """Change the spec, and let the operator's process end after its first write of a kind."""

    def kill(what: str) -> None:
        if what == at:
            raise simulated.Killed

    simulation.cluster.after_write = kill
    with contextlib.suppress(simulated.Killed):
        await _change(simulation, *versions, **fields)
    return simulation


async def killed_while_proving() -> Any:
    """Ended in the middle of taking over version 2: the first of two pods has it under the candidate's name still."""
    fields = {"serving": {"replicas": 2}}
    return await _kill(await _served(ONE, **fields), "load clip__candidate", ONE, TWO, **fields)


async def killed_while_switching() -> Any:
    """Ended in the middle of taking over a batching edit: the first of two pods runs it, the second what is committed."""
    fields = {"serving": {"replicas": 2}}
    return await _kill(await _served(ONE, **fields), "load clip", ONE, **fields, **SLOWER)


STATES = (
    at_rest,
    two_versions,
    failed_edit,
    failed_edit_runs,
    wrong_edit_runs,
    paused,
    gpu,
    scaled_to_zero,
    unproven_commit,
    failed_version,
    killed_while_proving,
    killed_while_switching,
)


def _described(simulation: Any, texts: dict[str, str], about: str) -> Object:
    """Give the whole world as JSON."""
    uploads = {
        claim: {
            version: {"sha256": u.sha256, "vectors": u.vectors, "isRefused": u.is_refused, "isWrong": u.is_wrong}
            for version, u in volume.items()
        }
        for claim, volume in simulation.kubelet.volumes.items()
    }
    claims = {id(volume): claim for claim, volume in simulation.kubelet.volumes.items()}
    servers = {
        address: {
            "pod": s.pod,
            "controlKey": s.control_key,
            "claim": claims[id(s.volume)],
            "configs": s.configs,
            "proven": sorted(s.proven),
        }
        for address, s in simulation.triton.servers.items()
    }
    applied = [
        {"identity": identity, "part": part, "fields": _without_equals(fields, simulation.cluster.objects[identity])}
        for (identity, part), fields in simulation.cluster.applied.items()
    ]
    state = {
        "about": about,
        "seconds": simulation.clock.seconds,
        "number": simulation.cluster.next_number(),
        "objects": list(simulation.cluster.objects.values()),
        "applied": applied,
        "volumes": uploads,
        "servers": servers,
    }
    plain: Object = json.loads(json.dumps(state))
    names = {text: name for name, text in texts.items()}
    return dict(_with_names(plain, names))


def _without_equals(applied: Any, live: Any) -> Any:
    """Put "=" where what was applied is what is there."""
    if applied == live:
        return "="
    if isinstance(applied, dict) and isinstance(live, dict):
        return {k: _without_equals(v, live.get(k)) for k, v in applied.items()}
    return applied


def _with_names(value: Any, names: Mapping[str, str]) -> Any:
    """Put file names where their texts stand."""
    if isinstance(value, dict):
        return {k: _with_names(v, names) for k, v in value.items()}
    if isinstance(value, list):
        return [_with_names(v, names) for v in value]
    return f"@{names[value]}" if isinstance(value, str) and value in names else value


def _golden(root: Path) -> Object:
    """Give each golden input of the release with what its pods restart or reload for."""
    found: Object = {}
    for path in sorted((root / "tests/golden").glob("*/input.yaml")):
        text, chosen = path.read_text("utf-8"), path.parent.name.removeprefix("auto-")
        profile = chosen if chosen in {"cpu", "gpu"} and path.parent.name != chosen else None
        choice = type(offline.load_clip_model(text).spec.profile)(profile) if profile else None
        documents = yaml.safe_load_all(offline.render_offline(text, settings.RenderSettings(), profile=choice))
        objects = {d["kind"]: d for d in documents}
        pbtxts = {k: v for k, v in objects["ConfigMap"]["data"].items() if k.endswith(".pbtxt")}
        found[path.parent.name] = {
            "input": text,
            "profile": profile,
            "template": canonical.content_hash(objects["Deployment"]["spec"]["template"]),
            "configs": {name: _config_id(text) for name, text in sorted(pbtxts.items())},
        }
    return found


def _config_id(pbtxt: str) -> str:
    return pbtxt.split('"clipmodel.dev/config-id"')[1].split('string_value: "')[1].split('"', maxsplit=1)[0]


async def main(root: Path, folder: Path, *, is_alike: bool) -> None:
    """Record every state."""
    texts: dict[str, str] = {}
    annotations: Object = {}
    for make in STATES:
        simulation = await make()
        config_map = next(o for o in simulation.cluster.objects.values() if o["kind"] == "ConfigMap")
        texts["probe.py.txt"] = config_map["data"]["probe.py"]
        name, about = make.__name__.replace("_", "-"), (make.__doc__ or "").strip()
        annotations[name] = config_map["metadata"]["annotations"]
        if not is_alike:
            _write(folder / f"{name}.json", _described(simulation, texts, about))
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")
    if is_alike:
        _write(folder / "config-map.json", annotations)
    else:
        _write(folder / "golden.json", _golden(root))


def _write(path: Path, value: Object) -> None:
    path.write_text(json.dumps(value, separators=(",", ":"), sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    release, recordings = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    if not all(Path(inspect.getfile(module)).is_relative_to(release) for module in (simulated, offline)):
        sys.exit("PYTHONPATH must lead to the release: see the head of this file")
    recordings.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(release, recordings, is_alike="--alike" in sys.argv))
