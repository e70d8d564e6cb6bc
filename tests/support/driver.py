"""Drives the world of one ClipModel step by step, each call to Triton a step of its own, and holds what is against what was promised after each.

It knows what anybody could know: objects, servers, answers. How the operator is made is no matter here.
"""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any, cast

from typing_extensions import override

from clipmodel_contract.names import is_candidate_name
from clipmodel_contract.proofs import CONFIG_ID_PARAMETER
from clipmodel_operator.clients.cluster import Cluster
from clipmodel_operator.models import names
from clipmodel_operator.models.errors import RejectedError
from clipmodel_operator.rendering.read_pbtxt import ConfigTextError, read_config_pbtxt
from support.builders import NAME
from support.fake_kubelet import is_ready
from support.fake_triton import At, Call, Harm, TritonServer, content_id, own_id
from support.server_side_apply import Object
from support.simulation import KEY, Killed, Simulation
from support.virtual_loop import VirtualLoop

ROLLOUT = f"{NAME}-rollout"
RETRY = f"{names.GROUP}/retry"
HOUR = 3600.0
_SWEEP_S = 600.0
_POLL_S = 1.0
_LOG_LINES = 60
#: A refused load comes again after a minute, at the earliest.
_LEAST_WAIT_S = 55.0
#: So often may one config kill one pod's containers within a minute: one kill without an explanation is no proof.
_MOST_KILLS = 2
#: A try that is waited for begins within so many seconds of its time.
_PUNCTUAL_S = 2.0

Action = tuple[str, Callable[[], None]]


class WalkError(AssertionError):
    """A promise was broken."""


class _Bugs(logging.Handler):
    """Hears of bugs that the operator found in itself."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    @override
    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, Killed):
            self.found.append(f"{record.getMessage()}: {error!r}")


class Driver:
    """One world, and what was promised of it."""

    def __init__(self, *, name: str = "") -> None:
        self.name = name
        self.steps = 0
        self.counts: Counter[str] = Counter()
        """What happened, for whoever wants to know what a walk covers."""
        self._bugs = _Bugs()
        self._logger = logging.getLogger("clipmodel_operator")
        self._logger.addHandler(self._bugs)
        self.world = world = Simulation()
        self.loop = VirtualLoop(world.clock)
        world.triton.is_suspended = world.triton.is_strict = True
        world.triton.sent = self._on_sent
        world.triton.finished = self._on_finished
        world.kubelet.is_slow = world.kubelet.ends_slowly = True
        world.kubelet.startup_deadline_s = 900.0
        self.decide: Callable[[Call, list[str]], str | None] = lambda _call, choices: choices[0]
        """What becomes of a call in good order; None: nothing yet."""
        self.does_orphan_arrive: Callable[[], bool] = lambda: True
        """Whether a request arrives whose caller is gone."""
        self.look_too: Callable[[], None] = lambda: None
        """What else is looked at after each step."""
        self.is_killed = False
        """The operator's process has ended, and its successor is to start."""
        self.has_lost_events = False
        self.retry = 0
        self._sweep_at = _SWEEP_S
        self._revisions: dict[str, str] = {}
        """By content: the revision that it was tried as."""
        self._refused: dict[tuple[str, str], tuple[float, object]] = {}
        """By pod and content: when a load was refused, and under which circumstances."""
        self._kills: defaultdict[tuple[str, str, object], list[float]] = defaultdict(list)

    def close(self) -> None:
        self._logger.removeHandler(self._bugs)
        self.loop.end()

    def do(self, name: str, act: Callable[[], None]) -> None:
        """Let one thing happen, and whatever the operator does of itself upon it, and look."""
        self.steps += 1
        if name:
            self.world.log.append(name)
        act()
        self.loop.run_until_blocked()
        if self.is_killed:
            self.restart()
        self.world.triton.orphan(self.does_orphan_arrive)
        self.world.log_writes()
        self.look()

    # What users do.

    def ask(self, spec: Object, what: str = "the spec is another") -> None:
        """Change the spec."""
        self.world.log.append(f"user: {what}")
        self.world.cluster.edit(self.world.clip, lambda o: o.update(spec=spec))

    def ask_again(self) -> None:
        """Have what failed be tried once more."""
        self.retry += 1
        self.world.cluster.edit(
            self.world.clip, lambda o: o["metadata"].setdefault("annotations", {}).update({RETRY: str(self.retry)})
        )

    # The operator.

    @property
    def can_pass(self) -> bool:
        return len(self.world.queue) > 0 and not self.world.is_passing

    def restart(self) -> None:
        """End the operator's process, wherever it is, and start another."""
        world = self.world
        self.is_killed = False
        world.log.append("the operator starts anew")
        world.start_operator()
        self.loop.cancel_all()
        world.triton.orphan(self.does_orphan_arrive)
        world.cluster.undelivered.clear()
        self.sweep()

    def sweep(self) -> None:
        self.loop.do(self.world.operator.list_all(cast("Cluster", self.world.cluster), ()))
        self._sweep_at = self.world.clock.seconds + _SWEEP_S
        self.has_lost_events = False

    # Time.

    def timers(self) -> dict[str, float]:
        """Give what is waited for. A sweep is, where it will tell something."""
        found = {
            "pass": self.world.next_pass_at,
            "task": self.loop.next_timer(),
            "kubelet": self.world.kubelet.next_time(),
            "sweep": self._sweep_at if self.has_lost_events else None,
        }
        return {k: t for k, t in found.items() if t is not None}

    def until_due(self) -> float | None:
        """Give the seconds until the next thing that is waited for."""
        now = self.world.clock.seconds
        return min((t - now for t in self.timers().values() if t >= now), default=None)

    def advance(self, seconds: float) -> None:
        self.world.advance(seconds)
        self.world.triton.expire()
        if self._sweep_at <= self.world.clock.seconds:
            self.sweep()

    # Good order.

    def _orderly(self) -> Action | None:
        """Give what happens next in good order, while no time passes; None where nothing does."""
        world = self.world
        for kind in sorted(world.cluster.undelivered):
            if world.cluster.undelivered[kind]:
                return f"event: {kind}", partial(world.deliver, kind)
        if self.can_pass:
            return "a pass", lambda: world.begin_pass(self.loop)
        for call in world.triton.calls:
            choices = world.triton.choices(call)
            choice = self.decide(call, choices) if choices else None
            if choice is not None:
                return self.action(call, choice)
        following = world.controllers.steps()
        if following:
            return following[0]
        due = world.next_pass_at
        is_due = due is not None and due <= world.clock.seconds
        return ("its time has come", lambda: self.advance(0.0)) if is_due else None

    def action(self, call: Call, choice: str) -> Action:
        return f"triton: {choice} {call}", partial(self.world.triton.choose, call, choice)

    def settle(self, *, steps: int = 3000) -> None:
        """Let everything happen that needs no time."""
        for _ in range(steps):
            following = self._orderly()
            if following is None:
                self._look_when_quiet()
                return
            self.do(*following)
        raise self.error(f"it does not come to rest in {steps} steps, while no time passes")

    def go_until(self, is_over: Callable[[], bool], *, steps: int = 3000) -> None:
        """Let things happen in good order until it is over, at that very moment; nothing longer is waited for than a poll of a server."""
        for _ in range(steps):
            if is_over():
                return
            following, until = self._orderly(), self.until_due()
            if following is not None:
                self.do(*following)
            elif until is not None and until <= _POLL_S:
                self._wait(until)
            else:
                break
        raise self.error("it does not come to what was waited for")

    def rest(self, *, at_most_s: float = 4 * HOUR, steps: int = 300) -> bool:
        """Let everything happen in good order until nothing is left but waiting for long, and look. Gives whether it came to that."""
        end, most = self.world.clock.seconds + at_most_s, self.steps + steps
        while self.steps < most:
            self.settle()
            until = self.until_due()
            if until is None or until >= HOUR or self._is_waiting(until):
                self.counts["rest"] += 1
                self._look_at_rest()
                return True
            if self.world.clock.seconds + until > end:
                break
            self._wait(until)
        self.counts["no rest"] += 1
        return False

    def settle_for(self, seconds: float) -> None:
        """Let everything happen in good order for so long."""
        end = self.world.clock.seconds + seconds
        while True:
            self.settle()
            until, left = self.until_due(), end - self.world.clock.seconds
            if left <= 0:
                return
            self._wait(min(left, until) if until is not None else left)

    def wait_for(self, is_over: Callable[[], bool], *, at_most_s: float, steps: int = 3000) -> None:
        """Let everything happen in good order until it is over."""
        end, most = self.world.clock.seconds + at_most_s, self.steps + steps
        while True:
            self.settle()
            if is_over():
                return
            until = self.until_due()
            if until is None:
                raise self.error("nothing goes on, and it is not as was asked for")
            if self.world.clock.seconds + until > end or self.steps > most:
                raise self.error("it does not become as was asked for")
            self._wait(until)

    def _wait(self, seconds: float) -> None:
        self.do(f"{seconds:.3g} s pass", lambda: self.advance(seconds))

    def _is_waiting(self, until: float) -> bool:
        """Tell whether all that is waited for is another try of what failed."""
        due = self.world.clock.seconds + until
        tries = [t for f in self._failures() if (t := self._seconds(f.get("notBefore"))) is not None]
        phase = ((self.world.clip.get("status") or {}).get("rollout") or {}).get("phase")
        is_theirs = self.timers().keys() <= {"pass", "task"}
        return phase == "Waiting" and is_theirs and any(abs(t - due) <= _PUNCTUAL_S for t in tries)

    # What must hold.

    def error(self, why: str) -> WalkError:
        """Say what was broken, with what led to it."""
        world = self.world
        servers = [(p, world.kubelet.server_of(p)) for p in world.pods()]
        state = [
            f"{p['metadata']['name']}: {'ready' if is_ready(p) else 'not ready'}, "
            + (", ".join(f"{m} {c[:6]} {s.versions(m)}" for m, c in s.contents.items()) if s else "no container")
            for p, s in servers
        ]
        told = [f"{c['type']} {c['status']} {c['reason']}: {c.get('message')}" for c in self.conditions()]
        head = f"{why}\n{self.name}, step {self.steps}, {world.clock.seconds:.0f} s"
        return WalkError("\n".join([head, *world.log[-_LOG_LINES:], "--", *state, *told]))

    def conditions(self) -> list[Object]:
        return list((self.world.clip.get("status") or {}).get("conditions") or ())

    def look(self) -> None:
        """Hold what is against what was promised, at any time."""
        world = self.world
        if self._bugs.found:
            raise self.error(f"a bug: {self._bugs.found[0]}")
        if world.triton.violations:
            raise self.error(world.triton.violations[0])
        for pod in world.pods():
            server = world.kubelet.server_of(pod)
            if server is not None and is_ready(pod):
                self._look_at(server)
        self.look_too()

    def _look_at(self, server: TritonServer) -> None:
        """No client gets a wrong or an unproven embedding."""
        for model in server.configs:
            if is_candidate_name(model):
                continue
            wrong = self.world.triton.wrong_versions(server, model)
            if wrong and (self.is_quiet or not self._is_struck_after_proof(server)):
                raise self.error(f"a client gets wrong embeddings of version {wrong[0]} on {server.pod}")
            content = server.contents[model]
            is_proven = server.is_proven(content, server.versions(model))
            if not is_proven and (server.run, content) not in self.world.triton.excused:
                raise self.error(f"a client gets unproven embeddings of {content[:6]} on {server.pod}")

    def _is_struck_after_proof(self, server: TritonServer) -> bool:
        """Tell whether what embeds otherwise did not do so when it was proven: until it is found and withdrawn nobody can know."""
        config = server.configs["clip"]
        return any(
            f.harm is Harm.DIFFERS and At.CANDIDATE not in f.at and f.strikes(server.pod, config, At.REAL)
            for f in self.world.triton.faults
        )

    @property
    def is_quiet(self) -> bool:
        """Nothing is on the way: the operator knows what is, and has said it."""
        world = self.world
        return not (
            any(world.cluster.undelivered.values())
            or len(world.queue)
            or world.is_passing
            or world.has_steps
            or world.triton.calls
            or world.controllers.steps()
            or self.has_lost_events
        )

    @property
    def is_paused(self) -> bool:
        return bool(self.world.clip["spec"].get("paused"))

    def _look_when_quiet(self) -> None:
        """Hold what status says against what is."""
        world = self.world
        if not self.is_quiet or not world.says_ready():
            return
        serving = world.status.get("servingVersions")
        pods = [p for p in world.pods() if is_ready(p)]
        if not pods:
            raise self.error("status says Ready, and no pod is")
        for pod in pods:
            server = world.kubelet.server_of(pod)
            if server is not None and server.versions("clip") != serving and not self.is_paused:
                raise self.error(f"status says that {serving} serve, and {server.pod} has {server.versions('clip')}")

    def _look_at_rest(self) -> None:
        """Hold what is against what was promised of a world at rest."""
        world = self.world
        if not self.is_paused:
            self._look_at_servers_at_rest()
        for what in ("a further pass", "a new operator"):
            before = len(world.cluster.writes)
            self.do(what, self.restart if what == "a new operator" else lambda: world.queue.add(KEY))
            self.settle()
            if world.cluster.writes[before:]:
                raise self.error(f"at rest, but {what} writes {world.cluster.writes[before:]}")

    def _look_at_servers_at_rest(self) -> None:
        world = self.world
        proven = self.proven_ids()
        for pod in world.pods():
            server = world.kubelet.server_of(pod)
            if server is None:
                continue
            candidates = [m for m in (*server.configs, *server.leaving) if is_candidate_name(m)]
            if candidates:
                raise self.error(f"at rest, and {server.pod} has {candidates[0]} loaded")
            if not is_ready(pod):
                continue
            found = own_id(server.configs["clip"])
            if proven and found not in proven:
                raise self.error(
                    f"at rest, and {server.pod} runs {found}, which is not what is proven: {sorted(proven)}"
                )
            if not self._is_struck_at_start(server) and not world.kubelet.would_become_ready(pod):
                raise self.error(f"at rest, and {server.pod} would not come back if its container started again")

    def _is_struck_at_start(self, server: TritonServer) -> bool:
        """Tell whether the world itself keeps what runs from starting."""
        config, limit = server.configs["clip"], server.limit
        does_fit = limit is None or server.copies(config) <= limit
        return not does_fit or any(f.strikes(server.pod, config, At.START) for f in self.world.triton.faults)

    def proven_ids(self) -> set[str]:
        """Give the ids of the configs that are proven, as the ConfigMap says."""
        config_map = self.world.cluster.find("ConfigMap", f"{NAME}-config")
        data = config_map["data"] if config_map is not None else {}
        if "revisions.json" in data:
            return set(_config_ids((json.loads(data["revisions.json"]) or {}).get("proven")))
        try:
            return set(_config_ids([read_config_pbtxt(t) for key, t in data.items() if key.endswith(".pbtxt")]))
        except ConfigTextError:
            return set()

    # What failed is remembered.

    def _rollout(self) -> Mapping[str, Any]:
        found = self.world.cluster.find("ConfigMap", ROLLOUT)
        text = (found or {}).get("data", {}).get("rollout.json")
        return dict(json.loads(text)) if text else {}

    def _failures(self) -> list[Mapping[str, Any]]:
        return list(self._rollout().get("failures") or ())

    def _seconds(self, stamp: str | None) -> float | None:
        """Give a time as seconds of the world's clock."""
        if not stamp:
            return None
        now = self.world.clock.now()
        return self.world.clock.seconds + (datetime.fromisoformat(stamp) - now).total_seconds()

    def _circumstances(self) -> tuple[object, ...]:
        """Give what a failure belongs to beside the config: what the user asked for again, the pods' template, the tolerance."""
        return self.retry, self._template(), (self.world.clip["spec"].get("verification") or {}).get("tolerance")

    def _template(self) -> str | None:
        found = self.world.cluster.find("Deployment", NAME)
        annotations = found["spec"]["template"]["metadata"]["annotations"] if found is not None else {}
        return annotations.get(names.ANNOTATION_TEMPLATE)

    def _failing_on(self) -> str:
        """Name the pods, and the strategy, that failures are of."""
        strategy = (self.world.clip["spec"].get("rollout") or {}).get("strategy") or "InPlace"
        return f"{self._template()}" + (f"/{strategy}" if strategy != "InPlace" else "")

    def _on_sent(self, call: Call) -> None:
        """Nothing is tried again before its time."""
        if call.kind != "load" or call.config is None:
            return
        content, now = content_id(call.config), self.world.clock.seconds
        rollout = self._rollout()
        attempt = rollout.get("attempt") or {}
        revision = attempt.get("revision") or {}
        for config in revision.get("configs", {}).values():
            self._revisions[content_id(config)] = revision["id"]
        for failure in rollout.get("failures") or ():
            until = self._seconds(failure.get("notBefore"))
            is_it = failure.get("revision") == self._revisions.get(content)
            is_here = failure.get("template") in {None, self._failing_on()}
            is_too_early = (until is not None and until > now) or (until is None and failure.get("isFinal"))
            if is_it and is_here and is_too_early:
                self.world.triton.violations.append(f"tried again before {failure.get('notBefore') or 'ever'}: {call}")
        at, before = self._refused.get((call.pod, content), (-HOUR, None))
        if before == self._circumstances() and now < at + _LEAST_WAIT_S:
            self.world.triton.violations.append(f"tried again {now - at:.0f} s after it was refused: {call}")

    def _on_finished(self, call: Call) -> None:
        if call.config is None or call.server is None:
            return
        content = content_id(call.config)
        if isinstance(call.error, RejectedError) and call.is_heard:
            call.caller.add_done_callback(lambda _: self._note_refusal(call, content))
        if call.server.is_dead:
            now = self.world.clock.seconds
            kills = self._kills[call.pod, content, self._circumstances()]
            kills.append(now)
            if sum(t > now - 60.0 for t in kills) > _MOST_KILLS:
                self.world.triton.violations.append(f"it kills again and again: {call}")

    def _note_refusal(self, call: Call, content: str) -> None:
        if not call.caller.cancelled() and call.caller.exception() is call.error:
            self._refused[call.pod, content] = self.world.clock.seconds, self._circumstances()


def _config_ids(value: Any) -> Iterator[str]:
    """Find the ids of all configs in a document."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key == CONFIG_ID_PARAMETER:
                yield str(inner["string_value"])
            else:
                yield from _config_ids(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _config_ids(inner)
