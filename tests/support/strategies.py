"""Hypothesis strategies: specs as users may write them, so that the CRD (schema and rules) would admit them."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import strategies as st

from clipmodel_contract.names import is_candidate_name

#: As the rule of the CRD has it.
names = st.from_regex(re.compile(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?", re.ASCII), fullmatch=True)
model_names = st.from_regex(
    re.compile(r"[A-Za-z0-9_]([-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?", re.ASCII), fullmatch=True
).filter(lambda name: not is_candidate_name(name))
digests = st.from_regex(re.compile(r"[a-f0-9]{64}"), fullmatch=True)
uris = st.one_of(
    st.from_regex(re.compile(r"https?://[a-z0-9.:-]{1,20}/[!-~]{1,40}"), fullmatch=True),
    st.from_regex(re.compile(r"pvc://[a-z0-9]([-a-z0-9.]{0,20}[a-z0-9])?/[!-~]{1,40}"), fullmatch=True),
)


def _number(integer: int, decimals: str) -> str:
    return f"{integer}.{decimals}" if decimals else str(integer)


_decimals = st.sampled_from(["", "", "0", "5", "25", "125", "001"])
#: Texts of quantities within what a machine may have.
quantity_texts = st.builds(
    lambda integer, decimals, suffix: _number(integer, decimals) + suffix,
    st.integers(0, 9999),
    _decimals,
    st.sampled_from(["", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"]),
)
quantities = st.one_of(st.integers(0, 10**12), quantity_texts)
durations = st.one_of(
    st.builds(lambda n, d: _number(n, d) + "us", st.integers(0, 9_999_999), _decimals),
    st.builds(lambda n, d: _number(n, d) + "ms", st.integers(0, 9_999), _decimals),
    st.builds(lambda n, d: _number(n, d) + "s", st.integers(0, 9), _decimals),
)


def _optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


@st.composite
def batchings(draw: st.DrawFn) -> dict[str, Any]:
    batching: dict[str, Any] = draw(_optional(maxBatchSize=st.integers(1, 1024), maxQueueDelay=durations))
    if draw(st.booleans()):
        largest = batching.get("maxBatchSize", 32)
        batching["preferredBatchSizes"] = draw(
            st.lists(st.integers(1, largest), min_size=1, max_size=min(16, largest), unique=True)
        )
    match draw(st.sampled_from(["plain", "ordered", "priorities"])):
        case "ordered":
            batching["preserveOrdering"] = True
        case "priorities":
            levels = draw(st.integers(2, 16))
            batching |= {"priorityLevels": levels, "defaultPriorityLevel": draw(st.integers(1, levels))}
        case _:
            pass
    if draw(st.booleans()):
        policy: dict[str, Any] = {"maxQueueSize": draw(st.integers(1, 1_000_000))}
        if draw(st.booleans()):
            # Longer than any delay.
            policy |= {
                "defaultTimeout": f"{draw(st.integers(11, 600))}s",
                **draw(_optional(allowTimeoutOverride=st.booleans())),
            }
            if "preserveOrdering" not in batching:
                policy |= draw(_optional(timeoutAction=st.sampled_from(["Reject", "Delay"])))
        batching["queuePolicy"] = policy
    return batching


_optimizations = _optional(
    intraOpThreads=st.integers(1, 256),
    interOpThreads=st.integers(2, 256),
    graphLevel=st.sampled_from(["Disabled", "Basic", "Extended", "All"]),
)
_services = _optional(
    type=st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer"]),
    annotations=st.dictionaries(
        st.sampled_from(["example.com/a", "b"]),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        max_size=2,
    ),
)


_resource_lists = st.dictionaries(
    st.sampled_from(["cpu", "memory", "ephemeral-storage", "nvidia.com/gpu", "example.com/thing"]),
    quantities,
    max_size=4,
)
_toleration_keys = st.sampled_from(["nvidia.com/gpu", "dedicated"])
_toleration_fields: dict[str, st.SearchStrategy[Any]] = {
    "operator": st.sampled_from(["Exists", "Equal"]),
    "value": st.from_regex(re.compile(r"[a-z0-9]{0,10}"), fullmatch=True),
    "effect": st.sampled_from(["NoSchedule", "PreferNoSchedule", "NoExecute"]),
    "tolerationSeconds": st.integers(0, 1000),
}
_tolerations = st.fixed_dictionaries({"key": _toleration_keys}, optional=_toleration_fields) | _optional(
    **_toleration_fields
)
_servings = _optional(
    replicas=st.integers(0, 4),
    image=st.from_regex(re.compile(r"[a-z0-9./:@-]{1,60}"), fullmatch=True),
    resources=_optional(requests=_resource_lists, limits=_resource_lists),
    nodeSelector=st.dictionaries(
        st.sampled_from(["kubernetes.io/arch", "pool", "example.com/zone"]),
        st.from_regex(re.compile(r"[A-Za-z0-9]{0,20}", re.ASCII), fullmatch=True),
        max_size=3,
    ),
    tolerations=st.lists(_tolerations, max_size=4),
)
_storages = _optional(
    size=quantity_texts,
    storageClassName=st.from_regex(re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?"), fullmatch=True),
    reclaimPolicy=st.sampled_from(["Retain", "Delete"]),
)


@st.composite
def _versions(draw: st.DrawFn) -> dict[str, Any]:
    """Draw versions, and a policy that chooses among them."""
    numbers = draw(st.lists(st.integers(1, 2_147_483_647), min_size=1, max_size=4, unique=True))
    sources = st.fixed_dictionaries({"uri": uris, "sha256": digests})
    fields: dict[str, Any] = {
        "versions": [
            {"version": n, "source": draw(sources), **draw(_optional(newEmbeddingSpace=st.booleans()))} for n in numbers
        ]
    }
    match draw(st.sampled_from(["none", "latest", "all", "specific"])):
        case "latest":
            fields["versionPolicy"] = {"latest": draw(_optional(count=st.integers(1, 64)))}
        case "all":
            fields["versionPolicy"] = {"all": {}}
        case "specific":
            chosen = draw(st.lists(st.sampled_from(numbers), min_size=1, unique=True))
            fields["versionPolicy"] = {"specific": {"versions": chosen}}
        case _:
            pass
    return fields


_verifications = _optional(
    tolerance=st.sampled_from(["0.9", "0.95", "0.9999", "1", "1.0", "0.999999999"]),
    embeddingSpace=st.sampled_from(["Locked", "Unlocked"]),
)
_rollouts = _optional(strategy=st.sampled_from(["InPlace", "Replace"]))


@st.composite
def _specs(draw: st.DrawFn) -> dict[str, Any]:
    rest = _optional(
        modelName=model_names,
        batching=batchings(),
        storage=_storages | st.just({"existingClaim": "mine"}),
        serving=_servings,
        verification=_verifications,
        instances=_optional(count=st.integers(1, 32)),
        optimization=_optimizations,
        service=_services,
        rollout=_rollouts,
        paused=st.booleans(),
    )
    return {"profile": draw(st.sampled_from(["cpu", "gpu"])), **draw(_versions()), **draw(rest)}


#: Specs, as JSON.
specs: st.SearchStrategy[dict[str, Any]] = _specs()
