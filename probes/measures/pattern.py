"""Bounds from which units are active, labels and losses, example by example, for chains of ReLU layers and blocks.

All of it in float64 at the very weights that were evaluated. A singular value is taken for each example, η and layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from probes.data.loss_functions import cross_entropy
from probes.errors import InputError
from probes.measures.forward_passes import numpy_of
from probes.measures.measure import Floats, Found, Frozen, Measure, Point
from probes.measures.settings import SliceSettings
from probes.networks.activations import parse_activation
from trust import measurements as variables
from trust.measurements import Variable
from trust.norms import EPS
from trust.pattern import FrozenChain, Stage, pattern_bound
from trust.response import loss_rise_bound, response_bound
from trust.structure import Block, Structure

__all__ = ["ChainLayer", "Pattern", "chain_of"]

Labels = npt.NDArray[np.int64]
_BY_ETA = (variables.PATTERN_BOUND, variables.RESPONSE_BOUND, variables.LABEL_KEPT)
_LOSSES = (variables.LOSS_RISE, variables.LOSS_RISE_BOUND)
_CLOSE = 1.02  # how near the first η that is not certified comes to the last that is
_MOST_TRIALS = 24


@dataclass(frozen=True)
class ChainLayer:
    """One layer or residual block of a chain, and the slope of φ(z) = max(z, az) in it."""

    block: Block
    slope: float


def chain_of(structure: Structure | None) -> list[ChainLayer] | None:
    """The layers of a chain of ReLU, leaky ReLU or linear layers and residual blocks; None for any other network."""
    blocks = structure.blocks if structure is not None else None
    if not blocks:
        return None
    found = []
    for block in blocks:
        name, parameter = parse_activation(block.activation)
        slope = {"identity": 1.0, "relu": 0.0, "leaky_relu": parameter}.get(name)
        if slope is None or not 0 <= slope <= 1:
            return None
        found.append(ChainLayer(block, slope))
    return found


class Pattern(Measure):
    """Measures them for the first ``--pattern N`` examples; beyond those that are kept they are NaN."""

    name = "pattern"
    finds = (variables.MARGIN, *_BY_ETA, *_LOSSES, variables.CERTIFIED_STEP, variables.CERTIFIED_STEP_TRIALS)

    def __init__(self, frozen: Frozen) -> None:
        """Pass the examples through the frozen network.

        Raises:
            InputError: no number of examples was given.
        """
        super().__init__(frozen)
        evaluator = frozen.evaluator
        self.count = min(frozen.settings.pattern, len(evaluator))
        if self.count < 1:
            raise InputError("`measure='pattern'`: on how many examples? add `pattern=N`")
        self.layers = chain_of(frozen.structure) or []
        # as the working precision rounded them, like the weights
        pieces = [piece for _, piece in evaluator.data[: self.count].chunks(self.count)]
        pieces = [piece.to(evaluator.device, evaluator.dtype) for piece in pieces]
        inputs = [piece.real_input for piece in pieces]
        x = np.concatenate([numpy_of(given.double().flatten(1)) for given in inputs if given is not None])
        self.chain = FrozenChain(self._stages(evaluator.frozen), x)
        labels = [piece.targets for piece in pieces]
        self.labels = _classes(labels, self.chain.outputs.shape[1])
        if evaluator.loss_function is not cross_entropy or self.layers[-1].slope != 1:
            self.labels = None  # the loss's bound is of softmax behind a linear layer
        self.sampled = {name: frozen.table(frozen.samples) for name in (*_BY_ETA, *_LOSSES)}

    @classmethod
    def by_default(cls, settings: SliceSettings) -> bool:
        """With ``--pattern N``."""
        return settings.pattern > 0

    @classmethod
    def fits(cls, frozen: Frozen) -> bool:
        """Where there are outputs, and the network is such a chain."""
        return frozen.evaluator.has_outputs and chain_of(frozen.structure) is not None

    def _stages(self, tensors: Mapping[str, Tensor]) -> list[Stage]:
        """The chain at some weights, in float64.

        Raises:
            ValueError: they are not finite.
        """
        return [
            Stage.of(
                tensors[block.weight],
                tensors[block.bias] if block.bias else None,
                slope=layer.slope,
                skip=block.skip,
            )
            for layer in self.layers
            for block in (layer.block,)
        ]

    def record(self, point: Point) -> None:
        """Measure at one η; NaN where the weights overflowed."""
        try:
            stages = self._stages(point.moved)
        except ValueError:
            return
        perturbed = self.chain.perturbed(stages)
        before, after = self.chain.outputs, _outputs(stages, self.chain.states[0])
        found: dict[Variable, Floats] = {
            variables.PATTERN_BOUND: pattern_bound(perturbed),
            variables.RESPONSE_BOUND: response_bound(perturbed),
            variables.LABEL_KEPT: (before.argmax(1) == after.argmax(1)).astype(np.float64),
        }
        if self.labels is not None:
            found[variables.LOSS_RISE] = _losses(after, self.labels) - _losses(before, self.labels)
            found[variables.LOSS_RISE_BOUND] = loss_rise_bound(perturbed, self.labels)
        for name, values in found.items():
            self.sampled[name][point.row, : self.count] = values

    def tables(self) -> list[Floats]:
        """What :meth:`record` fills, row by row."""
        return list(self.sampled.values())

    def found(self, others: Found) -> Found:
        """The bounds, the labels and, for cross-entropy of labels, the losses and the certified step."""
        margin = np.full(self.frozen.samples, np.nan)
        margin[: self.count] = _margin(self.chain.outputs)
        found: dict[Variable, npt.ArrayLike] = {
            variables.MARGIN: margin,
            **{name: self.sampled[name] for name in _BY_ETA},
        }
        if self.labels is None:
            return found
        found |= {name: self.sampled[name] for name in _LOSSES}
        if self.frozen.direction is not None:
            step, trials = self._certified_step()
            found |= {variables.CERTIFIED_STEP: step, variables.CERTIFIED_STEP_TRIALS: trials}
        return found

    def _certified_step(self) -> tuple[float, int]:
        """The largest η found whose bound on the mean loss is below its start, and how many bounds that took.

        The grid's own are known. Beyond them η is doubled or halved, and in the end what lies between the last η that
        is certified and the first that is not.
        """
        etas = [float(eta) for eta in self.frozen.etas[1:]]
        rises = self.sampled[variables.LOSS_RISE_BOUND][1:, : self.count]
        good = max((eta for eta, rise in zip(etas, rises, strict=True) if _falls(rise)), default=0.0)
        bad = min((eta for eta in etas if eta > good), default=math.inf)
        trials = 0
        while trials < _MOST_TRIALS and not (good > 0 and bad < good * _CLOSE):
            middle = bad / 2 if good == 0 else 2 * good if bad == math.inf else (good * bad) ** 0.5
            good, bad = (middle, bad) if self._is_certified(middle) else (good, middle)
            trials += 1
        return good, trials

    def _is_certified(self, eta: float) -> bool:
        assert self.labels is not None
        perturbed = self.chain.perturbed(self._stages(self.frozen.path.at(eta)))
        return _falls(loss_rise_bound(perturbed, self.labels))


def _falls(rises: Floats) -> bool:
    """Whether a mean is certainly below 0, rounding of the sum included."""
    return bool(rises.sum() + len(rises) * EPS * np.abs(rises).sum() < 0)


def _outputs(stages: Sequence[Stage], x: Floats) -> Floats:
    h = x
    for stage in stages:
        _, h = stage.outputs(h)
    return h


def _classes(targets: Sequence[Tensor | None], count: int) -> Labels | None:
    """The examples' labels, where they are classes."""
    labels = [numpy_of(t) for t in targets if t is not None and t.ndim == 1 and not t.is_floating_point()]
    if not labels or len(labels) < len(targets):
        return None
    classes = np.concatenate(labels).astype(np.int64)
    return classes if classes.min() >= 0 and classes.max() < count else None


def _losses(outputs: Floats, labels: Labels) -> Floats:
    """Cross-entropy of every example."""
    top = outputs.max(1)
    spread = np.log(np.exp(outputs - top[:, None]).sum(1))
    return np.asarray(spread + top - outputs[np.arange(len(labels)), labels])


def _margin(outputs: Floats) -> Floats:
    """The largest output less the second largest; NaN where there is one output."""
    if outputs.shape[1] < 2:
        return np.full(len(outputs), np.nan)
    ordered = np.sort(outputs, axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2])
