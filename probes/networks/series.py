"""The networks of a run, one a checkpoint: all are known, and few are in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import torch

from probes.errors import InputError
from probes.networks.frozen_network import FrozenNetwork
from probes.networks.specs import NetworkSpec

__all__ = ["NetworkRecord", "NetworkSeries"]


@dataclass(frozen=True)
class NetworkRecord:
    """What is known of a network that was read, checked and put away again.

    Attributes:
        label: what it is called in results.
        path: its checkpoint.
        names: names of the module's parameters, in forward order, to the names reported for them.
        details: what the checkpoint says of itself.
        digest: hash of the weights.
        spec: the description, where the network is of a kind of ours.
        shapes: of all tensors that the network has.
        converted: in which precision its file has numbers that were converted to float32.
    """

    label: str
    path: Path
    names: Mapping[str, str]
    details: Mapping[str, Any]
    digest: str
    spec: NetworkSpec | None
    shapes: Mapping[str, torch.Size]
    converted: str

    @classmethod
    def of(cls, frozen: FrozenNetwork, path: Path) -> NetworkRecord:
        """Everything but the network."""
        shapes = {name: tensor.shape for name, tensor in frozen.network.state_dict().items()}
        own = (frozen.label, path, frozen.names, frozen.details, frozen.digest, frozen.spec, shapes)
        return cls(*own, frozen.converted)


class NetworkSeries(Sequence[NetworkRecord]):
    """All networks of a run, of which few are in memory at a time."""

    def __init__(self, read: Callable[[Path], FrozenNetwork], paths: Sequence[Path]) -> None:
        """Read every checkpoint once, see that all are of one network, and keep the first network.

        Args:
            read: a checkpoint in its network.
            paths: the checkpoints, at least one.

        Raises:
            InputError: the first that cannot be read, or is of another network.
        """
        self._read = read
        self._records: list[NetworkRecord] = []
        self._loaded: dict[int, FrozenNetwork] = {}
        for place, path in enumerate(paths):
            frozen = read(path)
            self._records.append(NetworkRecord.of(frozen, path))
            self._check_same(self._records[-1])
            if place == 0:  # which the data is held against
                self._loaded[place] = frozen
        labels = [record.label for record in self._records]
        if len(set(labels)) < len(labels):  # files of the same name in different folders
            self._records = [
                replace(record, label=f"{place}:{record.label}") for place, record in enumerate(self._records)
            ]

    def conversion(self) -> str | None:
        """What was converted, in a line; None where nothing was."""
        found = {record.path: record.converted for record in self._records if record.converted}
        if not found:
            return None
        first, kind = next(iter(found.items()))
        more = f" (and so are {len(found) - 1} more)" if len(found) > 1 else ""
        return f"{first}: its numbers are {kind}{more}; they are converted to float32, exactly"

    def _check_same(self, other: NetworkRecord) -> None:
        first = self._records[0]
        if other.shapes != first.shapes or other.names != first.names or other.spec != first.spec:
            raise InputError(
                f"{other.path}: is of another network than {first.path}; probe different networks in different runs"
            )

    @overload
    def __getitem__(self, place: int) -> NetworkRecord: ...
    @overload
    def __getitem__(self, place: slice) -> list[NetworkRecord]: ...
    def __getitem__(self, place: int | slice) -> NetworkRecord | list[NetworkRecord]:
        """What is known of one network, or of some."""
        return self._records[place]

    def __len__(self) -> int:
        """How many there are."""
        return len(self._records)

    def load(self, place: int, *, beside: int | None = None) -> FrozenNetwork:
        """A network, read again unless it still is in memory; every other one is let go.

        Args:
            place: which.
            beside: another one that stays if it is in memory.

        Raises:
            InputError: its checkpoint is no longer what it was.
        """
        self._loaded = {kept: frozen for kept, frozen in self._loaded.items() if kept in (place, beside)}
        if place not in self._loaded:
            record = self._records[place]
            frozen = self._read(record.path)
            if frozen.digest != record.digest:
                raise InputError(
                    f"{record.path}: other weights are in it than when the run began; leave checkpoints alone"
                    " during a run, and run again"
                )
            self._loaded[place] = frozen
        return self._loaded[place]
