"""Where pods may run, in the shapes of Kubernetes' own API (core/v1): typed and bounded here, so that a typo is refused and not ignored.

Fields that Kubernetes has and this release leaves out are refused as unknown. What only the API server can judge is judged when the
Deployment is applied.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from clipmodel_operator.api.v1alpha1.schema import Api, LabelKey, LabelValue, Rule, label_keys, rules

_TERMS = Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "atomic"})
_Values = Annotated[list[LabelValue], Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "atomic"})]
_Weight = Annotated[int, Field(ge=1, le=100)]


class Toleration(Api):
    """A taint of nodes that the pods tolerate."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.key) || (has(self.operator) && self.operator == 'Exists')",
                "a toleration without key needs operator Exists: it tolerates every taint",
                field=".key",
            ),
            Rule(
                "!has(self.operator) || self.operator != 'Exists' || !has(self.value) || self.value == ''",
                "a toleration with operator Exists has no value: leave value out, or use Equal",
                field=".value",
            ),
            Rule(
                "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
                "tolerationSeconds needs effect NoExecute: other taints end no pod",
                field=".tolerationSeconds",
            ),
        )
    )

    key: LabelKey | None = None
    """Taint key; every key where it is not set and the operator is Exists."""
    operator: Literal["Exists", "Equal"] | None = None
    """Exists or Equal (default)."""
    value: Annotated[str | None, Field(max_length=63)] = None
    """Taint value, with Equal."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Taint effect; every effect where it is not set."""
    toleration_seconds: Annotated[int | None, Field(ge=0, le=2_147_483_647)] = None
    """How long a NoExecute taint is tolerated; for ever where it is not set."""


class NodeSelectorRequirement(Api):
    """A condition on a label, or a field, of a node."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "self.operator in ['In', 'NotIn'] ? has(self.values) && self.values.size() > 0"
                " : self.operator in ['Gt', 'Lt'] ? has(self.values) && self.values.size() == 1"
                " : !has(self.values) || self.values.size() == 0",
                "values: one or more with In and NotIn, exactly one with Gt and Lt, none with Exists and DoesNotExist",
                field=".values",
            )
        )
    )

    key: LabelKey
    """The label's key, or the field's name."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    """In, NotIn, Exists, DoesNotExist, Gt or Lt."""
    values: Annotated[
        list[Annotated[str, Field(max_length=253)]] | None,
        Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = None
    """Values to compare with: none for Exists and DoesNotExist, one number for Gt and Lt."""


class NodeSelectorTerm(Api):
    """Conditions on a node, all of which must hold."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.matchExpressions) || has(self.matchFields)",
                "a term of node affinity needs matchExpressions or matchFields: an empty one matches no node",
            )
        )
    )

    match_expressions: Annotated[list[NodeSelectorRequirement] | None, _TERMS] = None
    """Conditions on the node's labels."""
    match_fields: Annotated[list[NodeSelectorRequirement] | None, _TERMS] = None
    """Conditions on the node's fields: metadata.name is the one there is."""


class NodeSelector(Api):
    """Terms of which one must hold."""

    node_selector_terms: Annotated[
        list[NodeSelectorTerm],
        Field(min_length=1, max_length=16, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ]
    """Terms of which one must hold."""


class PreferredSchedulingTerm(Api):
    """A preference for nodes, with its weight."""

    weight: _Weight
    """How much it counts, 1 to 100."""
    preference: NodeSelectorTerm
    """What is preferred."""


class NodeAffinity(Api):
    """Which nodes."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    """What a node must have for a pod to be put there."""
    preferred_during_scheduling_ignored_during_execution: Annotated[list[PreferredSchedulingTerm] | None, _TERMS] = None
    """What is preferred, where there is a choice."""


class LabelSelectorRequirement(Api):
    """A condition on a label."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "self.operator in ['In', 'NotIn'] ? has(self.values) && self.values.size() > 0"
                " : !has(self.values) || self.values.size() == 0",
                "values: one or more with In and NotIn, none with Exists and DoesNotExist",
                field=".values",
            )
        )
    )

    key: LabelKey
    """The label's key."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """In, NotIn, Exists or DoesNotExist."""
    values: _Values | None = None
    """Values to compare with: none for Exists and DoesNotExist."""


class LabelSelector(Api):
    """Which objects, by their labels: all conditions must hold."""

    match_labels: Annotated[
        dict[str, LabelValue] | None, Field(max_length=16, json_schema_extra=rules(label_keys("matchLabels")))
    ] = None
    """Labels that an object must have, with these values."""
    match_expressions: Annotated[list[LabelSelectorRequirement] | None, _TERMS] = None
    """Conditions on labels."""


class PodAffinityTerm(Api):
    """Pods near which, or apart from which, to run."""

    topology_key: LabelKey
    """The node label whose value says what near means: kubernetes.io/hostname, topology.kubernetes.io/zone."""
    label_selector: LabelSelector | None = None
    """Which pods; none where it is not set."""
    namespaces: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=63)]] | None,
        Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = None
    """Namespaces of those pods; this one where neither this nor namespaceSelector is set."""
    namespace_selector: LabelSelector | None = None
    """Namespaces of those pods, by labels; {} is all of them."""


class WeightedPodAffinityTerm(Api):
    """A preference about pods, with its weight."""

    weight: _Weight
    """How much it counts, 1 to 100."""
    pod_affinity_term: PodAffinityTerm
    """What is preferred."""


class PodAffinity(Api):
    """Near, or apart from, which other pods."""

    required_during_scheduling_ignored_during_execution: Annotated[list[PodAffinityTerm] | None, _TERMS] = None
    """What must hold for a pod to be put on a node."""
    preferred_during_scheduling_ignored_during_execution: Annotated[list[WeightedPodAffinityTerm] | None, _TERMS] = None
    """What is preferred, where there is a choice."""


class Affinity(Api):
    """Which nodes, and near or apart from which pods."""

    node_affinity: NodeAffinity | None = None
    """Which nodes. Sync Jobs obey it too, so that the volume is bound where Triton can run."""
    pod_affinity: PodAffinity | None = None
    """Near which pods."""
    pod_anti_affinity: PodAffinity | None = None
    """Apart from which pods."""


class TopologySpreadConstraint(Api):
    """How evenly pods are spread over nodes, zones or other topologies."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "!has(self.minDomains) || self.whenUnsatisfiable == 'DoNotSchedule'",
                "minDomains needs whenUnsatisfiable DoNotSchedule",
                field=".minDomains",
            )
        )
    )

    max_skew: Annotated[int, Field(ge=1, le=1000)]
    """By how many pods topologies may differ."""
    topology_key: LabelKey
    """The node label whose value is the topology: kubernetes.io/hostname, topology.kubernetes.io/zone."""
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"]
    """DoNotSchedule leaves a pod pending that would break it, ScheduleAnyway only prefers."""
    label_selector: LabelSelector | None = None
    """Which pods are counted; those of this ClipModel where it is not set."""
    min_domains: Annotated[int | None, Field(ge=1, le=1000)] = None
    """How many topologies there must be, at least, with DoNotSchedule."""
    node_affinity_policy: Literal["Honor", "Ignore"] | None = None
    """Whether only nodes that affinity and nodeSelector admit count: Honor (default) or Ignore."""
    node_taints_policy: Literal["Honor", "Ignore"] | None = None
    """Whether only nodes whose taints are tolerated count: Ignore (default) or Honor."""
