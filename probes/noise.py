"""The noise floor: how far two evaluations of one gradient differ, proved before anything is measured."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from probes.errors import InputError
from probes.evaluation import Evaluation, FullBatch
from probes.jacobians import relative_change

__all__ = ["NoiseFloor", "measure_noise_floor"]

_SAMPLE = 200  # examples compared with float64
_STOCHASTIC = 1e-3  # no rounding error of a repeated float32 gradient is this large


@dataclass(frozen=True)
class NoiseFloor:
    """What rounding alone does.

    Attributes:
        gradients: for each parameter, the larger of the relative differences between two evaluations
            at η = 0, and between the working precision and a better one (for float64: another order of
            summation) on a small sample.
        loss: the same for the loss.
        outputs: the same for an example's outputs, the worst on the sample.
        repeat: the second evaluation at η = 0.
    """

    gradients: dict[str, float]
    loss: float
    outputs: float
    repeat: Evaluation


def _relative(a: Tensor, b: Tensor) -> float:
    difference = torch.linalg.vector_norm(a.double() - b.double())
    size = torch.linalg.vector_norm(b, dtype=torch.float64)
    return float(difference / size) if bool(size > 0) else 0.0


def measure_noise_floor(
    batch: FullBatch, first: Evaluation, names: list[str], *, samples: int = 0, together: bool = False
) -> NoiseFloor:
    """Evaluate again, and on a small sample against float64.

    Args:
        batch: what is measured.
        first: its evaluation at the frozen weights.
        names: parameters whose gradients count.
        samples: how many examples' outputs the second evaluation keeps.
        together: whether an output depends on all examples of its chunk, so that the sample must be one chunk.

    Raises:
        InputError: the two evaluations differ by more than rounding: the network or loss is stochastic.
    """
    again = batch.evaluate(batch.frozen, wanted=names, samples=samples)
    repeat = {name: _relative(again.gradients[name], first.gradients[name]) for name in names}
    sizes = {
        name: float(torch.linalg.vector_norm(g, dtype=torch.float64)) for name, g in first.gradients.items()
    }
    # a gradient that is zero but for rounding (a bias before batch norm) may differ wholly
    rounding = 100 * torch.finfo(batch.dtype).eps * max(sizes.values())
    worst = max(names, key=lambda name: repeat[name] if sizes[name] > rounding else 0.0)
    if repeat[worst] > _STOCHASTIC and sizes[worst] > rounding:
        raise InputError(
            f"two evaluations of the same gradient differ by {repeat[worst]:.1e} in {worst}: the network or"
            " the loss is stochastic; switch its randomness off before probing"
        )
    few = batch.data[:_SAMPLE]
    exact = torch.float64
    rows = len(few)
    # float64 is checked against another order of summation
    chunk = 37 if batch.dtype == exact and not together else batch.chunk
    network, loss_of, device = batch.network, batch.loss_function, batch.device
    working = FullBatch(network, few, None, loss_of, dtype=batch.dtype, device=device, chunk=batch.chunk)
    reference = FullBatch(network, few.flip(), None, loss_of, dtype=exact, device=device, chunk=chunk)
    a = working.evaluate(working.frozen, wanted=names, samples=rows)
    b = reference.evaluate(reference.frozen, wanted=names, samples=rows)
    outputs = relative_change(b.outputs.flip(0), a.outputs)
    floors = {name: max(repeat[name], _relative(a.gradients[name], b.gradients[name])) for name in names}
    loss = max(abs(again.loss - first.loss), abs(a.loss - b.loss)) / max(abs(b.loss), 1e-300)
    finite = outputs[torch.isfinite(outputs)]
    worst_output = float(finite.max()) if len(finite) else float("nan")
    return NoiseFloor(floors, loss, worst_output, again)
