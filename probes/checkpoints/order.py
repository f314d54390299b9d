"""Several checkpoints in the order of training, and why in that order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from probes.checkpoints.formats import is_checkpoint_folder, looks_like_checkpoint, open_tree
from probes.checkpoints.state_dict import training_position
from probes.errors import InputError
from probes.system.files import natural_key

__all__ = ["TrainingOrder", "training_order"]

_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".tar", ".pt2")


@dataclass(frozen=True)
class TrainingOrder:
    """Checkpoints from the first to the last.

    Attributes:
        paths: files and folders.
        reason: what decided, in words.
        places: for each the step or epoch that decided; None where names did.
    """

    paths: list[Path]
    reason: str
    places: list[float | None]

    def lines(self) -> list[str]:
        """The order as text, a line for each checkpoint after one with the reason."""
        unit = "" if None in self.places else f"{self.reason.split()[1]} "
        width = max(len(path.name) for path in self.paths)
        shown = [f"{unit}{place:g}" if place is not None else "" for place in self.places]
        return [
            f"order {self.reason}:",
            *(
                f"  {number}. {path.name:<{width}}  {place}".rstrip()
                for number, (path, place) in enumerate(zip(self.paths, shown, strict=True), 1)
            ),
        ]


def training_order(paths: Sequence[Path]) -> TrainingOrder:
    """Put the checkpoints that ``paths`` name (files, folders of them) in the order of training.

    The step that the files say decides; without it in every file, the epoch; then the natural order of names
    (``step-9`` before ``step-10``). Several arguments whose names differ in more than numbers stay as given.

    Raises:
        InputError: a path that is not there or given twice, or a folder without checkpoints.
    """
    found = _collect(paths)
    if not found:
        raise InputError("no checkpoint was given: name a file or a folder of them")
    twice = {path for path in found if found.count(path) > 1}
    if twice:
        raise InputError(f"{sorted(twice)[0]}: given more than once")
    if len(found) == 1:
        return TrainingOrder(found, "of one", [None])
    by_name = sorted(found, key=lambda path: natural_key(path.name))
    positions = {path: _position(path) for path in found}
    for unit in ("step", "epoch"):
        places = {path: positions[path].get(unit) for path in by_name}
        known = {path: place for path, place in places.items() if place is not None}
        if len(known) == len(found) and len(set(known.values())) > 1:
            chosen = sorted(by_name, key=lambda path: known[path])
            return TrainingOrder(chosen, f"by {unit} in the files", [known[path] for path in chosen])
    places_unknown: list[float | None] = [None] * len(found)
    if len(paths) > 1 and len({re.sub(r"[0-9]+", "#", path.name) for path in found}) > 1:
        reason = "as given, folders by names (no step or epoch in every file)"
        return TrainingOrder(found, reason, places_unknown)
    reason = "by names, numbers as numbers (no step or epoch in every file)"
    return TrainingOrder(by_name, reason, places_unknown)


def _collect(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_file() or is_checkpoint_folder(path):
            found.append(path)
        elif path.is_dir():
            chosen = [entry for entry in path.iterdir() if not entry.name.startswith(".") and _belongs(entry)]
            if not chosen:
                raise InputError(f"{path}: no checkpoints in this folder ({', '.join(_SUFFIXES)})")
            found += sorted(chosen, key=lambda entry: natural_key(entry.name))
        else:
            raise InputError(f"{path}: no such file or folder")
    return found


def _belongs(entry: Path) -> bool:
    """Checkpoints by content; a file that is only called like one is kept too, so that it is named as damaged."""
    if entry.is_dir():
        return is_checkpoint_folder(entry)
    return entry.is_file() and (entry.suffix in _SUFFIXES or looks_like_checkpoint(entry))


def _position(path: Path) -> dict[str, float]:
    try:
        with open_tree(path) as found:
            return training_position(found.tree, found.details)
    except InputError:  # said when the checkpoint itself is read
        return {}
