"""One tab: what its browser asks for in order, frames while it looks, and measurements beside them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread

from probes.errors import InputError
from probes.playground.messages import Request, frame, reply, request
from probes.playground.readings import limits, readings
from probes.playground.session import Perturbation, Session
from probes.playground.setup import Setup

__all__ = ["Tab"]

Send = Callable[[str | bytes], Awaitable[None]]
T = TypeVar("T")

_UNDER_WAY = 2
"""Frames that a browser may have to draw; no more are made."""
_WAITING = 64
"""Requests that may wait."""
_BETWEEN = 20
"""Frames between two measurements in training."""
_GOING = 100
"""Steps between two looks at whether somebody asked for something else."""


class Tab:
    """A session with its browser. All work is done in threads, one a tab at a time, beside one that measures."""

    def __init__(self, send: Send, threads: CapacityLimiter) -> None:
        """Nothing happens yet.

        Args:
            send: to the browser.
            threads: that all tabs share.
        """
        self._send = send
        self._threads = threads
        self._asked: asyncio.Queue[Request] = asyncio.Queue(_WAITING)
        self._changed = asyncio.Event()
        self._copied = asyncio.Event()
        self._copy: tuple[Session, Perturbation | None] | None = None
        self._behind = 0  # frames since the last copy was made
        self._under_way = 0
        self.session = Session()
        self.perturbation: Perturbation | None = None
        self.running = False
        self.speed = 5
        self._due = True

    async def receive(self, text: str | bytes) -> None:
        """Take what the browser sent; what cannot be used is answered in a line, and changes nothing."""
        try:
            asked = request(text)
        except InputError as error:
            await self._send(reply("error", text=str(error)))
            return
        if asked.do == "seen":
            self._under_way = max(0, self._under_way - 1)
        elif self._asked.full():
            await self._send(reply("error", text="too much is asked for at once; wait for an answer"))
        else:
            self._asked.put_nowait(asked)
        self._changed.set()

    async def work(self) -> None:
        """Do what is asked for, train and send frames, until cancelled."""
        await self._tell_setup()
        while True:
            while not self._asked.empty():
                await self._do(self._asked.get_nowait())
            if self._under_way < _UNDER_WAY and (self.running or self._due):
                if self.running:
                    await self._guarded(self._advance)
                await self._frame()
            else:
                self._changed.clear()
                if self._asked.empty() and not (self._under_way < _UNDER_WAY and (self.running or self._due)):
                    await self._changed.wait()

    async def measure(self) -> None:
        """Measure the perturbation and the step limits, on copies that the work makes for it, until cancelled."""
        while True:
            await self._copied.wait()
            assert self._copy is not None
            session, perturbation = self._copy
            if perturbation:
                await self._measured("readings", partial(_readings, session, perturbation))
            await self._measured("limits", partial(limits, session))
            self._copied.clear()
            if self._behind:
                self._due = True
                self._changed.set()

    async def _measured(self, kind: str, work: Callable[[], dict[str, Any]]) -> None:
        try:
            found = await self._in_thread(work)
        except (InputError, ArithmeticError, RuntimeError, ValueError) as error:
            found = {"none": InputError(f"not measured: {error}").args[0]}
        await self._send(reply(kind, **found))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await to_thread.run_sync(work, limiter=self._threads)

    async def _guarded(self, work: Callable[[], None]) -> None:
        """Work whose faults are the user's to mend: told in a line, and training stops."""
        try:
            await self._in_thread(work)
        except InputError as error:
            self.running = False
            await self._send(reply("error", text=str(error)))

    def _advance(self) -> None:
        self.session.train(max(1, self.speed))

    async def _frame(self) -> None:
        """Send one, and give the measuring a copy where it waits for one.

        In training it is given one every few frames alone, for it takes as long as several.
        """
        self._due = False
        self._behind += 1
        perturbation = self.perturbation if self.perturbation else None
        give = not self._copied.is_set() and (not self.running or self._behind >= _BETWEEN)

        def made() -> bytes:
            if give:  # here, where nothing else has a hand in it
                self._copy = self.session.copy(), perturbation
            moved = self.session.moved(perturbation) if perturbation else None
            return frame(self.session, moved, running=self.running)

        try:
            content = await self._in_thread(made)
        except InputError as error:
            self.perturbation = None
            await self._send(reply("error", text=str(error)))
            return
        self._under_way += 1
        await self._send(content)
        if give:
            self._behind = 0
            self._copied.set()

    async def _tell_setup(self) -> None:
        session = self.session
        await self._send(reply("setup", setup=session.setup.to_json(), shareable=session.shareable))
        points = [[round(number, 3) for number in row] for row in session.shown_points()]
        await self._send(reply("points", points=points))
        self._due = True

    async def _do(self, asked: Request) -> None:
        try:
            await self._done(asked.do, asked.value)
        except InputError as error:
            await self._send(reply("error", text=str(error)))
        self._due = True

    async def _done(self, do: str, value: Any) -> None:
        match do:
            case "run" | "pause":
                self.running = do == "run"
            case "step":
                self.running = False
                await self._guarded(lambda: self.session.train(1))
            case "reset":
                await self._replace(lambda: self.session.rebuilt(self.session.setup))
            case "setup":
                await self._replace(lambda: self.session.rebuilt(value))
            case "csv":
                setup: Setup = self.session.setup
                await self._replace(lambda: Session.of_csv(setup, value))
            case "load":
                await self._replace(lambda: self.session.load(value))
            case "speed":
                self.speed = value
            case "perturb":
                self.perturbation = value
            case "go":
                await self._go(value)
            case "save":
                await self._save()

    async def _replace(self, make: Callable[[], Session]) -> None:
        """Another session in place of this one; where it cannot be made this one stays."""
        self.session = await self._in_thread(make)
        self.running = False
        if self.perturbation and len(self.perturbation.percent) != self.session.setup.depth:
            self.perturbation = None
        await self._tell_setup()

    async def _go(self, steps: int) -> None:
        """On to a step, from the start where it lies before; another request ends it."""
        self.running = False
        if steps < self.session.steps:
            self.session = await self._in_thread(lambda: self.session.rebuilt(self.session.setup))
        while self.session.steps < steps and self._asked.empty():
            more = min(_GOING, steps - self.session.steps)
            await self._in_thread(partial(self.session.train, more))

    async def _save(self) -> None:
        for name, make in (
            ("network.safetensors", self.session.checkpoint),
            ("points.npz", self.session.data_file),
        ):
            content = await self._in_thread(make)
            await self._send(reply("file", name=name, content=base64.b64encode(content).decode("ascii")))


def _readings(session: Session, perturbation: Perturbation) -> dict[str, Any]:
    return readings(session, session.moved(perturbation))
