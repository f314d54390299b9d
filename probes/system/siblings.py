"""The modules beside a user's file, importable while the file is executed and while what is in it is called.

Python does so for a script alone, and for one folder a process. Here several files can come from several folders,
each with a ``helper.py`` of its own, and each gets its own.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import ParamSpec, TypeVar

__all__ = ["beside", "called_beside"]

P = ParamSpec("P")
T = TypeVar("T")

_OWN: dict[Path, dict[str, ModuleType]] = {}
"""What was imported from each folder, by the names under which it was."""


@contextmanager
def beside(folder: Path) -> Iterator[None]:
    """Inside, the modules in ``folder`` can be imported, and none that another file found beside itself.

    Afterwards ``sys.path`` is as before. What was imported stays so, for the imports that a function makes when it
    is called by others; of two modules of one name the later one.
    """
    folder = folder.resolve()
    own = _OWN.setdefault(folder, {})
    others = {
        name: module
        for place, modules in _OWN.items()
        for name, module in modules.items()
        if place != folder and sys.modules.get(name) is module
    }
    for name in others:
        del sys.modules[name]
    sys.modules.update(own)
    known = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with suppress(ValueError):  # taken away by the file itself
            sys.path.remove(str(folder))
        own |= {name: sys.modules[name] for name in set(sys.modules) - known if _is_in(name, folder)}
        for name, module in others.items():
            sys.modules.setdefault(name, module)


def _is_in(name: str, folder: Path) -> bool:
    """Whether a module, or the package that it is part of, lies in a folder itself (and not in a library below it)."""
    module = sys.modules.get(name.partition(".")[0])
    file = getattr(module, "__file__", None)
    places = [Path(place) for place in getattr(module, "__path__", ())] or ([Path(file)] if file else [])
    return any(place.parent.resolve() == folder for place in places)


def called_beside(folder: Path, function: Callable[P, T]) -> Callable[P, T]:
    """The same function, called :func:`beside` its folder."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with beside(folder):
            return function(*args, **kwargs)

    return call
