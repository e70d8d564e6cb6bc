"""Read a config.pbtxt that we rendered back into the JSON that a load sends: what is committed is a text, and is loaded again as it was.

Only what our own template writes is understood: scalars, lists in brackets, messages in braces, and the map `parameters`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_TOKEN = re.compile(
    r'\s+|#[^\n]*|(?P<string>"(?:[^"\\\n]|\\.)*")|(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<number>-?[0-9]+)|(?P<mark>[][{}:,])'
)
_ESCAPES = {"n": "\n", '"': '"', "\\": "\\"}
#: A map in protobuf: in text a message for each entry, in JSON an object.
_MAPS = frozenset({"parameters"})
_END = ""


class ConfigTextError(ValueError):
    """The text is not a config.pbtxt of ours."""


def read_config_pbtxt(text: str) -> dict[str, Any]:
    """Read a config.pbtxt as `render_config_pbtxt` writes it. Gives what `render_config` gave; raises ConfigTextError for anything else."""
    reader = _Reader(text)
    message = reader.message(end=_END)
    if not message.get("name"):
        raise ConfigTextError("it names no model")
    return message


class _Reader:
    """Reads tokens one after the other."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._next = next(self._tokens)

    def _take(self) -> tuple[str, str]:
        taken = self._next
        self._next = next(self._tokens, ("mark", _END))
        return taken

    def _skip(self, mark: str) -> bool:
        found = self._next == ("mark", mark)
        if found:
            self._take()
        return found

    def message(self, *, end: str) -> dict[str, Any]:
        """Read fields up to the mark that ends them."""
        fields: dict[str, Any] = {}
        while not self._skip(end):
            kind, name = self._take()
            if kind != "word":
                raise ConfigTextError(f"found {name!r}, expected a field's name")
            has_colon = self._skip(":")
            value = self._value(is_message_allowed=not has_colon)
            if name in _MAPS:
                fields.setdefault(name, {})[_entry(value)[0]] = _entry(value)[1]
            elif name in fields:
                raise ConfigTextError(f"{name} is there twice")
            else:
                fields[name] = value
        return fields

    def _value(self, *, is_message_allowed: bool) -> Any:
        kind, text = self._take()
        match kind, text:
            case "mark", "[":
                return list(self._list())
            case "mark", "{" if is_message_allowed:
                return self.message(end="}")
            case "string", _:
                return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[0]), text[1:-1])
            case "number", _:
                return int(text)
            case "word", "true" | "false":
                return text == "true"
            case "word", _:
                return text
            case _:
                raise ConfigTextError(f"found {text!r}, expected a value")

    def _list(self) -> Iterator[Any]:
        while not self._skip("]"):
            yield self._value(is_message_allowed=True)
            if not self._skip(",") and self._next != ("mark", "]"):
                raise ConfigTextError(f"found {self._next[1]!r}, expected , or ]")


def _entry(value: object) -> tuple[str, Any]:
    match value:
        case {"key": str(key), "value": entry, **rest} if not rest:
            return key, entry
        case _:
            raise ConfigTextError("an entry of a map has a key and a value")


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise ConfigTextError(f"{text[position : position + 20]!r} cannot be read")
        position = found.end()
        if found.lastgroup is not None:
            yield found.lastgroup, found[0]
    yield "mark", _END
