"""What decides a study's numbers, and that a folder holds the runs of one such study alone."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from probes.errors import InputError, mention
from probes.system.files import write_atomically
from probes.system.json_files import read_json
from probes.system.locks import FolderLock, claim_folder

__all__ = ["claim_study", "identity_of"]

_PARTS = {
    "preset": "the preset",
    "size": "the preset's numbers",
    "source": "the code that runs",
    "data": "the data",
    "data_hash": "what is in the data",
    "seed": "the seed",
}
"""What decides a study's numbers, in words."""


def identity_of(place: str, preset: str, size: Any) -> dict[str, str]:
    """What decides a study's numbers: its size and, of a user's own, the file.

    Raises:
        InputError: the size does not say what it is.
    """
    if re.search(r" at 0x[0-9a-f]+", repr(size)):
        raise InputError(
            f"{mention('preset', preset)}: it does not say what it is, so that a study could be continued; make it of"
            " numbers, text and the like, or a dataclass"
        )
    found = {"preset": preset, "size": repr(size)}
    file, _, name = place.rpartition(":")
    if file.endswith(".py"):
        found["source"] = hashlib.sha256(_what_runs(Path(file), name).encode()).hexdigest()[:16]
    return found


def _what_runs(file: Path, name: str) -> str:
    """A user's file without its comments and without what its study concludes, which may change between runs."""
    tree = ast.parse(file.read_bytes())
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            node.body = [
                part
                for part in node.body
                if not (isinstance(part, ast.FunctionDef) and part.name == "conclude")
            ]
    return ast.dump(tree)


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
            known = existing if isinstance(existing, dict) else {}
            other = (
                ", ".join(_PARTS[name] for name in _PARTS if known.get(name) != identity.get(name))
                or "something"
            )
            raise InputError(
                f"{out}: holds another study, or this one with {other} other; choose another `out`"
            )
        return
    if out.is_dir() and any(not entry.name.startswith(".") for entry in out.iterdir()):
        raise InputError(f"{out}: is not empty and holds no study of this name; choose another `out`")
