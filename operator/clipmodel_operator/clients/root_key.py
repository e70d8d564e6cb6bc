"""The operator's root key: one Secret in its own namespace, made at the first start. Every model's control key is derived from it."""

from __future__ import annotations

import base64
import secrets

from clipmodel_operator.clients.cluster import Cluster
from clipmodel_operator.models.errors import RetryError
from clipmodel_operator.models.resources import SECRETS

SECRET_NAME = "clipmodel-operator-root-key"  # noqa: S105 - the object's name
_ENTRY = "key"


async def ensure_root_key(cluster: Cluster, namespace: str) -> bytes:
    """Read the root key, and make it where there is none. Raises RetryError where it can neither be read nor made."""
    for _ in range(2):  # another replica may make it between the read and the create: then its key counts
        found = await cluster.get_object(SECRETS, namespace, SECRET_NAME)
        if found is not None:
            return base64.b64decode(found["data"][_ENTRY])
        manifest = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET_NAME, "labels": {"app.kubernetes.io/name": "clipmodel-operator"}},
            "type": "Opaque",
            "immutable": True,
            "data": {_ENTRY: base64.b64encode(secrets.token_bytes(32)).decode()},
        }
        await cluster.create_object(SECRETS, namespace, manifest)
    raise RetryError(f"Secret {namespace}/{SECRET_NAME} cannot be read after it was made")
