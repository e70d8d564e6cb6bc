"""What walks found, told by itself: the walk that found it is another one after any change of the operator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from support.builders import ONE, TWO, URI_1, URI_2, VECTORS_1, VECTORS_2, build_spec
from support.driver import HOUR, Driver
from support.fake_kubelet import is_ready
from support.fake_triton import At, Config, Fault, Harm, Upload, content_of
from support.server_side_apply import Object

SLOWER: Object = {"batching": {"maxQueueDelay": "50ms"}}


@contextmanager
def world() -> Iterator[Driver]:
    driver = Driver()
    driver.world.kubelet.uploads[URI_1] = Upload(ONE["source"]["sha256"], VECTORS_1)
    driver.world.kubelet.uploads[URI_2] = Upload(TWO["source"]["sha256"], VECTORS_2)
    try:
        yield driver
    finally:
        driver.close()


def spec(*, replicas: int = 1, image: str = "triton:1", **fields: object) -> Object:
    return build_spec(ONE, serving={"replicas": replicas, "image": image}, **fields)


def is_served(driver: Driver) -> Callable[[], bool]:
    """Tell whether status calls the present spec ready."""

    def tell() -> bool:
        told = driver.world.clip["status"]
        return (
            driver.world.says("Ready") == ("True", "Serving")
            and told["observedGeneration"] == driver.world.clip["metadata"]["generation"]
        )

    return tell


def serve(driver: Driver, wanted: Object) -> set[str]:
    """Create it, wait until it serves, and give what serves."""
    driver.world.create(wanted)
    driver.wait_for(is_served(driver), at_most_s=600)
    driver.rest()
    return {content_of(s.configs["clip"]) for s in driver.world.ready_servers()}


def new_to(old: set[str]) -> Callable[[Config], bool]:
    return lambda config: content_of(config) not in old


@pytest.mark.parametrize("is_rolled", [False, True], ids=["of the same template", "of an older template"])
def test_an_evicted_pod_that_stays_holds_up_nothing(*, is_rolled: bool) -> None:
    """It is Failed, and in the API server until somebody collects it."""
    with world() as driver:
        serve(driver, spec())
        driver.do("evicted", lambda: driver.world.kubelet.evict(driver.world.pods()[0]))
        driver.rest()
        image = "triton:2" if is_rolled else "triton:1"
        driver.ask(spec(image=image))
        driver.wait_for(is_served(driver), at_most_s=600)
        driver.ask(spec(image=image, **SLOWER))
        driver.wait_for(is_served(driver), at_most_s=600)
        driver.rest()


def test_a_pod_that_is_late_does_not_go_where_others_have_failed() -> None:
    """It waits for its candidate to be gone, while what it would load next is found to be wrong elsewhere."""
    with world() as driver:
        old = serve(driver, spec(replicas=3))
        late = driver.world.pods()[0]["metadata"]["name"]
        driver.world.triton.clings = lambda pod: pod == late
        driver.world.triton.faults = [Fault(Harm.DIFFERS, new_to(old), at=frozenset({At.REAL}))]
        driver.ask(spec(replicas=3, **SLOWER))
        driver.settle_for(20)
        driver.world.triton.clings = lambda _pod: False
        driver.settle_for(HOUR)
        assert {content_of(s.configs["clip"]) for s in driver.world.ready_servers()} == old
        assert len(driver.world.ready_servers()) == 3
        driver.rest()


@pytest.mark.parametrize("harm", Harm)
def test_what_serves_before_the_first_commit_comes_back_whatever_is_asked_for_then(harm: Harm) -> None:
    """Its pod is ready, the operator has not heard of it, and the spec is edited: what starts next must still be what serves."""
    with world() as driver:
        driver.world.create(spec())
        driver.go_until(lambda: any(is_ready(p) for p in driver.world.pods()))
        old = {content_of(s.configs["clip"]) for s in driver.world.ready_servers()}
        driver.world.triton.faults = [Fault(harm, new_to(old))]
        driver.ask(spec(**SLOWER))
        driver.settle_for(2 * HOUR)
        assert {content_of(s.configs["clip"]) for s in driver.world.ready_servers()} == old
        assert not driver.world.says_ready()
        driver.rest()
        driver.world.kubelet.kill(driver.world.pods()[0])
        driver.settle_for(600)
        assert {content_of(s.configs["clip"]) for s in driver.world.ready_servers()} == old
        driver.ask(spec())
        driver.wait_for(is_served(driver), at_most_s=HOUR)


@pytest.mark.parametrize("step", range(0, 40, 3))
def test_an_edit_while_the_first_pod_starts_reaches_no_client_unproven(step: int) -> None:
    """Whether the pod is ready by then, or becomes so while it is decided what it gets: the driver sees what clients get."""
    with world() as driver:
        driver.world.create(spec())
        driver.go_until(lambda: bool(driver.world.triton.servers))
        begun = driver.steps
        driver.ask(spec(**SLOWER))
        driver.go_until(lambda: driver.steps >= begun + step)
        starts = [act for name, act in driver.world.controllers.steps() if "is ready" in name]
        if starts:
            driver.do("the probe passes", starts[0])
        driver.wait_for(is_served(driver), at_most_s=HOUR)
        driver.rest()


@pytest.mark.parametrize("fields", [{}, SLOWER, {"versions": [ONE, TWO]}], ids=["as it was", "an edit", "a version"])
def test_a_new_operator_says_the_same_of_a_paused_model(fields: Object) -> None:
    with world() as driver:
        serve(driver, spec(replicas=2))
        driver.ask({**spec(replicas=2), **fields, "paused": True})
        driver.settle()
        before = driver.world.status
        assert before["readyReplicas"] == 2
        driver.rest()  # a new operator starts there, and writes nothing
        assert driver.world.status == before


def test_an_edit_is_made_before_the_one_before_it_was_taken_over() -> None:
    with world() as driver:
        serve(driver, spec(replicas=2))
        for number in range(2, 12):
            driver.ask(spec(replicas=2, batching={"maxQueueDelay": f"{number}ms"}))
            end = driver.steps + 7
            driver.go_until(lambda end=end: driver.steps >= end)  # type: ignore[misc]  # mypy cannot infer the default
        driver.wait_for(is_served(driver), at_most_s=HOUR)
        driver.rest()
