"""Names, labels and annotations of everything we make. One place, so that selectors and owners can never disagree."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from typing_extensions import override

GROUP = "clipmodel.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "ClipModel"
PLURAL = "clipmodels"

FIELD_MANAGER = "clipmodel-operator"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_MODEL = f"{GROUP}/model"
LABEL_COMPONENT = "app.kubernetes.io/component"
ANNOTATION_HASH = f"{GROUP}/rendered-hash"
#: On Triton pods: the profile whose config they read at start.
ANNOTATION_PROFILE = f"{GROUP}/profile"
#: On pods: which template they are of, for their Deployment's own counts are of a moment ago.
ANNOTATION_TEMPLATE = f"{GROUP}/template-hash"
#: On a ClipModel, by its users, and only read: any new value has what failed tried again at once.
ANNOTATION_RETRY = f"{GROUP}/retry"
MANAGED_SELECTOR = f"{LABEL_MANAGED_BY}={FIELD_MANAGER}"

COMPONENT_SERVER = "server"
COMPONENT_SYNC = "sync"
COMPONENT_STORAGE = "storage"
#: The container of a server pod that is Triton; a mesh may add others.
SERVER_CONTAINER = "triton"


class Key(NamedTuple):
    """Which ClipModel: what the work queue holds and the cache is indexed by."""

    namespace: str
    name: str

    @override
    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def claim_name(name: str) -> str:
    return f"{name}-models"


#: The second of the two ConfigMaps that a pod template can name; the first one has no suffix.
SLOT_B = "b"


def config_map_name(name: str, *, slot: str = "") -> str:
    return f"{name}-config-{slot}" if slot else f"{name}-config"


def rollout_map_name(name: str) -> str:
    return f"{name}-rollout"


def secret_name(name: str, key: str) -> str:
    """Name the Secret after its content: another key is another Secret, and pods follow by a rolling update."""
    return f"{name}-control-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def job_name(name: str, *, version: int, work_hash: str) -> str:
    # Job names become label values (63): 50 of the model, and a version of at most 3 digits fits whole; longer ones are in the hash.
    return f"{name[:44]}-sync-v{version}"[:54] + f"-{work_hash[:8]}"


def labels(name: str, component: str) -> dict[str, str]:
    """Labels of a child. The parent's own labels are never copied: Argo CD's instance label on a child would make it prune that child."""
    return {
        "app.kubernetes.io/name": "clipmodel",
        "app.kubernetes.io/instance": name,
        LABEL_MANAGED_BY: FIELD_MANAGER,
        LABEL_COMPONENT: component,
        LABEL_MODEL: name,
    }


def selector_labels(name: str) -> dict[str, str]:
    """Labels that choose the serving pods. A Deployment's selector is immutable: these never change."""
    return {LABEL_MODEL: name, LABEL_COMPONENT: COMPONENT_SERVER}
