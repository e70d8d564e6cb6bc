"""What does Triton do with loads that overlap, are lost, are refused, or do not fit? What the operator's steps on a pod take for granted.

A load outlives its caller: Triton goes on with it, and its config shows the old one until it ends. Of one name a load waits for the one
before, so that a load of what a pod should run is a barrier: when it is answered, the lost one is over. Several that wait come in no order.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from clipmodel_operator.clients.load_errors import parse_load_error, summarize_load_error
from support.cluster import until
from support.light_triton import (
    DIMENSION,
    SIZE,
    Answer,
    Config,
    Triton,
    build_config,
    in_background,
    infer_body,
    light_triton,
    read_embedding,
)
from support.tiny_onnx import Fault, write_tiny_onnx

pytestmark = [pytest.mark.triton, pytest.mark.timeout(180)]

MODEL, CANDIDATE, OTHER = "clip", "clip__candidate", "other"
GOOD, JUNK, UNKNOWN_OPERATOR = (1, 2), (3, 5), 4
SLOW_S = 0.6
#: What a load takes that has something to load, at least: a process is started. One that has nothing takes a few milliseconds.
NO_LOAD_S = 0.1

# A config that differs from all before: what is the same as before is no load.
_delays = itertools.count(200)


def config(versions: tuple[int, ...], name: str, *, model: str = MODEL, sleep_s: float = 0, **test: object) -> Config:
    return build_config(model, versions, name, sleep_s=sleep_s, delay_us=next(_delays), **test)


def write_repository(root: Path) -> Path:
    """Write two good versions, two that are junk and one that ONNX Runtime cannot load; the candidate's are hard links to them."""
    for version in GOOD:
        write_tiny_onnx(root / MODEL / str(version) / "model.onnx", seed=version, image_size=SIZE, dimension=DIMENSION)
        write_tiny_onnx(root / OTHER / str(version) / "model.onnx", seed=version, image_size=SIZE, dimension=DIMENSION)
    path = root / MODEL / str(UNKNOWN_OPERATOR) / "model.onnx"
    write_tiny_onnx(path, image_size=SIZE, dimension=DIMENSION, fault=Fault.UNKNOWN_OPERATOR)
    for version in JUNK:
        (root / MODEL / str(version)).mkdir()
        (root / MODEL / str(version) / "model.onnx").write_bytes(b"junk" * 100)
    for version in (*GOOD, *JUNK, UNKNOWN_OPERATOR):
        (root / CANDIDATE / str(version)).mkdir(parents=True)
        (root / CANDIDATE / str(version) / "model.onnx").hardlink_to(root / MODEL / str(version) / "model.onnx")
    return root


@pytest.fixture(scope="module")
def image() -> str:
    name = os.environ.get("CLIPMODEL_TRITON_IMAGE")
    if not name:
        pytest.fail("CLIPMODEL_TRITON_IMAGE names no image: `make cluster-test` builds it and sets it", pytrace=False)
    return name


@pytest.fixture(scope="module")
def running(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    with light_triton(image, write_repository(tmp_path_factory.mktemp("barrier") / "models")) as triton:
        yield triton


@pytest.fixture(scope="module")
def base() -> Config:
    return config((1,), "base")


@pytest.fixture
def triton(running: Triton, base: Config) -> Triton:
    """A server that serves version 1, and nothing else is under way."""
    assert running.load(base).status == 200
    assert running.embed(MODEL).status == 200  # see `refused`: what has answered once can be thrown away at any moment
    return running


def wait_unloaded(triton: Triton, model: str) -> None:
    busy = {"READY", "LOADING", "UNLOADING"}
    until(lambda: not busy & set(triton.states(model).values()) or None, f"{model} is unloaded")


# A load whose caller left


@pytest.mark.parametrize("after_s", [0.01, 0.3])
def test_a_load_waits_for_one_whose_caller_left(triton: Triton, after_s: float) -> None:
    triton.load_and_leave(config((1,), "lost", sleep_s=SLOW_S), after_s)
    assert triton.config_name(MODEL) == "base", "the lost load's config shows only when it has ended"
    answer = triton.load(config((1, 2), "last"))
    assert (answer.status, triton.config_name(MODEL)) == (200, "last")
    assert answer.seconds > SLOW_S - after_s, "it did not wait for the lost load"
    time.sleep(0.1)
    assert triton.config_name(MODEL) == "last"


def test_bringing_back_what_runs_waits_for_a_lost_load_too(triton: Triton, base: Config) -> None:
    """By itself it would do nothing: it is what the lost load leaves behind that it undoes."""
    triton.load_and_leave(config((1, 2), "lost", sleep_s=SLOW_S), 0.1)
    answer = triton.load(base)
    assert (answer.status, triton.config_name(MODEL)) == (200, "base")
    assert answer.seconds > SLOW_S - 0.1


def test_a_lost_load_of_what_runs_already_changes_nothing(triton: Triton, base: Config) -> None:
    for number in range(3):
        triton.load_and_leave(base, 0.01)
        assert triton.load(config((1,), f"last {number}")).status == 200
        assert triton.config_name(MODEL) == f"last {number}"


def test_a_load_that_is_refused_while_nobody_listens_is_a_barrier_too(triton: Triton, base: Config) -> None:
    triton.load_and_leave(config((1,), "lost", sleep_s=SLOW_S, fails="no"), 0.1)
    answer = triton.load(base)
    assert (answer.status, triton.config_name(MODEL)) == (200, "base")
    assert answer.seconds > SLOW_S - 0.1


def test_a_load_that_does_nothing_shows_that_no_other_is_under_way(triton: Triton) -> None:
    """Loads that wait come in no order: after several lost ones the last load may be followed by one that was sent before."""
    triton.load_and_leave(config((1,), "lost 1", sleep_s=0.3), 0.05)
    for number in (2, 3):
        triton.load_and_leave(config((1,), f"lost {number}", sleep_s=0.2), 0.05)
    last = config((1,), "last")
    for _ in range(6):
        answer = triton.load(last)
        if answer.seconds < NO_LOAD_S:
            break
        time.sleep(0.3)  # who waited is awake by then, and under way
    else:
        pytest.fail("something is always under way")
    time.sleep(0.5)
    assert triton.config_name(MODEL) == "last"


def test_no_load_is_told_that_it_is_outdated(triton: Triton) -> None:
    """Triton has the words; loads of one name never overlap, so that nobody hears them."""
    first = in_background(lambda: triton.load(config((1,), "first", sleep_s=0.3)))
    others = [in_background(lambda n=n: triton.load(config((1,), f"other {n}"))) for n in range(2)]  # type: ignore[misc]
    assert [p.answer().status for p in (first, *others)] == [200] * 3
    assert "Newer operation" not in triton.log()


def test_the_same_config_again_is_no_load(triton: Triton, base: Config) -> None:
    answer = triton.load(base)
    assert answer.status == 200
    assert answer.seconds < NO_LOAD_S


def test_two_models_load_side_by_side(triton: Triton) -> None:
    triton.load(config((1,), "other", model=OTHER))
    began = time.monotonic()
    pending = in_background(lambda: triton.load(config((1,), "slow", sleep_s=SLOW_S)))
    time.sleep(0.05)  # two connections of one moment can be one thread's, and then wait for each other
    assert triton.load(config((1,), "slow", model=OTHER, sleep_s=SLOW_S)).status == 200
    assert pending.answer().status == 200
    assert time.monotonic() - began < 2 * SLOW_S


# Unloads


def test_an_unload_waits_for_a_load_under_way_and_has_the_last_word(triton: Triton) -> None:
    pending = in_background(lambda: triton.load(config((1,), "slow", sleep_s=SLOW_S)))
    time.sleep(0.1)
    unloaded = triton.unload(MODEL)
    assert (unloaded.status, pending.answer().status) == (200, 200)
    assert unloaded.seconds > SLOW_S - 0.2
    assert not triton.is_ready(MODEL)
    wait_unloaded(triton, MODEL)
    assert not triton.is_ready(MODEL)


def test_an_unloaded_model_is_not_ready_from_the_answer_on(triton: Triton, base: Config) -> None:
    """400 takes a pod out of its Service; whoever comes by another way hears 404, or 503 where he names a version."""
    assert triton.unload(MODEL).status == 200
    ready = triton.ask("GET", f"/v2/models/{MODEL}/ready")
    said = "Request for unknown model: 'clip' has no available versions"
    assert (ready.status, ready.error) == (400, "Model version not ready")
    for answer in (triton.embed(MODEL), triton.ask("GET", f"/v2/models/{MODEL}/config")):
        assert (answer.status, answer.error) == (404, said)
    named = triton.embed(MODEL, version=1)
    assert (named.status, named.error) == (503, "Request for unknown model: 'clip' version 1 is not at ready state")
    # The same config is a load now, also while the old one is on its way out.
    answer = triton.load(base)
    assert (answer.status, triton.is_ready(MODEL), triton.embed(MODEL).status) == (200, True, 200)
    assert answer.seconds > 0.05


def test_unloading_twice_or_what_never_was_is_no_error(triton: Triton) -> None:
    assert [triton.unload(name).status for name in (MODEL, MODEL, "nothing-of-this-name")] == [200, 200, 200]
    config = triton.ask("GET", "/v2/models/nothing-of-this-name/config")
    assert (config.status, config.error) == (404, "Request for unknown model: 'nothing-of-this-name' is not found")


# The candidate


@dataclass(slots=True)
class Traffic:
    """What clients of the real name were answered."""

    answers: list[tuple[int, bytes]] = field(default_factory=list)
    slowest_s: float = 0

    def versions(self) -> set[int]:
        return {read_embedding(text)[0] for _, text in self.answers}


@contextmanager
def traffic(triton: Triton, clients: int) -> Iterator[Traffic]:
    """Ask under the real name, over connections that are kept."""
    found, stop = Traffic(), threading.Event()
    body = json.dumps(infer_body())

    def run() -> None:
        connection = triton.connect()
        while not stop.is_set():
            began = time.monotonic()
            try:
                connection.request("POST", f"/v2/models/{MODEL}/infer", body)
                answer = connection.getresponse()
                found.answers.append((answer.status, answer.read()))
            except (OSError, http.client.HTTPException) as error:
                found.answers.append((0, repr(error).encode()))
                connection.close()
            found.slowest_s = max(found.slowest_s, time.monotonic() - began)
            time.sleep(0.005)

    threads = [threading.Thread(target=run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    try:
        yield found
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_nothing_of_a_candidate_is_seen_under_the_real_name(triton: Triton) -> None:
    """Proven with all its versions, refused, unloaded; then the real name: no request fails, and each is answered by the version that it names."""
    right = {1: read_embedding(triton.embed(MODEL).text)[1]}
    triton.load(config(GOOD, "both"))
    right[2] = read_embedding(triton.embed(MODEL).text)[1]
    triton.load(config((1,), "base"))
    with traffic(triton, 3) as seen:
        assert triton.load(config(GOOD, "candidate", model=CANDIDATE)).status == 200
        for version in GOOD:
            assert read_embedding(triton.embed(CANDIDATE, version=version).text) == (version, right[version])
        assert triton.load(config(JUNK, "broken", model=CANDIDATE)).status == 400
        assert triton.unload(CANDIDATE).status == 200
        wait_unloaded(triton, CANDIDATE)
        assert seen.versions() == {1}
        assert triton.load(config(GOOD, "both")).status == 200
        assert triton.load(config(JUNK, "broken")).status == 400
        time.sleep(0.2)
    assert {status for status, _ in seen.answers} == {200}
    assert len(seen.answers) > 100
    for _, text in seen.answers:
        version, vector = read_embedding(text)
        assert vector == pytest.approx(right[version], abs=1e-5)
    assert seen.versions() == {1, 2}


# What a load costs clients that keep their connection


def kept_connections_wait_s(triton: Triton, load: Callable[[Config], object], count: int = 16) -> float:
    """Give how long a client of the real name waited at most while a load of a second went on."""
    with traffic(triton, count) as seen:
        seen.slowest_s = 0
        load(config((1,), "slow", sleep_s=1))
    return seen.slowest_s


def test_a_load_over_http_holds_up_whoever_shares_its_thread_and_one_over_grpc_nobody(triton: Triton) -> None:
    """Triton's HTTP server loads in the thread that also serves kept connections: their requests wait until the load has ended."""
    with grpc.InferenceServerClient(triton.grpc_address) as client:
        assert kept_connections_wait_s(triton, lambda c: client.load_model(c["name"], config=json.dumps(c))) < SLOW_S
    assert kept_connections_wait_s(triton, triton.load) > SLOW_S


def test_a_load_over_grpc_goes_on_and_is_waited_for_in_the_same_way(triton: Triton) -> None:
    lost = config((1,), "lost", sleep_s=SLOW_S)
    with grpc.InferenceServerClient(triton.grpc_address) as client:
        with pytest.raises(InferenceServerException, match="Deadline"):
            client.load_model(MODEL, config=json.dumps(lost), client_timeout=0.2)
        client.load_model(MODEL, config=json.dumps(config((1,), "last")))
    assert triton.config_name(MODEL) == "last"


# Refusals


def refused(triton: Triton, versions: tuple[int, ...]) -> Answer:
    # Triton has been seen to crash (signal 11) where a good version is the last to be loaded, and is thrown away with the broken one at once:
    # StopBackendThread takes the last of model_instances_, which is empty while the backend's thread still ends its first work, the loading.
    answer = triton.load(config(versions, "refused", model=CANDIDATE, late=",".join(map(str, JUNK))))
    assert answer.status == 400, answer
    return answer


@pytest.mark.parametrize("versions", [(3,), (4, 5), (1, 3, 5)])
def test_a_refusal_names_the_versions_that_failed(running: Triton, versions: tuple[int, ...]) -> None:
    causes = parse_load_error(refused(running, versions).error)
    assert sorted(causes) == sorted(set(versions) - set(GOOD))
    for version, cause in causes.items():
        expected = (
            "is not a registered function/op" if version == UNKNOWN_OPERATOR else "failed:Protobuf parsing failed."
        )
        assert cause.startswith(f"ONNX Runtime cannot load /models/{CANDIDATE}/{version}/model.onnx: ")
        assert cause.endswith(expected)
    assert "READY" not in running.states(CANDIDATE).values(), "one broken version, and none is loaded"


def test_a_version_that_is_not_there_is_passed_over_unless_it_is_the_only_one(running: Triton) -> None:
    assert running.load(config((1, 99), "absent", model=CANDIDATE)).status == 200
    assert running.states(CANDIDATE)[1] == "READY"
    assert running.embed(CANDIDATE).status == 200
    running.unload(CANDIDATE)
    message = refused(running, (99,)).error
    assert parse_load_error(message) == {}
    assert summarize_load_error(message, length=300).startswith("at least one version must be available")


def test_a_refused_load_leaves_what_serves_and_is_refused_again(triton: Triton, base: Config) -> None:
    """Else a lost refusal would look like success when it is asked again. Bringing back what still runs is no load."""
    bad = config(JUNK, "bad")
    assert [triton.load(bad).status, triton.load(bad).status] == [400, 400]
    assert (triton.config_name(MODEL), triton.embed(MODEL).status) == ("base", 200)
    answer = triton.load(base)
    assert (answer.status, triton.config_name(MODEL)) == (200, "base")
    assert answer.seconds < NO_LOAD_S


@pytest.mark.parametrize(
    ("edit", "cause"),
    [
        ({"no_such_field": 1}, "no_such_field"),
        ({"max_batch_size": 2}, "dynamic batching preferred size must be <= max batch size for clip"),
    ],
)
def test_a_config_that_cannot_be_read_is_no_400_and_only_the_log_says_why(
    triton: Triton, edit: Config, cause: str
) -> None:
    answer = triton.load(config((1,), "bad") | edit)
    assert (answer.status, answer.error) == (500, "failed to load 'clip', failed to poll from model repository")
    assert cause in triton.log()
    assert triton.config_name(MODEL) == "base"


def test_a_refusal_has_no_longest_length(running: Triton) -> None:
    message = running.load(config(GOOD, "long", model=CANDIDATE, fails="x", times=500_000)).error
    assert len(message) > 1_000_000
    causes = parse_load_error(message)
    assert causes == {1: "x" * 500_000, 2: "x" * 500_000}
    assert len(summarize_load_error(message, length=300)) == 300


# Memory


def test_what_does_not_fit_kills_one_process_and_it_need_not_be_the_candidates(
    image: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The light image has a process for each version; the kernel kills the biggest. The C++ backend has one for all: there the server dies."""
    repository = write_repository(tmp_path_factory.mktemp("memory") / "models")
    with light_triton(image, repository, memory_mib=320) as triton:
        assert triton.load(config((1,), "small", fill_mib=20)).status == 200
        answer = triton.load(config((1,), "candidate", model=CANDIDATE, fill_mib=400))
        assert answer.status == 400
        assert parse_load_error(answer.error) == {1: f"Stub process '{CANDIDATE}_0_0' is not healthy."}
        assert (triton.is_ready(MODEL), triton.embed(MODEL).status) == (True, 200)

        base = config((1,), "big", fill_mib=150)
        assert triton.load(base).status == 200
        assert triton.load(config((1,), "candidate", model=CANDIDATE, fill_mib=140)).status == 200
        # Now the real name is ready, its version is READY, and nothing can be embedded with it.
        assert (triton.is_ready(MODEL), triton.states(MODEL)) == (True, {1: "READY"})
        failed = triton.embed(MODEL)
        assert (failed.status, failed.error) == (500, f"Stub process '{MODEL}_0_0' is not healthy.")
        assert triton.embed(CANDIDATE).status == 200
        # The same config again is no load. After an unload it is one.
        assert (triton.load(base).status, triton.embed(MODEL).status) == (200, 500)
        for model in (CANDIDATE, MODEL):
            triton.unload(model)
        wait_unloaded(triton, CANDIDATE)
        # What lost its process stays on its way out, until something else is loaded under its name.
        assert triton.states(MODEL) == {1: "UNLOADING"}
        assert (triton.load(base).status, triton.embed(MODEL).status) == (200, 200)
        state = triton.state()
    assert (state["Running"], state["OOMKilled"], state["RestartCount"]) == (True, False, 0)
