"""Of which pod template is a pod, and are there pods of an earlier one?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clipmodel_operator.assessment.pods import is_ending
from clipmodel_operator.models import names

Object = Mapping[str, Any]


def is_of_template(pod: Object, template: Object) -> bool:
    """Tell whether a pod was made of a template: it has all its annotations then, those that `kubectl rollout restart` adds included."""
    wanted = (template.get("metadata") or {}).get("annotations") or {}
    found = pod["metadata"].get("annotations") or {}
    return all(found.get(key) == value for key, value in wanted.items())


def template_of(deployment: Object | None) -> Object:
    """Give a Deployment's pod template; an empty one where there is no Deployment."""
    template: Object = ((deployment or {}).get("spec") or {}).get("template") or {}
    return template


def is_rolling(deployment: Object | None, pods: Sequence[Object] = ()) -> bool:
    """Tell whether there are pods of an earlier template.

    The Deployment counts them, but learns of its new template a moment after it was written; in that moment the pods tell. (Its counts leave out what is 0.)
    """
    status = (deployment or {}).get("status") or {}
    if int(status.get("updatedReplicas", 0)) < int(status.get("replicas", 0)):
        return True
    template = template_of(deployment)
    is_ours = names.ANNOTATION_TEMPLATE in ((template.get("metadata") or {}).get("annotations") or {})
    return is_ours and any(not is_of_template(p, template) for p in pods if not is_ending(p))
