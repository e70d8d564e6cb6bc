"""Which versions does a refused load name, and what is wrong with each?

Triton loads all versions of a config or none, and says of each that failed `version N is at STATE state: CAUSE;`, in no order and without a
bound: a backend's words go in whole, with their stack, and HTTP cuts nothing. Status has room for a few hundred characters, which the first
version's would fill.
"""

from __future__ import annotations

import re

# The begin of one version's part: at the message's begin, behind Triton's prefix, or behind the `;` that ends the part before.
_VERSION = re.compile(r"(?:\A|;|load failed for model '[^']*': )version ([0-9]{1,19}) is at [A-Z]+ state: ")
_PREFIX = re.compile(r"\A(?:failed to load '[^']*'[,:]? *|load failed for model '[^']*': *)+")
#: Of the Python backend (the light image): where in its code it raised.
_STACK = "\n\nAt:\n"
#: What stands before each cause, whatever it is.
_NOISE = ("Internal: ", "TritonModelException: ")
_SEPARATOR = "; "


def parse_load_error(message: str) -> dict[int, str]:
    """Give each failing version's cause in one line, by version; nothing where the message names no version.

    A message that was cut gives what is there. A backend's words can look like the next version's part: of two parts for one version the first counts.
    """
    _, *parts = _VERSION.split(message)
    found: dict[int, str] = {}
    for version, cause in zip(parts[::2], parts[1::2], strict=True):
        found.setdefault(int(version), _cause(cause))
    return dict(sorted(found.items()))


def summarize_load_error(message: str, *, length: int) -> str:
    """Say in at most so many characters what is wrong, with a share for each version; versions with the same cause are named together.

    Where no version is named, the message itself in one line, without what everybody knows.
    """
    causes = parse_load_error(message)
    if not causes:
        return _shorten(_one_line(_PREFIX.sub("", message)) or _one_line(message), length)
    versions: dict[str, list[str]] = {}
    for version, cause in causes.items():
        # The file's path is all that differs between two versions of which neither can be read.
        versions.setdefault(cause.replace(f"/{version}/", "/N/"), []).append(str(version))
    only = next(iter(causes.values())) if len(causes) == 1 else ""
    parts = [f"version{'s' * (len(v) > 1)} {', '.join(v)}: {only or cause}" for cause, v in versions.items()]
    share = max((length - len(_SEPARATOR) * (len(parts) - 1)) // len(parts), 1)
    return _shorten(_SEPARATOR.join(_shorten(part, share) for part in parts), length)


def _cause(text: str) -> str:
    for noise in _NOISE:
        text = text.removeprefix(noise)
    return _one_line(text.split(_STACK, 1)[0]).rstrip("; ")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else text[: max(length - 1, 0)] + "…"[:length]
