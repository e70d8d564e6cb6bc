"""The key that opens Triton's model control, repository and shared-memory endpoints: for the operator alone.

Derived from the operator's root key, so that it can be rendered again and is never read back: the operator needs no right to read Secrets.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.models import names

SECRET_KEY = "key"  # noqa: S105 - the name of the entry


def derive_control_key(root_key: bytes, *, uid: str) -> str:
    return hmac.new(root_key, f"triton-control/{uid}".encode(), hashlib.sha256).hexdigest()


def render_control_secret(model: ClipModel, control_key: str) -> dict[str, Any]:
    """Render the Secret. Immutable: another key has another name."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": names.secret_name(model.key.name, control_key),
            "labels": names.labels(model.key.name, names.COMPONENT_SERVER),
            "ownerReferences": [model.owner_reference],
        },
        "type": "Opaque",
        "immutable": True,
        "stringData": {SECRET_KEY: control_key},
    }
