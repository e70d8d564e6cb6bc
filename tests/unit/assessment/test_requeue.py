"""When a pass comes again, by how the last one ended: the earliest moment wins, and a failure keeps its backoff."""

from __future__ import annotations

import pytest

from clipmodel_operator.assessment.requeue import LONGEST_RETRY_AFTER_S, PassOutcome, plan_requeue
from clipmodel_operator.models.errors import ConflictError, GoneError, RejectedError, RetryError, StalledError

BACKOFF_S = 40.0
#: Of a step on a pod.
POD_RECHECK_S = 5.0
FAILED = (RetryError("HTTP 500"),)
DENIED = StalledError("ObjectRejected", "mend it", look_again=True)
STALLED = (StalledError("InvalidSpec", "mend it"),)

#: How the pass ended -> whether it counts as a failure, and the seconds until the next one.
CASES: dict[str, tuple[PassOutcome, bool, float | None]] = {
    "all is well: an event is enough": (PassOutcome(), False, None),
    "a person must act: an event is enough": (PassOutcome(STALLED), False, None),
    "something was changed: at once": (PassOutcome(has_changed=True), False, 0.0),
    "a sync waits": (PassOutcome(sync_retries_s=(300.0, 120.0)), False, 120.0),
    "a surge pod waits": (PassOutcome(surge_recheck_s=30.0), False, 30.0),
    "a step on a pod waits": (PassOutcome(rollout_recheck_s=POD_RECHECK_S), False, POD_RECHECK_S),
    "of several the earliest counts": (PassOutcome(sync_retries_s=(300.0,), surge_recheck_s=2.0, rollout_recheck_s=POD_RECHECK_S), False, 2.0),
    "of several the pod's recheck is the earliest": (PassOutcome(sync_retries_s=(300.0,), surge_recheck_s=20.0, rollout_recheck_s=POD_RECHECK_S), False, POD_RECHECK_S),
    "a change comes before all that is waited for": (PassOutcome(has_changed=True, sync_retries_s=(300.0,), rollout_recheck_s=POD_RECHECK_S), False, 0.0),
    "a person must act, and a sync waits": (PassOutcome(STALLED, sync_retries_s=(300.0,)), False, 300.0),
    "the world failed": (PassOutcome(FAILED), True, BACKOFF_S),
    "a resourceVersion was another": (PassOutcome((ConflictError("409"),)), True, BACKOFF_S),
    "the object is gone": (PassOutcome((GoneError("404"),)), True, BACKOFF_S),
    "something is rejected outside of what we apply": (PassOutcome((RejectedError("422"),)), True, BACKOFF_S),
    "a bug of ours": (PassOutcome((KeyError("innards"),)), True, BACKOFF_S),
    "a failure after a change does not go on at once": (PassOutcome(FAILED, has_changed=True), True, BACKOFF_S),
    "a failure is not repeated at the pace of a pod's recheck": (PassOutcome(FAILED, rollout_recheck_s=POD_RECHECK_S), True, BACKOFF_S),
    "a failure does not put off what falls due": (PassOutcome(FAILED, surge_recheck_s=12.0), True, 12.0),
    "what falls due later does not put off a failure's next try": (PassOutcome(FAILED, sync_retries_s=(300.0,)), True, BACKOFF_S),
    "the API server asks for more patience": (PassOutcome((RetryError("429", retry_after_s=50.0),)), True, 50.0),
    "the API server asks for less patience than we have": (PassOutcome((RetryError("429", retry_after_s=1.0),)), True, BACKOFF_S),
    "nothing comes before a Retry-After": (PassOutcome((RetryError("429", retry_after_s=50.0),), surge_recheck_s=12.0), True, 50.0),
    "a Retry-After of a day is cut": (PassOutcome((RetryError("503", retry_after_s=86_400.0),)), True, LONGEST_RETRY_AFTER_S),
    "of two Retry-Afters the later counts": (PassOutcome((RetryError("429", retry_after_s=50.0), RetryError("429", retry_after_s=45.0))), True, 50.0),
    "a rule of the cluster denies an object, and nobody would tell that it is lifted": (PassOutcome((DENIED,)), True, BACKOFF_S),
    "pods are rechecked while a rule denies an object": (PassOutcome((DENIED,), rollout_recheck_s=POD_RECHECK_S), True, POD_RECHECK_S),
    "a denied object is not tried again at once": (PassOutcome((DENIED,), has_changed=True), True, BACKOFF_S),
    "stalled, and then its status could not be written": (PassOutcome((*STALLED, *FAILED)), True, BACKOFF_S),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_when_it_comes_again(name: str) -> None:
    outcome, has_failed, delay_s = CASES[name]
    assert outcome.has_failed is has_failed
    assert plan_requeue(outcome, backoff_s=BACKOFF_S if has_failed else 0.0) == delay_s
