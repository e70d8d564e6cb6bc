"""Make the cluster agree with what is desired: apply what differs, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.assessment.drift import holds
from clipmodel_operator.models import reasons
from clipmodel_operator.models.errors import DeniedError, RejectedError, RetryError, StalledError
from clipmodel_operator.models.names import Key
from clipmodel_operator.models.ownership import is_foreign
from clipmodel_operator.models.resources import BY_KIND, CONFIG_MAPS, DEPLOYMENTS, JOBS, SECRETS, Resource
from clipmodel_operator.planning.objects import Desired, Manifest
from clipmodel_operator.rendering.canonical import with_hash
from clipmodel_operator.runtime.cache import ObjectCache


class ObjectStore(Protocol):
    """The part of the Kubernetes API that changes objects."""

    async def apply_object(self, resource: Resource, namespace: str, manifest: Mapping[str, Any]) -> dict[str, Any]: ...
    async def apply_new_object(
        self, resource: Resource, namespace: str, manifest: Mapping[str, Any]
    ) -> dict[str, Any] | None: ...
    async def create_object(
        self, resource: Resource, namespace: str, manifest: Mapping[str, Any]
    ) -> dict[str, Any] | None: ...
    async def get_object(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None: ...
    async def list_objects(
        self, resource: Resource, *, namespace: str | None = None, label_selector: str = ""
    ) -> list[dict[str, Any]]: ...
    async def delete_object(self, resource: Resource, namespace: str, name: str, *, uid: str) -> None: ...


async def apply_desired(
    store: ObjectStore, cache: ObjectCache, model: ClipModel, desired: Desired
) -> dict[str, Any] | None:
    """Apply what differs. Gives the Deployment as the API server has it now, where it was written.

    Raises StalledError where the API server refuses an object of ours, RetryError where it does not answer.
    """
    key, deployment = model.key, None
    # After a refusal a pass looks first: repeated, it sends nothing that is refused again.
    is_wary = any((c.type, c.reason) == (reasons.STALLED, reasons.OBJECT_REJECTED) for c in model.status.conditions)
    for manifest in map(with_hash, desired.applied):
        resource = BY_KIND[manifest["kind"]]
        current = cache.get(resource.kind, key.namespace, manifest["metadata"]["name"])
        if current is None and is_wary:
            live = await store.get_object(resource, key.namespace, manifest["metadata"]["name"])
            _refuse_foreign(live, model, manifest)
        if manifest["kind"] == DEPLOYMENTS.kind:
            # Only now, when nothing before it was refused: a pass that stalls writes nothing when it is repeated.
            await _create_secret(store, key, desired)
        if current is None or not holds(current, manifest):
            apply = (
                store.apply_object(resource, key.namespace, _of_the_state_seen(resource, manifest, current))
                if current
                else _apply_unknown(store, resource, model, manifest)
            )
            written = await _guard(apply, manifest)
            cache.put(resource.kind, written)
            deployment = written if manifest["kind"] == DEPLOYMENTS.kind else deployment
    for job in desired.jobs:
        created = await _guard(store.create_object(JOBS, key.namespace, job), job)
        if created is not None:
            cache.put(JOBS.kind, created)
    return deployment


def _of_the_state_seen(resource: Resource, manifest: Manifest, current: Mapping[str, Any]) -> Manifest:
    """Have a commit name the state that it was decided on: where there is a newer one, it is refused, and decided anew."""
    if resource is not CONFIG_MAPS:
        return manifest
    return {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": current["metadata"]["resourceVersion"]}}


async def _create_secret(store: ObjectStore, key: Key, desired: Desired) -> None:
    secret = desired.secret
    if secret is not None:
        await _guard(store.create_object(SECRETS, key.namespace, secret), secret)


async def _apply_unknown(
    store: ObjectStore, resource: Resource, model: ClipModel, manifest: Manifest
) -> dict[str, Any]:
    """Make an object that the cache does not know. That is not the same as not there: only objects with our label are watched.

    So it is made only where there is none; one that is there is read, refused if it is not ours, and applied as the very one that was read.
    """
    namespace, name = model.key.namespace, manifest["metadata"]["name"]
    try:
        made = await store.apply_new_object(resource, namespace, manifest)
    except RejectedError:
        # Of the object, or of an apply that names a resourceVersion for one that is not there: nobody documents that. Without it the answer is plain.
        if await store.get_object(resource, namespace, name) is not None:
            raise
        return await store.apply_object(resource, namespace, manifest)
    if made is not None:
        return made
    live = await store.get_object(resource, namespace, name)
    if live is None:
        raise RetryError(f"{manifest['kind']} {name} was there and is gone: trying again")
    _refuse_foreign(live, model, manifest)
    metadata = {**manifest["metadata"], "uid": live["metadata"]["uid"]}
    return await store.apply_object(resource, namespace, {**manifest, "metadata": metadata})


def _refuse_foreign(live: Mapping[str, Any] | None, model: ClipModel, manifest: Manifest) -> None:
    """Leave alone what has our name but is not ours: taking over somebody's Service or volume would be an outage of theirs."""
    if live is not None and is_foreign(manifest["kind"], live, key=model.key, uid=model.uid):
        what = f"{manifest['kind']} {live['metadata']['name']}"
        raise StalledError(
            reasons.OBJECT_REJECTED,
            f"{what} is there already and is not this ClipModel's: delete or rename it, or choose another metadata.name.",
            look_again=True,  # what has no label of ours is not watched: its end would be heard of by nobody
        )


async def _guard(request: Any, manifest: Manifest) -> Any:
    try:
        return await request
    except RejectedError as error:
        name = f"{manifest['kind']} {manifest['metadata']['name']}"
        is_denied = isinstance(error, DeniedError)
        advice = (
            "Correct what it names, in the spec or in the cluster's own rules."
            if is_denied
            else "Correct the field of the spec that it names."
        )
        message = f"The API server refuses {name}: {str(error).rstrip('.')}. {advice}"
        raise StalledError(reasons.OBJECT_REJECTED, message, look_again=is_denied) from error
