"""Products of float32 matrices: on a GPU in float32 unless TF32 is asked for, on a CPU by the fastest exact route.

PyTorch multiplies float32 matrices on the CPU by the library it was built with (MKL), or by oneDNN where it is told
that products may round to bfloat16. Processors with units for bfloat16 matrices do round then; on others oneDNN
computes in float32 all the same, which on some of them is twice as fast. So its speed *and its error against
float64* are measured before it is used.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from probes.errors import InputError

__all__ = ["fastest_route", "multiplying", "shapes_of"]

_ROUTES = {"torch": "ieee", "onednn": "bf16"}
"""What torch.backends.mkldnn.matmul.fp32_precision is for each."""
_WORTH_TIMING = 5e7
"""Operations of a chunk's products, below which they take no time beside everything else."""
_CLEARLY_FASTER = 1.25
_SAME_ERROR = 2.0
_ROWS, _MOST_SHAPES, _TIMES = 500, 3, 5


@contextmanager
def multiplying(route: str, *, tf32: bool = False) -> Iterator[None]:
    """Products take this route inside; afterwards, by whatever way out, torch's settings are as they were.

    Args:
        route: "torch" or "onednn", of CPUs.
        tf32: whether NVIDIA GPUs' products round to TF32, which PyTorch has on for convolutions.
    """
    cuda, cudnn, cpu = torch.backends.cuda.matmul, torch.backends.cudnn, _cpu_products()
    before = cuda.allow_tf32, cudnn.allow_tf32
    on_cpu = None if cpu is None else cpu.fp32_precision
    in_words = _precision_in_words()
    try:
        cuda.allow_tf32 = cudnn.allow_tf32 = tf32
        if cpu is not None:
            cpu.fp32_precision = _ROUTES[route]
        yield
    finally:
        cuda.allow_tf32, cudnn.allow_tf32 = before
        if cpu is not None:
            cpu.fp32_precision = on_cpu
        if in_words is not None and _precision_in_words() is None:  # told in parts what was told in one word
            torch.set_float32_matmul_precision(in_words)


def _cpu_products() -> Any:
    """Where torch keeps what CPUs' products may round to; None in versions without it."""
    found = getattr(getattr(torch.backends, "mkldnn", None), "matmul", None)
    return found if hasattr(found, "fp32_precision") else None


def _precision_in_words() -> str | None:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # it was set in parts
        return None


def shapes_of(tensors: Mapping[str, Tensor], rows: int) -> tuple[tuple[int, int, int], ...]:
    """The products (rows, in, out) of a chunk with the weight matrices among ``tensors``, the largest first."""
    matrices = [tensor for tensor in tensors.values() if tensor.ndim == 2 and tensor.numel() > 0]
    shapes = {(min(rows, _ROWS), matrix.shape[1], matrix.shape[0]) for matrix in matrices}
    if sum(2.0 * rows * matrix.numel() for matrix in matrices) < _WORTH_TIMING:
        return ()
    return tuple(sorted(shapes, key=lambda shape: (-shape[1] * shape[2], shape))[:_MOST_SHAPES])


def fastest_route(asked: str, shapes: tuple[tuple[int, int, int], ...]) -> str:
    """The route by which products of these shapes take least, as precise as float32 is.

    Args:
        asked: "torch", "onednn", or "auto" for the faster, which is torch's own unless oneDNN's is faster by a quarter.
        shapes: as :func:`shapes_of` finds them; none where products do not matter.

    Raises:
        InputError: oneDNN is asked for and cannot be had in float32.
    """
    if asked == "torch" or (asked == "auto" and not shapes):
        return "torch"
    if asked == "auto":
        return "onednn" if _gain(shapes, torch.get_num_threads()) > _CLEARLY_FASTER else "torch"
    if _excess(shapes or ((64, 64, 64),)) > _SAME_ERROR:
        raise InputError(
            "`matmul='onednn'`: rounds to bfloat16 on this processor, or is not in this PyTorch; use auto"
        )
    return asked


@lru_cache
def _gain(shapes: tuple[tuple[int, int, int], ...], threads: int) -> float:
    """How many times as fast as torch's own oneDNN's products are; 0 where they are less precise."""
    del threads  # of the key alone: with more of them the answer may be another
    return 0.0 if _excess(shapes) > _SAME_ERROR else _seconds("torch", shapes) / _seconds("onednn", shapes)


@lru_cache
def _excess(shapes: tuple[tuple[int, int, int], ...]) -> float:
    """How many times as large as torch's own oneDNN's error is over all; infinite where there is no such choice."""
    if _cpu_products() is None:
        return float("inf")
    squares = dict.fromkeys(_ROUTES, 0.0)
    for x, w in _operands(shapes):
        exact = x.double() @ w.double().T
        size = float(torch.linalg.vector_norm(exact))
        for route in _ROUTES:
            with multiplying(route):
                error = float(torch.linalg.vector_norm(torch.nn.functional.linear(x, w) - exact))
            squares[route] += (error / size) ** 2
    least = (torch.finfo(torch.float32).eps / 16) ** 2 * len(shapes)
    return float((squares["onednn"] / max(squares["torch"], least)) ** 0.5)


def _seconds(route: str, shapes: tuple[tuple[int, int, int], ...]) -> float:
    """Processor time of one product of each shape; the least of several, which a busy machine disturbs least."""
    total = 0.0
    for x, w in _operands(shapes):
        taken = []
        with multiplying(route), torch.no_grad():
            torch.nn.functional.linear(x, w)
            for _ in range(_TIMES):
                start = time.process_time()
                torch.nn.functional.linear(x, w)
                taken.append(time.process_time() - start)
        total += min(taken)
    return max(total, 1e-9)


def _operands(shapes: tuple[tuple[int, int, int], ...]) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    for rows, inner, outer in shapes:
        yield torch.randn(rows, inner, generator=generator), torch.randn(outer, inner, generator=generator)
