"""Before a slot's files are written for new pods: does any pod read them still? Asked of the API server itself, for the cache may be behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.assessment.pods import may_read, slot_of
from clipmodel_operator.models import names
from clipmodel_operator.models.attempt import Phase, RolloutRecord
from clipmodel_operator.models.errors import RetryError
from clipmodel_operator.models.resources import DEPLOYMENTS, PODS
from clipmodel_operator.planning.situation import RolloutPlan
from clipmodel_operator.reconcile.apply import ObjectStore


async def check_slot(store: ObjectStore, model: ClipModel, *, before: RolloutRecord, rollout: RolloutPlan) -> None:
    """Look whether a replacement that begins now may write its slot. Raises RetryError where a pod reads it, or could be made that does."""
    is_begun = before.attempt is not None and before.attempt.phase is Phase.REPLACING
    if rollout.phase is not Phase.REPLACING or is_begun:
        return
    selector = f"{names.LABEL_MODEL}={model.key.name}"
    for pod in await store.list_objects(PODS, namespace=model.key.namespace, label_selector=selector):
        is_server = pod["metadata"]["labels"].get(names.LABEL_COMPONENT) == names.COMPONENT_SERVER
        if is_server and may_read(pod) and slot_of(pod) == rollout.slot:
            raise RetryError(f"pod {pod['metadata']['name']} still reads the files that new pods are to start with")
    deployment = await store.get_object(DEPLOYMENTS, model.key.namespace, model.key.name)
    if deployment is not None and not _is_complete(deployment):
        raise RetryError("an earlier rolling update has not ended")


def _is_complete(deployment: Mapping[str, Any]) -> bool:
    """Tell whether no ReplicaSet of an earlier template has pods, or may make some."""
    status, wanted = deployment.get("status") or {}, int(deployment["spec"].get("replicas", 1))
    has_heard = int(status.get("observedGeneration", 0)) >= int(deployment["metadata"].get("generation", 0))
    updated, present = int(status.get("updatedReplicas", 0)), int(status.get("replicas", 0))
    # A quota may leave fewer than are wanted; then the condition says that the roll itself has ended.
    conditions = {c["type"]: c.get("reason") for c in status.get("conditions") or ()}
    has_ended = present == wanted or conditions.get("Progressing") == "NewReplicaSetAvailable"
    return has_heard and updated == present and has_ended
