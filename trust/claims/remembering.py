"""Quantities of measurements that do not change meanwhile, found once however many claims ask for them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar, cast

import xarray as xr

__all__ = ["once", "remembering"]

F = TypeVar("F", bound=Callable[..., Any])

_found: ContextVar[dict[Any, tuple[Any, Any]] | None] = ContextVar("found", default=None)


@contextmanager
def remembering() -> Iterator[None]:
    """While it is open, what is found :func:`once` is found once for each dataset; none may be changed meanwhile.

    Within another one it is that one.
    """
    if _found.get() is not None:
        yield
        return
    token = _found.set({})
    try:
        yield
    finally:
        _found.reset(token)


def once(quantity: F) -> F:
    """A function of measurements whose outcome is remembered while that is asked for (:func:`remembering`).

    What it returns must not be changed.
    """

    @functools.wraps(quantity)
    def remembered(measurements: Any, *args: Any, **options: Any) -> Any:
        found = _found.get()
        if found is None or not isinstance(measurements, xr.Dataset):
            return quantity(measurements, *args, **options)
        key = quantity, id(measurements), args, tuple(sorted(options.items()))
        if key not in found:  # the measurements are held too, so that their id stays their own
            found[key] = measurements, quantity(measurements, *args, **options)
        return found[key][1]

    return cast(F, remembered)
