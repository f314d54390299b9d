"""How far neighbouring layers' Jacobians are aligned at a few examples, for a chain of layers (:mod:`trust.layers`).

With A_k(x) = ∂h_k/∂h_{k−1}: Φ'_k W_k of a plain layer, I + F' of a residual block. ‖A_L ··· A_1‖₂ is ∏‖A_k‖₂ exactly
where each layer's leading output direction u_1(A_k) is the one that the next stretches most, v_1(A_{k+1}).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from probes.errors import InputError, lacks_derivative, mention
from probes.measures.alignment.layer_jacobians import LayerJacobians, layer_jacobians
from probes.measures.alignment.leading import Leading, leading
from probes.measures.measure import Floats, Found, Frozen, Measure
from probes.measures.settings import SliceSettings
from trust import measurements as variables
from trust.layers import layers_of

__all__ = ["Alignment", "alignment_of", "check_examples"]

_LAYERED = (
    variables.JACOBIAN_ALIGNMENT,
    variables.SINGULAR_VECTOR_OVERLAP,
    variables.LAYER_JACOBIAN_NORM,
    variables.LAYER_JACOBIAN_SECOND,
)
_WHOLE = (variables.WHOLE_JACOBIAN_ALIGNMENT, variables.JACOBIAN_NORM)


def alignment_of(jacobians: LayerJacobians) -> dict[variables.Variable, Floats]:
    """All that is measured, of every example of a batch.

    Args:
        jacobians: of the L layers at the examples.

    Returns:
        Each variable (examples, L), those of the whole network (examples,). An alignment is NaN where a layer's
        Jacobian is zero, −∞ where only the product is, and never above 0, which rounding could make it.
    """
    count = len(jacobians)
    layers = [leading(jacobians.layer(k)) for k in range(1, count + 1)]
    norms = torch.stack([one.values[:, 0] for one in layers], 1)
    # what follows the last layer is nothing, and what follows the one before it is A_L itself
    products = [leading(jacobians.behind(k)).values[:, 0] for k in range(count - 1)]
    behind = torch.stack([*products, norms[:, -1], torch.ones_like(norms[:, 0])], 1)
    logs = torch.log10(norms)
    factors = torch.cat([logs.flip(1).cumsum(1).flip(1), torch.zeros_like(logs[:, :1])], 1)
    alignments = (torch.log10(behind) - factors).clamp(max=0.0)
    alignments = torch.where(factors.isfinite(), alignments, torch.nan)
    overlaps = [_overlap(one, other) for one, other in pairwise(layers)]
    overlaps.append(torch.full_like(norms[:, 0], torch.nan))
    values = (
        alignments[:, 1:],
        torch.stack(overlaps, 1),
        norms,
        torch.stack([one.values[:, 1] for one in layers], 1),
        alignments[:, 0],
        behind[:, 0],
    )
    return {name: value.cpu().numpy() for name, value in zip((*_LAYERED, *_WHOLE), values, strict=True)}


def _overlap(one: Leading, following: Leading) -> torch.Tensor:
    """|⟨v_1(A_{k+1}), u_1(A_k)⟩|; NaN where a layer's Jacobian is zero."""
    found = (one.left * following.right).sum(1).abs().clamp(max=1.0)
    return torch.where((one.values[:, 0] > 0) & (following.values[:, 0] > 0), found, torch.nan)


def check_examples(count: int, there: int) -> None:
    """Refuse more examples than there are.

    Raises:
        InputError: it says how many there are.
    """
    if count > there:
        raise InputError(
            f"{mention('alignment', count)}: the data has {there} examples; give at most as many"
        )


class Alignment(Measure):
    """Measures it for the first ``--alignment N`` examples; beyond those it is NaN."""

    name = "alignment"
    finds = (*_LAYERED, *_WHOLE)

    def __init__(self, frozen: Frozen) -> None:
        """Check how many examples there are.

        Raises:
            InputError: none were asked for, or more than there are.
        """
        super().__init__(frozen)
        self.count = frozen.settings.alignment
        if self.count < 1:
            raise InputError("`measure='alignment'`: on how many examples? add `alignment=N`")
        check_examples(self.count, frozen.samples)

    @classmethod
    def by_default(cls, settings: SliceSettings) -> bool:
        """With ``--alignment N``."""
        return settings.alignment > 0

    @classmethod
    def fits(cls, frozen: Frozen) -> bool:
        """Where there are outputs, and the network is a chain of layers on one input of real numbers."""
        if not frozen.evaluator.has_outputs or frozen.mixed or layers_of(frozen.structure) is None:
            return False
        return next(frozen.evaluator.chunks(1))[1].real_input is not None

    def found(self, others: Found) -> Found:
        """NaN all over where a layer cannot be differentiated twice."""
        names, samples = self.frozen.names, self.frozen.samples
        places = np.array([names.index(layer.name) for layer in layers_of(self.frozen.structure) or ()])
        tables: dict[variables.Variable, Floats] = {name: np.full(samples, np.nan) for name in _WHOLE}
        tables |= {name: np.full((samples, len(names)), np.nan) for name in _LAYERED}
        try:
            for start, part in layer_jacobians(self.frozen.evaluator, self.frozen.reading, self.count):
                rows = np.arange(start, start + part.examples)
                for name, values in alignment_of(part).items():
                    at = np.ix_(rows, places) if name in _LAYERED else rows
                    tables[name][at] = values
        except RuntimeError as error:
            if not lacks_derivative(error):
                raise
        return tables
