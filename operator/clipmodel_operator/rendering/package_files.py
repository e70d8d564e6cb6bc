"""The texts that are rendered from, as the package holds them: read once, when this module is imported, so that rendering itself reads nothing."""

from __future__ import annotations

from importlib import resources

_HERE = resources.files("clipmodel_operator.rendering")

#: Jinja2's template of config.pbtxt.
CONFIG_TEMPLATE = _HERE.joinpath("templates/config.pbtxt.j2").read_text("utf-8")
#: The startup probe, a generated file (`make probe`): neither another release of Python nor a comment changes what every ConfigMap holds.
STARTUP_PROBE = _HERE.joinpath("probe/startup_probe.py.txt").read_text("utf-8")
