"""The part of the API that becomes Triton's model configuration: batching, instances, and ONNX Runtime's own settings."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from clipmodel_operator.api.v1alpha1.schema import Api, Rule, rules
from clipmodel_operator.models.quantity import DURATION_PATTERN, parse_duration_us

DEFAULT_PREFERRED_BATCH_SIZES = (4, 8, 16, 32)
MAX_GPUS = 16


class TimeoutAction(StrEnum):
    """What becomes of a request that has waited too long."""

    REJECT = "Reject"
    DELAY = "Delay"


class QueuePolicy(Api):
    """How many requests may wait, and how long."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.maxQueueSize) || has(self.defaultTimeout)",
                "batching.queuePolicy limits nothing: give maxQueueSize, defaultTimeout or both, or leave queuePolicy out",
            ),
            Rule(
                "self.timeoutAction == 'Reject' || has(self.defaultTimeout)",
                "batching.queuePolicy.timeoutAction Delay needs defaultTimeout: without it no request times out",
                field=".timeoutAction",
            ),
            Rule(
                "!self.allowTimeoutOverride || has(self.defaultTimeout)",
                "batching.queuePolicy.allowTimeoutOverride needs defaultTimeout: requests may only shorten that",
                field=".allowTimeoutOverride",
            ),
        )
    )

    max_queue_size: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    """How many requests may wait; one more is refused at once (HTTP 503, gRPC UNAVAILABLE). Without limit where it is not set."""

    timeout_action: TimeoutAction = TimeoutAction.REJECT
    """What becomes of a request that has waited for defaultTimeout: Reject refuses it, Delay runs it after all that have not."""

    default_timeout: Annotated[
        str | None,
        Field(
            pattern=DURATION_PATTERN,
            max_length=16,
            json_schema_extra=rules(
                Rule(
                    "duration(self) <= duration('600s')",
                    "batching.queuePolicy.defaultTimeout is at most 600s",
                    given="'batching.queuePolicy.defaultTimeout is at most 600s, not ' + self",
                )
            ),
        ),
    ] = None
    """How long a request may wait in the queue; for ever where it is not set. A number with us, ms or s, more than maxQueueDelay."""

    allow_timeout_override: bool = False
    """Whether a request may ask for a shorter timeout than defaultTimeout."""

    @property
    def default_timeout_us(self) -> int | None:
        return None if self.default_timeout is None else parse_duration_us(self.default_timeout)


class Batching(Api):
    """Triton's dynamic batching."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "!has(self.preferredBatchSizes) || self.preferredBatchSizes.all(s, s <= self.maxBatchSize)",
                "batching.preferredBatchSizes must not exceed batching.maxBatchSize (default 32)",
                field=".preferredBatchSizes",
                given="'batching.preferredBatchSizes must not exceed batching.maxBatchSize, which is %d: leave out %d, or raise maxBatchSize'"
                ".format([self.maxBatchSize, self.preferredBatchSizes.filter(s, s > self.maxBatchSize)[0]])",
            ),
            Rule(
                "!has(self.queuePolicy) || !has(self.queuePolicy.defaultTimeout)"
                " || duration(self.queuePolicy.defaultTimeout) > duration(self.maxQueueDelay)",
                "batching.queuePolicy.defaultTimeout must be more than batching.maxQueueDelay: a request that waits for company would time out",
                field=".queuePolicy.defaultTimeout",
                given="'batching.queuePolicy.defaultTimeout must be more than batching.maxQueueDelay, which is ' + self.maxQueueDelay"
                " + ': a request that waits for company would time out'",
            ),
            Rule(
                "!has(self.priorityLevels) || has(self.defaultPriorityLevel)",
                "batching.priorityLevels needs batching.defaultPriorityLevel: the level of requests that name none",
                field=".priorityLevels",
            ),
            Rule(
                "!has(self.defaultPriorityLevel) || has(self.priorityLevels)",
                "batching.defaultPriorityLevel needs batching.priorityLevels: how many levels there are",
                field=".defaultPriorityLevel",
            ),
            Rule(
                "!has(self.defaultPriorityLevel) || !has(self.priorityLevels) || self.defaultPriorityLevel <= self.priorityLevels",
                "batching.defaultPriorityLevel must not exceed batching.priorityLevels",
                field=".defaultPriorityLevel",
                given="'batching.defaultPriorityLevel must not exceed batching.priorityLevels, which is %d'.format([self.priorityLevels])",
            ),
            Rule(
                "!self.preserveOrdering || !has(self.priorityLevels)",
                "batching.preserveOrdering excludes batching.priorityLevels: choose one of them",
                field=".preserveOrdering",
            ),
            Rule(
                "!self.preserveOrdering || !has(self.queuePolicy) || self.queuePolicy.timeoutAction != 'Delay'",
                "batching.preserveOrdering excludes batching.queuePolicy.timeoutAction Delay, which changes the order",
                field=".preserveOrdering",
            ),
        )
    )

    max_batch_size: Annotated[int, Field(ge=1, le=1024)] = 32
    """Largest batch, of one request and of requests put together. At 32, ViT-B-32 in FP32 takes about 2.5 GB of GPU memory, and one request is 19.3 MB."""

    preferred_batch_sizes: Annotated[
        list[Annotated[int, Field(ge=1, le=1024)]] | None,
        Field(max_length=16, min_length=1, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = None
    """Batch sizes that are run at once when reached, without waiting for the delay. Default: those of 4, 8, 16 and 32 that do not exceed maxBatchSize."""

    max_queue_delay: Annotated[
        str,
        Field(
            pattern=DURATION_PATTERN,
            max_length=16,
            json_schema_extra=rules(
                Rule(
                    "duration(self) <= duration('10s')",
                    "batching.maxQueueDelay is at most 10s: a request waits that long for company",
                    given="'batching.maxQueueDelay is at most 10s, not ' + self + ': a request waits that long for company'",
                )
            ),
        ),
    ] = "5ms"
    """How long a request may wait for others to share its batch: 1ms for interactive use, 50ms for batch-heavy use. A number with us, ms or s."""

    preserve_ordering: bool = False
    """Whether answers are given in the order in which requests came. It costs time where several instances run."""

    queue_policy: QueuePolicy | None = None
    """How many requests may wait, and how long; without limit where it is not set."""

    priority_levels: Annotated[int | None, Field(ge=2, le=16)] = None
    """How many levels of priority requests may name: 1 goes first. One level, for all requests, where it is not set."""

    default_priority_level: Annotated[int | None, Field(ge=1, le=16)] = None
    """The level of requests that name none; needed with priorityLevels."""

    @property
    def max_queue_delay_us(self) -> int:
        return parse_duration_us(self.max_queue_delay)

    @property
    def effective_preferred_batch_sizes(self) -> tuple[int, ...]:
        sizes = self.preferred_batch_sizes
        if sizes is None:
            # None of the defaults fits below 4: the largest batch is then the one worth firing for.
            return tuple(s for s in DEFAULT_PREFERRED_BATCH_SIZES if s <= self.max_batch_size) or (self.max_batch_size,)
        return tuple(sorted(sizes))


class Instances(Api):
    """How many copies of the model a pod runs, and on which of its GPUs."""

    count: Annotated[int, Field(ge=1, le=32)] = 1
    """Copies of the model in each pod (under gpu: on each of its GPUs) that run batches at the same time. Each takes the model's memory again."""

    gpus: Annotated[
        list[Annotated[int, Field(ge=0, le=MAX_GPUS - 1)]] | None,
        Field(min_length=1, max_length=MAX_GPUS, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = None
    """Which of the pod's GPUs run it, counted from 0, each below serving.gpu.count. All of them where it is not set. Only under profile gpu or auto."""


class GraphLevel(StrEnum):
    """How far ONNX Runtime rewrites the model's graph."""

    DISABLED = "Disabled"
    BASIC = "Basic"
    EXTENDED = "Extended"
    ALL = "All"


class Optimization(Api):
    """ONNX Runtime's own settings."""

    intra_op_threads: Annotated[int | None, Field(ge=1, le=256)] = None
    """Threads that share the work of one operator, of each instance. Where it is not set ONNX Runtime takes one for each core that it sees, which in
    a container may be all of the node's: set it to the CPU limit divided by instances.count."""

    inter_op_threads: Annotated[int | None, Field(ge=2, le=256)] = None
    """Runs independent branches of the graph at the same time, on this many threads; one after the other where it is not set. ViT-B-32 has none worth it."""

    graph_level: GraphLevel = GraphLevel.ALL
    """How far ONNX Runtime rewrites the graph when it loads the model. Less than All loads faster, embeds slower, and is for hunting differences."""
