"""How many examples are evaluated at once, where memory runs out.

Nothing here knows the evaluation that it serves, so that the evaluation can use it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from probes.errors import InputError, is_out_of_memory
from probes.system.terminal import say

__all__ = ["default_chunk", "halving"]

T = TypeVar("T")

_DEFAULT = 1000


def _report(line: str) -> None:
    say(f"probe: {line}", err=True)


def halving(
    run: Callable[[int], T],
    chunk: int,
    *,
    smallest: int = 1,
    report: Callable[[str], object] = _report,
) -> tuple[T, int]:
    """Run something in chunks, and where memory runs out start again with chunks half as large.

    It starts again *from the beginning*: a backward pass that failed has reached some tensors and not others,
    so that what it accumulated is no gradient of anything. ``run`` must therefore make its own accumulators.

    Args:
        run: does everything, with the chunk that it is given.
        chunk: the first to be tried; more than there are examples would only be tried in vain.
        smallest: the least that makes sense: all examples where they depend on each other.
        report: told once for each halving.

    Returns:
        What ``run`` returned, and the chunk that it ran with, to go on with.

    Raises:
        InputError: memory runs out with the smallest chunk too.
    """
    while True:
        try:
            return run(chunk), chunk
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if chunk <= smallest:
                examples = "one example" if chunk == 1 else f"the {chunk} examples that belong together"
                raise InputError(
                    f"out of memory with {examples} at once; take a machine or `device` with more memory, or a"
                    " smaller network"
                ) from None
        # only here, outside of the handler, has the failed call's traceback let go of its tensors
        half = max(chunk // 2, smallest)
        report(f"out of memory with chunks of {chunk} examples; going on with {half}")
        chunk = half
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def default_chunk(examples: int, *, together: bool) -> int:
    """What ``auto`` is: 1,000 examples at once, or all of them where they depend on each other."""
    return max(examples, 2) if together else min(_DEFAULT, examples)
