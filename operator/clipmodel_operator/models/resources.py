"""The kinds that we watch and write: how the API server, kopf and the cache each call them."""

from __future__ import annotations

from dataclasses import dataclass

from clipmodel_operator.models import names


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind, as REST paths and manifests have it."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Give the REST path of the collection, of one object, or of its subresource."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        parts += ["namespaces", namespace] if namespace else []
        parts += [self.plural, *([name] if name else []), *([subresource] if subresource else [])]
        return "/" + "/".join(parts)


CLIP_MODELS = Resource(names.GROUP, names.VERSION, names.PLURAL, names.KIND)
CLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
SERVICES = Resource("", "v1", "services", "Service")
SECRETS = Resource("", "v1", "secrets", "Secret")
PODS = Resource("", "v1", "pods", "Pod")
NODES = Resource("", "v1", "nodes", "Node")
EVENTS = Resource("", "v1", "events", "Event")
JOBS = Resource("batch", "v1", "jobs", "Job")
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")

#: What the operator watches besides ClipModels, by our label. Secrets are not among them: they are made, never read.
CHILDREN = (CLAIMS, CONFIG_MAPS, SERVICES, JOBS, DEPLOYMENTS, PODS)
BY_KIND = {r.kind: r for r in (CLIP_MODELS, *CHILDREN, SECRETS, EVENTS)}
