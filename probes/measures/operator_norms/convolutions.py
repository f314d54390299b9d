"""Norms of convolutions as maps of the whole input to the whole output: exact where small, otherwise upper bounds.

The Fourier view is that of Sedghi, Gupta and Long, "The Singular Values of Convolutional Layers" (ICLR 2019):
on a torus a convolution is block diagonal in the frequencies.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from probes.measures.operator_norms.matrices import EPS, matrix_norm
from probes.measures.operator_norms.operators import Operator, Pairs, Sizes

__all__ = ["convolution_norm"]


LARGEST_DENSE = 512  # up to this larger side the matrix of a convolution is written out, a group at a time
OVERESTIMATE_AXIS = 1.005  # how far above the torus's value a coarser grid of frequencies may come, an axis
CHUNK_BYTES = 2**26  # of transformed kernels held at once


@dataclass(frozen=True)
class _Geometry:
    """A convolution (no longer a transposed one) on an input of ``size``, padded by ``padding``."""

    size: Sizes
    padding: Pairs
    mode: str
    stride: Sizes
    dilation: Sizes
    reach: Sizes  # dilation · (taps − 1)

    @property
    def counts(self) -> Sizes:
        """How many outputs along each axis."""
        each = zip(self.size, self.padding, self.reach, self.stride, strict=True)
        return tuple((n + before + after - r - 1) // s + 1 for n, (before, after), r, s in each)

    def torus(self) -> tuple[Sizes, Sizes, float]:
        """Size of a torus, a stride that divides it, and c: the norm is ≤ c times the norm over there.

        With zeros around the input, outputs at q ∈ [−b, n − 1 + a − reach] read q … q + reach; outputs that
        read zeros only may be left out, so that a, b ≤ reach without loss. On a torus of N ≥ n + max(a, b)
        positions whatever is read outside 0 … n − 1 is outside it there as well, and outputs are different
        positions, n + a + b − reach ≤ N. Any N that the stride divides keeps them on one sublattice.
        """
        sizes, strides, copies = [], [], 1
        for n, (before, after), r, s, count in zip(
            self.size, self.padding, self.reach, self.stride, self.counts, strict=True
        ):
            if self.mode == "circular":
                step = math.gcd(n, s)  # outputs lie on its multiples, and return after n / step of them
                sizes.append(n)
                strides.append(step)
                copies *= math.ceil(count * step / n)
                continue
            if self.mode == "zeros":
                least = n + max(min(before, r), min(after, r))
            else:
                line = torch.arange(n, dtype=torch.float64).view(1, 1, n)
                padded = functional.pad(line, (before, after), mode=self.mode).flatten().long()
                copies *= int(torch.bincount(padded).max())
                least = n + before + after
            sizes.append(s * math.ceil(least / s))
            strides.append(s)
        return tuple(sizes), tuple(strides), math.sqrt(copies)


def convolution_norm(weight: Tensor, operator: Operator) -> float:
    """The norm, or a bound on it, from the weight (rows, columns / groups, taps…) with entries up to 1.

    A transposed convolution is the transpose of the convolution with the same weight from its output's space
    to its input's, and has the same norm. Output padding that comes out as zeros is left out of that space.
    """
    groups, taps = operator.groups, tuple(weight.shape[2:])
    reach = tuple(d * (k - 1) for d, k in zip(operator.dilation, taps, strict=True))
    size, padding = operator.input_size, operator.padding
    if operator.kind == "transposed convolution":
        padding = tuple((before, max(0, after)) for before, after in padding)
        each = zip(size, operator.stride, reach, padding, strict=True)
        size = tuple((n - 1) * s + r + 1 - before - after for n, s, r, (before, after) in each)
        if min(size) < 1:
            return 0.0  # all of the output is output padding
    geometry = _Geometry(size, padding, operator.padding_mode, operator.stride, operator.dilation, reach)
    kernels = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    rows = kernels.shape[1] * math.prod(geometry.counts)
    columns = kernels.shape[2] * math.prod(size)
    bounds = _fourier(kernels, geometry)
    if max(rows, columns) > LARGEST_DENSE:
        return max(bounds)
    best = 0.0
    for bound, kernel in sorted(zip(bounds, kernels, strict=True), key=lambda pair: -pair[0]):
        if bound <= best:
            break  # nor can any further group be larger
        best = max(best, matrix_norm(_dense(kernel, geometry)))
    return best


def _dense(kernel: Tensor, geometry: _Geometry) -> Tensor:
    """The convolution by (out, in, taps…) as a matrix, (inputs, outputs)."""
    columns = kernel.shape[1] * math.prod(geometry.size)
    basis = torch.eye(columns, dtype=kernel.dtype).view(columns, kernel.shape[1], *geometry.size)
    amounts = [amount for pair in reversed(geometry.padding) for amount in pair]
    padded = functional.pad(basis, amounts, mode="constant" if geometry.mode == "zeros" else geometry.mode)
    apply = (functional.conv1d, functional.conv2d, functional.conv3d)[len(geometry.size) - 1]
    result: Tensor = apply(padded, kernel, stride=geometry.stride, dilation=geometry.dilation)
    return result.flatten(1)


def _fourier(kernels: Tensor, geometry: _Geometry) -> list[float]:
    """For each group of (groups, out, in, taps…) an upper bound on the norm of its convolution.

    A stride s on a torus of N positions is a convolution of stride 1 on N / s positions whose input channels
    are the s residues of each former one (on each axis): tap x of the kernel is tap ⌊x / s⌋ for residue
    x mod s. The norm on the torus is the largest over ω of σ_max(K̂(ω)), K̂(ω) = Σ_x K_x e^(−iωx).

    A grid of M < N / s frequencies serves as well: along an axis u*K̂(ω)v is, up to a phase, of exponential type
    t = (largest tap) / 2, so that near a maximum it falls no faster than cos(t δ) (M. Riesz); the next
    frequency of the grid is at most π / M away, and the largest value is at most 1 / cos(π t / M) of the grid's.
    """
    groups, rows = kernels.shape[:2]
    flat = kernels.flatten(3)  # (groups, out, in, all taps)
    torus, strides, factor = geometry.torus()
    taps = torch.cartesian_prod(
        *(d * torch.arange(k) for d, k in zip(geometry.dilation, kernels.shape[3:], strict=True))
    ).view(flat.shape[3], -1)  # (all taps, axes)
    step = torch.tensor(strides)
    residues = (taps % step).tolist()
    where = taps // step
    grid: list[int] = []
    for size, s, farthest in zip(torus, strides, where.amax(dim=0).tolist(), strict=True):
        wanted = max(1, math.ceil(math.pi * farthest / 2 / math.acos(1 / OVERESTIMATE_AXIS)))
        grid.append(min(size // s, wanted))
        if wanted < size // s:
            factor /= math.cos(math.pi * farthest / 2 / wanted)
    members: dict[tuple[int, ...], list[int]] = {}
    for index, residue in enumerate(residues):
        members.setdefault(tuple(residue), []).append(index)
    columns = flat.shape[2] * len(members)
    side, length = min(rows, columns), max(rows, columns)
    best = torch.zeros(groups, dtype=torch.float64)
    trace = torch.zeros(groups, dtype=torch.float64)
    for frequencies in _frequencies(grid, max(1, CHUNK_BYTES // (16 * groups * rows * columns))):
        # The integer product is reduced first, so that the angles are good to the last place.
        turns = (frequencies[:, None, :] * where % torch.tensor(grid)) / torch.tensor(grid).double()
        phases = torch.polar(torch.ones(turns.shape[:2], dtype=torch.float64), -2 * math.pi * turns.sum(-1))
        parts = [flat[..., i].to(phases.dtype) @ phases[:, i].T for i in members.values()]
        transformed = torch.cat(parts, dim=2).permute(3, 0, 1, 2)  # (frequencies, groups, out, columns)
        if rows > columns:
            transformed = transformed.mT
        gram = transformed @ transformed.mH
        trace = torch.maximum(trace, gram.diagonal(dim1=2, dim2=3).real.sum(-1).amax(0))
        _raise(best, gram)
    # Rounding. Each entry of K̂ errs by at most (taps + 8) ε Σ_x |K_x|, so K̂ by that of the Frobenius norm; the
    # complex inner products of the Gram matrix by (2 length + 8) ε, relative to ‖K̂‖_F²; eigenvalues by
    # 4 side ε, as in matrix_norm.
    entries = (flat.shape[3] + 8) * EPS * flat.abs().sum(dim=3).flatten(1).norm(dim=1)
    top = (best * (1 + 4 * side * EPS) + (2 * length + 8) * EPS * trace).sqrt() + entries
    found: list[float] = (top * (factor * (1 + 16 * EPS))).tolist()
    return found


def _frequencies(grid: list[int], chunk: int) -> Iterator[Tensor]:
    """Indices of frequencies (some, axes); of ω and −ω, where a real kernel has equal norms, only one."""
    kept = (
        index
        for index in itertools.product(*(range(m) for m in grid))
        if index <= tuple(-i % m for i, m in zip(index, grid, strict=True))
    )
    while piece := list(itertools.islice(kept, chunk)):
        yield torch.tensor(piece)


def _raise(best: Tensor, gram: Tensor) -> None:
    """Raise ``best`` (groups,) to the largest eigenvalues in ``gram`` (frequencies, groups, r, r), in place.

    Eigenvalues are found only where the Schatten-2 and -4 norms, which are larger, leave a chance.
    """
    side = gram.shape[-1]
    if side == 1:
        torch.maximum(best, gram[..., 0, 0].real.amax(0), out=best)
        return
    margin = 1 + 8 * side * EPS
    upper = torch.linalg.matrix_norm(gram) * margin
    every = torch.arange(gram.shape[1])
    likely = torch.linalg.eigvalsh(gram[upper.argmax(0), every])[:, -1]
    torch.maximum(best, likely, out=best)
    frequency, group = torch.nonzero(upper > best, as_tuple=True)
    remaining = gram[frequency, group]
    upper = torch.linalg.matrix_norm(remaining @ remaining).sqrt() * margin
    chance = upper > best[group]
    if bool(chance.any()):
        values = torch.linalg.eigvalsh(remaining[chance])[:, -1]
        best.scatter_reduce_(0, group[chance], values, reduce="amax")
