"""The Job controller and the Deployment controller: they make pods and count them. Each step of theirs, and of the kubelet's, is taken by a test."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial

from clipmodel_contract.exit_codes import ExitCode
from clipmodel_operator.models.resources import DEPLOYMENTS, JOBS, PODS
from clipmodel_operator.rendering.canonical import content_hash
from support.fake_api_server import FakeApiServer
from support.fake_kubelet import FakeKubelet, Step, is_ending, is_ready
from support.server_side_apply import Object


@dataclass(frozen=True, slots=True)
class FakeControllers:
    """What would go on by itself in a cluster, as a list of steps: a test may take them in order, at random, or not at all."""

    cluster: FakeApiServer
    kubelet: FakeKubelet

    def steps(self) -> list[Step]:
        """List what could happen next, in a fixed order."""
        found: list[Step] = []
        for kind in (JOBS.kind, DEPLOYMENTS.kind):
            for owner in self.cluster.all(kind):
                found += self.steps_of(owner)
        for pod in self.cluster.all(PODS.kind):
            if "deletionTimestamp" in pod["metadata"]:
                found += self.kubelet.steps(pod)
        for server, model in self.kubelet.triton.leaving():
            found.append((f"{server.pod}: {model} is gone", partial(self.kubelet.triton.gone, server, model)))
        return found + self.kubelet.own_steps()

    def steps_of(self, owner: Object) -> list[Step]:
        """List what could happen next with a Job or a Deployment, and its pods."""
        return self._job_steps(owner) if owner["kind"] == JOBS.kind else self._deployment_steps(owner)

    def _job_steps(self, job: Object) -> list[Step]:
        name, status = job["metadata"]["name"], job.get("status") or {}
        if status.get("conditions"):
            return []
        pods = self._pods_of(job)
        pending = next((p for p in pods if p["status"]["phase"] == "Pending"), None)
        if pending is not None:
            claim = job["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"]
            if self.cluster.find("PersistentVolumeClaim", claim) is None:
                return []  # the pod cannot be scheduled without its claim
            return [(f"{name}: the pod runs", lambda: self._count(job, self.kubelet.run_sync(pending)))]
        codes = status.get("codes", [])
        if 0 in codes:
            return [(f"{name}: completes", lambda: self._end_job(job, "Complete"))]
        if ExitCode.MUST_ACT in codes or len(codes) > job["spec"]["backoffLimit"]:
            return [(f"{name}: fails", lambda: self._end_job(job, "Failed"))]
        return [(f"{name}: makes a pod", lambda: self._add_pod(job))]

    def _count(self, job: Object, code: int) -> None:
        self.cluster.edit(job, lambda o: o.setdefault("status", {}).setdefault("codes", []).append(code))

    def _end_job(self, job: Object, kind: str) -> None:
        condition = {
            "type": kind,
            "status": "True",
            "lastTransitionTime": self.cluster.clock.stamp(),
            "message": "as pods say",
        }
        self.cluster.edit(job, lambda o: o.setdefault("status", {}).update(conditions=[condition]))

    def _deployment_steps(self, deployment: Object) -> list[Step]:
        """Count the pods, scale or roll as the strategy says, and start the pods that there are."""
        template = content_hash(deployment["spec"]["template"])
        pods = [p for p in self._pods_of(deployment) if not is_ending(p)]
        old = [p for p in pods if p["spec"]["templateHash"] != template]
        new = [p for p in pods if p not in old]
        steps = self._count_steps(deployment, pods, new)
        steps += self._roll_steps(deployment, old, new) if old else self._scale_steps(deployment, pods)
        for pod in pods:
            steps += self.kubelet.steps(pod)
        return steps

    def _count_steps(self, deployment: Object, pods: list[Object], new: list[Object]) -> list[Step]:
        counts = {k: len(v) for k, v in (("replicas", pods), ("updatedReplicas", new)) if v}
        if counts or deployment.get("status"):
            counts["observedGeneration"] = deployment["metadata"]["generation"]
        if counts == (deployment.get("status") or {}):
            return []
        name = deployment["metadata"]["name"]
        return [(f"{name}: counts its pods", lambda: self._set_counts(deployment, counts))]

    def _set_counts(self, deployment: Object, counts: Object) -> None:
        self.cluster.edit(deployment, lambda o: o.update(status=counts))

    def _scale_steps(self, deployment: Object, pods: list[Object]) -> list[Step]:
        name, wanted = deployment["metadata"]["name"], deployment["spec"]["replicas"]
        if len(pods) < wanted:
            return [(f"{name}: makes a pod", lambda: self._add_pod(deployment))]
        if len(pods) > wanted:
            victim = min(pods, key=is_ready)
            return [(f"{name}: {victim['metadata']['name']} is one too many", lambda: self.kubelet.stop(victim))]
        return []

    def _roll_steps(self, deployment: Object, old: list[Object], new: list[Object]) -> list[Step]:
        """Make a pod of the new template while there may be one more, and end an old one while enough are ready."""
        name, wanted = deployment["metadata"]["name"], deployment["spec"]["replicas"]
        rolling = deployment["spec"]["strategy"]["rollingUpdate"]
        least, count = wanted - rolling["maxUnavailable"], len(old) + len(new)
        steps: list[Step] = []
        if len(new) < wanted and count < wanted + rolling["maxSurge"]:
            steps.append((f"{name}: makes a pod", lambda: self._add_pod(deployment)))
        victim = min(old, key=is_ready)
        may_end = count - least - sum(not is_ready(p) for p in new) > 0
        if may_end and (not is_ready(victim) or sum(map(is_ready, old + new)) > least):
            steps.append((f"{name}: {victim['metadata']['name']} is replaced", lambda: self.kubelet.stop(victim)))
        return steps

    def _pods_of(self, owner: Object) -> list[Object]:
        uid = owner["metadata"]["uid"]
        return [
            p
            for p in self.cluster.all(PODS.kind)
            if any(o["uid"] == uid for o in p["metadata"].get("ownerReferences") or ())
        ]

    def _add_pod(self, owner: Object) -> None:
        template = owner["spec"]["template"]
        name = f"{owner['metadata']['name']}-{self.cluster.next_number()}"
        reference = {"kind": owner["kind"], "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
        self.cluster.add({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                **copy.deepcopy(template["metadata"]),
                "name": name,
                "namespace": owner["metadata"]["namespace"],
                "ownerReferences": [reference],
            },
            "spec": {**copy.deepcopy(template["spec"]), "templateHash": content_hash(template)},
            "status": {"phase": "Pending"},
        })  # fmt: skip
