"""The training run's curve beside the measurements, so that a report can draw it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from probes.errors import InputError
from probes.system.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["copy_history", "read_history"]

_FILE = "training.csv"
_COLUMNS = ("step", "epoch", "loss", "accuracy")


def copy_history(checkpoints: Sequence[str], folder: Path) -> None:
    """Keep the curve that lies beside the checkpoints with the measurements in ``folder``."""
    for path in map(Path, checkpoints):
        source = path / _FILE
        if path.is_dir() and source.is_file():
            content = source.read_bytes()
            heading = next(csv.reader([content.split(b"\n", 1)[0].decode("utf-8", "replace")]), [])
            if set(_COLUMNS) <= set(heading):
                write_atomically(folder / _FILE, content)
            return


def read_history(folder: Path) -> pd.DataFrame | None:
    """The curve that was kept with the measurements in ``folder``, if there is one.

    Raises:
        InputError: it is damaged.
    """
    import pandas as pd

    path = folder / _FILE
    if not path.is_file():
        return None
    try:
        return pd.read_csv(path).astype(dict.fromkeys(_COLUMNS, float))
    except (ValueError, KeyError) as error:
        raise InputError(f"{path}: is damaged ({error}); delete it to report without it") from error
