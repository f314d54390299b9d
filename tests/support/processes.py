"""Processes that can be killed: forked off a server that has imported everything and computed nothing.

Forking the tests' own process would copy threads' locks in whatever state they are.
"""

from __future__ import annotations

import io
import itertools
import math
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

LONG = 600.0
"""Seconds that no process needs, however busy the machine: who waits so long waits for what will never come."""

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["probes.runs.run", "probes.cli.main", "probes.runs.training", "probes.cli.reports", "torch", __name__]
)


def start(function: Callable[..., object], *arguments: object) -> BaseProcess:
    """A process that calls ``function``, which must be importable by name."""
    process = _CONTEXT.Process(target=function, args=arguments, daemon=True)
    process.start()
    return process


def ended(process: BaseProcess) -> int:
    """The exit status of a process that should end by itself; killed if it does not."""
    process.join(LONG)
    code = process.exitcode
    if code is None:
        process.kill()
        process.join()
        raise AssertionError(f"did not end within {LONG} s")
    return code


def wait_for(path: Path, process: BaseProcess | subprocess.Popen[str]) -> None:
    """Until a process has made a file."""
    while not path.exists():
        status = process.poll() if isinstance(process, subprocess.Popen) else process.exitcode
        assert status is None or path.exists(), f"ended with {status} before it made {path}"
        time.sleep(0.005)


@contextmanager
def output_to(log: Path) -> Iterator[None]:
    """All that this process says, into a file; for a process's whole life."""
    with log.open("ab", buffering=0) as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    yield
    sys.stdout.flush()


def command(log: Path, arguments: list[str]) -> None:
    """Be the command ``probe``."""
    with output_to(log):
        _probe(arguments)


def _probe(arguments: list[str]) -> None:
    import torch

    import probes.runs.run
    from probes.cli.main import main

    torch.set_num_threads(1)
    probes.runs.run.WORTH_SAYING = math.inf  # how long a run takes is the machine's
    main(arguments)


def limited_command(log: Path, arguments: list[str], size: int) -> None:
    """The command, with the system refusing to write more than ``size`` bytes into a file."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    command(log, arguments)


def killed_command(log: Path, arguments: list[str], fatal: int) -> None:
    """The command, killed at its ``fatal``-th step on the disk: just before it, just after it, or half-way."""
    count = itertools.count(1)

    def fatally(function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            if next(count) == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*arguments, **options)
            if next(count) == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return step

    class HalfWay(io.BufferedWriter):
        def write(self, content: Any) -> int:
            view = memoryview(content)
            written = super().write(view[: len(view) // 2])
            self.flush()
            if next(count) == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return written + super().write(view[len(view) // 2 :])

    os.fdopen = lambda descriptor, _: HalfWay(io.FileIO(descriptor, "w"))  # type: ignore[assignment]
    for name in ("replace", "fsync", "mkdir", "chmod", "unlink", "ftruncate"):
        setattr(os, name, fatally(getattr(os, name)))
    tempfile.mkstemp = fatally(tempfile.mkstemp)
    output_at = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output_at, 1)
    os.dup2(output_at, 2)
    _probe(arguments)


def command_killed_between_files(log: Path, arguments: list[str], delay: float) -> None:
    """The command, killed ``delay`` seconds after a slice has its name; it does not live to name the next."""
    replace = os.replace

    def replacing(source: Any, target: Any) -> None:
        if str(target).endswith(".nc"):
            if killer.is_alive():
                signal.pause()
            replace(source, target)
            killer.start()
        else:
            replace(source, target)

    killer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL))
    os.replace = replacing
    command(log, arguments)


def hold_lock(folder: Path, ready: Path) -> None:
    """Hold a folder's lock, and have a child of one's own, until killed."""
    from probes.system.locks import FolderLock

    lock = FolderLock(folder)
    lock.acquire()
    child = os.fork()
    signal.alarm(round(LONG))  # should nobody end them
    if child:
        begun = ready.with_name("begun")
        begun.write_text(str(child))
        begun.rename(ready)  # so that nobody reads it while it is empty
    signal.pause()
