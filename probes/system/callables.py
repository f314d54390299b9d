"""Python callables that the user names: ``package.module:callable`` or ``path/to/file.py:callable``.

This is the only door through which code from outside runs, and only because the user named it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from probes.errors import InputError, mention

__all__ = ["is_callable_spec", "load_callable", "load_object", "where"]


def is_callable_spec(spec: str) -> bool:
    """Whether ``spec`` has the form of a Python callable rather than of a name or a data file."""
    module, separator, name = spec.rpartition(":")
    if not separator or not name.isidentifier():
        return False
    return module.endswith(".py") or all(part.isidentifier() for part in module.split("."))


def where(function: object) -> str:
    """The place of a callable that was given as it is, ``package.module:callable``, or of its class."""
    named: Any = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"


def load_callable(spec: str, *, option: str) -> Callable[..., Any]:
    """Import the callable that ``spec`` names.

    Args:
        spec: ``package.module:callable`` or ``path/to/file.py:callable``.
        option: the setting's name, for the error's text.

    Raises:
        InputError: the file or module, or the name in it, is not there or cannot be imported.
    """
    found = load_object(spec, option=option)
    if not callable(found):
        location, _, name = spec.rpartition(":")
        raise InputError(f"{mention(option, spec)}: {location} has no callable named {name}")
    return found  # type: ignore[no-any-return]


def load_object(spec: str, *, option: str) -> Any:
    """Import whatever ``spec`` names; None where the module has no such name.

    Raises:
        InputError: the file or module is not there or cannot be imported.
    """
    if not is_callable_spec(spec):
        raise InputError(f"{mention(option, spec)}: write it as path/to/file.py:name or package.module:name")
    location, _, name = spec.rpartition(":")
    try:
        if location.endswith(".py"):
            path = Path(location)
            if not path.is_file():
                raise InputError(f"{mention(option, spec)}: no such file {location}")
            module_name = f"_user_{path.stem}"
            module_spec = importlib.util.spec_from_file_location(module_name, path)
            if module_spec is None or module_spec.loader is None:
                raise InputError(f"{mention(option, spec)}: {location} cannot be imported")
            module = importlib.util.module_from_spec(module_spec)
            sys.modules[module_name] = module
            module_spec.loader.exec_module(module)
        else:
            module = importlib.import_module(location)
    except InputError:
        raise
    except Exception as error:  # whatever the user's own file raises
        raise InputError(
            f"{mention(option, spec)}: importing it failed with {type(error).__name__}: {error}"
        ) from error
    return getattr(module, name, None)
