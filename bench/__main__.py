"""`python -m bench apply|live|scale`: arguments, and nothing else."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

# Before anything can load onnxruntime, which reports home unless told not to.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from demo.console import Narrator
from demo.errors import DemoError
from demo.settings import ROOT

from clipmodel_operator.runtime.standard_output import ends_when_reader_goes

sys.path.append(str(ROOT / "tests"))  # models and the model server are those of the tests

from bench import apply, ground, live, scale
from bench.errors import BenchError

_INTERRUPTED = 130  # as a shell says it


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures the operator beside the same by hand, in one run on one machine. docs/benchmarks.md has figures.",
        epilog=f"Each brings up the kind cluster {ground.CLUSTER} by itself; `down` deletes it.",
    )
    actions = parser.add_subparsers(dest="action", required=True)
    for name, told in (
        ("apply", "from an applied ClipModel to the first right embedding"),
        ("live", "from an edit to its effect on all pods"),
    ):
        action = actions.add_parser(name, help=told)
        action.add_argument(
            "--runs", type=_positive, default=5, help="how often each is measured (default: %(default)s)"
        )
        action.add_argument(
            "--tiny",
            action="store_true",
            help="a model of 100 KB in place of ViT-B-32: quick, and not what users wait for",
        )
    many = actions.add_parser("scale", help="many ClipModels on a real API server, their pods simulated")
    many.add_argument(
        "--number", type=_positive, default=200, help="how many ClipModels, at most 4000 (default: %(default)s)"
    )
    many.add_argument("--runs", type=_positive, default=1, help="how often (default: %(default)s)")
    many.add_argument(
        "--profile", metavar="FILE", help="write what cProfile finds in the operator; the figures are then no figures"
    )
    actions.add_parser("down", help="delete the cluster")
    return parser.parse_args()


def _measure(narrator: Narrator, arguments: argparse.Namespace) -> str:
    if arguments.action == "scale":
        if arguments.number > scale.MOST:
            raise BenchError(f"--number is at most {scale.MOST}, not {arguments.number}")
        base = ground.bring_up(narrator, with_images=False)
        options = scale.Options(number=arguments.number, runs=arguments.runs, profile=arguments.profile)
        return asyncio.run(scale.run(narrator, base, options))
    base = ground.bring_up(narrator, with_images=True)
    model = ground.make_model(narrator, tiny=arguments.tiny)
    ground.install_operator(narrator, base)
    sources = ground.serve_model(narrator, base, model)
    if arguments.action == "apply":
        return asyncio.run(apply.run(narrator, apply.Options(runs=arguments.runs, tiny=arguments.tiny), base, sources))
    return asyncio.run(live.run(narrator, base, sources, runs=arguments.runs, tiny=arguments.tiny))


def main() -> int:
    """Run, and turn errors into messages."""
    arguments = _parse()
    narrator = Narrator()
    try:
        if arguments.action == "down":
            ground.take_down(narrator)
            return 0
        for line in ground.describe_machine():
            narrator.say(line)
        report = _measure(narrator, arguments)
    except DemoError as error:
        narrator.fail(error)
        return 1
    except BenchError as error:
        narrator.say(str(error), style="bold red")
        narrator.plain(
            f"Look around: kubectl --kubeconfig ~/.cache/clipmodel-kind/{ground.CLUSTER}.kubeconfig get pods -A"
        )
        return 1
    except KeyboardInterrupt:
        narrator.say(f"stopped; python -m bench {arguments.action} starts over")
        return _INTERRUPTED
    narrator.plain()
    narrator.plain(report)
    narrator.plain(f"at the end: {ground.describe_load()}")
    return 0


if __name__ == "__main__":
    with ends_when_reader_goes():
        sys.exit(main())
