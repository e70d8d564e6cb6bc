"""Every field that reaches a server, and each way in which its change can fail: what served goes on serving, and what was asked for comes when it can.

Each call to Triton is a step of its own, and after each step the driver holds what is against what was promised: no client gets a wrong or an
unproven embedding, no server gets two loads at once, nothing is tried before its time. At rest no candidate is left, and nothing more is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from support.builders import ONE, TWO, URI_1, VECTORS_1, VECTORS_NEAR_1, build_spec, build_version
from support.driver import HOUR, Driver
from support.fake_kubelet import is_ready
from support.fake_triton import At, Call, Config, Fault, Harm, Stage, TritonServer, Upload, content_of
from support.server_side_apply import Object

REPLICAS = 2
GPU = {"profile": "gpu"}


@dataclass(frozen=True, slots=True)
class Field:
    """A field, and a change of it."""

    after: Mapping[str, Any]
    before: Mapping[str, Any] = field(default_factory=dict)
    versions: tuple[Object, ...] = (ONE,)
    new_versions: tuple[Object, ...] | None = None
    serves: tuple[int, ...] = (1,)
    will_serve: tuple[int, ...] = (1,)
    is_rolled: bool = False
    """New pods take it, since running ones cannot."""

    def spec(self, *, is_new: bool) -> Object:
        versions = self.new_versions if is_new and self.new_versions is not None else self.versions
        fields = {**self.before, **(self.after if is_new else {})}
        serving = {"replicas": REPLICAS, **fields.pop("serving", {})}
        return {**build_spec(*versions, serving=serving), **fields}


FIELDS: Mapping[str, Field] = {
    "versions": Field({}, new_versions=(ONE, TWO), will_serve=(2,)),
    "versionPolicy": Field({"versionPolicy": {"all": {}}}, versions=(ONE, TWO), serves=(2,), will_serve=(1, 2)),
    "batching.maxBatchSize": Field({"batching": {"maxBatchSize": 16}}),
    "batching.preferredBatchSizes": Field({"batching": {"preferredBatchSizes": [2, 4]}}),
    "batching.maxQueueDelay": Field({"batching": {"maxQueueDelay": "50ms"}}),
    "batching.preserveOrdering": Field({"batching": {"preserveOrdering": True}}),
    "batching.queuePolicy": Field({"batching": {"queuePolicy": {"maxQueueSize": 8}}}),
    "batching.priorityLevels": Field({"batching": {"priorityLevels": 2, "defaultPriorityLevel": 2}}),
    "instances.count": Field({"instances": {"count": 2}}),
    "instances.gpus": Field({"instances": {"gpus": [1]}}, before={**GPU, "serving": {"gpu": {"count": 2}}}),
    "optimization.graphLevel": Field({"optimization": {"graphLevel": "Basic"}}),
    "optimization.intraOpThreads": Field({"optimization": {"intraOpThreads": 2}}),
    "optimization.interOpThreads": Field({"optimization": {"interOpThreads": 2}}),
    "profile": Field(GPU, is_rolled=True),
}
#: Fields that fast tests take; the others are of one kind with the second.
FAST = ("versions", "batching.maxQueueDelay")
ALL = [n if n in FAST else pytest.param(n, marks=pytest.mark.long) for n in FIELDS]
IN_PLACE = [n if n in FAST else pytest.param(n, marks=pytest.mark.long) for n, f in FIELDS.items() if not f.is_rolled]


class Story:
    """A ClipModel that serves, and a change of one field of it."""

    def __init__(self, driver: Driver, changed: Field) -> None:
        self.driver, self.field = driver, changed
        driver.world.create(changed.spec(is_new=False))
        self.wait_until_it_serves(changed.serves, self.field.spec(is_new=False))
        driver.rest()
        self.old = {content_of(s.configs["clip"]) for s in self.servers()}
        self.new_loads: list[Call] = []
        self.fewest = REPLICAS
        self._sent, driver.world.triton.sent = driver.world.triton.sent, self._note
        driver.look_too = self._count_ready

    def _note(self, call: Call) -> None:
        self._sent(call)
        if call.config is not None and self.is_new(call.config):
            self.new_loads.append(call)

    def _count_ready(self) -> None:
        self.fewest = min(self.fewest, sum(map(is_ready, self.driver.world.pods())))

    def is_new(self, config: Config) -> bool:
        return content_of(config) not in self.old

    def servers(self) -> list[TritonServer]:
        """List the servers that clients reach."""
        world = self.driver.world
        return [s for p in world.pods() if is_ready(p) and (s := world.kubelet.server_of(p)) is not None]

    def change(self, *faults: Fault) -> None:
        self.driver.world.triton.faults = list(faults)
        self.driver.ask(self.field.spec(is_new=True), "the change")

    def wait_until_it_serves(self, versions: tuple[int, ...], spec: Object) -> None:
        world = self.driver.world

        def is_served() -> bool:
            told = world.clip.get("status") or {}
            return (
                world.clip["spec"] == spec
                and world.says("Ready") == ("True", "Serving")
                and told["observedGeneration"] == world.clip["metadata"]["generation"]
                and told["servingVersions"] == list(versions)
                and [s.versions("clip") for s in self.servers()] == [list(versions)] * REPLICAS
            )

        self.driver.wait_for(is_served, at_most_s=3 * HOUR)

    def assert_as_before(self, *, least: int = REPLICAS - 1) -> None:
        """Hours later what served serves, status says that the change is not there, and the driver has looked at what is at rest."""
        driver, world = self.driver, self.driver.world
        driver.settle_for(2 * HOUR)
        assert {content_of(s.configs["clip"]) for s in self.servers()} == self.old, world.log[-20:]
        assert len(self.servers()) == REPLICAS
        assert not world.says_ready(), "the change is not there"
        assert world.status["servingVersions"] == list(self.field.serves)
        assert self.fewest >= least, "never all pods at once"
        driver.rest()

    def assert_taken_over(self) -> None:
        """All pods serve the change, and nothing is left to do."""
        self.wait_until_it_serves(self.field.will_serve, self.field.spec(is_new=True))
        self.driver.rest()
        assert all(self.is_new(s.configs["clip"]) for s in self.servers())
        assert self.driver.world.condition("Stalled") is None
        assert self.driver.world.condition("Reconciling") is None

    def assert_mended(self) -> None:
        """What failed is taken back, and it is as before; then nothing fails any more, another try is asked for, and the change comes."""
        driver = self.driver
        driver.ask(self.field.spec(is_new=False), "takes it back")
        self.wait_until_it_serves(self.field.serves, self.field.spec(is_new=False))
        driver.rest()
        driver.world.triton.heal()
        driver.ask(self.field.spec(is_new=True), "the change again")
        driver.ask_again()
        self.assert_taken_over()


@contextmanager
def told(name: str) -> Iterator[Story]:
    driver = Driver(name=name)
    driver.world.kubelet.uploads[URI_1] = Upload(ONE["source"]["sha256"], VECTORS_1)
    try:
        yield Story(driver, FIELDS[name])
    finally:
        driver.close()


LIVE = frozenset({At.CANDIDATE, At.REAL})


@pytest.mark.parametrize("name", ALL)
def test_what_is_well_is_taken_over(name: str) -> None:
    with told(name) as story:
        story.change()
        story.assert_taken_over()
        assert story.fewest == REPLICAS, "and no pod was missed meanwhile"


@pytest.mark.parametrize("harm", Harm)
@pytest.mark.parametrize("name", ALL)
def test_what_fails_leaves_what_served(name: str, harm: Harm) -> None:
    with told(name) as story:
        story.change(Fault(harm, story.is_new))
        story.assert_as_before()
        if harm is Harm.DIFFERS and not story.field.is_rolled:
            assert len(story.new_loads) == 1, "one pod proves first, and an embedding that differs is final"
        assert len(story.new_loads) <= 6, "a handful of tries in two hours"
        story.assert_mended()


@pytest.mark.parametrize("harm", Harm)
@pytest.mark.parametrize("name", ["versions", "batching.maxQueueDelay"])
def test_what_fails_on_one_pod_leaves_what_served_on_all(name: str, harm: Harm) -> None:
    with told(name) as story:
        victim = story.driver.world.pods()[-1]["metadata"]["name"]
        story.change(Fault(harm, story.is_new, pods=lambda pod: pod == victim))
        story.assert_as_before()
        story.assert_mended()


@pytest.mark.parametrize("name", ["versions", "batching.maxQueueDelay"])
@pytest.mark.parametrize("is_one", [False, True], ids=["on all pods", "on one pod"])
def test_what_differs_only_after_its_proof_leaves_the_service_at_once(name: str, *, is_one: bool) -> None:
    """The same config embeds rightly under the candidate's name, and otherwise under the real one."""
    with told(name) as story:
        victim = story.driver.world.pods()[-1]["metadata"]["name"]
        at_real = frozenset({At.REAL})
        story.change(Fault(Harm.DIFFERS, story.is_new, at=at_real, pods=lambda pod: not is_one or pod == victim))
        story.assert_as_before(least=REPLICAS - 1 if is_one else 0)
        story.assert_mended()


@dataclass(slots=True)
class Loss:
    """Loses the first calls that are meant: the request, the answer, or the answer while the effect comes later."""

    driver: Driver
    what: str
    is_meant: Callable[[Call], bool]
    left: int
    _late: dict[int, float] = field(default_factory=dict)

    def decide(self, call: Call, choices: list[str]) -> str | None:
        now = self.driver.world.clock.seconds
        if call.number in self._late:
            return choices[0] if now >= self._late[call.number] else None
        if not self.left or not call.is_heard or not self.is_meant(call):
            return choices[0]
        match self.what, call.stage:
            case "the request", Stage.SENT:
                choice = "lose"
            case _, Stage.SENT:
                choice = "arrive"
            case "the answer", Stage.WORKING:
                choice = "finish"
            case _:
                choice = "lose"
        if choice not in choices:
            return choices[0]
        if choice == "lose":
            self.left -= 1
            if self.what == "the answer, and the effect comes late":
                self._late[call.number] = now + 90.0
        return choice


LOSSES = ("the request", "the answer", "the answer, and the effect comes late")


@pytest.mark.parametrize("lost", LOSSES)
@pytest.mark.parametrize("is_candidate", [True, False], ids=["of the proof", "of the switch"])
@pytest.mark.parametrize("name", IN_PLACE)
def test_what_is_lost_is_made_up_for(name: str, lost: str, *, is_candidate: bool) -> None:
    with told(name) as story:
        model = "clip__candidate" if is_candidate else "clip"
        loss = Loss(story.driver, lost, lambda c: c.kind == "load" and c.model == model, left=2)
        story.driver.decide = loss.decide
        story.change()
        story.assert_taken_over()
        assert not loss.left, "they were lost"


#: Of each field the load that brings back; of two also what goes with it.
BRING_BACK = [
    *(
        pytest.param(n, "load", marks=[] if n in FAST else pytest.mark.long)
        for n, f in FIELDS.items()
        if not f.is_rolled
    ),
    *(pytest.param(n, kind, marks=pytest.mark.long) for n in FAST for kind in ("unload", "embed_golden")),
]


@pytest.mark.parametrize("lost", LOSSES)
@pytest.mark.parametrize(("name", "kind"), BRING_BACK)
def test_what_is_lost_of_bringing_back_is_made_up_for(name: str, kind: str, lost: str) -> None:
    """One pod has taken the change when the other refuses it under the real name."""
    with told(name) as story:
        victim = story.driver.world.pods()[-1]["metadata"]["name"]
        has_refused = False
        story.change(Fault(Harm.REFUSED, story.is_new, at=frozenset({At.REAL}), pods=lambda pod: pod == victim))
        finished = story.driver.world.triton.finished

        def finish(call: Call) -> None:
            nonlocal has_refused
            finished(call)
            has_refused = has_refused or (call.model == "clip" and call.error is not None)

        story.driver.world.triton.finished = finish
        loss = Loss(story.driver, lost, lambda c: has_refused and c.kind == kind, left=2)
        story.driver.decide = loss.decide
        story.assert_as_before()
        assert has_refused
        story.assert_mended()


# The tolerance loads nothing.


@contextmanager
def nearly_right(tolerance: str) -> Iterator[Story]:
    """Give a model whose embeddings are within 0.999 of the proven ones, and not within 0.9999."""
    driver = Driver(name="verification.tolerance")
    driver.world.triton.loosest = 0.999
    driver.world.kubelet.uploads[URI_1] = Upload(ONE["source"]["sha256"], VECTORS_1, served=VECTORS_NEAR_1)
    try:
        yield Story(
            driver,
            Field(
                {"verification": {"tolerance": tolerance}},
                before={"verification": {"tolerance": "0.999"}},
                versions=(build_version(),),
            ),
        )
    finally:
        driver.close()


def test_a_tolerance_that_what_serves_does_not_meet_is_not_taken_over() -> None:
    """Pods that start again come back: the driver asks at rest."""
    with nearly_right("0.9999") as story:
        story.change()
        story.driver.settle_for(2 * HOUR)
        world = story.driver.world
        assert not world.says_ready()
        assert len(story.servers()) == REPLICAS
        story.driver.rest()
        world.kubelet.kill(world.pods()[0])
        story.driver.settle_for(600)
        assert len(story.servers()) == REPLICAS, "it comes back by the tolerance that it was proven by"
        assert story.new_loads == []
        story.driver.ask(story.field.spec(is_new=False), "takes it back")
        story.wait_until_it_serves((1,), story.field.spec(is_new=False))
        story.driver.rest()


@pytest.mark.parametrize("tolerance", ["0.9991", "0.99"])
def test_a_tolerance_that_is_met_is_taken_over_and_nothing_is_loaded(tolerance: str) -> None:
    with nearly_right(tolerance) as story:
        before = len(story.driver.world.triton.seen)
        story.change()
        story.wait_until_it_serves((1,), story.field.spec(is_new=True))
        story.driver.rest()
        assert story.driver.world.triton.seen[before:] == []
