"""The playground's server: it listens on this machine alone, and speaks to who has its link alone."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from importlib.resources import files

from anyio import CapacityLimiter, create_task_group
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from probes.playground.messages import reply
from probes.playground.tab import Tab

__all__ = ["MOST_TABS", "application"]

MOST_TABS = 8
_THREADS = 2
_PARTS = {
    "": ("index.html", "text/html; charset=utf-8"),
    "playground.css": ("playground.css", "text/css; charset=utf-8"),
    "playground.js": ("playground.js", "text/javascript; charset=utf-8"),
    "maps.js": ("maps.js", "text/javascript; charset=utf-8"),
    "readings.js": ("readings.js", "text/javascript; charset=utf-8"),
}


def application(token: str, port: int) -> Starlette:
    """The whole of it.

    Args:
        token: the first part of every address; whoever does not know it finds nothing.
        port: that it listens on: no other host, and no page of another origin, is answered.
    """
    hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
    origins = {f"http://{host}" for host in hosts}
    threads = CapacityLimiter(_THREADS)
    tabs: set[Tab] = set()
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data: blob:; connect-src 'self'"
        + "".join(f" ws://{host}" for host in sorted(hosts))
        + "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
        "Cross-Origin-Resource-Policy": "same-origin",
    }

    def is_ours(connection: HTTPConnection) -> bool:
        origin = connection.headers.get("origin")
        return connection.headers.get("host") in hosts and (origin is None or origin in origins)

    async def part(request: Request) -> Response:
        name = request.path_params.get("part", "")
        if not is_ours(request):
            return PlainTextResponse("another host or origin is not answered\n", 403, headers)
        if name not in _PARTS:
            return PlainTextResponse("there is nothing here\n", 404, headers)
        file, kind = _PARTS[name]
        content = (files("probes.playground") / "page" / file).read_bytes()
        return Response(content, media_type=kind, headers=headers)

    async def live(socket: WebSocket) -> None:
        if not is_ours(socket) or "origin" not in socket.headers:
            await socket.close(1008)
            return
        await socket.accept()
        if len(tabs) >= MOST_TABS:
            await socket.send_text(reply("error", text=f"{MOST_TABS} tabs are open already; close one"))
            await socket.close(1013)
            return

        async def send(content: str | bytes) -> None:
            try:
                await (socket.send_text(content) if isinstance(content, str) else socket.send_bytes(content))
            except RuntimeError:  # it was closed a moment ago
                raise WebSocketDisconnect from None

        tab = Tab(send, threads)
        tabs.add(tab)
        try:
            await _until_the_first_ends(tab.work, tab.measure, lambda: _listen(socket, tab))
        finally:
            tabs.discard(tab)

    routes = [
        WebSocketRoute(f"/{token}/live", live),
        Route(f"/{token}/", part),
        Route(f"/{token}/{{part}}", part),
    ]
    return Starlette(routes=routes)


async def _listen(socket: WebSocket, tab: Tab) -> None:
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        await tab.receive(message.get("text") or message.get("bytes") or "")


async def _until_the_first_ends(*works: Callable[[], Awaitable[None]]) -> None:
    """All at once; when one ends, or the browser has gone, none goes on."""
    async with create_task_group() as group:

        async def one(work: Callable[[], Awaitable[None]]) -> None:
            with contextlib.suppress(WebSocketDisconnect):  # what is sent to who has gone
                await work()
            group.cancel_scope.cancel()

        for work in works:
            group.start_soon(one, work)
