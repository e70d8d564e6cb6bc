"""Must the Secret of the control key be made? It is not watched, for that would need the permission to read Secrets: its absence shows in what needs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipmodel_contract.control import CONTROL_KEY_VARIABLE
from clipmodel_operator.models.observed import Observed

Manifest = dict[str, Any]


def must_make_secret(secret: Manifest, observed: Observed) -> bool:
    """Tell whether the Secret may be missing, or is another one than the Deployment names: then the operator's root key is another one."""
    if observed.deployment is None:
        return True
    is_named = secret_in_use(observed.deployment) == secret["metadata"]["name"]
    return not is_named or any(map(_waits_for_secret, observed.server_pods))


def secret_in_use(deployment: Mapping[str, Any] | None) -> str | None:
    """Name the Secret that the Deployment's pods read the control key from; None where there is no such Deployment."""
    template = ((deployment or {}).get("spec") or {}).get("template") or {}
    for container in (template.get("spec") or {}).get("containers") or ():
        for variable in container.get("env") or ():
            reference = (variable.get("valueFrom") or {}).get("secretKeyRef") or {}
            if variable.get("name") == CONTROL_KEY_VARIABLE and reference.get("name"):
                return str(reference["name"])
    return None


def _waits_for_secret(pod: Mapping[str, Any]) -> bool:
    containers = (pod.get("status") or {}).get("containerStatuses") or ()
    return any(
        (c.get("state", {}).get("waiting") or {}).get("reason") == "CreateContainerConfigError" for c in containers
    )
