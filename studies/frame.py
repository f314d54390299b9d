"""What studies share: a folder that is one study's, and what it ends with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probes.errors import InputError
from probes.system.files import write_atomically
from probes.system.json_files import read_json
from probes.system.locks import FolderLock, claim_folder

__all__ = ["Result", "claim_study"]


@dataclass(frozen=True)
class Result:
    """What a study ends with.

    Attributes:
        study: its name.
        preset: how large it was.
        seeds: over how many.
        answer: in words.
        numbers: by name; NaN where one is not known.
        table: the same for reading, the first row its heading.
        figures: files.
    """

    study: str
    preset: str
    seeds: int
    answer: str
    numbers: Mapping[str, float]
    table: Sequence[Sequence[str]]
    figures: Sequence[Path]


def claim_study(out: Path, name: str, identity: Mapping[str, Any]) -> FolderLock:
    """Make a folder this study's, or continue it, with its lock held.

    Args:
        out: the folder.
        name: of the study, and of the file in the folder that says which it is.
        identity: what decides its numbers.

    Raises:
        InputError: the folder holds something else, or cannot be written.
    """
    marker = out / f"{name}.json"
    lock = claim_folder(out, lambda: _refuse_another(out, marker, identity))
    try:
        if not marker.is_file():
            write_atomically(marker, (json.dumps(identity) + "\n").encode())
    except BaseException:
        lock.release()
        raise
    return lock


def _refuse_another(out: Path, marker: Path, identity: Mapping[str, Any]) -> None:
    if marker.is_file():
        try:
            existing = read_json(marker)
        except ValueError:
            existing = None
        if existing != identity:
            raise InputError(
                f"{out}: holds another reproduction (its {marker.name} differs); choose another `out`"
            )
        return
    if out.is_dir() and any(not entry.name.startswith(".") for entry in out.iterdir()):
        raise InputError(f"{out}: is not empty and holds no reproduction; choose another `out`")
