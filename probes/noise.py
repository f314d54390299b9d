"""The noise floor: how far two evaluations of the same gradient differ, proved before anything is measured."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from probes.errors import InputError
from probes.evaluation import Evaluation, FullBatch

__all__ = ["NoiseFloor", "measure_noise_floor"]

_SAMPLE = 200  # examples compared with float64
_STOCHASTIC = 1e-3  # no rounding error of a repeated float32 gradient is this large


@dataclass(frozen=True)
class NoiseFloor:
    """What rounding alone does.

    Attributes:
        gradients: for each parameter, the larger of the relative differences between two evaluations at η = 0, and
            between the working precision and a better one (for float64: another order of summation) on a small sample.
        loss: the same for the loss.
    """

    gradients: dict[str, float]
    loss: float


def _relative(a: Tensor, b: Tensor) -> float:
    difference = torch.linalg.vector_norm(a.double() - b.double())
    size = torch.linalg.vector_norm(b, dtype=torch.float64)
    return float(difference / size) if bool(size > 0) else 0.0


def measure_noise_floor(batch: FullBatch, first: Evaluation, names: list[str]) -> NoiseFloor:
    """Evaluate again, and on a small sample against float64.

    Args:
        batch: what is measured.
        first: its evaluation at the frozen weights.
        names: parameters whose gradients count.

    Raises:
        InputError: the two evaluations differ by more than rounding: the network or loss is stochastic.
    """
    again = batch.evaluate(batch.frozen, wanted=names)
    repeat = {name: _relative(again.gradients[name], first.gradients[name]) for name in names}
    worst = max(repeat, key=lambda name: repeat[name])
    if repeat[worst] > _STOCHASTIC:
        raise InputError(
            f"two evaluations of the same gradient differ by {repeat[worst]:.1e} in {worst}: the network or the loss is"
            " stochastic; switch its randomness off before probing"
        )
    x, y = batch.x[:_SAMPLE], batch.y[:_SAMPLE]
    exact = torch.float64
    settings = {"device": batch.device, "chunk": batch.chunk}
    working = FullBatch(batch.network, x, y, batch.loss_function, dtype=batch.dtype, **settings)  # type: ignore[arg-type]
    if batch.dtype == exact:
        settings["chunk"] = 37
        reference = FullBatch(batch.network, x.flip(0), y.flip(0), batch.loss_function, dtype=exact, **settings)  # type: ignore[arg-type]
    else:
        reference = FullBatch(batch.network, x, y, batch.loss_function, dtype=exact, **settings)  # type: ignore[arg-type]
    a = working.evaluate(working.frozen, wanted=names)
    b = reference.evaluate(reference.frozen, wanted=names)
    floors = {name: max(repeat[name], _relative(a.gradients[name], b.gradients[name])) for name in names}
    loss = max(abs(again.loss - first.loss), abs(a.loss - b.loss)) / max(abs(b.loss), 1e-300)
    return NoiseFloor(floors, loss)
