"""A walk through the world of one ClipModel: whatever can happen next may happen, and after each step what was promised must hold.

A walk is a list of choices among a few possibilities each; a random generator draws them, or hypothesis, which makes them fewer when one fails.
The first possibility is always what happens in good order.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from clipmodel_operator.models.errors import RetryError
from support.builders import VECTORS_1, VECTORS_NEAR_1, build_spec, build_version
from support.driver import HOUR, Action, Driver, WalkError
from support.fake_kubelet import is_ready
from support.fake_triton import At, Config, Fault, Harm, Upload, versions_of
from support.server_side_apply import Object
from support.simulation import Killed

T = TypeVar("T")
Draw = Callable[[int], int]
"""Chooses one of so many possibilities, by its number."""

_ON_SOME: Callable[[str], bool] = lambda pod: int(pod.rsplit("-", 1)[1]) % 2 == 0  # noqa: E731 - a table of them follows


def _has_version(number: int) -> Callable[[Config], bool]:
    return lambda config: number in versions_of(config)


def _has_delay(milliseconds: int) -> Callable[[Config], bool]:
    return lambda config: _delay(config) == milliseconds


def _delay(config: Config) -> int:
    """Give the queue's delay in milliseconds."""
    return int(config["dynamic_batching"]["max_queue_delay_microseconds"]) // 1000


def _has_graph(level: int) -> Callable[[Config], bool]:
    def matches(config: Config) -> bool:
        graph = (config.get("optimization") or {}).get("graph") or {}
        return int(graph.get("level", 0)) == level

    return matches


_LIVE = frozenset({At.CANDIDATE, At.REAL})
_START = frozenset({At.START})
#: What harms: each value of a field does always the same, so that a log can be read.
FAULTS = (
    Fault(Harm.KILLS, _has_version(7)),
    Fault(Harm.DIFFERS, _has_version(8), pods=_ON_SOME),
    Fault(Harm.KILLS, _has_version(9), at=_START, reason="Error"),
    Fault(Harm.REFUSED, _has_delay(13)),
    Fault(Harm.DIFFERS, _has_delay(17)),
    Fault(Harm.KILLS, _has_delay(19)),
    Fault(Harm.REFUSED, _has_delay(23), pods=_ON_SOME),
    Fault(Harm.DIFFERS, _has_delay(29), pods=_ON_SOME),
    Fault(Harm.KILLS, _has_delay(31), at=_START, reason="Error"),
    Fault(Harm.DIFFERS, _has_delay(37), at=_START),
    Fault(Harm.KILLS, _has_delay(41), reason="Error"),
    Fault(Harm.KILLS, _has_delay(43), pods=_ON_SOME),
    Fault(Harm.REFUSED, _has_delay(47), at=frozenset({At.REAL})),
    Fault(Harm.DIFFERS, _has_delay(49), at=frozenset({At.REAL})),
    Fault(Harm.KILLS, _has_delay(53), at=frozenset({At.REAL}), reason="Error"),
    Fault(Harm.DIFFERS, _has_graph(1)),
)

VERSIONS: Mapping[int, Upload] = {
    1: Upload("1" * 64, VECTORS_1),
    2: Upload("2" * 64, VECTORS_1),
    3: Upload("3" * 64, VECTORS_1, is_wrong=True),
    4: Upload("4" * 64, VECTORS_1, is_refused=True),
    5: Upload("5" * 64, VECTORS_1, copies=3),
    6: Upload("6" * 64, VECTORS_1, served=VECTORS_NEAR_1),
    7: Upload("7" * 64, VECTORS_1),
    8: Upload("8" * 64, VECTORS_1),
    9: Upload("9" * 64, VECTORS_1),
}

#: What users change, and to what; good values stand first, and come more often.
EDITS: Mapping[str, Sequence[Any]] = {
    "versions": ([1], [1, 2], [2], [1, 2], [1, 3], [1, 4], [1, 5], [1, 6], [1, 7], [1, 8], [1, 9], [1, 2, 3]),
    "policy": (None, {"all": {}}, {"latest": {"count": 2}}, "first"),
    "delay": (5, 6, 7, 8, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 49, 53),
    "batch": (32, 16),
    "instances": (1, 2, 3),
    "graph": (None, "Basic", "Extended"),
    "threads": (None, 2, 3),
    "tolerance": (None, "0.999", "0.99999"),
    "profile": ("cpu", "gpu"),
    "image": (None, "triton:1", "triton:2"),
    "memory": (None, 8, 4, 2, 1),
    "replicas": (2, 1, 3, 0),
    "paused": (False, True),
    "strategy": (None, "InPlace", "Replace"),
}

#: Fields with most of what harms.
_OFTEN = ("versions", "delay") * 3


def uri(version: int) -> str:
    return f"https://models.example.com/{version}.onnx"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asks for, field by field."""

    fields: Mapping[str, Any] = field(default_factory=lambda: {name: values[0] for name, values in EDITS.items()})

    def but(self, **fields: Any) -> Wish:
        return Wish({**self.fields, **fields})

    @property
    def chosen(self) -> list[int]:
        """Give the versions that should serve in the end."""
        versions: list[int] = self.fields["versions"]
        match self.fields["policy"]:
            case {"all": _}:
                return versions
            case {"latest": {"count": int(count)}}:
                return versions[-count:]
            case "first":
                return versions[:1]
            case _:
                return versions[-1:]

    def spec(self) -> Object:
        f = self.fields
        policy = {"specific": {"versions": f["versions"][:1]}} if f["policy"] == "first" else f["policy"]
        optimization = {"graphLevel": f["graph"], "intraOpThreads": f["threads"]}
        serving: Object = {"replicas": f["replicas"]}
        if f["image"]:
            serving["image"] = f["image"]
        if f["memory"]:
            serving["resources"] = {"limits": {"memory": f"{f['memory']}Gi"}}
        spec = build_spec(
            *(build_version(v, uri=uri(v), sha256=VERSIONS[v].sha256) for v in f["versions"]),
            batching={"maxQueueDelay": f"{f['delay']}ms", "maxBatchSize": f["batch"]},
            instances={"count": f["instances"]},
            optimization={k: v for k, v in optimization.items() if v is not None},
            serving=serving,
        )
        spec["profile"] = f["profile"]
        if policy:
            spec["versionPolicy"] = policy
        if f["tolerance"]:
            spec["verification"] = {"tolerance": f["tolerance"]}
        if f["paused"]:
            spec["paused"] = True
        if f["strategy"]:
            spec["rollout"] = {"strategy": f["strategy"]}
        return spec


class Walk(Driver):
    """One walk. `take` is a step; `end_well` asks for something good, and expects it."""

    def __init__(self, draw: Draw, *, name: str = "") -> None:
        super().__init__(name=name)
        self._draw = draw
        world = self.world
        world.triton.loosest = 0.999
        world.triton.faults = list(FAULTS)
        world.kubelet.uploads = {uri(v): upload for v, upload in VERSIONS.items()}
        world.cluster.before_write = lambda what: self._strike(what, {"request": False, "operator before": True})
        world.cluster.after_write = lambda what: self._strike(what, {"answer": False, "operator after": True})
        self.does_orphan_arrive = lambda: self.pick((True, False))
        self.wish = Wish()
        self._earlier: list[Wish] = []
        self._good = 60
        self._armed: str | None = None
        """What the next write loses."""
        world.kubelet.limit = self.pick([None, 4, 2, 1])
        world.create(self.wish.spec())

    @classmethod
    def seeded(cls, seed: int) -> Walk:
        rng = random.Random(seed)  # noqa: S311 - played again by its seed
        return cls(rng.randrange, name=f"seed {seed}")

    @classmethod
    def drawn(cls, choices: Sequence[int]) -> Walk:
        """Give a walk by these choices; in good order, where they have come to an end."""
        rest = iter(choices)
        return cls(lambda n: next(rest, 0) % n, name=f"choices {list(choices)}")

    # Choosing.

    def pick(self, options: Sequence[T]) -> T:
        return options[self._draw(len(options))] if len(options) > 1 else options[0]

    def _weighted(self, options: Sequence[tuple[int, T]]) -> T:
        left = self._draw(sum(w for w, _ in options))
        for weight, option in options:
            left -= weight
            if left < 0:
                return option
        raise AssertionError("a draw beyond its end")

    # A run.

    def run(self, steps: int) -> None:
        """Take so many steps, and end well. What happens in good order, at rests and in the end, comes on top."""
        try:
            for _ in range(steps):
                self.take()
            self.end_well()
        except WalkError:
            raise
        except Exception as error:
            raise self.error(f"{type(error).__name__}: {error}") from error
        finally:
            self.close()

    def take(self) -> None:
        """Let something happen."""
        kind = self._weighted(self._kinds())
        self.counts[kind] += 1
        if kind == "all":
            self._armed = None
            self.rest()
            return
        name, act = self.pick(list(self._actions(kind)))
        self.do(name, act)

    # What can happen.

    def _kinds(self) -> list[tuple[int, str]]:
        world = self.world
        possible: list[tuple[int, str]] = []
        if any(world.cluster.undelivered.values()):
            possible.append((30, "event"))
        if self.can_pass:
            possible.append((20, "pass"))
        if world.triton.calls:
            possible.append((60, "call"))
        if world.controllers.steps():
            possible.append((20, "world"))
        return [*possible, (4, "time"), (5, "user"), (3, "harm"), (1, "all")]

    def _actions(self, kind: str) -> Iterator[Action]:
        match kind:
            case "event":
                yield from self._events()
            case "pass":
                yield "a pass", lambda: self.world.begin_pass(self.loop)
            case "call":
                yield from self._calls()
            case "world":
                yield from self.world.controllers.steps()
            case "time":
                yield from self._times()
            case "user":
                yield from [("", self._edit)] * 8
                yield "user: changes it back", self._revert
                yield "user: wants another try", self.ask_again
            case _:
                yield from self._harms()

    def _events(self) -> Iterator[Action]:
        for kind, events in sorted(self.world.cluster.undelivered.items()):
            if events:
                yield f"event: {kind}", partial(self.world.deliver, kind)

    def _times(self) -> Iterator[Action]:
        for seconds in (self.until_due(), 1.0, 10.0, 60.0, 600.0, HOUR):
            if seconds is not None:
                yield f"{seconds:.0f} s pass", partial(self.advance, seconds)

    def _calls(self) -> Iterator[Action]:
        for call in self.world.triton.calls:
            for number, choice in enumerate(self.world.triton.choices(call)):
                # Most of what is asked is answered.
                yield from [self.action(call, choice)] * (8 if number == 0 else 1)

    def _harms(self) -> Iterator[Action]:
        world, kubelet = self.world, self.world.kubelet
        yield "the operator is killed", self.restart
        yield "a sweep", self.sweep
        for when in ("request", "answer", "operator before", "operator after"):
            yield f"the next write loses its {when}", partial(self._arm, when)
        for kind, events in sorted(world.cluster.undelivered.items()):
            if events:
                yield f"an event is lost: {kind}", partial(self._lose_event, kind)
        for pod in world.pods():
            name = pod["metadata"]["name"]
            if kubelet.server_of(pod) is None:
                continue
            yield f"{name}: its container ends", partial(kubelet.kill, pod)
            yield f"{name}: is out of memory", partial(kubelet.kill, pod, "OOMKilled")
            yield f"{name}: is deleted", partial(kubelet.stop, pod)
            yield f"{name}: is evicted", partial(kubelet.evict, pod)

    # What users do.

    def _edit(self) -> None:
        what = self.pick((*EDITS, *_OFTEN))
        value = self.pick([v for v in EDITS[what] if v != self.wish.fields[what]])
        self.counts[f"{what} {value}"] += 1
        self._wish(self.wish.but(**{what: value}), f"{what} is {value}")

    def _wish(self, wish: Wish, what: str) -> None:
        self._earlier.append(self.wish)
        self.wish = wish
        self.ask(wish.spec(), what)

    def _revert(self) -> None:
        if self._earlier:
            self._wish(self._earlier[-1], "all is as it was")

    # What goes wrong.

    def _lose_event(self, kind: str) -> None:
        self.world.cluster.undelivered[kind].popleft()
        self.has_lost_events = True

    def _arm(self, what: str) -> None:
        self._armed = what

    def _strike(self, what: str, harms: Mapping[str, bool]) -> None:
        """Lose a write, or its answer, or the operator with it."""
        if self._armed is None or self._armed not in harms or what.startswith("load "):
            return
        harm, self._armed = self._armed, None
        self.world.log.append(f"lost: the {harm} at {what}")
        if harms[harm]:
            self.is_killed = True
            self.world.epoch += 1  # its line is cut: nothing that it still does arrives
            raise Killed
        raise RetryError(f"{what}: HTTP 500")

    # The end.

    def end_well(self) -> None:
        """Ask for something good, while nothing goes wrong any more: it must come, and stay."""
        world = self.world
        self._armed = None
        world.triton.heal()
        world.kubelet.limit = None
        self._good += 1
        wish = self.wish.but(
            versions=[1, 2], policy=None, delay=self._good, instances=1, graph=None, tolerance=None, paused=False,
            replicas=max(1, self.wish.fields["replicas"]), memory=16,
        )  # fmt: skip
        self.do("", lambda: self._wish(wish, "wants something good"))
        self.do("a sweep", self.sweep)
        self.wait_for(self._is_as_wished, at_most_s=6 * HOUR)
        self.rest()
        if not self._is_as_wished():
            raise self.error("it does not stay as was asked for")

    def _is_as_wished(self) -> bool:
        world, wish = self.world, self.wish
        status = world.clip.get("status") or {}
        servers = [world.kubelet.server_of(p) for p in world.pods() if is_ready(p)]
        return (
            world.says("Ready") == ("True", "Serving")
            and status["observedGeneration"] == world.clip["metadata"]["generation"]
            and status.get("servingVersions") == wish.chosen
            and len(servers) == wish.fields["replicas"]
            and all(s is not None and s.versions("clip") == wish.chosen for s in servers)
            and {_delay(s.configs["clip"]) for s in servers if s is not None} == {wish.fields["delay"]}
        )
