"""What is probed: a network that holds a checkpoint's weights, and the names to report for them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from probes.checkpoints.checkpoint import Checkpoint
from probes.errors import InputError, mention
from probes.evaluation.compiled import taken_apart
from probes.networks.adapters import adapted, is_adapter
from probes.networks.filling import HALF, fill
from probes.networks.hugging_face import has_configuration, transformers_module
from probes.networks.kinds import build, read_spec, spec_of
from probes.networks.perceptron import Perceptron
from probes.networks.recovery import recover_perceptron
from probes.networks.specs import NetworkSpec

__all__ = ["FrozenNetwork", "load_network"]


@dataclass(frozen=True)
class FrozenNetwork:
    """A network whose weights stay as its checkpoint has them.

    Attributes:
        label: what it is called in results.
        network: the module, holding the weights to probe.
        names: names of the module's parameters, in forward order, to the names reported for them.
        details: what the checkpoint says of itself (step, epoch, …).
        digest: hash of the weights.
        converted: in which precision the file has numbers that were converted to float32; empty where none were.
    """

    label: str
    network: nn.Module
    names: Mapping[str, str]
    details: Mapping[str, Any]
    digest: str
    converted: str = ""

    @property
    def spec(self) -> NetworkSpec | None:
        """The description, where the network is of a kind of ours."""
        return spec_of(self.network)


def load_network(
    checkpoint: Checkpoint,
    *,
    network: Callable[[], Any] | None = None,
    activation: str | None = None,
    residual: bool = False,
    base: Checkpoint | None = None,
    merged: bool = False,
) -> FrozenNetwork:
    """Put a checkpoint's tensors into the network that they belong to.

    Args:
        checkpoint: what was read.
        network: the user's callable that makes the module; without it, the checkpoint's own description or,
            for a foreign file, the plain perceptron that the tensors' shapes spell.
        activation: φ of a foreign perceptron.
        residual: whether a foreign perceptron's hidden layers add their input.
        base: of an adapter the checkpoint of the network that it belongs to, which ``network`` makes.
        merged: whether an adapter becomes part of its base's weights, which move then; else it moves itself.

    Raises:
        InputError: the tensors do not fit.
    """
    if is_adapter(checkpoint.path):
        return _adapted(checkpoint, base, network, merged=merged)
    if base is not None or merged:
        setting = "merge_adapter" if base is None else "base"
        raise InputError(
            f"`{setting}`: {checkpoint.path} is no adapter (there is no adapter_config.json in it)"
        )
    tensors = dict(checkpoint.tensors)
    details = checkpoint.details
    devices = list(range(torch.cuda.device_count()))
    # building a module draws initial weights; the caller's stream stays
    with torch.random.fork_rng(devices=devices):
        try:
            if network is not None:
                module = network()
                if not isinstance(module, nn.Module):
                    raise InputError(
                        f"`network`: the callable returned {type(module).__name__}, not a torch module"
                    )
                module, _ = taken_apart(module)
                names = {name: name for name, _ in module.named_parameters()}
            elif "network" in details:
                described = read_spec(details["network"])
                stated = getattr(described, "activation", "a network whose activation is fixed")
                if activation is not None and activation != stated:
                    raise InputError(f"{mention('activation', activation)}: the checkpoint says {stated}")
                module = _empty(described)
                names = {name: name for name, _ in module.named_parameters()}
            elif has_configuration(checkpoint.path):
                module = transformers_module(checkpoint.path, tensors)
                names = {name: name for name, _ in module.named_parameters()}
            else:
                spec, mapping = recover_perceptron(
                    tensors, activation=activation, residual=residual, ordered=checkpoint.ordered
                )
                tensors = {mapping[name]: tensor for name, tensor in tensors.items()}
                reported = {ours: theirs for theirs, ours in mapping.items()}
                module = _empty(spec)
                names = {name: reported[name] for name, _ in module.named_parameters()}
        except InputError as error:
            raise InputError(f"{checkpoint.path}: {error}") from error
        fill(module, tensors, checkpoint)
    names = _forward_order(module, names)
    return FrozenNetwork(checkpoint.label, module, names, details, checkpoint.digest(), _half(checkpoint))


def _half(*checkpoints: Checkpoint) -> str:
    """The half precisions that there are in files, in words."""
    tensors = [tensor for checkpoint in checkpoints for tensor in checkpoint.tensors.values()]
    return " and ".join(sorted({str(t.dtype).removeprefix("torch.") for t in tensors if t.dtype in HALF}))


def _adapted(
    adapter: Checkpoint, base: Checkpoint | None, network: Callable[[], Any] | None, *, merged: bool
) -> FrozenNetwork:
    """An adapter in its base network.

    Raises:
        InputError: the base is missing or another one, or the adapter is not understood.
    """
    if base is None:
        raise InputError(f"{adapter.path}: is an adapter; give its base network's folder with `base`")
    below = load_network(base, network=network)
    with torch.random.fork_rng(devices=list(range(torch.cuda.device_count()))):
        try:
            module, settings = adapted(below.network, adapter, merged=merged)
        except InputError as error:
            raise InputError(f"{adapter.path}: {error}") from error
    digest = hashlib.sha256(f"{adapter.digest()} {below.digest} {settings}".encode()).hexdigest()[:16]
    names = {name: name for name, _ in module.named_parameters()}
    return FrozenNetwork(adapter.label, module, names, adapter.details, digest, _half(adapter, base))


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
