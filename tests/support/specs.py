"""Valid specs in which every two settings meet that become Triton's configuration, for the real server to load.

The settings and their limits are those of the CRD; `is_valid` repeats its rules, so that each spec is one that the API server admits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipmodel_operator.models.quantity import parse_duration_us
from support.builders import build_spec
from support.pairwise import pairwise

_PREFERRED: Mapping[str, Any] = {
    "default": lambda _: None,
    "one": lambda _: [1],
    "ends": lambda largest: sorted({1, largest}),
    "two": lambda largest: [min(2, largest)],
    "powers": lambda largest: [2**i for i in range(11) if 2**i <= largest],
    "sixteen": lambda largest: sorted({1, *(max(1, largest * i // 16) for i in range(2, 17))}),
}

#: Every factor and its values. The delays and the largest batches alone make more than 200 rows.
FACTORS: Mapping[str, list[Any]] = {
    "maxQueueDelay": [
        *("0ms", "1us", "10us", "250us", "0.5ms", "1ms", "2.5ms", "5ms"),
        *("5000us", "10ms", "20ms", "50ms", "100ms", "0.25s", "1s", "10s"),
    ],
    "maxBatchSize": [1, 2, 3, 4, 8, 16, 24, 32, 64, 100, 128, 256, 512, 1024],
    "preferred": list(_PREFERRED),
    "queuePolicy": [
        None,
        {"maxQueueSize": 8},
        {"maxQueueSize": 1_000_000},
        {"defaultTimeout": "11s"},
        {"defaultTimeout": "600s", "timeoutAction": "Delay"},
        {"defaultTimeout": "60s", "allowTimeoutOverride": True},
        {"maxQueueSize": 100, "defaultTimeout": "30s", "timeoutAction": "Delay", "allowTimeoutOverride": True},
        {"maxQueueSize": 100, "defaultTimeout": "5s", "timeoutAction": "Reject"},
    ],
    "order": [
        {},
        {"preserveOrdering": True},
        {"priorityLevels": 2, "defaultPriorityLevel": 2},
        {"priorityLevels": 5, "defaultPriorityLevel": 3},
        {"priorityLevels": 16, "defaultPriorityLevel": 1},
    ],
    "graphLevel": [None, "Disabled", "Basic", "Extended", "All"],
    "intraOpThreads": [None, 1, 2, 4],
    "interOpThreads": [None, 2, 3],
    "instances": [1, 2],
    # Of the pod's GPUs, and those of them that run the model. None: profile cpu.
    "gpus": [None, (1, None), (1, [0]), (2, None), (2, [1]), (4, [3, 0]), (16, None)],
}


def _is_valid(row: Mapping[str, Any]) -> bool:
    policy = row.get("queuePolicy") or {}
    delay, timeout = row.get("maxQueueDelay"), policy.get("defaultTimeout")
    if delay is not None and timeout is not None and parse_duration_us(timeout) <= parse_duration_us(delay):
        return False
    return not (row.get("order", {}).get("preserveOrdering") and policy.get("timeoutAction") == "Delay")


def _spec(row: Mapping[str, Any], *, model_name: str) -> dict[str, Any]:
    largest = row["maxBatchSize"]
    batching = {
        "maxBatchSize": largest,
        "maxQueueDelay": row["maxQueueDelay"],
        "preferredBatchSizes": _PREFERRED[row["preferred"]](largest),
        "queuePolicy": row["queuePolicy"],
        **row["order"],
    }
    optimization = {name: row[name] for name in ("graphLevel", "intraOpThreads", "interOpThreads")}
    instances: dict[str, Any] = {"count": row["instances"]}
    spec = build_spec(
        modelName=model_name, batching=_set(batching), optimization=_set(optimization), instances=instances
    )
    if row["gpus"] is not None:
        count, gpus = row["gpus"]
        spec |= {"profile": "gpu", "serving": {"gpu": {"count": count}}}
        instances |= {"gpus": gpus} if gpus else {}
    return spec


def _set(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def pairwise_specs() -> list[dict[str, Any]]:
    """Give the specs, each with a model name of its own."""
    rows = pairwise(FACTORS, is_valid=_is_valid)
    return [_spec(row, model_name=f"m{index:03}") for index, row in enumerate(rows)]
