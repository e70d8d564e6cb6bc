"""The steps on one server: what each asks for, in which order, and what it makes of each answer that may come, or of none."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from clipmodel_contract.tensors import Tensors
from clipmodel_operator.models.errors import LoadRefusedError, RejectedError, RetryError
from clipmodel_operator.models.observed import Loaded, Outcome
from clipmodel_operator.models.revision import Revision
from clipmodel_operator.models.server import Server
from clipmodel_operator.reconcile import server_steps
from clipmodel_operator.reconcile.server_steps import NotWantedError, Result, Subject
from clipmodel_operator.rendering.config_pbtxt import config_id, hash_config
from clipmodel_operator.rendering.revision import render_revision
from support.builders import (
    SHA_1,
    SHA_2,
    VECTORS_1,
    VECTORS_2,
    VECTORS_NEAR_1,
    VECTORS_OTHER,
    build_model,
    build_record,
    build_spec,
)
from support.fake_clock import FakeClock
from support.virtual_loop import VirtualLoop

MODEL = build_model(build_spec())
FASTER = build_model(build_spec(batching={"maxQueueDelay": "1ms"}))
TOLERANT = build_model(build_spec(verification={"tolerance": "0.999"}))
RECORDS = {SHA_1: build_record(), SHA_2: build_record(2, sha256=SHA_2, vectors=VECTORS_2)}
ONE = render_revision(MODEL, {1: SHA_1})
BOTH = render_revision(MODEL, {1: SHA_1, 2: SHA_2})
OTHER_BATCHING = render_revision(FASTER, {1: SHA_1})
LOOSE = render_revision(TOLERANT, {1: SHA_1})
#: A load that finds something to do takes so many seconds.
LOAD_S = 0.2
SILENT, NO = RetryError("no answer"), RejectedError("no")


@dataclass
class FakeServer:
    """One Triton, as the protocol shows it. `answers` has what comes in place of what it would say: by what is asked, one after the other."""

    clock: FakeClock
    configs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    """Loads and unloads, with versions; `embed` once for each version; `index` where something was listed."""
    answers: defaultdict[str, list[Exception | None]] = field(default_factory=lambda: defaultdict(list))
    vectors: dict[int, Sequence[Sequence[float]]] = field(default_factory=lambda: {1: VECTORS_1, 2: VECTORS_2})
    listed: int = 0
    """How often the candidate is still listed after it was unloaded."""
    late: list[Mapping[str, Any]] = field(default_factory=list)
    """Configs that somebody else's loads bring, each after one of ours: their answers were lost."""
    way_s: float = 0.02
    """Seconds that a load takes of what is loaded already: the way there and back."""
    _leaving: int = 0

    def _answer(self, what: str) -> None:
        answer = self.answers[what].pop(0) if self.answers[what] else None
        if answer is not None:
            raise answer

    async def embed_golden(
        self, server: Server, *, model: str, version: int, tensors: Tensors, index: int
    ) -> tuple[float, ...]:
        assert (server, tensors) == (SUBJECT.server, SUBJECT.tensors)
        await asyncio.sleep(0)
        if index == 0:
            self.told.append(f"embed {model} {version}")
        self._answer(f"embed {model}")
        assert version in versions(self.configs[model])
        return tuple(self.vectors[version][index])

    async def get_config(self, server: Server, model: str) -> Mapping[str, Any]:
        assert server == SUBJECT.server
        await asyncio.sleep(0)
        self._answer(f"config {model}")
        if model not in self.configs:
            raise RejectedError("is not found")
        return self.configs[model]

    async def load(self, server: Server, model: str, config: Mapping[str, Any]) -> None:
        assert server == SUBJECT.server
        assert config["name"] == model
        assert not self._leaving, "the memory of what is going is needed for what comes"
        await asyncio.sleep(0)
        self.told.append(f"load {model} {versions(config)}")
        self._answer(f"load {model}")
        self.clock.seconds += LOAD_S if self.configs.get(model) != config else self.way_s
        self.configs[model] = config
        if model == "clip" and self.late:
            self.configs[model] = self.late.pop(0)

    async def unload(self, server: Server, model: str) -> None:
        assert server == SUBJECT.server
        await asyncio.sleep(0)
        self.told.append(f"unload {model}")
        self._answer(f"unload {model}")
        if self.configs.pop(model, None) is None:
            raise RejectedError("failed to unload, it is not loaded")
        self._leaving = self.listed

    async def loaded_versions(self, server: Server, model: str) -> frozenset[int]:
        assert (server, model) == (SUBJECT.server, "clip__candidate")
        await asyncio.sleep(0)
        self._answer("index")
        if self._leaving:
            self._leaving -= 1
            return frozenset({9})
        return frozenset(versions(self.configs[model])) if model in self.configs else frozenset()


def versions(config: Mapping[str, Any]) -> list[int]:
    return list(config["version_policy"]["specific"]["versions"])


SUBJECT = Subject(
    server=Server("10.0.0.1", "the-key"),
    model="clip",
    profile="cpu",
    tensors=MODEL.tensors,
    known=(ONE, BOTH),
    records=RECORDS,
)
CANDIDATE = "clip__candidate"


class World:
    """A server, and a loop in which no time passes but what is waited for."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.server = FakeServer(self.clock, {"clip": ONE.configs["cpu"]})
        self.loop = VirtualLoop(self.clock)

    def run(self, step: Coroutine[Any, Any, Result]) -> Result:
        task = self.loop.create_task(step)
        assert self.loop.run_until(task.done, at_most_s=600.0), "it does not end"
        return task.result()

    def look(self, *known: Revision) -> Result:
        subject = Subject(SUBJECT.server, "clip", "cpu", MODEL.tensors, known or SUBJECT.known, RECORDS)
        return self.run(server_steps.look(self.server, subject))

    def prove(self, revision: Revision, *, alone: tuple[int, ...] = ()) -> Result:
        return self.run(server_steps.prove(self.server, SUBJECT, revision, alone=alone))

    def switch(self, revision: Revision, *, is_unsure: bool = False) -> Result:
        return self.run(server_steps.switch(self.server, SUBJECT, revision, is_unsure=is_unsure))


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.loop.end()


def put(world: World, revision: Revision, *, name: str = "clip") -> None:
    world.server.configs[name] = {**revision.configs["cpu"], "name": name}


# Look.


def test_a_look_says_what_is_loaded_and_that_it_is_proven(world: World) -> None:
    put(world, BOTH)
    result = world.look()
    assert result == Result(
        Outcome.DONE,
        loaded=Loaded(BOTH.config_ids["cpu"], (1, 2), None),
        proved=frozenset({BOTH.proof_of("cpu")}),
        has_candidate=False,
    )
    assert world.server.told == ["embed clip 1", "embed clip 2"], "nothing is changed"


def test_a_look_finds_a_candidate_that_was_left(world: World) -> None:
    put(world, ONE, name=CANDIDATE)
    result = world.look()
    assert (result.outcome, result.has_candidate) == (Outcome.DONE, True)


def test_a_look_finds_that_nothing_is_loaded(world: World) -> None:
    world.server.configs.clear()
    result = world.look()
    assert result.outcome is Outcome.DONE
    assert result.loaded == server_steps.NOT_LOADED
    assert result.proved == frozenset()


def test_a_look_finds_other_embeddings(world: World) -> None:
    put(world, BOTH)
    world.server.vectors[2] = VECTORS_OTHER
    result = world.look()
    assert result.outcome is Outcome.DONE
    assert result.loaded is not None
    assert result.loaded.is_wrong
    assert (result.loaded.config_id, result.loaded.versions) == (BOTH.config_ids["cpu"], (1, 2))
    assert "version 2, golden image 0: cosine" in str(result.loaded.difference)
    assert result.proved == frozenset()


def test_a_server_that_serves_and_embeds_nothing_is_wrong(world: World) -> None:
    """Triton says that it is ready while a backend's process is gone."""
    world.server.answers["embed clip"] = [RejectedError("the backend process is not healthy")]
    result = world.look()
    assert result.outcome is Outcome.DONE
    assert result.loaded is not None
    assert result.loaded.is_wrong
    assert result.loaded.difference == "it does not embed: the backend process is not healthy"


@pytest.mark.parametrize(("asked", "knows_candidate"), [("index", None), ("config clip", False), ("embed clip", False)])
def test_a_look_that_is_not_answered_says_nothing_of_what_is_loaded(
    world: World, asked: str, *, knows_candidate: bool | None
) -> None:
    world.server.answers[asked] = [SILENT]
    result = world.look()
    assert (result.outcome, result.message) == (Outcome.LOST, "no answer")
    assert result.loaded is None
    assert result.proved == frozenset()
    assert result.has_candidate is knows_candidate, "what was answered before counts"


def test_a_config_of_no_known_revision_is_compared_with_its_versions_records(world: World) -> None:
    put(world, OTHER_BATCHING)
    result = world.look()
    assert result.loaded is not None
    assert result.loaded.difference is None
    assert result.loaded.config == OTHER_BATCHING.configs["cpu"], "so that its revision can be recovered"
    assert result.proved == frozenset(), "by which tolerance, nobody knows"
    world.server.vectors[1] = VECTORS_OTHER
    result = world.look()
    assert result.loaded is not None
    assert result.loaded.is_wrong


def test_a_config_of_no_known_revision_is_compared_by_the_strictest_tolerance(world: World) -> None:
    put(world, OTHER_BATCHING)
    world.server.vectors[1] = VECTORS_NEAR_1
    for known, is_wrong in (((LOOSE,), False), ((LOOSE, ONE), True)):
        result = world.look(*known)
        assert result.loaded is not None
        assert result.loaded.is_wrong == is_wrong


def test_of_two_tolerances_of_one_config_the_first_one_counts(world: World) -> None:
    world.server.vectors[1] = VECTORS_NEAR_1
    for known, proved in (((LOOSE, ONE), {LOOSE.proof_of("cpu")}), ((ONE, LOOSE), set())):
        result = world.look(*known)
        assert result.loaded is not None
        assert result.loaded.is_wrong == (not proved)
        assert result.proved == proved


def test_what_has_no_record_cannot_be_compared_and_is_not_called_wrong(world: World) -> None:
    config = ONE.configs["cpu"]
    for found, why in (([1, 9], "it serves version 9, of which no proof is known"), ([], "it serves no version")):
        world.server.configs["clip"] = {
            **config,
            "parameters": {},
            "version_policy": {"specific": {"versions": found}},
        }
        result = world.look()
        assert result.outcome is Outcome.DONE
        assert result.loaded == Loaded("", tuple(found), why, is_compared=False)
        assert not result.loaded.is_wrong
    assert world.server.told == []


# Prove.


def test_a_proof_is_of_the_whole_config_and_leaves_what_serves(world: World) -> None:
    result = world.prove(BOTH)
    assert world.server.told == [
        f"load {CANDIDATE} [1, 2]",
        f"embed {CANDIDATE} 1",
        f"embed {CANDIDATE} 2",
        f"unload {CANDIDATE}",
    ]
    # The unload is heard; when it is done, nobody has said.
    assert result == Result(Outcome.DONE, proved=frozenset({BOTH.proof_of("cpu")}), has_candidate=True)
    assert world.server.configs == {"clip": ONE.configs["cpu"]}


def test_what_is_proven_differs_in_its_name_alone_from_what_is_loaded(world: World) -> None:
    seen = list[Mapping[str, Any]]()
    load = world.server.load

    async def noted(server: Server, model: str, config: Mapping[str, Any]) -> None:
        seen.append(config)
        await load(server, model, config)

    world.server.load = noted  # type: ignore[method-assign]
    world.prove(BOTH)
    world.switch(BOTH)
    assert [{**c, "name": "clip"} for c in seen] == [BOTH.configs["cpu"]] * 2


def test_new_versions_are_proven_alone_before(world: World) -> None:
    """Triton 2.51 may crash where a load ends a good version, since another is broken, before that one has answered once."""
    world.server.listed = 2
    ids, load = list[str](), world.server.load

    async def noted(server: Server, model: str, config: Mapping[str, Any]) -> None:
        ids.append(config_id(config))
        assert hash_config({**config, "name": "clip"}) == config_id(config), "what it says of itself is true"
        await load(server, model, config)

    world.server.load = noted  # type: ignore[method-assign]
    result = world.prove(BOTH, alone=(1, 2))
    told = [line for line, _ in itertools.groupby(world.server.told)]  # what is still listed is told to go once more
    assert told == [
        line
        for found in ([1], [2], [1, 2])
        for line in (f"load {CANDIDATE} {found}", *(f"embed {CANDIDATE} {v}" for v in found), f"unload {CANDIDATE}")
    ]
    assert result.proved == {BOTH.proof_of("cpu")}, "what a part proves is nobody's revision"
    assert len(set(ids)) == 3


@pytest.mark.parametrize("harm", ["differs", "is refused", "is not answered"])
def test_where_a_version_alone_fails_the_whole_is_not_loaded(world: World, harm: str) -> None:
    if harm == "differs":
        world.server.vectors[2] = VECTORS_OTHER
    else:
        refused = LoadRefusedError("version 2: broken", causes={2: "broken"})
        world.server.answers[f"load {CANDIDATE}"] = [refused if harm == "is refused" else SILENT]
    result = world.prove(BOTH, alone=(2,))
    assert [line for line in world.server.told if line.startswith("load")] == [f"load {CANDIDATE} [2]"]
    expected = {"differs": Outcome.DIFFERS, "is refused": Outcome.REFUSED, "is not answered": Outcome.LOST}
    assert result.outcome is expected[harm]
    assert result.version == (2 if harm != "is not answered" else None)
    assert result.proved == frozenset()
    assert world.server.told[-1] == f"unload {CANDIDATE}"


@pytest.mark.parametrize(("causes", "version"), [({}, None), ({2: "broken"}, 2), ({1: "broken", 2: "broken"}, None)])
def test_a_refused_proof_names_the_version_where_it_is_one(
    world: World, causes: dict[int, str], version: int | None
) -> None:
    world.server.answers[f"load {CANDIDATE}"] = [LoadRefusedError("it is broken", causes=causes)]
    result = world.prove(BOTH)
    assert result == Result(Outcome.REFUSED, "it is broken", version, has_candidate=False)
    assert world.server.told == [f"load {CANDIDATE} [1, 2]", f"unload {CANDIDATE}"]


def test_a_proof_that_differs_is_unloaded(world: World) -> None:
    world.server.vectors[2] = VECTORS_OTHER
    result = world.prove(BOTH)
    assert (result.outcome, result.version) == (Outcome.DIFFERS, 2)
    assert result.message.startswith("version 2, golden image 0: cosine")
    assert result.proved == frozenset()
    assert CANDIDATE not in world.server.configs


def test_a_proof_is_by_the_tolerance_of_its_revision(world: World) -> None:
    world.server.vectors[1] = VECTORS_NEAR_1
    assert world.prove(ONE).outcome is Outcome.DIFFERS
    assert world.prove(LOOSE) == Result(Outcome.DONE, proved=frozenset({LOOSE.proof_of("cpu")}), has_candidate=True)


def test_a_candidate_that_embeds_nothing_is_refused(world: World) -> None:
    world.server.answers[f"embed {CANDIDATE}"] = [NO]
    assert world.prove(ONE) == Result(Outcome.REFUSED, "no", has_candidate=True)
    assert CANDIDATE not in world.server.configs


@pytest.mark.parametrize("asked", ["index", f"load {CANDIDATE}", f"embed {CANDIDATE}"])
def test_a_proof_that_is_not_answered_may_have_left_a_candidate(world: World, asked: str) -> None:
    world.server.answers[asked] = [SILENT]
    assert world.prove(ONE) == Result(Outcome.LOST, "no answer", has_candidate=True)
    assert world.server.told[-1] == f"unload {CANDIDATE}", "it is told to go, whether it is there or not"


def test_what_a_proof_found_is_not_lost_for_an_unload_that_is(world: World) -> None:
    world.server.answers[f"unload {CANDIDATE}"] = [SILENT]
    assert world.prove(ONE) == Result(Outcome.DONE, proved=frozenset({ONE.proof_of("cpu")}), has_candidate=True)


def test_a_version_without_a_record_is_not_proven(world: World) -> None:
    subject = Subject(SUBJECT.server, "clip", "cpu", MODEL.tensors, (), {SHA_1: RECORDS[SHA_1]})
    result = world.run(server_steps.prove(world.server, subject, BOTH))
    assert (result.outcome, result.version) == (Outcome.DIFFERS, 2)
    assert result.message == "version 2: no proof is known"


# What is left under the candidate's name goes first.

STEPS: dict[str, Callable[[World], Result]] = {
    "prove": lambda w: w.prove(ONE),
    "switch": lambda w: w.switch(ONE),
    "clear": lambda w: w.run(server_steps.clear(w.server, SUBJECT)),
}


@pytest.mark.parametrize("name", STEPS)
def test_nothing_is_loaded_before_what_was_left_is_gone(world: World, name: str) -> None:
    """The fake says so where it is not. An unload that was lost is asked for again."""
    put(world, BOTH, name=CANDIDATE)
    world.server.listed = 3
    result = STEPS[name](world)
    assert result.outcome is Outcome.DONE
    assert world.server.told[0] == f"unload {CANDIDATE}"
    assert world.clock.seconds >= 2 * server_steps.UNLOAD_POLL_S
    assert result.has_candidate is (name == "prove")


@pytest.mark.parametrize("name", STEPS)
def test_where_nothing_was_left_nothing_is_unloaded_before(world: World, name: str) -> None:
    STEPS[name](world)
    assert world.server.told[:1] != [f"unload {CANDIDATE}"]


@pytest.mark.parametrize("name", STEPS)
def test_a_candidate_that_does_not_go_is_waited_for_until_a_deadline(world: World, name: str) -> None:
    put(world, BOTH, name=CANDIDATE)
    world.server.listed = 10_000
    result = STEPS[name](world)
    assert result.outcome is Outcome.LOST
    assert "is still loaded 60 s after it was unloaded" in result.message
    assert 60 <= world.clock.seconds < 62
    assert not [line for line in world.server.told if line.startswith("load")]


@pytest.mark.parametrize("asked", ["index", f"unload {CANDIDATE}"])
def test_a_candidate_whose_going_is_not_answered_is_not_called_gone(world: World, asked: str) -> None:
    put(world, BOTH, name=CANDIDATE)
    world.server.answers[asked] = [SILENT]
    world.server.answers["index"] += [None, SILENT]
    assert STEPS["clear"](world) == Result(Outcome.LOST, "no answer")


# Verify.


def test_what_runs_is_verified_by_another_tolerance_and_nothing_is_loaded(world: World) -> None:
    def verify(revision: Revision) -> Result:
        return world.run(server_steps.verify(world.server, SUBJECT, revision))

    assert verify(ONE) == Result(Outcome.DONE, proved=frozenset({ONE.proof_of("cpu")}))
    world.server.vectors[1] = VECTORS_NEAR_1
    result = verify(ONE)
    assert (result.outcome, result.version, result.proved) == (Outcome.DIFFERS, 1, frozenset())
    assert verify(LOOSE) == Result(Outcome.DONE, proved=frozenset({LOOSE.proof_of("cpu")}))
    world.server.answers["embed clip"] = [NO, SILENT]
    assert verify(LOOSE) == Result(Outcome.REFUSED, "no")
    assert verify(LOOSE) == Result(Outcome.LOST, "no answer")
    assert set(world.server.told) == {"embed clip 1"}


# Switch.


def test_a_switch_loads_once_and_compares_once_more(world: World) -> None:
    result = world.switch(BOTH)
    assert world.server.told == ["load clip [1, 2]", "embed clip 1", "embed clip 2"]
    assert result == Result(
        Outcome.DONE,
        loaded=Loaded(BOTH.config_ids["cpu"], (1, 2), None),
        proved=frozenset({BOTH.proof_of("cpu")}),
        has_candidate=False,
    )


def test_a_switch_that_is_refused_says_nothing_of_what_runs(world: World) -> None:
    world.server.answers["load clip"] = [LoadRefusedError("broken", causes={2: "broken"})]
    assert world.switch(BOTH) == Result(Outcome.REFUSED, "broken", 2)
    assert world.server.told == ["load clip [1, 2]"]


@pytest.mark.parametrize("asked", ["index", "load clip", "embed clip"])
def test_a_switch_that_is_not_answered_is_lost(world: World, asked: str) -> None:
    world.server.answers[asked] = [SILENT]
    assert world.switch(BOTH) == Result(Outcome.LOST, "no answer")


def test_what_differs_under_the_real_name_is_unloaded_at_once(world: World) -> None:
    world.server.vectors[2] = VECTORS_OTHER
    result = world.switch(BOTH)
    assert (result.outcome, result.version) == (Outcome.DIFFERS, 2)
    assert result.loaded == server_steps.NOT_LOADED
    assert result.proved == frozenset()
    assert world.server.told == ["load clip [1, 2]", "embed clip 1", "embed clip 2", "unload clip"]


def test_what_a_load_skipped_is_found_and_withdrawn(world: World) -> None:
    """A load that says 200 may have left out a version."""
    world.server.answers["embed clip"] = [NO]
    result = world.switch(ONE)
    assert (result.outcome, result.message) == (Outcome.REFUSED, "it does not serve what it loaded: no")
    assert world.server.told[-1] == "unload clip"


def test_where_withdrawing_is_not_answered_what_runs_is_not_known(world: World) -> None:
    world.server.vectors[2] = VECTORS_OTHER
    world.server.answers["unload clip"] = [SILENT]
    result = world.switch(BOTH)
    assert (result.outcome, result.version, result.loaded) == (Outcome.DIFFERS, 2, None)


def test_withdrawing(world: World) -> None:
    def withdraw() -> Result:
        return world.run(server_steps.withdraw(world.server, SUBJECT))

    gone = Result(Outcome.DONE, loaded=server_steps.NOT_LOADED)
    world.server.answers["unload clip"] = [SILENT]
    assert withdraw() == Result(Outcome.LOST, "no answer")
    assert withdraw() == gone
    assert "clip" not in world.server.configs
    assert withdraw() == gone, "it is not there: Triton says no, and that is what was asked for"


# The barrier: of several loads that wait, Triton begins any.


def test_after_a_lost_answer_a_switch_loads_until_there_is_nothing_to_be_done(world: World) -> None:
    """A lost load of something else comes between: the next of ours takes as long as a load does, and one more finds nothing to do."""
    world.server.late = [OTHER_BATCHING.configs["cpu"]]
    result = world.switch(BOTH, is_unsure=True)
    assert result.outcome is Outcome.DONE
    assert world.server.configs["clip"] == BOTH.configs["cpu"]
    assert world.server.told == ["load clip [1, 2]"] * 3 + ["embed clip 1", "embed clip 2"]
    assert world.clock.seconds >= 2 * server_steps.BARRIER_PAUSE_S, "Triton is given the time to begin the other"


def test_after_a_lost_answer_one_load_more_is_enough_where_nothing_comes_between(world: World) -> None:
    world.switch(BOTH, is_unsure=True)
    assert world.server.told.count("load clip [1, 2]") == 2


def test_a_barrier_is_not_held_up_for_ever(world: World) -> None:
    world.server.late = [OTHER_BATCHING.configs["cpu"]] * 100
    result = world.switch(BOTH, is_unsure=True)
    assert (result.outcome, result.loaded) == (Outcome.LOST, None)
    assert "something was still to be loaded" in result.message
    assert len(world.server.told) == 1 + server_steps.BARRIER_LOADS


def test_a_barrier_ends_where_every_answer_takes_long(world: World) -> None:
    """A busy server, or a slow way to it: a pod that could never be sure of would hold up every later change."""
    world.server.way_s = 2 * server_steps.BARRIER_NOTHING_S
    result = world.switch(BOTH, is_unsure=True)
    assert (result.outcome, result.loaded is not None) == (Outcome.DONE, True)
    assert world.server.told.count("load clip [1, 2]") == 1 + server_steps.BARRIER_LOADS


@pytest.mark.parametrize(("answer", "outcome"), [(SILENT, Outcome.LOST), (NO, Outcome.REFUSED)])
def test_a_load_of_the_barrier_that_fails_is_the_switchs_failure(
    world: World, answer: Exception, outcome: Outcome
) -> None:
    world.server.answers["load clip"] = [None, answer]
    assert world.switch(BOTH, is_unsure=True).outcome is outcome
    assert not [line for line in world.server.told if line.startswith("embed")]


# What is not wanted any more is not loaded.


@pytest.mark.parametrize("after", range(3))
def test_a_step_that_is_not_wanted_any_more_ends_before_its_next_load(world: World, after: int) -> None:
    """The user has paused, or another pod has refused, while it waited."""

    def is_wanted() -> bool:
        return len([line for line in world.server.told if line.startswith("load")]) < after

    subject = dataclasses.replace(SUBJECT, is_wanted=is_wanted)
    for step in (
        server_steps.prove(world.server, subject, BOTH, alone=(1, 2)),
        server_steps.switch(world.server, subject, BOTH, is_unsure=True),
    ):
        world.server.told.clear()
        world.server.late = [OTHER_BATCHING.configs["cpu"]] * 5
        with pytest.raises(NotWantedError):
            world.run(step)
        assert len([line for line in world.server.told if line.startswith("load")]) == after


# Small things.


def test_a_config_that_is_not_of_ours_has_no_id() -> None:
    assert server_steps.read_config({}) == ("", ())
    assert server_steps.read_config({"parameters": None, "version_policy": {"latest": {}}}) == ("", ())
    assert server_steps.read_config(BOTH.configs["cpu"]) == (BOTH.config_ids["cpu"], (1, 2))
    said = {"version_policy": {"specific": {"versions": ["2", "1"]}}}
    assert server_steps.read_config(said) == ("", (1, 2)), "Triton writes 64-bit numbers as texts"


def test_records_by_digest() -> None:
    assert server_steps.records_by_digest(tuple(RECORDS.values())) == RECORDS
