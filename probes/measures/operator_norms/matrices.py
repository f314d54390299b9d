"""Spectral norms of layers as linear operators: exact where affordable, otherwise certified upper bounds.

The operator of a convolution is the map of its whole input to its whole output, whose norm depends on the
input's size and is not that of the weight read as an (out, in · taps) matrix. These numbers go into upper
bounds, so nothing here is ever a lower estimate: no iteration is believed without a proof of what it may have
missed, and every result is rounded up.

The Fourier view is that of Sedghi, Gupta and Long, "The Singular Values of Convolutional Layers" (ICLR 2019):
on a torus a convolution is block diagonal in the frequencies.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg import lapack
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh
from torch import Tensor, nn
from torch.nn import functional

from probes.evaluation.evaluator import Evaluator
from probes.evaluation.frozen_state import left_as_found

__all__ = ["Operator", "find_operators", "operator_norm"]

LARGEST_EXACT = 4096  # up to this smaller side eigenvalues are found (at 2048 six times as fast as squaring)
SMALLEST_ITERATED = 256  # from this smaller side the largest singular value is looked for by itself
LARGEST_DENSE = 512  # up to this larger side the matrix of a convolution is written out, a group at a time
OVERESTIMATE = 1.01  # how far above σ_max repeated squaring may stop
OVERESTIMATE_AXIS = 1.005  # how far above the torus's value a coarser grid of frequencies may come, an axis
BLOCK = 64  # terms of an inner product summed at once; the blocks' sums are added pairwise
CHUNK_BYTES = 2**26  # of transformed kernels held at once
EPS = torch.finfo(torch.float64).eps  # 2⁻⁵² = 2u

Pairs = tuple[tuple[int, int], ...]
Sizes = tuple[int, ...]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Operator:
    """What a weight tensor does, apart from its values; tuples have one entry a spatial axis.

    Attributes:
        kind: "matrix", "convolution", "transposed convolution" or "unknown".
        stride: steps between outputs (transposed: between inputs).
        padding: for each axis how much is added (before, after) the input; transposed: how much is cut off
            (before, after) the full output, negative where output padding adds zeros.
        dilation: steps between taps.
        groups: independent blocks of channels.
        padding_mode: "zeros", "circular", "reflect" or "replicate".
        input_size: spatial size of the layer's input.
        positions: how many output positions an example's bias is added at; 1 for a matrix that is applied to
            one vector an example.
    """

    kind: str
    stride: Sizes = ()
    padding: Pairs = ()
    dilation: Sizes = ()
    groups: int = 1
    padding_mode: str = "zeros"
    input_size: Sizes = ()
    positions: int = 1


_UNKNOWN = Operator("unknown")


def _class_of(module: nn.Module) -> type[nn.Module] | None:
    """The class of layer whose forward pass the module has; None if a subclass has changed it."""
    for known in (nn.Linear, *_CONVOLUTIONS, *_TRANSPOSED):
        if isinstance(module, known):
            same = type(module).forward is known.forward and getattr(
                type(module), "_conv_forward", None
            ) is getattr(known, "_conv_forward", None)
            return known if same else None
    return None


def _described(module: nn.Module, given: Tensor, result: Tensor) -> Operator:
    """The operator of a layer that mapped ``given`` to ``result``, of one example."""
    if isinstance(module, nn.Linear):
        return Operator("matrix", positions=result.numel() // max(1, module.out_features))
    assert isinstance(module, (*_CONVOLUTIONS, *_TRANSPOSED))
    axes = len(module.kernel_size)
    reach = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
    sizes, results = tuple(given.shape[-axes:]), tuple(result.shape[-axes:])
    kind, pairs = "convolution", [(0, 0)] * axes
    if isinstance(module.padding, str):
        if module.padding == "same":
            pairs = [(r // 2, r - r // 2) for r in reach]  # an odd one goes after, as in PyTorch
    else:
        pairs = [(p, p) for p in module.padding]
    if isinstance(module, _TRANSPOSED):
        kind = "transposed convolution"
        full = [(n - 1) * s + r + 1 for n, s, r in zip(sizes, module.stride, reach, strict=True)]
        pairs = [(p, f - p - m) for (p, _), f, m in zip(pairs, full, results, strict=True)]
    return Operator(
        kind,
        stride=tuple(module.stride),
        padding=tuple(pairs),
        dilation=tuple(module.dilation),
        groups=module.groups,
        padding_mode=module.padding_mode,
        input_size=sizes,
        positions=math.prod(results),
    )


def find_operators(evaluator: Evaluator, weights: list[str]) -> dict[str, Operator]:
    """What each of the named weights does, from a forward pass of one example of each shape.

    Only the ``weight`` of nn.Linear, nn.Conv1d–3d and nn.ConvTranspose1d–3d is known, and of subclasses that
    leave the forward pass as it is. Anything else is "unknown": recurrent and attention weights,
    parametrised ones, a convolution that was not called, and a tensor that is shared by layers that do
    different things or is applied to inputs of different sizes.
    """
    network = evaluator.network
    modules = dict(network.named_modules())
    every = dict(network.named_parameters(remove_duplicate=False))
    seen: dict[nn.Module, set[Operator]] = {}

    def describe(module: nn.Module, arguments: tuple[Any, ...], result: Any) -> None:
        if arguments and isinstance(arguments[0], Tensor) and isinstance(result, Tensor):
            seen[module].add(_described(module, arguments[0], result))
        else:
            seen[module].add(_UNKNOWN)

    owners: dict[str, list[tuple[str, nn.Module]]] = {}
    for name in weights:
        shared = [other for other, tensor in every.items() if tensor is every[name]]
        owners[name] = [(path.rpartition(".")[2], modules[path.rpartition(".")[0]]) for path in shared]
    known = {module for pairs in owners.values() for _, module in pairs if _class_of(module) is not None}
    seen.update((module, set()) for module in known)
    handles = [module.register_forward_hook(describe) for module in known]
    try:
        with torch.no_grad(), left_as_found(network):
            for piece in evaluator.data.pieces:  # of one shape each
                evaluator.call(evaluator.frozen, piece[:1].to(evaluator.device, evaluator.dtype).inputs)
    finally:
        for handle in handles:
            handle.remove()

    def settle(leaf: str, module: nn.Module) -> set[Operator]:
        if leaf != "weight" or module not in seen:
            return {_UNKNOWN}
        uncalled = Operator("matrix") if isinstance(module, nn.Linear) else _UNKNOWN
        return seen[module] or {uncalled}

    found: dict[str, Operator] = {}
    for name, pairs in owners.items():
        operators = set().union(*(settle(leaf, module) for leaf, module in pairs))
        if {operator.kind for operator in operators} == {"matrix"}:
            found[name] = max(operators, key=lambda operator: operator.positions)
        else:
            found[name] = operators.pop() if len(operators) == 1 else _UNKNOWN
    return found


def operator_norm(weight: Tensor, operator: Operator) -> float:
    """The spectral norm of a layer without its bias, or an upper bound on it, in float64 and rounded up.

    NaN for an "unknown" operator or entries that are not finite; infinite beyond float64's range.

    * Matrix (out, in): exact (within 1e-11 for sides up to 1024) while the smaller side is at most
      ``LARGEST_EXACT``; beyond, at most ``OVERESTIMATE`` = 1.01 times σ_max.
    * Convolution (out, in / groups, taps…) and transposed convolution (in, out / groups, taps…): exact (as a
      matrix) where the operator's matrix has at most ``LARGEST_DENSE`` rows and columns in each group.
      Otherwise an upper bound: the operator is a restriction of one on a torus, whose norm is the largest
      over its frequencies. With circular padding that keeps the size (stride dividing it) the torus is the
      input itself and the bound is the norm. Reflected or replicated padding costs the square root of how
      often an input position is copied. Where the torus has more frequencies than a grid that is good to
      ``OVERESTIMATE_AXIS`` = 1.005 an axis, that grid is used and the bound multiplied accordingly.
    """
    values = weight.detach().to(device="cpu", dtype=torch.float64)
    if operator.kind == "unknown":
        return float("nan")
    largest = max(map(abs, map(float, values.aminmax()))) if values.numel() else 0.0
    if not math.isfinite(largest):
        return float("nan")
    if largest == 0:
        return 0.0
    # To [½, 1) by a power of two, which is exact, in two steps because 2^±1074 is no float64.
    exponent = math.frexp(largest)[1]
    half = -exponent // 2
    values = (values * 2.0**half).mul_(2.0 ** (-exponent - half))
    norm = _matrix_norm(values.flatten(1)) if operator.kind == "matrix" else _convolution(values, operator)
    try:
        scaled = math.ldexp(norm, exponent)
    except OverflowError:
        return float("inf")
    return scaled if norm == 0 or scaled > 2.0**-1021 else math.nextafter(scaled, math.inf)


def _gram(matrix: Tensor) -> tuple[Tensor, float]:
    """G = A Aᵀ for A (r, m), and e with λ_max(A Aᵀ) ≤ λ_max(G) + e.

    An inner product of b terms in any order errs by at most γ_b |a|ᵀ|b| with γ_b ≈ b u, so that summing
    blocks of ``BLOCK`` terms pairwise gives |ΔG| ≤ γ_c |A||A|ᵀ with c = BLOCK + ⌈log₂(blocks)⌉ instead of m,
    and ‖ |A||A|ᵀ ‖₂ ≤ ‖A‖_F². (A term below the range of float64 is lost, against ‖A‖ ≥ ½.)
    """

    def summed(start: int, stop: int) -> Tensor:
        if stop - start <= BLOCK:
            piece = matrix[:, start:stop]
            return piece @ piece.T
        middle = start + BLOCK * math.ceil((stop - start) / BLOCK / 2)
        return summed(start, middle).add_(summed(middle, stop))

    length = matrix.shape[1]
    terms = min(BLOCK, length) + math.ceil(math.log2(math.ceil(length / BLOCK)))
    return summed(0, length), (terms + 1) * EPS / 2 * float(matrix.square().sum()) * 1.0001


def _matrix_norm(matrix: Tensor) -> float:
    """σ_max of a matrix (m, n) with entries up to 1: exact to rounding, or at most 1 % above it.

    Rounding, with r the smaller side: the Gram matrix contributes at most (c + 1) u ‖A‖_F² ≤ (c + 1) u r σ²
    to λ_max (:func:`_gram`, c ≤ 64 + log₂(m / 64)), and LAPACK's symmetric eigenvalues are those of a matrix
    within p(r) ε λ_max, "p a modestly growing function", for which 4 r is allowed. The root halves both:
    the result is at most ½ (36 + 4) r ε = 20 r ε relative above σ, 4.6e-12 at 1024 × 1024. Trained weights and
    gradients mostly have one singular value above all others, which is found several times sooner.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    side = wide.shape[0]
    if SMALLEST_ITERATED <= side <= LARGEST_EXACT:
        separated = _separated_norm(wide.numpy())
        if separated is not None:
            return separated
    gram, excess = _gram(wide.contiguous())
    if side > LARGEST_EXACT:
        return math.sqrt(_by_squaring(gram) + excess) * (1 + 4 * EPS)
    top = float(torch.linalg.eigvalsh(gram)[-1])
    return math.sqrt(top * (1 + 4 * side * EPS) + excess) * (1 + 4 * EPS)


_START = 20200210  # of the iteration, fixed: the same matrix has the same norm
_APART = 0.05  # how far below λ₁ the second eigenvalue must be, to prove that λ₁ was found


def _separated_norm(wide: npt.NDArray[np.float64]) -> float | None:
    """σ_max of A (r, m), r ≤ m, entries up to 1: exact to rounding, or None where it does not stand out.

    Lanczos finds y with Rayleigh quotient θ = ‖Aᵀy‖² / ‖y‖² and residual ρ = ‖A Aᵀy − θy‖ / ‖y‖. That no larger
    eigenvalue was missed is proved: if λ₂(A Aᵀ) ≤ β < θ, then λ₁ ≤ θ + ρ² / (θ − β) (Kato and Temple). β is from
    :func:`_second_is_below`.

    Rounding, u = ε / 2: an inner product of n terms errs by at most γ_n |a|ᵀ|b|, in any order, so fl(Aᵀy) by
    γ_r ‖A‖_F ‖y‖ and fl(A fl(Aᵀy)) by (γ_r + γ_m) ‖A‖_F² ‖y‖; the factor 1.01 covers γ_n against n u and all
    products of errors. Sums of squares are summed exactly. As ρ enters squared and ‖A‖_F ≤ √r σ, the result is at
    most r^1.5 u relative above σ, 4e-12 at r = 1024.
    """
    side, length = wide.shape
    unit = EPS / 2
    operator = LinearOperator((side, side), matvec=lambda v: wide @ (wide.T @ v), dtype=wide.dtype)
    start = np.random.default_rng(_START).normal(size=side)
    try:
        y = eigsh(operator, k=1, which="LA", v0=start, ncv=16, maxiter=1, tol=1e-8)[1][:, 0]
    except ArpackError:  # no convergence: the largest eigenvalues are close to each other
        return None
    whole = float(np.einsum("ij,ij->", wide, wide)) * 1.01  # ‖A‖_F², without a copy of A
    size = _length(y)
    z = wide.T @ y
    high = (_length(z) + 1.01 * side * unit * math.sqrt(whole) * size) / size * (1 + 8 * unit)
    low = (_length(z) - 1.01 * side * unit * math.sqrt(whole) * size) / size * (1 - 8 * unit)
    product = wide @ z
    quotient = (_length(z) / size) ** 2
    rounding = 1.01 * (side + length + 8) * unit * whole
    residual = _length(product - quotient * y) / size * (1 + 8 * unit) + rounding
    below = (1 - _APART) * low**2
    if residual > 1e-7 * quotient or not _second_is_below(wide, y / size, below, whole):
        return None
    return math.sqrt(high**2 + residual**2 / (low**2 - below)) * (1 + 4 * EPS)


def _length(vector: npt.NDArray[np.float64]) -> float:
    """‖·‖₂ within a few u, whatever the length."""
    return math.sqrt(math.fsum(np.square(vector).tolist()))


def _second_is_below(
    wide: npt.NDArray[np.float64], y: npt.NDArray[np.float64], below: float, whole: float
) -> bool:
    """Whether λ₂(A Aᵀ) ≤ ``below`` can be proved, from a y of length 1 that is near the first eigenvector.

    By Courant and Fischer λ₂ ≤ max xᵀA Aᵀx over unit x ⊥ y, and that is at most β wherever H = βI − A Aᵀ + c yyᵀ is
    positive semidefinite. If Cholesky's algorithm ends, then H ⪰ −(r + 2) u tr H (Higham, "Accuracy and Stability
    of Numerical Algorithms", theorem 10.3: its backward error is at most γ_(r+1) |R|ᵀ|R|, whose norm is at most
    tr RᵀR). To that come the rounding of A, of its Gram matrix, (m + 3) u ‖A‖_F², and of the sum H. Half as many
    digits prove it as well where side² u is small; NumPy's products are used, whose precision no setting lowers.
    """
    side, length = wide.shape
    for dtype in (np.float32, np.float64):
        unit = float(np.finfo(dtype).eps) / 2
        # β + error = below. H, with c = below: rounding A and its products errs by (m + 3) u ‖A‖_F²,
        # the sum by 3 u (β + ‖A‖_F² + 2 c), the factorisation by (r + 2) u (r β + c)
        error = 1.1 * unit * ((length + 7) * whole + (side + 2) * (side + 2) * below + 20 * below)
        if error > 0.1 * below:
            continue  # too few digits for a matrix of this size
        matrix: npt.NDArray[Any] = wide.astype(dtype)
        vector: npt.NDArray[Any] = y.astype(dtype)
        shifted = np.outer(vector, vector * below) - matrix @ matrix.T  # in dtype still
        shifted[np.diag_indices(side)] += below - error
        failed: int = lapack.get_lapack_funcs("potrf", (shifted,))(shifted.T, lower=True, overwrite_a=True)[1]
        return failed == 0
    return False


def _by_squaring(gram: Tensor) -> float:
    """An upper bound on λ_max of a positive semidefinite G (r, r), at most ``OVERESTIMATE``² above it.

    ‖B‖₂² = ‖BᵀB‖₂ ≤ ‖fl(BᵀB)‖₂ + γ_r ‖B‖_F² holds for any B. Applied j times from B = G, with ‖·‖₂ ≤ ‖·‖_F at
    the end, it gives the Schatten norm U_j = ‖G^(2ʲ)‖_F^(1/2ʲ) and its rounding. Always U_j ≤ r^(1/2^(j+1)) λ.
    Also ‖G^(2p)‖_F ≤ λ^p ‖G^p‖_F, whence λ ≥ U_j² / U_(j−1) and U_j / λ ≤ U_(j−1) / U_j. Squaring ends when
    either factor is within ``OVERESTIMATE``².
    """
    side = gram.shape[0]
    steps: list[tuple[float, float]] = []  # ‖B_i‖ ≤ √(scale ‖B_(i+1)‖ + error)

    def unwound(bound: float) -> float:
        for scale, error in reversed(steps):
            bound = math.sqrt(scale * bound + error)
        return bound

    frobenius = float(torch.linalg.matrix_norm(gram)) * (1 + side * EPS)
    first = 2.0 ** math.frexp(frobenius)[1]
    current, frobenius = gram / first, frobenius / first
    bounds = [frobenius]
    while side ** (1 / 2.0 ** (len(bounds))) > OVERESTIMATE**2:
        product = current.T @ current
        error = 1.01 * side * EPS / 2 * frobenius**2
        frobenius = float(torch.linalg.matrix_norm(product)) * (1 + side * EPS)
        scale = 2.0 ** math.frexp(frobenius)[1]
        current, frobenius = product / scale, frobenius / scale
        steps.append((scale, error))
        bounds.append(unwound(frobenius))
        if bounds[-2] <= OVERESTIMATE**2 * bounds[-1]:
            break
    return bounds[-1] * first * (1 + 8 * len(bounds) * EPS)


@dataclass(frozen=True)
class _Plan:
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


def _convolution(weight: Tensor, operator: Operator) -> float:
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
    plan = _Plan(size, padding, operator.padding_mode, operator.stride, operator.dilation, reach)
    kernels = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    rows = kernels.shape[1] * math.prod(plan.counts)
    columns = kernels.shape[2] * math.prod(size)
    bounds = _fourier(kernels, plan)
    if max(rows, columns) > LARGEST_DENSE:
        return max(bounds)
    best = 0.0
    for bound, kernel in sorted(zip(bounds, kernels, strict=True), key=lambda pair: -pair[0]):
        if bound <= best:
            break  # nor can any further group be larger
        best = max(best, _matrix_norm(_dense(kernel, plan)))
    return best


def _dense(kernel: Tensor, plan: _Plan) -> Tensor:
    """The convolution by (out, in, taps…) as a matrix, (inputs, outputs)."""
    columns = kernel.shape[1] * math.prod(plan.size)
    basis = torch.eye(columns, dtype=kernel.dtype).view(columns, kernel.shape[1], *plan.size)
    amounts = [amount for pair in reversed(plan.padding) for amount in pair]
    padded = functional.pad(basis, amounts, mode="constant" if plan.mode == "zeros" else plan.mode)
    apply = (functional.conv1d, functional.conv2d, functional.conv3d)[len(plan.size) - 1]
    result: Tensor = apply(padded, kernel, stride=plan.stride, dilation=plan.dilation)
    return result.flatten(1)


def _fourier(kernels: Tensor, plan: _Plan) -> list[float]:
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
    torus, strides, factor = plan.torus()
    taps = torch.cartesian_prod(
        *(d * torch.arange(k) for d, k in zip(plan.dilation, kernels.shape[3:], strict=True))
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
    # 4 side ε, as in _matrix_norm.
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
