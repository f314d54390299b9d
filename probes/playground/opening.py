"""The playground opened: a free port, a link that nobody guesses, a browser."""

from __future__ import annotations

import json
import secrets
import socket
import threading
import webbrowser
from urllib.parse import quote, unquote, urlsplit

import uvicorn

from probes.errors import InputError, mention
from probes.playground.messages import MOST_BYTES
from probes.playground.server import application
from probes.system.json_files import parse_json
from probes.system.signals import last_words
from probes.system.terminal import say

__all__ = ["address_of", "open_playground", "state_in"]

HOST = "127.0.0.1"


def open_playground(*, port: int = 0, browser: bool = True, link: str | None = None) -> None:
    """Serve until interrupted.

    Args:
        port: to listen on; 0: a free one.
        browser: whether to open one.
        link: of a state that a page gave, from whatever port.

    Raises:
        InputError: the port is taken, or the link is none.
    """
    state = "" if link is None else state_in(link)
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except (OSError, OverflowError) as error:
        listening.close()
        raise InputError(
            f"{mention('port', port)}: cannot be listened on ({error}); take another, or 0"
        ) from error
    port, token = listening.getsockname()[1], secrets.token_urlsafe(16)
    address = address_of(port, token, state)
    last_words("probe: the playground has ended")
    say(f"the playground is at {address} (Ctrl-C ends it)")
    if browser:
        threading.Timer(0.5, webbrowser.open, [address]).start()
    settings = uvicorn.Config(
        application(token, port),
        log_level="error",
        ws_max_size=MOST_BYTES,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    try:
        uvicorn.Server(settings).run(sockets=[listening])
    finally:
        listening.close()


def address_of(port: int, token: str, state: str = "") -> str:
    """The page's address; a state is behind its #."""
    return f"http://{HOST}:{port}/{token}/" + (f"#{quote(state)}" if state else "")


def state_in(link: str) -> str:
    """What stands behind a link's #: a state in JSON, as the page writes it.

    Raises:
        InputError: nothing of the kind.
    """
    text = unquote(urlsplit(link).fragment or link.partition("#")[2])
    try:
        content = parse_json(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise InputError(
            f"{mention('link', link[:80])}: no state is behind its #; copy it from the page whole"
        )
    return json.dumps(content, separators=(",", ":"))
