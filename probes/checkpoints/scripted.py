"""TorchScript archives: the parameters and buffers of their modules, which the program names and is not run for."""

from __future__ import annotations

import re
from typing import Any

from probes.checkpoints.pickles import Called, UnreadableError
from probes.checkpoints.state_dict import LONGEST_NAME
from probes.checkpoints.tensor_tree import Leaf
from probes.checkpoints.zip_archive import Archive

__all__ = ["state_of_module"]

_MOST_ATTRIBUTES = 1_000_000  # of all modules, each as often as it is held
_DEEPEST = 64
_LARGEST_CODE = 1 << 22  # bytes of the classes of one source file,
_ALL_CODE = 1 << 24  # and of all that are looked at
_CLASS = re.compile(
    r"^class (\w+)\(Module\):\n  __parameters__ = \[(.*)\]\n  __buffers__ = \[(.*)\]\n", re.MULTILINE
)


def state_of_module(archive: Archive, root: str, module: Any) -> dict[str, Leaf]:
    """The tensors of a module under the names of its state_dict.

    A module's attributes can be tensors that are no part of its state_dict, such as what a recurrent layer
    remembers; the source of its class lists those that are. Where there is none of it all tensors are taken.

    Args:
        archive: with the sources.
        root: the folder in it, with a slash at its end.
        module: as its pickle describes it.

    Raises:
        UnreadableError: modules hold each other in a circle, or too deeply, or have too long names.
    """
    sources = _Sources(archive, root)
    found: dict[str, Leaf] = {}
    todo: list[tuple[str, Any, int]] = [("", module, 0)]
    steps = 0
    while todo:
        prefix, node, depth = todo.pop()
        state = node.state if isinstance(node, Called) and isinstance(node.state, dict) else {}
        steps += 1 + len(state)
        if depth > _DEEPEST or steps > _MOST_ATTRIBUTES:
            raise UnreadableError("its modules are nested too deeply")
        if not state:
            continue
        registered = sources.registered(node.name)
        inner = []
        for name, value in state.items():
            if not isinstance(name, str):
                continue
            if len(prefix) + len(name) > LONGEST_NAME:
                raise UnreadableError(f"an attribute has a name of more than {LONGEST_NAME} letters")
            if isinstance(value, Leaf) and (registered is None or name in registered):
                found[f"{prefix}{name}"] = value
            elif isinstance(value, Called):
                inner.append((f"{prefix}{name}.", value, depth + 1))
        todo += reversed(inner)
    return found


class _Sources:
    """The source files of an archive, read as text."""

    def __init__(self, archive: Archive, root: str) -> None:
        self.archive, self.root = archive, root
        self.classes: dict[str, dict[str, set[str]]] = {}
        self.left = _ALL_CODE

    def registered(self, path: str) -> set[str] | None:
        """The names of a class's parameters and buffers; None where its source does not tell."""
        file, _, name = path.rpartition(".")
        if file not in self.classes:
            self.classes[file] = self._read(f"{self.root}code/{file.replace('.', '/')}.py")
        return self.classes[file].get(name)

    def _read(self, entry: str) -> dict[str, set[str]]:
        if entry not in self.archive or self.archive.entry_size(entry) > min(_LARGEST_CODE, self.left):
            return {}
        self.left -= self.archive.entry_size(entry)
        text = self.archive.read(entry, limit=_LARGEST_CODE, may_be_compressed=True).decode(
            "utf-8", "replace"
        )
        return {
            name: set(re.findall(r'"([^"]*)"', parameters + buffers))
            for name, parameters, buffers in _CLASS.findall(text)
        }
