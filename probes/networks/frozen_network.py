"""A frozen is what is probed: a network with its weights, and the names to report."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor, nn

from probes.checkpoints.checkpoint import Checkpoint
from probes.checkpoints.state_dict import renamed_to_fit
from probes.data.batches import arguments_of, outputs_of
from probes.data.dataset import DataSet
from probes.data.losses import label_range
from probes.data.targets import IGNORED
from probes.errors import InputError
from probes.evaluation.evaluator import left_as_found
from probes.networks.hugging_face import has_configuration, transformers_module
from probes.networks.perceptron import Perceptron, PerceptronSpec, infer_perceptron
from probes.networks.zoo import NetworkSpec, build, read_spec, spec_of

__all__ = [
    "FrozenNetwork",
    "NetworkRecord",
    "NetworkSeries",
    "check_data_fits",
    "check_spec_fits",
    "load_network",
]


@dataclass(frozen=True)
class FrozenNetwork:
    """A frozen network.

    Attributes:
        label: what it is called in results.
        network: the module, holding the weights to probe.
        names: names of the module's parameters, in forward order, to the names reported for them.
        details: what the checkpoint says of itself (step, epoch, …).
        digest: hash of the weights.
    """

    label: str
    network: nn.Module
    names: Mapping[str, str]
    details: Mapping[str, Any]
    digest: str

    @property
    def perceptron(self) -> PerceptronSpec | None:
        """The description, where the network is a perceptron of ours or was recognised as one."""
        return self.network.spec if isinstance(self.network, Perceptron) else None

    @property
    def spec(self) -> NetworkSpec | None:
        """The description, where the network is of a kind of ours."""
        return spec_of(self.network)


@dataclass(frozen=True)
class NetworkRecord:
    """What is known of a network that was read, checked and put away again.

    Attributes:
        label: what it is called in results.
        path: its checkpoint.
        names: as of the frozen.
        details: what the checkpoint says of itself.
        digest: hash of the weights.
        spec: the description, where the network is of a kind of ours.
        shapes: of all tensors that the network has.
    """

    label: str
    path: Path
    names: Mapping[str, str]
    details: Mapping[str, Any]
    digest: str
    spec: NetworkSpec | None
    shapes: Mapping[str, torch.Size]

    @classmethod
    def of(cls, frozen: FrozenNetwork, path: Path) -> NetworkRecord:
        """Everything but the network."""
        shapes = {name: tensor.shape for name, tensor in frozen.network.state_dict().items()}
        return cls(frozen.label, path, frozen.names, frozen.details, frozen.digest, frozen.spec, shapes)


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
        self._stored: list[NetworkRecord] = []
        self._loaded: dict[int, FrozenNetwork] = {}
        for place, path in enumerate(paths):
            frozen = read(path)
            self._stored.append(NetworkRecord.of(frozen, path))
            self._check_same(self._stored[-1])
            if place == 0:  # which the data is held against
                self._loaded[place] = frozen
        labels = [stored.label for stored in self._stored]
        if len(set(labels)) < len(labels):  # files of the same name in different folders
            self._stored = [replace(s, label=f"{place}:{s.label}") for place, s in enumerate(self._stored)]

    def _check_same(self, other: NetworkRecord) -> None:
        first = self._stored[0]
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
        return self._stored[place]

    def __len__(self) -> int:
        """How many there are."""
        return len(self._stored)

    def load(self, place: int, *, beside: int | None = None) -> FrozenNetwork:
        """A network, read again unless it still is in memory; every other one is let go.

        Args:
            place: which.
            beside: another one that stays if it is in memory.

        Raises:
            InputError: its checkpoint is no longer what it was.
        """
        self._loaded = {kept: s for kept, s in self._loaded.items() if kept in (place, beside)}
        if place not in self._loaded:
            stored = self._stored[place]
            frozen = self._read(stored.path)
            if frozen.digest != stored.digest:
                raise InputError(
                    f"{stored.path}: other weights are in it than when the run began; leave checkpoints alone"
                    " during a run, and run again"
                )
            self._loaded[place] = frozen
        return self._loaded[place]


def load_network(
    checkpoint: Checkpoint,
    *,
    network: Callable[[], Any] | None = None,
    activation: str | None = None,
    residual: bool = False,
) -> FrozenNetwork:
    """Put a checkpoint's tensors into the network that they belong to.

    Args:
        checkpoint: what was read.
        network: the user's callable that makes the module; without it, the checkpoint's own description or,
            for a foreign file, the plain perceptron that the tensors' shapes spell.
        activation: φ of a foreign perceptron.
        residual: whether a foreign perceptron's hidden layers add their input.

    Raises:
        InputError: the tensors do not fit.
    """
    tensors = dict(checkpoint.tensors)
    details = checkpoint.details
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(
        devices=devices
    ):  # building a module draws initial weights; the caller's stream stays
        try:
            if network is not None:
                module = network()
                if not isinstance(module, nn.Module):
                    raise InputError(
                        f"--network: the callable returned {type(module).__name__}, not a torch module"
                    )
                names = {name: name for name, _ in module.named_parameters()}
            elif "network" in details:
                described = read_spec(details["network"])
                stated = getattr(described, "activation", "a network whose activation is fixed")
                if activation is not None and activation != stated:
                    raise InputError(f"--activation {activation}: the checkpoint says {stated}")
                module = _empty(described)
                names = {name: name for name, _ in module.named_parameters()}
            elif has_configuration(checkpoint.path):
                module = transformers_module(checkpoint.path, tensors)
                names = {name: name for name, _ in module.named_parameters()}
            else:
                spec, mapping = infer_perceptron(
                    tensors, activation=activation, residual=residual, ordered=checkpoint.ordered
                )
                tensors = {mapping[name]: tensor for name, tensor in tensors.items()}
                reported = {ours: theirs for theirs, ours in mapping.items()}
                module = _empty(spec)
                names = {name: reported[name] for name, _ in module.named_parameters()}
        except InputError as error:
            raise InputError(f"{checkpoint.path}: {error}") from error
    _fill(module, tensors, checkpoint)
    return FrozenNetwork(
        checkpoint.label, module, _forward_order(module, names), details, checkpoint.digest()
    )


def _empty(spec: NetworkSpec) -> nn.Module:
    """Shapes without memory: a damaged description may ask for more than there is."""
    with torch.device("meta"):
        return build(spec)


def _forward_order(module: nn.Module, names: dict[str, str]) -> dict[str, str]:
    """A perceptron's layers and norms interleaved as data meets them; others as they were registered."""
    if not isinstance(module, Perceptron):
        return names
    kinds = {"layers": 0, "norms": 1}
    return {
        name: names[name]
        for name in sorted(names, key=lambda name: (_index(name), kinds[name.split(".")[0]]))
    }


def _index(name: str) -> int:
    return int(name.split(".")[1])


def _fill(module: nn.Module, tensors: Mapping[str, Tensor], checkpoint: Checkpoint) -> None:
    """Load the tensors, naming the first that does not fit and what comes nearest; what is tied or frozen stays so.

    Raises:
        InputError: a missing or unexpected name, another shape, or two values for a tensor of two names.
    """
    own = module.state_dict()
    tensors = renamed_to_fit(tensors, own)
    parameters = dict(module.named_parameters(remove_duplicate=False))
    trainable = {name: parameter.requires_grad for name, parameter in parameters.items()}
    tied = _tied(parameters)
    tensors = _completed(tensors, tied, checkpoint)
    missing = [name for name in own if name not in tensors]
    unexpected = [name for name in tensors if name not in own]
    if missing:
        raise InputError(
            f"{checkpoint.path}: no tensor {missing[0]}, which the network needs{_and_more(missing)};"
            f" {_nearest(missing[0], unexpected, 'the file')}"
        )
    for name, tensor in own.items():
        if tensors[name].shape != tensor.shape:
            fitting = [other for other in tensors if tensors[other].shape == tensor.shape]
            raise InputError(
                f"{checkpoint.path}: tensor {name} has shape {tuple(tensors[name].shape)},"
                f" the network needs {tuple(tensor.shape)}; {_nearest(name, fitting, 'that shape')}"
            )
        if tensors[name].is_floating_point() != tensor.is_floating_point():
            raise InputError(
                f"{checkpoint.path}: tensor {name} is {tensors[name].dtype}; give numbers of its kind"
            )
    if unexpected:
        raise InputError(
            f"{checkpoint.path}: tensor {unexpected[0]} has no place in the network{_and_more(unexpected)};"
            f" {_nearest(unexpected[0], list(own), 'the network')}"
        )
    converted = {
        name: tensor.to(torch.float32) if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
        for name, tensor in tensors.items()
    }
    module.load_state_dict(converted, assign=True)  # which unties
    for first, *others in tied:
        parameter = module.get_parameter(first)
        for name in others:
            path, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(path), leaf, parameter)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(trainable[name])


def _tied(parameters: Mapping[str, Tensor]) -> list[list[str]]:
    """The names of each tensor that has more than one."""
    names: dict[int, list[str]] = {}
    for name, parameter in parameters.items():
        names.setdefault(id(parameter), []).append(name)
    return [group for group in names.values() if len(group) > 1]


def _completed(
    tensors: Mapping[str, Tensor], tied: list[list[str]], checkpoint: Checkpoint
) -> dict[str, Tensor]:
    """Tied tensors under all their names: some formats keep only one.

    Raises:
        InputError: the file has different values for one tensor.
    """
    completed = dict(tensors)
    for group in tied:
        given = [name for name in group if name in tensors]
        for name in given[1:]:
            if not torch.equal(tensors[name], tensors[given[0]]):
                raise InputError(
                    f"{checkpoint.path}: tensors {given[0]} and {name} differ, but are one in the network"
                )
        if given:
            completed |= dict.fromkeys(group, tensors[given[0]])
    return completed


def _and_more(names: list[str]) -> str:
    return f" (nor {len(names) - 1} more)" if len(names) > 1 else ""


def _nearest(name: str, others: list[str], where: str) -> str:
    """The name most like ``name``, in words."""
    found = difflib.get_close_matches(name, others[:10_000], n=1, cutoff=0.0)
    return f"nearest in {where}: {found[0]}" if found else f"nothing in {where} is left that could be it"


def check_data_fits(frozen: FrozenNetwork, data: DataSet, loss: str) -> None:
    """Refuse data that the network cannot take, before anything runs.

    Raises:
        InputError: other input width, or labels out of range.
    """
    if frozen.spec is None or not data.batches.is_plain:
        _check_by_calling(frozen.network, data, loss)
    else:
        check_spec_fits(frozen.spec, data, loss, called=frozen.label)


def check_spec_fits(spec: NetworkSpec, data: DataSet, loss: str, *, called: str = "the network") -> None:
    """Refuse data that a network of this description cannot take.

    Args:
        spec: the description.
        data: inputs and targets.
        loss: the name of the loss.
        called: the network's name in the message.

    Raises:
        InputError: other inputs, or labels out of range.
    """
    option = f"--data {data.spec}"
    x, y = data.first
    width = x.numel()
    if spec.vocabulary is not None:
        _check_characters(spec, data, called)
    elif not x.is_floating_point():
        raise InputError(f"{option}: x has characters, {called} takes real numbers")
    elif width != spec.inputs:
        raise InputError(f"{option}: x has {width} features, {called} takes {spec.inputs}")
    if loss == "cross-entropy":
        ndim = 1 if spec.vocabulary is None else 2
        if y.ndim != ndim:
            each = "an example" if ndim == 1 else "a character"
            raise InputError(
                f"{option}: y has shape {(len(data), *y.shape[1:])}, but {called} needs one label {each}; for other"
                " targets say --loss mse or --loss bce-with-logits"
            )
        labels = data.batches.labels()
        low, high = min(labels.low, IGNORED) if labels.ignored else labels.low, labels.high
        if low < 0 or high >= spec.outputs:
            raise InputError(
                f"{option}: labels run from {low} to {high}, but {called} has {spec.outputs}"
                f" outputs (labels 0 to {spec.outputs - 1})"
            )
    elif loss in ("mse", "bce-with-logits"):
        count, outputs = y.numel(), spec.outputs * (1 if spec.vocabulary is None else width)
        if count != outputs:
            raise InputError(f"{option}: y has {count} values an example, {called} has {outputs} outputs")


def _range(blocks: Iterable[Tensor]) -> tuple[int, int]:
    """The smallest and largest of integers."""
    ends = [(int(block.min()), int(block.max())) for block in blocks]
    return min(low for low, _ in ends), max(high for _, high in ends)


def _check_characters(spec: NetworkSpec, data: DataSet, called: str) -> None:
    """Refuse inputs that are no sequences of known characters.

    Raises:
        InputError: they are not.
    """
    x, known = data.first[0], spec.vocabulary or 0
    if x.is_floating_point() or x.ndim != 2:
        raise InputError(f"--data {data.spec}: {called} takes characters; give text or text:FILE")
    if x.shape[1] > spec.inputs:
        raise InputError(
            f"--data {data.spec}: {x.shape[1]} characters an example, {called} takes {spec.inputs}"
        )
    low, high = _range(
        part for _, batch in data.batches.blocks() for part in (batch.inputs,) if isinstance(part, Tensor)
    )
    if low < 0 or high >= known:
        raise InputError(f"--data {data.spec}: a character is not among the {known} that {called} knows")


def _check_by_calling(network: nn.Module, data: DataSet, loss: str) -> None:
    """See that a module of the user's takes the data, and that its outputs are as many as the labels need.

    Raises:
        InputError: it does not.
    """
    parameters = list(network.parameters())
    dtype = parameters[0].dtype if parameters else torch.float32
    with left_as_found(network), torch.no_grad():
        first = data.batches.first.to("cpu", dtype)
        arguments, named = arguments_of(first.inputs)
        try:
            outputs = outputs_of(network(*arguments, **named))
        except InputError:
            raise
        except Exception as error:  # whatever the user's own module raises
            raise InputError(
                f"--data {data.spec}: the network cannot take it ({type(error).__name__}: {error})"
            ) from error
    low, high, classes = label_range(outputs, data.batches, loss)
    if low < 0 or high >= classes:
        raise InputError(
            f"--data {data.spec}: labels run from {low} to {high}, but the network has {classes} outputs"
        )
