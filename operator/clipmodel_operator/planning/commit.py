"""What is committed after this pass, and which pods do not run what they should."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clipmodel_contract.report import Failure
from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.api.v1alpha1.spec import SERVED_PROFILES
from clipmodel_operator.assessment.pods import find_trouble, is_ending, is_ready
from clipmodel_operator.models.observed import PodView
from clipmodel_operator.planning.versions import VersionsPlan
from clipmodel_operator.rendering.config_map import Committed
from clipmodel_operator.rendering.config_pbtxt import config_id, render_config


@dataclass(frozen=True, slots=True)
class CommitPlan:
    """What the ConfigMap is to say."""

    committed: Committed
    """Nothing before the first sync."""
    is_new_config: bool
    """The target is committed, with the configs of the current spec; else the configs that are committed stay."""
    pending: tuple[PodView, ...]
    """Ready pods that do not run the target."""
    returning: tuple[PodView, ...]
    """Pods that run something else than what is committed, while the target is known to fail."""


def plan_commit(
    model: ClipModel, versions: VersionsPlan, views: Sequence[PodView], *, config_failure: Failure | None
) -> CommitPlan:
    """Commit the target when every ready pod has proven it.

    While a config as a whole is known to fail (`config_failure`), and while the ClipModel is paused, what is committed stays. A failure is past
    when every ready pod runs the config and has proven it: a pod's own trouble heals with the pod, and no edit of the spec would come.
    """
    ready, target = [v for v in views if is_ready(v.pod)], versions.target.versions
    ids = config_ids(model, target, views)
    is_run = bool(ready) and all(runs(v, ids) for v in ready)
    is_still = (config_failure is not None and not is_run) or not target or model.spec.paused
    is_proven = is_run if ready else _may_skip_proof(model, versions.before, views)
    is_committable = is_proven and not is_still
    serving = target if is_committable else versions.before.versions
    committed = Committed(serving, versions.records, versions.spaces) if serving else Committed()
    behind = [v for v in ready if not runs(v, ids)]
    if target and target == versions.before.versions:
        behind += [v for v in views if not is_ready(v.pod) and _started_too_early(v, ids)]
    has_failed = config_failure is not None and not is_run and not model.spec.paused
    astray = [v for v in views if has_failed and not is_ending(v.pod) and not runs_committed(v, versions.before)]
    return CommitPlan(committed, is_committable, pending=() if is_still else tuple(behind), returning=tuple(astray))


def config_ids(model: ClipModel, versions: Sequence[int], views: Sequence[PodView]) -> dict[str, str]:
    """Give the id of the config that loads `versions` by the current spec, for each profile that pods have. Of no versions there is none."""
    profiles = {v.profile for v in views} if versions else set()
    return {
        p.value: config_id(render_config(model, versions=versions, profile=p))
        for p in SERVED_PROFILES
        if p.value in profiles
    }


def runs(view: PodView, ids: Mapping[str, str]) -> bool:
    """Tell whether a pod runs the config of one of `ids`, and has proven it."""
    loaded = view.loaded
    return loaded is not None and loaded.difference is None and loaded.config_id == ids.get(view.profile)


def runs_committed(view: PodView, committed: Committed) -> bool:
    """Tell whether a pod runs the config that is committed, whatever the spec says by now. Of a pod or a config that is not known: yes, for nothing could be done."""
    config = committed.configs.get(view.profile)
    return config is None or view.loaded is None or view.loaded.config_id == config_id(config)


def _started_too_early(view: PodView, ids: Mapping[str, str]) -> bool:
    """Tell whether a starting pod read its config before the last commit. Its probe reads the proofs of today's versions, and would wait in vain."""
    return view.loaded is not None and not is_ending(view.pod) and view.loaded.config_id != ids.get(view.profile)


def _may_skip_proof(model: ClipModel, before: Committed, views: Sequence[PodView]) -> bool:
    """Tell whether a config may be committed although no pod is ready to prove it on: its proof is then the startup probe alone.

    So it is for the first one, where no pod is wanted, and where what is committed does not start anyway. Pods that are merely on their way are
    waited for: what they start with was proven.
    """
    if not before.versions or model.spec.serving.replicas == 0:
        return True
    alive = [v for v in views if not is_ending(v.pod)]
    return bool(alive) and all(
        find_trouble(v.pod) is not None or (v.loaded is not None and v.loaded.difference is not None) for v in alive
    )
