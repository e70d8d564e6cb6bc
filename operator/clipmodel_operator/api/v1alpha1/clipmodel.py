"""A ClipModel as the rooms hand it around: parsed, frozen, with what follows from the spec alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pydantic

from clipmodel_contract.tensors import Tensors
from clipmodel_operator.api.v1alpha1.spec import ClipModelSpec, model_name
from clipmodel_operator.api.v1alpha1.status import ClipModelStatus
from clipmodel_operator.models import names, reasons
from clipmodel_operator.models.errors import StalledError
from clipmodel_operator.models.names import Key


@dataclass(frozen=True, slots=True)
class ClipModel:
    """One resource, as of one generation."""

    key: Key
    uid: str
    generation: int
    spec: ClipModelSpec
    status: ClipModelStatus
    tensors: Tensors = Tensors()  # noqa: RUF009 - it is frozen

    @property
    def model_name(self) -> str:
        return model_name(self.spec, name=self.key.name)

    @property
    def owner_reference(self) -> dict[str, Any]:
        return {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "name": self.key.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }


def parse_status(obj: Mapping[str, Any]) -> ClipModelStatus:
    """Read the status; one that cannot be read (another release's) counts as none, for all of it is derived anew."""
    try:
        return ClipModelStatus.model_validate(obj.get("status") or {})
    except pydantic.ValidationError:
        return ClipModelStatus()


def _check_across_fields(spec: ClipModelSpec) -> None:
    """Refuse what the CRD's rules refuse: an older CRD may lack them."""
    chosen = spec.version_policy.specific.versions if spec.version_policy.specific else ()
    missing = sorted(set(chosen) - {v.version for v in spec.versions})
    if missing:
        message = f"spec.versionPolicy.specific.versions: version {missing[0]} is not in spec.versions. Add it there, or leave it out here."
        raise StalledError(reasons.INVALID_SPEC, message)
    too_large = [s for s in spec.batching.preferred_batch_sizes or () if s > spec.batching.max_batch_size]
    if too_large:
        message = f"spec.batching.preferredBatchSizes: {too_large[0]} exceeds maxBatchSize, {spec.batching.max_batch_size}. Correct either."
        raise StalledError(reasons.INVALID_SPEC, message)


def parse_clip_model(obj: Mapping[str, Any], *, status: ClipModelStatus | None = None) -> ClipModel:
    """Read a ClipModel from the API server's JSON. Raises StalledError with every field that is wrong.

    The CRD refuses such a spec at admission; an older CRD, or one that was edited, may not. `status`: what was read of it already.
    """
    metadata = obj["metadata"]
    try:
        spec = ClipModelSpec.model_validate(obj.get("spec") or {})
    except pydantic.ValidationError as error:
        wrong = "; ".join(f"spec.{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
        raise StalledError(reasons.INVALID_SPEC, f"{wrong}. Correct the spec, and update the CRD.") from error
    _check_across_fields(spec)
    return ClipModel(
        key=Key(metadata["namespace"], metadata["name"]),
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        spec=spec,
        status=parse_status(obj) if status is None else status,
    )
