"""The structure of any network, read off one watched forward pass of two examples.

Networks of ours, Hugging Face's and the user's own come through this one door. The forward pass is an ordinary
one (:mod:`probes.networks.structure.tracing`), and only what it did is read: a step that is not known here is
``other``, of which nothing is said, and a pass that cannot be followed gives no structure but the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from probes.evaluation.evaluator import Evaluator
from probes.networks.activations import named_activation
from probes.networks.structure.fixed_maps import is_look, known_map
from probes.networks.structure.tracing import Call, Watch
from trust.structure import Step, Structure

__all__ = ["BatchNorm", "Reading", "read_structure"]

_EXAMPLES = 2
"""Enough to see whether a function mixes them."""
_IN_PLACE = "it changes a tensor in place that it uses under another name too"
_TRANSPOSES = ("t", "T", "mT", "transpose", "swapaxes", "permute", "adjoint")


@dataclass(frozen=True)
class BatchNorm:
    """A batch norm in evaluation mode: s ⊙ z + t with s = scale/√(variance + ε), t = shift − s ⊙ mean.

    Attributes:
        scale: the parameter's name.
        shift: the parameter's name; empty where there is none.
        mean: of the running statistics.
        variance: likewise.
        epsilon: ε.
    """

    scale: str
    shift: str
    mean: Tensor
    variance: Tensor
    epsilon: float


@dataclass(frozen=True)
class Reading:
    """What was read.

    Attributes:
        structure: under the module's own names; None where the pass could not be followed.
        why: the reason then.
        batch_norms: those in evaluation mode, by their scale's name.
        norms: kinds of norm layers that were met, ``batch`` or ``layer`` (which stands for all others).
        calls: for each step which of the calls that give tensors gave its result, and which of the tensors that this
            call gave it is; (−1, 0) for the input (for :mod:`probes.networks.structure.tracing`).
    """

    structure: Structure | None
    why: str = ""
    batch_norms: Mapping[str, BatchNorm] = field(default_factory=dict)
    norms: frozenset[str] = frozenset()
    calls: tuple[tuple[int, int], ...] = ()

    @property
    def activation_calls(self) -> tuple[int, ...]:
        """Which of the calls that give tensors each activation is."""
        steps = () if self.structure is None else self.structure.steps
        pairs = zip(steps, self.calls, strict=True)
        return tuple(call for step, (call, _) in pairs if step.kind == "activation")


class _UnreadableError(Exception):
    """The pass cannot be followed; the reason is the message."""


def read_structure(evaluator: Evaluator) -> Reading:
    """Watch the network map two examples to outputs, and say what it did.

    Args:
        evaluator: the network in evaluation mode, its data and loss.
    """
    if not evaluator.has_outputs:
        return Reading(None, "the loss calls the network itself")
    _, batch = next(evaluator.chunks(_EXAMPLES))
    reader = _Reader({id(tensor): name for name, tensor in evaluator.frozen.items()}, len(batch))
    for _, tensor in batch.leaves():
        known = tensor is batch.real_input
        reader.place(tensor, 0 if known else Step("other", (0,), "inputs beside one tensor of real numbers"))
    with torch.no_grad(), Watch() as watch:
        outputs = evaluator.call(evaluator.frozen, batch.inputs)
    try:
        for call in watch.calls:
            reader.read(call)
            reader.count += bool(call.gave)
        return reader.reading(outputs)
    except _UnreadableError as error:
        return Reading(None, str(error), norms=frozenset(reader.norms))


class _Reader:
    """Follows the data through the calls, step by step."""

    def __init__(self, parameters: dict[int, str], examples: int) -> None:
        self.parameters, self.examples = parameters, examples
        self.steps = [Step("input")]
        self.places: dict[
            int, tuple[int, int]
        ] = {}  # of a tensor: its step, and its changes in place by then
        self.made = set(parameters)  # tensors that are made of parameters alone
        self.transposed: dict[int, str] = {}
        self.batch_norms: dict[str, BatchNorm] = {}
        self.norms: set[str] = set()
        self.count = 0  # calls that gave tensors, so far
        self.numbers: dict[int, tuple[int, int]] = {}  # which of them a step is, and which of its tensors

    def place(self, tensor: Tensor, step: Step | int) -> None:
        """A tensor is the result of a step, an old one or a new one."""
        if isinstance(step, Step):
            self.steps.append(step)
            step = len(self.steps) - 1
        self.places[id(tensor)] = (step, tensor._version)

    def read(self, call: Call) -> None:
        """What one call does to the data."""
        data = [tensor for tensor, _ in call.given if id(tensor) in self.places]
        if not data:
            self._prepared(call)
            return
        for tensor, version in call.given:
            if self.places.get(id(tensor), (0, version))[1] != version:
                raise _UnreadableError(_IN_PLACE)
        if not call.gave:
            if not is_look(call.name):
                return
            raise _UnreadableError(f"what it does may depend on the numbers ({call.name})")
        inputs = tuple(self.places[id(tensor)][0] for tensor in data)
        for number, (tensor, version) in enumerate(call.gave):
            step = self._step(call, data, inputs, number)
            if isinstance(step, Step):
                self.numbers[len(self.steps)] = (self.count, number)
                self.steps.append(step)
                step = len(self.steps) - 1
            self.places[id(tensor)] = (step, version)

    def _prepared(self, call: Call) -> None:
        """A tensor that is made of parameters alone is no data, and no constant."""
        given = [tensor for tensor, _ in call.given if id(tensor) in self.made]
        if not given:
            return
        if not call.gave and is_look(call.name):
            raise _UnreadableError(f"what it does may depend on the weights' numbers ({call.name})")
        for tensor, _ in call.gave:
            self.made.add(id(tensor))
            name = self.parameters.get(id(given[0]), "")
            turned = call.name in _TRANSPOSES and given[0].ndim == 2 and tensor.shape == given[0].shape[::-1]
            if turned and len(call.given) == 1 and name:
                self.transposed[id(tensor)] = name

    def _step(self, call: Call, data: list[Tensor], inputs: tuple[int, ...], number: int) -> Step | int:
        """The step that a call is (for one of its results), or the old one where it changes nothing."""
        normalises = call.name.endswith("_norm") and not call.name.startswith("_")
        other = Step("normalisation" if normalises and len(data) == 1 else "other", inputs, call.name)
        made = [
            tensor for tensor, _ in call.given if id(tensor) in self.made and id(tensor) not in self.places
        ]
        result, _ = call.gave[number]
        if normalises:
            self.norms.add("batch" if call.name == "batch_norm" else "layer")
        if len(data) == 1 and made:
            return self._of_parameters(call, data[0], inputs, made) or other
        if made:
            return other
        if len(data) == 1:
            name = named_activation(call.name, call.args, call.kwargs)
            if name is not None and result.shape == data[0].shape:
                return Step("activation", inputs, name)
            found = known_map(call, data[0], number, self.examples)
            if found is None:
                return other
            return (
                inputs[0]
                if found.unchanged
                else Step("map", inputs, call.name, "constant" if found.constant else "", factor=found.factor)
            )
        if call.name.strip("_") in ("add", "sub") and not call.kwargs and len(call.args) == 2:
            same = all(tensor.shape == result.shape for tensor in data)
            return Step("sum", inputs) if same and len(data) == len(call.args) else other
        if call.name in ("cat", "concat", "concatenate", "stack", "hstack") and len(data) == len(call.given):
            dim = call.kwargs.get("dim", call.args[1] if len(call.args) > 1 else int(call.name == "hstack"))
            return Step("join", inputs, call.name) if dim % result.ndim else other
        return other

    def _of_parameters(
        self, call: Call, data: Tensor, inputs: tuple[int, ...], made: list[Tensor]
    ) -> Step | None:
        """A step with weights: a linear map, a convolution, a batch norm, or a bias behind a linear map."""
        args = dict(enumerate(call.args)) | call.kwargs
        if call.name == "batch_norm":
            return self._batch_norm(args, data, inputs)
        names = [self.parameters.get(id(tensor), "") for tensor in made]
        weight: Any
        form = "vector" if data.ndim == 2 else "positions"
        if call.name in ("matmul", "__matmul__", "mm") and call.args[0] is data and data.ndim > 1:
            weight = self.transposed.get(id(made[0]), "")
            return Step("weight", inputs, weight, form=form) if weight else None
        if call.name in ("add", "add_") and len(call.args) == 2 and not call.kwargs and names[0]:
            fits = made[0].ndim == 1 and made[0].shape == data.shape[-1:]
            return Step("other", inputs, "bias", names[0]) if fits else None  # until it finds its weight
        if call.name != "linear" and not call.name.startswith("conv"):
            return None
        weight, bias = args.get(1, args.get("weight")), args.get(2, args.get("bias"))
        known = [tensor for tensor in (weight, bias) if isinstance(tensor, Tensor)]
        names = [self.parameters.get(id(tensor), "") for tensor in known]
        if args.get(0, args.get("input")) is not data or len(known) != len(made) or not all(names):
            return None
        if call.name != "linear":
            form = "transposed" if "transpose" in call.name else "convolution"
            if data.ndim != known[0].ndim:
                return None  # without an axis of examples
        elif data.ndim == 1:
            return None
        return Step("weight", inputs, names[0], names[1] if len(names) > 1 else "", form=form)

    def _batch_norm(self, args: Mapping[Any, Any], data: Tensor, inputs: tuple[int, ...]) -> Step | None:
        """With running statistics it is affine; with those of the batch it mixes the examples."""
        keys = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
        values = {key: args.get(place, args.get(key)) for place, key in enumerate(keys)}
        mean, variance = values["running_mean"], values["running_var"]
        scale, shift = (self.parameters.get(id(values[key]), "") for key in ("weight", "bias"))
        batch = values["training"] or mean is None or variance is None or data.ndim < 2
        if batch or not scale or (values["bias"] is not None and not shift):
            return None
        epsilon = 1e-5 if values["eps"] is None else float(values["eps"])
        self.batch_norms[scale] = BatchNorm(scale, shift, mean, variance, epsilon)
        return Step("batch norm", inputs, scale, shift)

    def reading(self, outputs: Tensor) -> Reading:
        """What leads to the outputs, with biases and batch norms folded into their weights.

        Raises:
            _UnreadableError: nobody saw where the outputs came from.
        """
        place, version = self.places.get(id(outputs), (0, -1))
        if version != outputs._version:
            unseen = "not all that it computes can be watched (a compiled or scripted layer?)"
            raise _UnreadableError(unseen if version < 0 else _IN_PLACE)
        needed = {0, place}
        for k in range(place, 0, -1):
            needed |= set(self.steps[k].inputs) if k in needed else set()
        kept = [(k, self.steps[k]) for k in sorted(needed)]
        steps, calls = _folded(_renumbered(kept, {}), [self.numbers.get(k, (-1, 0)) for k, _ in kept])
        return Reading(Structure(tuple(steps)), "", self.batch_norms, frozenset(self.norms), tuple(calls))


def _renumbered(kept: list[tuple[int, Step]], instead: dict[int, int]) -> list[Step]:
    """Some steps, taking from each other's new places; those that are gone have others ``instead``."""
    places = {old: new for new, (old, _) in enumerate(kept)}
    return [replace(step, inputs=tuple(places[instead.get(k, k)] for k in step.inputs)) for _, step in kept]


def _folded(steps: list[Step], calls: list[tuple[int, int]]) -> tuple[list[Step], list[tuple[int, int]]]:
    """Biases, then batch norms, become part of the weight before them where that has no other taker.

    A weight's result is then what the last of them gave.
    """
    for kind in ("bias", "batch norm"):
        takers = [0] * len(steps)
        for step in steps:
            for k in step.inputs:
                takers[k] += 1
        kept, instead = list(enumerate(steps)), dict[int, int]()
        for place, step in enumerate(steps):
            if (step.name if step.kind == "other" else step.kind) != kind or takers[step.inputs[0]] > 1:
                continue
            before = steps[step.inputs[0]]
            if (
                before.kind != "weight"
                or before.norm
                or before.form not in ("vector", "positions", "convolution")
            ):
                continue
            if kind == "bias" and step.bias and not before.bias and before.form != "convolution":
                kept[step.inputs[0]] = (step.inputs[0], replace(before, bias=step.bias))
            elif kind == "batch norm" and before.form != "positions":
                kept[step.inputs[0]] = (step.inputs[0], replace(before, norm=step.name))
            else:
                continue
            instead[place] = step.inputs[0]
            calls[step.inputs[0]] = calls[place]
        steps = _renumbered([pair for pair in kept if pair[0] not in instead], instead)
        calls = [call for place, call in enumerate(calls) if place not in instead]
    return steps, calls
