"""Python callables that the user names: ``package.module:callable`` or ``path/to/file.py:callable``.

This is the only door through which code from outside runs, and only because the user named it. A file may import the
modules beside it, as a script may.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any

from probes.errors import InputError, PeerLostError, is_out_of_memory, lacks_derivative, mention
from probes.system.siblings import beside, called_beside

__all__ = [
    "importable",
    "is_callable_spec",
    "load_callable",
    "load_object",
    "user_code",
    "where",
    "with_siblings",
]


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


@contextmanager
def user_code(option: str, spec: str, *, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Inside, or around a function as its decorator, what the user's own code raises is said of it in one line.

    What callers answer in ways of their own passes: that memory ran out, that a derivative is missing, that another
    process is gone.

    Args:
        option: the setting's name, for the error's text.
        spec: where the code is.
        passing: what else passes.

    Raises:
        InputError: the code failed; the error that it raised is the cause.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (InputError, PeerLostError, *passing)):
            raise
        if is_out_of_memory(error) or (isinstance(error, RuntimeError) and lacks_derivative(error)):
            raise
        said = f"{type(error).__name__}: {error}{_line_of(error, spec)}"
        raise InputError(f"{mention(option, spec)}: calling it failed with {said}") from error


def _line_of(error: Exception, spec: str) -> str:
    """Where in the user's own file it was raised, or whence that was called."""
    file = spec.rpartition(":")[0]
    if not file.endswith(".py"):
        return ""
    own = [
        frame.lineno
        for frame in extract_tb(error.__traceback__)
        if Path(frame.filename).name == Path(file).name
    ]
    return f" ({Path(file).name}, line {own[-1]})" if own else ""


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
    return with_siblings(found, spec)  # type: ignore[no-any-return]


def with_siblings(found: Any, spec: str) -> Any:
    """A function from the folder of the file that ``spec`` names, so that what it imports later is found too.

    Anything else is returned as it is.
    """
    folder = _folder(spec)
    if folder is None or not inspect.isfunction(found):
        return found
    own = Path(inspect.unwrap(found).__code__.co_filename).resolve().is_relative_to(folder.resolve())
    return called_beside(folder, found) if own else found


def importable(spec: str) -> AbstractContextManager[None]:
    """Inside, what is beside the file that ``spec`` names can be imported (generators run late)."""
    folder = _folder(spec)
    return nullcontext() if folder is None else beside(folder)


def _folder(spec: str) -> Path | None:
    location = spec.rpartition(":")[0]
    return Path(location).parent if location.endswith(".py") else None


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
            module = _executed(path)
        else:
            module = importlib.import_module(location)
    except InputError:
        raise
    except Exception as error:  # whatever the user's own file raises
        raise InputError(
            f"{mention(option, spec)}: importing it failed with {type(error).__name__}: {error}"
        ) from error
    return getattr(module, name, None)


def _executed(path: Path) -> ModuleType:
    """The file as a module with a name that no other file's has."""
    place = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    name = f"_user_{path.stem}_{place}"
    module_spec = importlib.util.spec_from_file_location(name, path)
    assert module_spec is not None  # for any name that ends in .py there is one
    assert module_spec.loader is not None
    importlib.invalidate_caches()  # a file beside it may be younger than the folder's listing
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module
    with beside(path.parent):
        module_spec.loader.exec_module(module)
    return module
