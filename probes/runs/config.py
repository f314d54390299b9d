"""A run's settings as a TOML file, written into its results so that ``probe run`` can be given them again.

Its keys are the fields of :class:`Source` and :class:`SliceSettings`, ``shard`` and ``out``, which are the command's
options.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from probes.errors import InputError
from probes.measures.settings import SliceSettings
from probes.runs.source import Source
from probes.system.files import write_atomically

__all__ = ["FILE", "read_config", "write_config"]

FILE = "run.toml"
_LARGEST = 1 << 20
_HEAD = """\
# The settings of this run: `probe run --config` with this file repeats it, in the folder where it was started.
# Options beside --config override what stands here, such as --out for another folder.
"""


def write_config(
    folder: Path, source: Source, settings: SliceSettings, *, shard: str, anew: bool = False
) -> None:
    """Write the settings into a run's folder, unless they are there, or hold what only Python code has.

    Args:
        folder: the run's.
        source: what it measures.
        settings: and how.
        shard: how its processes divide the work.
        anew: whether the settings that are there are another run's, which measured nothing.

    Raises:
        InputError: the file cannot be written.
    """
    path = folder / FILE
    if anew:
        path.unlink(missing_ok=True)
    chosen = {field.name: getattr(source, field.name) for field in fields(source)}
    chosen |= {field.name: getattr(settings, field.name) for field in fields(settings)}
    chosen |= {"etas": settings.etas.tolist(), "shard": shard, "out": str(folder)}
    chosen["curvature"] = "none" if settings.curvature is None else settings.curvature
    try:
        lines = [f"{name} = {_written(value)}\n" for name, value in chosen.items() if value is not None]
        content = (_HEAD + "\n" + "".join(lines)).encode()
    except (TypeError, UnicodeEncodeError):  # a module or a loader, or a path that is no text
        return
    if not path.exists():
        write_atomically(path, content)


def _written(value: Any) -> str:
    """A value in TOML.

    Raises:
        TypeError: it has no form there.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):  # JSON's escapes are TOML's, but for one character
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int | float):
        return repr(float(value) if isinstance(value, float) else value)  # NumPy's too
    if isinstance(value, list | tuple) and all(isinstance(part, str | int | float) for part in value):
        return f"[{', '.join(map(_written, value))}]"
    raise TypeError(type(value).__name__)


def read_config(path: Path) -> Mapping[str, Any]:
    """The keys and values in a TOML file, of whatever names.

    Raises:
        InputError: it cannot be read.
    """
    try:
        if not path.is_file():
            raise InputError(f"{path}: {'is not a plain file' if path.exists() else 'no such file'}")
        with path.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise InputError(f"{path}: is larger than {_LARGEST >> 20} MiB, too large for settings")
        return tomllib.loads(content.decode())
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not TOML ({error})") from error
