"""Extreme eigenvalues of an operator by Lanczos iteration (scipy's eigsh), each with its own residual."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor

from probes.errors import InputError, mention
from probes.evaluation.curvature.operators import Operator, led
from trust.measurements import EIGENVALUE_TOLERANCE

__all__ = ["Eigenpairs", "Which", "eigenpairs"]

Floats = npt.NDArray[np.float64]
Which = Literal["largest", "smallest"]

_DENSE = 32
"""Up to so many dimensions the matrix is formed, which takes a product each."""
_BASIS = 7
"""Lanczos vectors beyond the wanted eigenvalues; ARPACK's own 20 take more products than they save."""
_NOISE = 0.01
"""Random part of a given start: one in an invariant subspace would hide all that is outside of it."""
_FLOOR = 10.0
"""Units of the precision, times the largest eigenvalue, below which no residual can fall."""
_MOST = 1000
"""Products in one search, after which it ends with what there is."""
_LOOSER = 30.0
"""How much looser a search is that follows one that did not converge."""


@dataclass(frozen=True)
class Eigenpairs:
    """Some eigenvalues λ of a symmetric matrix H, with their vectors.

    Attributes:
        values: (k,), the largest first, or the smallest (most negative) first. NaN where a product is not finite.
        residuals: ‖Hv − λv‖/|λ| (k,), from a product taken for it; 0 where Hv = λv exactly, infinite where only λ is 0.
        vectors: (n, k), each of norm 1, in the operator's precision on its device.
        products: how many were taken in all.
        tolerance: a value whose residual is above it is not converged.
    """

    values: Floats
    residuals: Floats
    vectors: Tensor
    products: int
    tolerance: float

    @property
    def converged(self) -> npt.NDArray[np.bool_]:
        """Which of the values are (k,)."""
        return np.asarray(self.residuals <= self.tolerance)


class _NotFiniteError(Exception):
    """A product is not finite."""


def eigenpairs(
    operator: Operator,
    k: int,
    *,
    which: Which = "largest",
    start: Tensor | None = None,
    tolerance: float = EIGENVALUE_TOLERANCE,
    ncv: int | None = None,
    seed: int = 0,
) -> Eigenpairs:
    """The k largest eigenvalues, or the k smallest; all n where there are fewer than k.

    Args:
        operator: the matrix.
        k: how many, at least 1.
        which: from which end.
        start: where to look first, (n,), or (n, j) for vectors of a matrix nearby, as of a checkpoint before.
        tolerance: the residual wanted, relative to the eigenvalue. In float32 those below about 1e-2 of the largest
            cannot reach 1e-4: they come with the residual that they have.
        ncv: Lanczos vectors that are kept; more take more memory, and fewer products where eigenvalues are close.
        seed: of the random part of the start.

    Raises:
        InputError: k or the tolerance makes no sense, or the start has another size.
    """
    if k < 1:
        raise InputError(f"{mention('k', k)}: must be at least 1")
    if not 0 < tolerance < 1:
        raise InputError(f"{mention('tolerance', tolerance)}: must be between 0 and 1")
    if start is not None and (start.ndim > 2 or start.shape[0] != operator.size):
        raise InputError(f"start: has shape {tuple(start.shape)}, not ({operator.size},)")

    def work(product: Callable[[Tensor], Tensor]) -> Eigenpairs:
        search = _Search(operator, product, which, tolerance)
        first = _start(operator.size, start, seed)
        try:
            if operator.size <= max(_DENSE, 2 * k + 2):
                return search.dense(min(k, operator.size))
            return search.lanczos(k, first, min(ncv or k + _BASIS, operator.size))
        except _NotFiniteError:
            return search.nothing(min(k, operator.size))

    return led(operator, work)


def _start(size: int, start: Tensor | None, seed: int) -> Floats:
    """A vector with noise in it, (n,)."""
    noise: Floats = np.random.default_rng(seed).standard_normal(size)
    noise /= np.linalg.norm(noise)
    if start is None:
        return noise
    given = start.detach().cpu().double().reshape(size, -1).sum(1).numpy()
    length = float(np.linalg.norm(given))
    return given / length + _NOISE * noise if 0 < length < math.inf else noise


class _Search:
    """One search, which counts its products."""

    def __init__(
        self, operator: Operator, product: Callable[[Tensor], Tensor], which: Which, tolerance: float
    ) -> None:
        self.operator, self.take, self.tolerance = operator, product, tolerance
        self.sign = 1.0 if which == "largest" else -1.0
        self.products = 0

    def product(self, v: Floats) -> Floats:
        """H v in float64.

        Raises:
            _NotFiniteError: it is not finite.
        """
        self.products += 1
        found = self.take(torch.from_numpy(np.ascontiguousarray(v)).reshape(-1)).cpu().double().numpy()
        if not np.isfinite(found).all():
            raise _NotFiniteError
        return found

    def dense(self, k: int) -> Eigenpairs:
        """By the matrix itself, column by column."""
        columns = np.array([self.product(row) for row in np.eye(self.operator.size)])
        values, vectors = np.linalg.eigh((columns + columns.T) / 2)
        order = np.argsort(-self.sign * values)[:k]
        return self.found(values[order], vectors[:, order], columns.T @ vectors[:, order])

    def lanczos(self, k: int, first: Floats, ncv: int) -> Eigenpairs:
        """By Lanczos iteration, looser each time that it does not converge."""
        first = first / np.linalg.norm(first)
        image = self.product(first)
        scale = float(np.linalg.norm(image))
        if scale == 0:  # a random vector is in the kernel: so is everything
            return self.found(np.zeros(k), np.eye(self.operator.size, k), np.zeros((self.operator.size, k)))
        self.known = first, image
        tolerance = self.tolerance
        while True:
            # with the matrix shifted by this, ‖Hv − λv‖ ≤ tolerance·|λ| + what rounding leaves in any case
            shift = _FLOOR * torch.finfo(self.operator.dtype).eps * scale / tolerance
            try:
                values, vectors = self.once(k, first, ncv, tolerance, shift)
                break
            except ArpackNoConvergence:
                tolerance = min(_LOOSER * tolerance, 0.9)
        vectors = vectors[:, np.argsort(-self.sign * values)]
        images = np.stack([self.product(vector) for vector in vectors.T], axis=1)
        return self.found(*self.with_copies(vectors, images, tolerance, shift))

    def with_copies(
        self, vectors: Floats, images: Floats, tolerance: float, shift: float
    ) -> tuple[Floats, Floats, Floats]:
        """Values, vectors and images with those eigenvalues that stood beyond the last one and were not found.

        From one start Lanczos iteration sees a repeated eigenvalue once, but for rounding. So what is left without the
        vectors found is searched again, until nothing there is beyond the last.
        """
        values = np.einsum("nk,nk->k", vectors, images)
        k = len(values)
        for _ in range(k if k > 1 else 0):
            fresh = self.left(values, vectors, tolerance, shift)
            if fresh is None:
                break
            image = self.product(fresh)
            value = float(fresh @ image)
            if self.sign * value <= self.sign * values[-1] + tolerance * (abs(values[-1]) + shift):
                break
            values = np.append(values, value)
            order = np.argsort(-self.sign * values)[:k]
            vectors = np.column_stack([vectors, fresh])[:, order]
            images = np.column_stack([images, image])[:, order]
            values = values[order]
        return values, vectors, images

    def left(self, values: Floats, vectors: Floats, tolerance: float, shift: float) -> Floats | None:
        """The eigenvector of the extreme eigenvalue of what is left without some (n,); None where it is not found."""
        away = self.sign * 2 * float(np.abs(values).max())

        def deflated(v: Floats) -> Floats:
            v = v.reshape(-1)
            along = vectors.T @ v
            image = self.product(v - vectors @ along) + self.sign * shift * v
            return image - vectors @ (vectors.T @ image) - away * (vectors @ along)

        noise = np.random.default_rng(1).standard_normal(len(vectors))
        noise -= vectors @ (vectors.T @ noise)
        matrix = LinearOperator((self.operator.size,) * 2, matvec=deflated, dtype=np.float64)
        try:
            _, found = eigsh(
                matrix,
                k=1,
                which="LA" if self.sign > 0 else "SA",
                v0=noise / np.linalg.norm(noise),
                ncv=1 + _BASIS,
                tol=tolerance,
                maxiter=_MOST // _BASIS,
            )
        except ArpackNoConvergence:
            return None
        fresh = found[:, 0] - vectors @ (vectors.T @ found[:, 0])
        length = float(np.linalg.norm(fresh))
        return fresh / length if length > 0.5 else None

    def once(self, k: int, first: Floats, ncv: int, tolerance: float, shift: float) -> tuple[Floats, Floats]:
        """One call of eigsh."""
        shift *= self.sign

        def shifted(v: Floats) -> Floats:
            start, image = self.known  # with which ARPACK begins
            v = v.reshape(-1)
            return (image if np.allclose(v, start, rtol=1e-12, atol=0) else self.product(v)) + shift * v

        matrix = LinearOperator((self.operator.size,) * 2, matvec=shifted, dtype=np.float64)
        end = "LA" if self.sign > 0 else "SA"
        restarts = max(_MOST // max(ncv - k, 1), 1)
        values, vectors = eigsh(matrix, k=k, which=end, v0=first, ncv=ncv, tol=tolerance, maxiter=restarts)
        return values - shift, vectors

    def found(self, values: Floats, vectors: Floats, images: Floats) -> Eigenpairs:
        """With each value's residual."""
        missed = np.linalg.norm(images - values * vectors, axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            residuals = np.where(missed == 0, 0.0, missed / np.abs(values))
        return Eigenpairs(
            values,
            residuals,
            torch.from_numpy(vectors).to(self.operator.device, self.operator.dtype),
            self.products,
            self.tolerance,
        )

    def nothing(self, k: int) -> Eigenpairs:
        """Where a product is not finite."""
        lost = np.full(k, np.nan)
        return self.found(
            lost, np.full((self.operator.size, k), np.nan), np.full((self.operator.size, k), np.nan)
        )
