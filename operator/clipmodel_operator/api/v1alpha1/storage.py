"""The part of the API that is about the volume: one that is made, or a claim that is there already."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from clipmodel_operator.api.v1alpha1.schema import Api, ObjectName, Rule, immutable, rules
from clipmodel_operator.models.quantity import QUANTITY_PATTERN

_DEFAULT_SIZE = "5Gi"
_DELETE_AND_CREATE = "delete the ClipModel and create it again"


class ReclaimPolicy(StrEnum):
    """What becomes of the volume when the ClipModel is deleted."""

    RETAIN = "Retain"
    DELETE = "Delete"


class AccessMode(StrEnum):
    """Where the volume can be mounted. Jobs write what pods read at the same time, so the other modes cannot work."""

    READ_WRITE_ONCE = "ReadWriteOnce"
    READ_WRITE_MANY = "ReadWriteMany"


class Storage(Api):
    """The PersistentVolumeClaim that holds the versions."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            immutable("storage", "storageClassName", f"{_DELETE_AND_CREATE} on the other class"),
            immutable("storage", "accessModes", f"{_DELETE_AND_CREATE} with the other modes"),
            immutable("storage", "existingClaim", f"{_DELETE_AND_CREATE} on the other volume"),
            Rule(
                f"!has(self.existingClaim) || (self.size == '{_DEFAULT_SIZE}' && !has(self.storageClassName)"
                " && !has(self.accessModes) && self.reclaimPolicy == 'Retain')",
                "storage.existingClaim excludes size, storageClassName, accessModes and reclaimPolicy Delete: that claim is yours, and stays as it is",
                field=".existingClaim",
            ),
        )
    )

    size: Annotated[
        str,
        Field(
            pattern=QUANTITY_PATTERN,
            max_length=32,
            json_schema_extra=rules(
                Rule(
                    "quantity(self).compareTo(quantity(oldSelf)) >= 0",
                    "storage.size can only grow: Kubernetes cannot shrink a volume",
                    given="'storage.size can only grow, and is ' + oldSelf + ': Kubernetes cannot shrink a volume'",
                ),
                Rule(
                    "quantity(self).compareTo(quantity('1Mi')) >= 0",
                    "storage.size is at least 1Mi: write it with Mi, Gi or Ti",
                    given="'storage.size is at least 1Mi, not ' + self + ': write it with Mi, Gi or Ti'",
                ),
            ),
        ),
    ] = _DEFAULT_SIZE
    """Size of the volume. A version of ViT-B-32 takes 352 MB. It can only grow, and only where the StorageClass allows expansion."""

    storage_class_name: ObjectName | None = None
    """StorageClass of the volume; the cluster's default where it is not set. Immutable."""

    access_modes: Annotated[
        list[AccessMode] | None,
        Field(min_length=1, max_length=2, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = None
    """ReadWriteOnce (where it is not set): all pods run on one node. ReadWriteMany: on any, where the StorageClass can do that. Immutable."""

    existing_claim: ObjectName | None = None
    """Name of a PersistentVolumeClaim of this namespace that holds the versions, in place of one that is made. It is never changed, resized or deleted.
    uid 1000 must be able to write to it, and no other ClipModel may use it. Immutable."""

    reclaim_policy: ReclaimPolicy = ReclaimPolicy.RETAIN
    """Whether the volume stays (Retain) or goes (Delete) when the ClipModel is deleted. A ClipModel of the same name finds a retained volume again."""

    @property
    def is_on_one_node(self) -> bool:
        """Whether all pods that mount the volume must be on one node. Of an existing claim the spec does not tell: one node is always right."""
        return AccessMode.READ_WRITE_MANY not in (self.access_modes or ())

    @property
    def keeps_pods_together(self) -> bool:
        """Whether the pods have an affinity to each other: on a volume of ours that one node can mount."""
        # Where an existing claim can be mounted is not in the spec, and the pod template must follow from the spec alone: pods restart when it changes.
        return self.existing_claim is None and self.is_on_one_node
