"""How a slice is measured: every choice that decides its numbers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, overload

from probes.choices import CHOICES, LEVELS, SEEDS, check_choice, check_count
from probes.errors import InputError, mention

if TYPE_CHECKING:  # the command reads its defaults here, before it loads any library
    import numpy as np
    import numpy.typing as npt

    from probes.measures.adversarial import Ascent

__all__ = ["MOST_EIGENVALUES", "MOST_ETAS", "SliceSettings"]

_LARGEST_ETA = 1e38  # that float32 has room for
MOST_ETAS = 10_000
"""More can only be a mistake, which takes weeks."""
MOST_EIGENVALUES = 1000
"""Likewise: each takes vectors of the network's size, and products with all data."""


class _Grid:
    """A field that takes a grid in any form and is an array."""

    @overload
    def __get__(self, settings: None, owner: type) -> str: ...
    @overload
    def __get__(self, settings: SliceSettings, owner: type) -> npt.NDArray[np.float64]: ...
    def __get__(self, settings: SliceSettings | None, owner: type) -> str | npt.NDArray[np.float64]:
        """The grid; of the class, what it is by default."""
        return "log" if settings is None else vars(settings)["etas"]

    def __set__(self, settings: SliceSettings, value: str | npt.ArrayLike) -> None:
        """Read it once, when the settings are made.

        Raises:
            InputError: it is no grid.
        """
        from probes.measures.etas import read_etas

        vars(settings)["etas"] = read_etas(value)


@dataclass(frozen=True)
class SliceSettings:
    """How a slice is measured; everything here is written into the results.

    Attributes:
        etas: an increasing grid with 0 first, as an array or list, or text that
            :func:`probes.measures.etas.parse_etas` reads: ``log``, ``paper``, ``a:b:n`` or ``0.001,0.01``.
        direction: what the slice is along, a name of :data:`probes.choices.CHOICES`.
        levels: of a direction that has levels, the mildest first: bits, or percent (None: as
            :data:`probes.choices.LEVELS` says). Then ``etas`` only numbers them: each network has η of its own.
        granularity: what one scale of ``quantize`` is for.
        perturb: globs over reported names, or one: which tensors are perturbed. Frozen and unused ones never are.
        layers: whose gradients are measured: ``all``, ``first`` or a glob over names.
        samples: examples whose output change is kept.
        jacobian: examples whose Jacobian change is measured (0: none).
        pattern: examples whose output is bounded by which units are active (0: none).
        alignment: examples at which the alignment of neighbouring layers' Jacobians is measured (0: none).
        spectra: ``weights`` for the frozen weights and the direction, ``slice`` for the perturbed weights
            at every η too, ``none`` for neither.
        split: where the gradient's change is taken apart into that of the Jacobians and that of the residuals, a
            name of :data:`probes.choices.CHOICES`.
        split_examples: the examples that the split looks at one by one (0: none).
        biases: ``move`` (the released protocol) or ``fixed``.
        batchnorm: the statistics of batch norm, a name of :data:`probes.choices.CHOICES`.
        limit: whether the step limit is searched for.
        curvature: how many of the largest eigenvalues of Hessian, Gauss-Newton matrix and their layers' blocks are
            taken, with all that stands beside them; 0 for the second derivative along the slice alone, None for
            nothing of the kind.
        curvature_lowest: how many of the Hessian's most negative eigenvalues (0: none).
        batch_sharpness: examples in each of the batches whose sharpness is averaged; 0 for none, and all of them where
            there are fewer.
        spot_check: whether a few examples' gradients are checked in float64 at a few η.
        ladder: whether the bounds' ingredients (layer inputs, operator norms, paths, …) are measured on the sample.
        measure: names of measures, or ``file.py:Name`` of one's own, or one of either; ``default`` are those that the
            other settings ask for.
        seed: of the directions ``noise`` and ``filter-noise``, and of the adversarial search's restarts.
        objective: what the direction ``adversarial`` makes as large as possible: ``output`` or ``breakdown``.
        ascent_steps: points that each of its ascents tries.
        restarts: how many ascents start from noise.
        dtype: ``float32`` or ``float64``.
        precision: what matrix products may round to, a name of :data:`probes.choices.CHOICES`.
        matmul: what multiplies float32 matrices on a CPU, a name of :data:`probes.choices.CHOICES`.
        device: a torch device, or ``auto`` for a GPU where there is one.
        chunk: examples at once; None: as :func:`probes.evaluation.chunks.default_chunk` says.
        etas_at_once: how many η are evaluated at once; None: as :func:`probes.evaluation.at_once.fastest_count` finds.
    """

    etas: _Grid = _Grid()
    direction: str = "gradient"
    levels: tuple[float, ...] | None = None
    granularity: str = "tensor"
    perturb: tuple[str, ...] = ("*",)
    layers: str = "all"
    samples: int = 200
    jacobian: int = 0
    pattern: int = 0
    alignment: int = 0
    spectra: str = "weights"
    split: str = "small"
    split_examples: int = 50
    biases: str = "move"
    batchnorm: str = "running"
    limit: bool = True
    curvature: int | None = 0
    curvature_lowest: int = 0
    batch_sharpness: int = 0
    spot_check: bool = True
    ladder: bool = True
    measure: tuple[str, ...] = ("default",)
    seed: int = 0
    objective: str = "output"
    ascent_steps: int = 20
    restarts: int = 3
    dtype: str = "float32"
    precision: str = "full"
    matmul: str = "auto"
    device: str = "cpu"
    chunk: int | None = None
    etas_at_once: int | None = None

    def __post_init__(self) -> None:
        """Refuse a grid or a choice that would silently measure something else.

        Raises:
            InputError: it names the setting.
        """
        for name in ("perturb", "measure"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        for name in ("samples", "jacobian", "pattern", "alignment", "split_examples", "batch_sharpness"):
            if getattr(self, name) < 0:
                raise InputError(f"{mention(name, getattr(self, name))}: must be at least 0")
        for name in ("curvature", "curvature_lowest"):
            count = getattr(self, name)
            if isinstance(count, bool) or (count is not None and not 0 <= count <= MOST_EIGENVALUES):
                raise InputError(
                    f"{mention(name, count)}: must be a number of eigenvalues from 0 to {MOST_EIGENVALUES}"
                    + (", or None for no curvature" if name == "curvature" else "")
                )
        if self.etas_at_once is not None and self.etas_at_once < 1:
            raise InputError(f"{mention('etas_at_once', self.etas_at_once)}: must be at least 1")
        if len(self.etas) > MOST_ETAS:
            raise InputError(f"`etas`: at most {MOST_ETAS} points, got {len(self.etas)}")
        if self.dtype == "float32" and self.etas[-1] > _LARGEST_ETA:
            raise InputError(
                f"`etas`: {self.etas[-1]:g} is too large for float32; end below, or add `dtype='float64'`"
            )
        check_count("seed", self.seed, *SEEDS)
        for field in fields(self):
            if field.name in CHOICES:
                check_choice(field.name, getattr(self, field.name))
        if self.precision != "full" and self.dtype != "float32":
            raise InputError(
                f"{mention('precision', self.precision)}: is for `dtype='float32'`, not {self.dtype}"
            )
        if self.precision == "tf32" and not self.device.startswith(("cuda", "auto")):
            raise InputError(f"`precision='tf32'`: is of NVIDIA GPUs; on {self.device} use full or bfloat16")
        self.ascent()
        self._settle_levels()

    def _settle_levels(self) -> None:
        """Number the levels, where there are any.

        Raises:
            InputError: they do not fit the direction, or η are given for one that has levels.
        """
        if self.direction not in LEVELS:
            if self.levels is not None:
                raise InputError(
                    f"{mention('levels', self.levels)}: is for the directions {', '.join(LEVELS)}"
                )
            return
        from probes.measures.etas import parse_etas, read_levels

        levels = LEVELS[self.direction] if self.levels is None else self.levels
        levels = read_levels(levels, direction=self.direction)
        numbers = [float(number) for number in range(len(levels) + 1)]
        if self.etas.tolist() not in (parse_etas("log").tolist(), numbers):
            raise InputError(
                f"`etas`: {mention('direction', self.direction)} has levels instead; give `levels` alone"
            )
        object.__setattr__(self, "levels", levels)
        object.__setattr__(self, "etas", numbers)

    @classmethod
    def of(cls, settings: SliceSettings | None) -> SliceSettings:
        """The settings themselves, or those by default.

        Raises:
            InputError: they are something else.
        """
        if settings is not None and not isinstance(settings, cls):
            kind = type(settings).__name__
            raise InputError(f"settings: is a {kind}; give probes.SliceSettings(etas=…, …)")
        return cls() if settings is None else settings

    def ascent(self) -> Ascent:
        """How the direction ``adversarial`` is searched for.

        Raises:
            InputError: it names the setting.
        """
        from probes.measures.adversarial import Ascent

        return Ascent(
            objective=self.objective,
            examples=max(self.samples, 1),
            steps=self.ascent_steps,
            restarts=self.restarts,
            seed=self.seed,
        )
