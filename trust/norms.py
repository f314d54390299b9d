"""Norms, singular values and the ratios made of them, in float64 whatever the numbers came in.

Every function takes a NumPy array, a labelled array, a CPU or GPU tensor, or nested lists of numbers, and
returns plain floats or NumPy arrays. Sums of squares are taken after scaling by a power of two (an exact
operation), so that entries like 1e200 or 1e-200 neither overflow nor vanish.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

# numpy.typing.ArrayLike leaves out tensors; as_array refuses at run time whatever is not numbers.
Numbers: TypeAlias = object
Array: TypeAlias = NDArray[np.float64]

EPS: float = float(np.finfo(np.float64).eps)


def as_array(values: Numbers) -> Array:
    """The numbers as a float64 NumPy array; NaN and infinities pass through.

    Takes a NumPy array, a labelled array, python numbers (nested lists too) and tensors on any device, of
    any real dtype (bfloat16 too), with or without a graph. Labels are dropped. The result may share memory
    with `values`: read it, do not write to it.

    Raises:
        ValueError: for what is not real numbers (None, text, complex numbers, ragged lists).
    """
    if hasattr(values, "detach"):
        values = _tensor_on_cpu(values)
    try:
        array = np.asarray(values)
        if array.dtype.kind in "OSUcMm":
            raise ValueError(f"expected real numbers, got {type(values).__name__} of dtype {array.dtype}")
        return np.asarray(array, dtype=np.float64)
    except TypeError as error:
        raise ValueError(f"expected real numbers, got {type(values).__name__}: {error}") from error


def _tensor_on_cpu(tensor: Any) -> Any:
    """A tensor as a NumPy array, without importing the tensor's library."""
    tensor = tensor.detach()
    if tensor.is_complex():
        raise ValueError(f"expected real numbers, got a tensor of dtype {tensor.dtype}")
    # To the CPU before float64: some devices have no float64. NumPy has no bfloat16, so float64 comes first.
    return tensor.cpu().to_dense().double().numpy()


def finite_array(values: Numbers, *, name: str = "array") -> Array:
    """`as_array`, refusing NaN and infinite entries.

    Raises:
        ValueError: naming `name` and how many entries are NaN or infinite.
    """
    array = as_array(values)
    bad = int(np.count_nonzero(~np.isfinite(array)))
    if bad:
        raise ValueError(f"{name} has {bad} NaN or infinite entries out of {array.size}")
    return array


def frobenius_norm(values: Numbers) -> float:
    r"""√(Σ x²) over all entries, whatever the number of axes; 0 for an empty array.

    .. math:: \sqrt{\sum x^2}

    Infinite only when the norm itself is above the largest float64.

    Raises:
        ValueError: if an entry is NaN or infinite.
    """
    scaled, exponent = _scaled(finite_array(values))
    return _unscale(float(np.sqrt(np.sum(np.square(scaled)))), exponent)


def singular_values(matrix: Numbers) -> Array:
    """All min(m, n) singular values of an (m, n) matrix, largest first.

    Raises:
        ValueError: if `matrix` has not two axes, is empty, or has NaN or infinite entries.
    """
    scaled, exponent = _scaled_singular_values(matrix)
    with np.errstate(over="ignore"):
        return np.ldexp(scaled, exponent)


def spectral_norm(matrix: Numbers) -> float:
    """The largest singular value ‖M‖₂ of a matrix.

    For a convolution this is the norm of the matrix that `as_matrix` gives, not that of the convolution.

    Raises:
        ValueError: as `singular_values`.
    """
    return float(singular_values(matrix)[0])


def condition_number(matrix: Numbers) -> float:
    r"""κ(M) = σ_max / σ_min over all min(m, n) singular values; at least 1.

    .. math:: \kappa(M) = \frac{\sigma_{\max}}{\sigma_{\min}}

    Infinite where σ_min ≤ max(m, n)·ε·σ_max with float64's ε: such a σ_min is rounding, and the matrix
    numerically rank deficient. Infinite for the zero matrix too, which has no rank to divide by.

    Raises:
        ValueError: as `singular_values`.
    """
    values, _ = _scaled_singular_values(matrix)
    largest, smallest = float(values[0]), float(values[-1])
    if smallest <= max(as_array(matrix).shape) * EPS * largest:
        return float("inf")
    return largest / smallest


def stable_rank(matrix: Numbers) -> float:
    r"""‖M‖_F² / ‖M‖₂², between 1 and the rank; 0 for the zero matrix.

    .. math:: \frac{\|M\|_F^2}{\|M\|_2^2}

    Raises:
        ValueError: as `singular_values`.
    """
    values, _ = _scaled_singular_values(matrix)
    if values[0] == 0:
        return 0.0
    return float(np.sum(np.square(values / values[0])))


def relative_norm(change: Numbers, reference: Numbers) -> float:
    r"""‖change‖_F / ‖reference‖_F, with 0/0 = 0 and x/0 = ∞.

    .. math:: \frac{\|\text{change}\|_F}{\|\text{reference}\|_F}

    Raises:
        ValueError: if the shapes differ or an entry is NaN or infinite.
    """
    moved, start = finite_array(change, name="change"), finite_array(reference, name="reference")
    if moved.shape != start.shape:
        raise ValueError(f"change has shape {moved.shape} but reference has shape {start.shape}")
    numerator, denominator = frobenius_norm(moved), frobenius_norm(start)
    if numerator == 0:
        return 0.0
    return numerator / denominator if denominator > 0 else float("inf")


def as_matrix(weight: Numbers) -> Array:
    """A weight as the matrix (out, everything else): a convolution's (out, in, kh, kw) as (out, in·kh·kw).

    Frobenius norms are those of the weight; the spectral norm is the matrix's, not the convolution's.

    Raises:
        ValueError: if `weight` has fewer than two axes or no entries.
    """
    array = as_array(weight)
    if array.ndim < 2 or array.size == 0:
        raise ValueError(f"expected a weight with at least two axes and one entry, got shape {array.shape}")
    return array.reshape(array.shape[0], -1)


def _scaled(array: Array) -> tuple[Array, int]:
    """The array over 2^exponent, its largest entry in [1/2, 1), and the exponent."""
    largest = float(np.max(np.abs(array), initial=0.0))
    exponent = int(np.frexp(largest)[1])
    return np.ldexp(array, -exponent), exponent


def _unscale(value: float, exponent: int) -> float:
    with np.errstate(over="ignore"):
        return float(np.ldexp(value, exponent))


def _scaled_singular_values(matrix: Numbers) -> tuple[Array, int]:
    array = finite_array(matrix, name="matrix")
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"expected a matrix with two axes and at least one entry, got shape {array.shape}")
    scaled, exponent = _scaled(array)
    return as_array(np.linalg.svd(scaled, compute_uv=False)), exponent
