"""`python -m demo up|down`."""

import argparse
import shutil
import sys

from clipmodel_operator.runtime.standard_output import ends_when_reader_goes
from demo import cluster, command, diagnosis, install, model, model_server, sample, settings, show
from demo.console import Narrator
from demo.errors import DemoError

_INTERRUPTED = 130  # as a shell says it


def main() -> int:
    """Run, and turn errors into messages."""
    arguments = _parse()
    narrator = Narrator()
    try:
        if arguments.action == "up":
            up(narrator, arguments.name, random_weights=arguments.random_weights)
        else:
            down(narrator, arguments.name)
    except DemoError as error:
        narrator.fail(error)
        return 1
    except KeyboardInterrupt:
        narrator.say(f"stopped; python -m demo {arguments.action} goes on from here")
        return _INTERRUPTED
    return 0


def up(narrator: Narrator, name: str, *, random_weights: bool) -> None:
    """Bring everything up; what is there and unchanged is skipped."""
    kubectl = cluster.start(narrator, name)
    images = cluster.load_images(narrator, name)
    exported = model.export(narrator, random_weights=random_weights)
    try:
        install.install(narrator, kubectl, images)
        model_server.serve(narrator, kubectl, image=images["CLIPMODEL_MODEL_SERVER_IMAGE"], model=exported)
        sample.apply(narrator, kubectl, exported)
        sample.wait_until_ready(narrator, kubectl)
    except DemoError:
        narrator.plain(diagnosis.collect(kubectl))
        raise
    show.embed(narrator, kubectl)
    show.conclude(narrator, kubectl, name=name, model=exported)
    narrator.say("done", style="bold green")


def down(narrator: Narrator, name: str) -> None:
    """Delete the cluster and `.demo/`."""
    with narrator.step(f"deleting cluster {name} and {settings.relative(settings.WORK)}"):
        command.run_with_lines([str(settings.KIND_SCRIPTS / "down.sh"), name], tell=narrator.detail)
        shutil.rmtree(settings.WORK, ignore_errors=True)
    narrator.plain(
        f"""Kept, so that the next demo is quick; to delete these too:
  docker images 'clipmodel-*'               # docker rmi those that you do not want
  rm -r {settings.kind_cache()}   # kind, kubectl, compiler caches
  tests/kind/down.sh {name} --docker       # before that: stops the Docker daemon, if tests/kind started it"""
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Real embeddings from a real cluster, in one command. Safe to run again.",
        epilog="up: cluster, images, model, operator, ClipModel, photographs. down: deletes cluster and .demo/.",
    )
    parser.add_argument("action", choices=["up", "down"])
    parser.add_argument("--name", default=settings.CLUSTER, help="name of the kind cluster (default: %(default)s)")
    parser.add_argument(
        "--random-weights", action="store_true", help="up: do not try to download the pretrained weights"
    )
    return parser.parse_args()


if __name__ == "__main__":
    with ends_when_reader_goes():
        sys.exit(main())
