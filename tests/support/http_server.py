"""A real server on the loopback that answers as an API server, or a Triton, might."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Seen:
    """A request, as it came."""

    method: str
    path: str
    query: dict[str, str]
    content_type: str
    body: bytes
    headers: dict[str, str]


@dataclass(slots=True)
class FakeServer:
    """Answers each request with the next of `answers`, the last one again and again; remembers what it was asked."""

    port: int = 0
    answers: list[Answer] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.seen.append(
            Seen(request.method, request.path, dict(request.query), request.content_type, body, dict(request.headers))
        )
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return await answer(request)

    def answer(self, *answers: Answer) -> None:
        self.answers = list(answers)


def reply(body: object = None, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """Answer with JSON."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(body if body is not None else {}, status=status, headers=headers)

    return answer


_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
}


def refuse(status: int, message: str, *, reason: str | None = None, headers: dict[str, str] | None = None) -> Answer:
    """Answer with a Status, as the API server says no; its reason is the usual one of the code, and a conflict is about an object."""
    reason = _REASONS.get(status, "") if reason is None else reason
    details = {"details": {"name": "x", "kind": "configmaps"}} if status == 409 else {}
    body = {"kind": "Status", "status": "Failure", "message": message, "reason": reason, "code": status, **details}
    return reply(body, status, headers)


def raw(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, headers=headers)

    return answer


async def cut(request: web.Request) -> web.StreamResponse:
    """Begin an answer, and cut the connection."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"kind": ')
    assert request.transport is not None
    request.transport.close()
    return response


async def hang_up(request: web.Request) -> web.StreamResponse:
    """Cut the connection before a word."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()
