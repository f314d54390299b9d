"""What a run measures, as the user gave it, and the same read and checked: checkpoints, data and the loss."""

from __future__ import annotations

import copy
import os
import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from probes.checkpoints.checkpoint import Checkpoint, read_checkpoint, refuse_unmatched
from probes.checkpoints.order import TrainingOrder, training_order
from probes.data.batch import Batch
from probes.data.batches import Batches
from probes.data.dataset import DataSet, data_of, load_data
from probes.data.losses import Loss, ModelLoss, ResolvedLoss, resolve_loss
from probes.data.text import is_text_spec
from probes.errors import InputError
from probes.networks.data_fit import check_data_fits
from probes.networks.frozen_network import FrozenNetwork, load_network
from probes.networks.hugging_face import is_tokenised_text, tokenised_windows
from probes.networks.series import NetworkSeries
from probes.system.callables import is_callable_spec, load_callable, user_code, where

_LONGEST = 4096  # letters of what a checkpoint says of its data, a path at most

__all__ = ["Paths", "Prepared", "Source", "data_spec", "prepare", "read_data", "read_networks"]


Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""Files and folders, or one."""


@dataclass(frozen=True)
class Source:
    """Where networks, data and the loss come from, as the user gave them: by name, or by Python code as they are.

    Attributes:
        checkpoints: files and folders, or one.
        network: a callable that makes the module or where it is, or the module, for networks that are no plain
            perceptrons.
        activation: φ of a foreign perceptron.
        residual: whether a foreign perceptron adds its layers' inputs.
        key: the state_dict to take where a file holds several.
        ignore_tensors: globs over names in the files, or one: tensors that are left out.
        base: of adapters the folder of the network that they belong to.
        merge_adapter: whether adapters become part of its weights.
        data: a name, file or where a callable is, or data as :func:`probes.data.loaders.read_batches` reads them; None
            takes what the checkpoints say they were trained on.
        examples: keep only that many examples.
        loss: a name or where a callable is, one of torch's losses or another callable; None means cross-entropy for
            labels.
    """

    checkpoints: tuple[str, ...]
    network: str | nn.Module | Callable[[], nn.Module] | None = None
    activation: str | None = None
    residual: bool = False
    key: str | None = None
    ignore_tensors: tuple[str, ...] = ()
    base: str | None = None
    merge_adapter: bool = False
    data: Any = None
    examples: int | None = None
    loss: str | Loss | Callable[..., Tensor] | None = None

    def __post_init__(self) -> None:
        """Take one checkpoint, or one glob, for a list of one."""
        for name in ("checkpoints", "ignore_tensors"):
            given: Any = getattr(self, name)
            parts = [given] if isinstance(given, str | os.PathLike) else given
            object.__setattr__(self, name, tuple(os.fspath(part) for part in parts))

    @classmethod
    def of(cls, source: Source | Paths) -> Source:
        """The source itself, or one of nothing but checkpoints."""
        return source if isinstance(source, Source) else cls(source)  # type: ignore[arg-type]

    @property
    def network_name(self) -> str | None:
        """Where the network's maker is, or of what kind the module."""
        return self.network if self.network is None or isinstance(self.network, str) else where(self.network)


@dataclass(frozen=True)
class Prepared:
    """Everything read and checked, nothing measured.

    Attributes:
        order: of the checkpoints, and how it was found.
        networks: theirs.
        data: all examples.
        loss: theirs; it is resolved here and nowhere else.
    """

    order: TrainingOrder
    networks: NetworkSeries
    data: DataSet
    loss: ResolvedLoss


def prepare(source: Source) -> Prepared:
    """Read every checkpoint and the data and see that they fit together, before anything is measured.

    Raises:
        InputError: the first thing that does not fit.
    """
    networks, order = read_networks(source)
    data, loss = read_data(source, networks.load(0), order.paths[0])
    return Prepared(order, networks, data, loss)


def read_networks(source: Source) -> tuple[NetworkSeries, TrainingOrder]:
    """Every checkpoint, read and checked one after the other, and their order.

    Raises:
        InputError: the first thing that does not fit.
    """
    order = training_order([Path(path) for path in source.checkpoints])
    factory = _factory(source.network)

    named = {str(Path(given)) for given in source.checkpoints}  # the others were found in folders
    ignored: set[str] = set()

    def from_file(path: Path) -> Checkpoint:
        try:
            return read_checkpoint(path, key=source.key, ignore=source.ignore_tensors)
        except InputError as error:
            if str(path) in named or len(order.paths) == 1:
                raise
            raise InputError(f"{error}; or name the checkpoints one by one, without this file") from error

    def read(path: Path) -> FrozenNetwork:
        checkpoint = from_file(path)
        base = (
            None if source.base is None else read_checkpoint(Path(source.base), ignore=source.ignore_tensors)
        )
        ignored.update(checkpoint.ignored, () if base is None else base.ignored)
        return load_network(
            checkpoint,
            network=factory,
            activation=source.activation,
            residual=source.residual,
            base=base,
            merged=source.merge_adapter,
        )

    networks = NetworkSeries(read, order.paths)
    refuse_unmatched(source.ignore_tensors, ignored)
    return networks, order


def _factory(network: str | nn.Module | Callable[[], nn.Module] | None) -> Callable[[], nn.Module] | None:
    """What makes a module for each checkpoint; the user's own stays as it is.

    Raises:
        InputError: it is nothing that makes one.
    """
    if isinstance(network, str):
        return user_code("network", network)(load_callable(network, option="network"))
    if isinstance(network, nn.Module):
        return lambda: copy.deepcopy(network)
    if network is not None and not callable(network):
        raise InputError(f"`network`: is a {type(network).__name__}, not a torch module or what makes one")
    return network


def data_spec(source: Source, frozen: FrozenNetwork, path: Path) -> Any:
    """The data that the user gives or names, or the checkpoint names; None where neither does."""
    return _stated(frozen.details, "data", path) if source.data is None else source.data


def read_data(source: Source, frozen: FrozenNetwork, path: Path) -> tuple[DataSet, ResolvedLoss]:
    """The data and the loss.

    Raises:
        InputError: none is named, or they do not fit the network.
    """
    details, spec = frozen.details, data_spec(source, frozen, path)
    if spec is None:
        raise InputError(
            f"{path}: does not say what data it was trained on; add `data='mnist'`, or a file with x and y"
        )
    examples = details.get("examples") if source.data is None and source.examples is None else source.examples
    if not isinstance(examples, int | None):
        raise InputError(f"{path}: its description is damaged (examples {examples!r}); train again")
    named = _stated(details, "loss", path) if source.loss is None else source.loss
    folders = [path, *([] if source.base is None else [Path(source.base)])]
    tokenised = next((folder for folder in folders if is_tokenised_text(folder)), None)
    if not isinstance(spec, str):
        data = data_of(spec, examples=examples)
    elif is_text_spec(spec) and tokenised is not None:
        masks = type(frozen.network).__name__.endswith("ForMaskedLM")
        windows = tokenised_windows(spec, tokenised, masks=masks)
        data = DataSet(spec, Batches([Batch(*windows)])).head(examples)
        named = named or ("cross-entropy" if masks else "next-token")
    else:
        data = load_data(spec, examples=examples)
    if frozen.spec is not None and frozen.spec.vocabulary is None:
        data = data.in_floats()
    loss = resolve_loss(named, data.batches)
    if not isinstance(loss.function, ModelLoss):  # which calls the network as only it knows how
        check_data_fits(frozen, data, loss)
    return data, loss


def _stated(details: Mapping[str, Any], name: str, path: Path) -> str | None:
    """What a checkpoint says of itself, unless that is code, which only the user may name.

    Raises:
        InputError: it names a Python callable, or is no text.
    """
    value = details.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value.isprintable() or len(value) > _LONGEST:
        raise InputError(f"{path}: its description is damaged ({name} {reprlib.repr(value)}); add --{name}")
    if (name == "data" and value.startswith(("mnist:", "text:"))) or not is_callable_spec(value):
        return value
    raise InputError(
        f"{path}: says {name} {reprlib.repr(value)}, which is code to run; add --{name} yourself if you trust it"
    )
