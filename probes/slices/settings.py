"""How a slice is measured: every choice that decides its numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probes.errors import InputError
from probes.evaluation.directions import DIRECTIONS
from probes.evaluation.frozen_state import BATCHNORMS, PRECISIONS
from probes.measures.adversarial import Ascent

__all__ = ["SliceSettings", "evaluations_per_slice"]

_CHOICES = {
    "direction": tuple(DIRECTIONS),
    "spectra": ("weights", "slice", "none"),
    "biases": ("move", "fixed"),
    "batchnorm": tuple(BATCHNORMS),
    "dtype": ("float32", "float64"),
    "precision": tuple(PRECISIONS),
}


@dataclass(frozen=True)
class SliceSettings:
    """How a slice is measured; everything here is written into the results.

    Attributes:
        etas: increasing grid, 0 first.
        direction: a name of :data:`probes.evaluation.directions.DIRECTIONS`.
        perturb: globs over reported names: which tensors are perturbed. Frozen and unused ones never are.
        layers: whose gradients are measured: ``all``, ``first`` or a glob over names.
        samples: examples whose output change is kept.
        jacobian: examples whose Jacobian change is measured (0: none).
        spectra: ``weights`` for the frozen weights and the direction, ``slice`` for the perturbed weights
            at every η too, ``none`` for neither.
        biases: ``move`` (the released protocol) or ``fixed``.
        batchnorm: a name of :data:`probes.evaluation.frozen_state.BATCHNORMS`: the statistics of batch norm.
        limit: whether the step limit is searched for.
        curvature: whether the directional second derivative is computed.
        ladder: whether the bounds' ingredients (layer inputs, operator norms, paths, …) are measured on the sample.
        seed: of the noise direction, and of the adversarial search's restarts.
        objective: what the direction ``adversarial`` makes as large as possible: ``output`` or ``breakdown``.
        ascent_steps: points that each of its ascents tries.
        restarts: how many ascents start from noise.
        dtype: ``float32`` or ``float64``.
        precision: a name of :data:`probes.evaluation.frozen_state.PRECISIONS`: what matrix products may round to.
        device: a torch device.
        chunk: examples at once; None: as :func:`probes.evaluation.chunks.default_chunk` says.
    """

    etas: npt.NDArray[np.float64]
    direction: str = "gradient"
    perturb: tuple[str, ...] = ("*",)
    layers: str = "all"
    samples: int = 200
    jacobian: int = 0
    spectra: str = "weights"
    biases: str = "move"
    batchnorm: str = "running"
    limit: bool = True
    curvature: bool = True
    ladder: bool = True
    seed: int = 0
    objective: str = "output"
    ascent_steps: int = 20
    restarts: int = 3
    dtype: str = "float32"
    precision: str = "full"
    device: str = "cpu"
    chunk: int | None = None

    def __post_init__(self) -> None:
        """Refuse a grid or a choice that would silently measure something else.

        Raises:
            InputError: it names the setting.
        """
        etas = self.etas
        if len(etas) < 2 or etas[0] != 0 or not np.all(np.diff(etas) > 0) or not np.isfinite(etas[-1]):
            raise InputError("etas: the grid must start at 0 and increase strictly; make it with parse_etas")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(f"--{name} {getattr(self, name)}: unknown; known are {', '.join(choices)}")
        if self.precision != "full" and self.dtype != "float32":
            raise InputError(f"--precision {self.precision}: is for --dtype float32, not {self.dtype}")
        if self.precision == "tf32" and not self.device.startswith(("cuda", "auto")):
            raise InputError(f"--precision tf32: is of NVIDIA GPUs; on {self.device} use full or bfloat16")
        self.ascent()

    def ascent(self) -> Ascent:
        """How the direction ``adversarial`` is searched for.

        Raises:
            InputError: it names the setting.
        """
        return Ascent(
            objective=self.objective,
            examples=max(self.samples, 1),
            steps=self.ascent_steps,
            restarts=self.restarts,
            seed=self.seed,
        )


def evaluations_per_slice(settings: SliceSettings) -> int:
    """How many times a slice reports progress: once for each η, and again where it is looked at more closely."""
    closer = settings.jacobian > 0 or settings.spectra == "slice" or settings.ladder
    return len(settings.etas) * (2 if closer and settings.direction != "adversarial" else 1)
