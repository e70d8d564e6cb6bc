"""Read the live objects of a ClipModel, compare them with what the operator would make of a file, and print it: what `clipmodel diff` does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel, parse_clip_model
from clipmodel_operator.api.v1alpha1.spec import Profile
from clipmodel_operator.clients.reader import ReadForbiddenError
from clipmodel_operator.inspection.codes import DiffCode
from clipmodel_operator.inspection.consequences import Consequence, changes_config, list_consequences
from clipmodel_operator.inspection.difference import ObjectDiff, compare
from clipmodel_operator.inspection.gather import Reads
from clipmodel_operator.inspection.revisions import Revisions, assess_revisions
from clipmodel_operator.models import names
from clipmodel_operator.models.errors import ClipModelError, StalledError
from clipmodel_operator.models.observed import Observed
from clipmodel_operator.models.ownership import is_foreign
from clipmodel_operator.models.resources import (
    BY_KIND,
    CLAIMS,
    CLIP_MODELS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    JOBS,
    PODS,
    SERVICES,
)
from clipmodel_operator.offline import read_object
from clipmodel_operator.planning.control_secret import secret_in_use
from clipmodel_operator.planning.expected import Expected, plan_expected
from clipmodel_operator.planning.profile import known_profile, with_profile
from clipmodel_operator.rendering.canonical import with_hash
from clipmodel_operator.rendering.settings import RenderSettings

Object = Mapping[str, Any]
_OPERATOR = "clipmodel-operator"
_NEW_UID = "(given by the cluster)"


@dataclass(frozen=True, slots=True)
class Images:
    """The operator's images, as far as the user says."""

    triton: str | None
    sync: str | None


@dataclass(frozen=True, slots=True)
class Live:
    """What is in the cluster."""

    clip: Object | None
    observed: Observed


async def _read_live(reads: Reads, namespace: str, name: str) -> Live:
    selector = f"{names.LABEL_MODEL}={name},{names.MANAGED_SELECTOR}"
    clip, claim, config_map, deployment, service = await asyncio.gather(
        reads.get(CLIP_MODELS, namespace, name),
        reads.get(CLAIMS, namespace, names.claim_name(name)),
        reads.get(CONFIG_MAPS, namespace, names.config_map_name(name)),
        reads.get(DEPLOYMENTS, namespace, name),
        reads.get(SERVICES, namespace, name),
    )
    jobs, pods = await asyncio.gather(
        reads.list(JOBS, namespace, labels=selector), reads.list(PODS, namespace, labels=selector)
    )

    children = Observed(claim=claim, config_map=config_map, deployment=deployment, service=service, jobs=tuple(jobs))
    return Live(clip, children.with_pods(pods))


def _model(obj: Object, live: Live, *, namespace: str, notes: list[str]) -> ClipModel:
    """Read the file's ClipModel as if it were applied. `kubectl scale` is not undone by a file that names no replicas."""
    clip, spec = live.clip, dict(obj.get("spec") or {})
    metadata = {**obj["metadata"], "namespace": namespace, "generation": 1, "uid": _NEW_UID}
    if clip is None:
        notes.append(f"ClipModel {namespace}/{obj['metadata']['name']} is not in the cluster: all of it would be made.")
        return parse_clip_model({**obj, "metadata": metadata, "spec": spec})
    metadata |= {k: clip["metadata"][k] for k in ("uid", "generation") if k in clip["metadata"]}
    scaled = ((clip.get("spec") or {}).get("serving") or {}).get("replicas")
    if scaled is not None and "replicas" not in (spec.get("serving") or {}):
        spec["serving"] = {**(spec.get("serving") or {}), "replicas": scaled}
    return parse_clip_model({**obj, "metadata": metadata, "spec": spec, "status": clip.get("status") or {}})


def _decided(model: ClipModel, live: Live, profile: str | None) -> ClipModel:
    """Put a profile in place of `auto`: the one that runs, or the one that the user supposes."""
    known = known_profile(model, live.observed) or (Profile(profile) if profile else None)
    if known is None:
        raise ClipModelError(
            "profile auto is decided in the cluster when it first runs: say --profile cpu or --profile gpu"
        )
    return with_profile(model, known)


def _present(live: Live, profile: Profile) -> ClipModel | None:
    """Read the ClipModel that is in the cluster; None where there is none, or it cannot be read."""
    if live.clip is None:
        return None
    try:
        present = parse_clip_model(live.clip)
    except StalledError:
        return None
    return with_profile(present, known_profile(present, live.observed) or profile)


def _image_of(workload: Object | None) -> str | None:
    if workload is None:
        return None
    containers: Sequence[Object] = workload["spec"]["template"]["spec"].get("containers") or ({},)
    image = containers[0].get("image")
    return str(image) if image else None


def _pre_stop_of(deployment: Object | None) -> int | None:
    """Give the seconds that the pods that run still serve for; None where there is nothing that says so."""
    found: Any = deployment
    for step in ("spec", "template", "spec", "containers", 0, "lifecycle", "preStop", "sleep", "seconds"):
        try:
            found = found[step]
        except (KeyError, IndexError, TypeError):
            return None
    return int(found)


async def _settings(
    reads: Reads, given: Images, live: Live, *, operator_namespace: str, notes: list[str]
) -> RenderSettings:
    """Find out the operator's settings: as the user says, as its Deployment says, as what it made last says; else this release's."""
    try:
        operator = await reads.get(DEPLOYMENTS, operator_namespace, _OPERATOR)
    except ReadForbiddenError:
        operator = None
    containers: list[Any] = operator["spec"]["template"]["spec"]["containers"] if operator else []
    env = {v["name"]: v.get("value") for c in containers for v in c.get("env") or ()}
    triton = given.triton or env.get("CLIPMODEL_TRITON_IMAGE")
    sync = given.sync or env.get("CLIPMODEL_SYNC_IMAGE")
    has_own_image = bool((((live.clip or {}).get("spec") or {}).get("serving") or {}).get("image"))
    if triton is None and not has_own_image:
        triton = _image_of(live.observed.deployment)
    newest = max(live.observed.jobs, key=lambda j: str(j["metadata"].get("creationTimestamp")), default=None)
    sync = sync or _image_of(newest)
    default = RenderSettings()
    if triton is None or sync is None:
        notes.append(
            f"The operator's images are not known (no Deployment {operator_namespace}/{_OPERATOR} that you may read); "
            "this release's defaults are shown. Say them with --triton-image and --sync-image."
        )
    pre_stop_s = None if operator else _pre_stop_of(live.observed.deployment)
    return RenderSettings(
        triton_image=triton or default.triton_image,
        sync_image=sync or default.sync_image,
        pre_stop_s=pre_stop_s or int(env.get("CLIPMODEL_PRE_STOP_SECONDS") or default.pre_stop_s),
    )


async def show_diff(
    reads: Reads,
    text: str,
    console: Console,
    *,
    namespace: str | None,
    context_namespace: str,
    images: Images,
    profile: str | None,
    operator_namespace: str,
) -> DiffCode:
    """Compare, print, and give the exit code. Raises ClipModelError where it cannot be compared."""
    obj = read_object(text)
    name, notes = obj["metadata"]["name"], list[str]()
    where = namespace or obj["metadata"].get("namespace") or context_namespace
    live = await _read_live(reads, where, name)
    model = _model(obj, live, namespace=where, notes=notes)
    model = _decided(model, live, profile)
    settings = await _settings(reads, images, live, operator_namespace=operator_namespace, notes=notes)
    observed = live.observed
    if model.spec.storage.existing_claim is not None:
        observed = replace(observed, claim=await reads.get(CLAIMS, where, model.spec.storage.existing_claim))
    # What is not known before it is made: the control key's Secret is named after the key.
    secret = secret_in_use(observed.deployment) or names.secret_name(name, "")
    now = datetime.now(UTC)
    expected = plan_expected(model, observed, settings, secret_name=secret, now=now)
    objects = [with_hash(o) for o in expected.objects]
    present = await asyncio.gather(*(reads.get(BY_KIND[o["kind"]], where, o["metadata"]["name"]) for o in objects))
    for found in present:
        if found is not None and is_foreign(found["kind"], found, key=model.key, uid=model.uid):
            what = f"{found['kind']} {found['metadata']['name']}"
            notes.append(f"{what} is there and is not this ClipModel's: the operator would refuse (ObjectRejected).")
    diffs = [compare(found, wanted, unproven=expected.unproven) for found, wanted in zip(present, objects, strict=True)]
    diffs += [compare(None, job) for job in expected.jobs]
    revisions, in_cluster = None, _present(live, model.spec.profile)
    if in_cluster is not None:
        wanted = plan_expected(in_cluster, observed, settings, secret_name=secret, now=now)
        is_config_new = changes_config(diffs)
        revisions = assess_revisions(model, expected, present=in_cluster, wanted=wanted, is_config_new=is_config_new)
    return print_diff(console, diffs, expected, live, model=model, revisions=revisions, notes=notes)


def print_diff(
    console: Console,
    diffs: Sequence[ObjectDiff],
    expected: Expected,
    live: Live,
    *,
    model: ClipModel,
    revisions: Revisions | None,
    notes: Sequence[str],
) -> DiffCode:
    """Print every object's difference, then what follows from them."""
    changed = [d for d in diffs if d.lines]
    for diff in changed:
        for line in diff.lines:
            console.print(Text(line, style=_line_style(line)), soft_wrap=True)
    is_same = not changed and not expected.removed_jobs
    if is_same:
        console.print(f"No difference: {model.key} is as the operator would make it.", style="green")
    consequences = list_consequences(
        changed,
        expected,
        pods=live.observed.server_pods,
        replicas=model.spec.serving.replicas,
        revisions=revisions,
    )
    if consequences:
        console.print(Text("\nWhat the operator would do", style="bold"))
        for consequence in consequences:
            console.print(_bullet(consequence), soft_wrap=True)
    for note in notes:
        console.print(Text(f"! {note}", style="yellow"), soft_wrap=True)
    return DiffCode.SAME if is_same else DiffCode.DIFFERENT


def _line_style(line: str) -> str:
    if line.startswith(("---", "+++")):
        return "bold"
    return {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")


def _bullet(consequence: Consequence) -> Text:
    style = {"restart": "bold yellow", "refused": "bold red"}.get(consequence.kind, "bold")
    return Text.assemble("  ", (f"{consequence.kind:<8}", style), " ", consequence.message)
