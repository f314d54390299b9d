"""What folders of results are called where several stand on one page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from probes.errors import InputError

__all__ = ["names_of"]


def names_of(folders: Sequence[Path]) -> list[str]:
    """A name of its own for each: its folder's, or the whole path where two folders have one name.

    Raises:
        InputError: one is given twice.
    """
    places = [path.resolve() for path in folders]
    if twice := [str(place) for place, count in Counter(places).items() if count > 1]:
        raise InputError(f"{twice[0]}: is given twice")
    names = Counter(place.name for place in places)
    return [
        place.name if names[place.name] == 1 else str(path)
        for path, place in zip(folders, places, strict=True)
    ]
