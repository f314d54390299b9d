"""Functions without weights that a forward pass may apply, and their Lipschitz constants: pooling, slicing, scaling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from probes.networks.structure.tracing import Call, tensors_in

__all__ = ["FixedMap", "is_look", "known_map"]

_LINEAR = {
    *(
        "flatten",
        "reshape",
        "view",
        "ravel",
        "unflatten",
        "squeeze",
        "unsqueeze",
        "permute",
        "transpose",
        "T",
        "mT",
    ),
    *(
        "swapaxes",
        "swapdims",
        "movedim",
        "moveaxis",
        "contiguous",
        "clone",
        "detach",
        "alias",
        "to",
        "float",
        "double",
    ),
    *(
        "type",
        "__getitem__",
        "narrow",
        "select",
        "chunk",
        "split",
        "unbind",
        "pad",
        "flip",
        "roll",
        "expand",
        "repeat",
    ),
    *(
        "tile",
        "repeat_interleave",
        "pixel_shuffle",
        "pixel_unshuffle",
        "channel_shuffle",
        "diagonal",
        "unfold",
        "fold",
    ),
    *("mean", "sum", "avg_pool1d", "avg_pool2d", "avg_pool3d", "interpolate", "upsample"),
    *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"),
    *(
        "dropout",
        "dropout1d",
        "dropout2d",
        "dropout3d",
        "alpha_dropout",
        "feature_dropout",
        "feature_alpha_dropout",
    ),
}
"""Linear functions whose coefficients are not negative, up to a constant."""
_HARMLESS = {
    *(
        "shape",
        "size",
        "dim",
        "ndim",
        "ndimension",
        "numel",
        "nelement",
        "dtype",
        "device",
        "layout",
        "requires_grad",
    ),
    *(
        "stride",
        "element_size",
        "itemsize",
        "get_device",
        "grad_fn",
        "grad",
        "names",
        "_version",
        "storage_offset",
    ),
    *("__len__", "__hash__", "output_nr"),
}
_ARITHMETIC = {
    "add",
    "sub",
    "__rsub__",
    "rsub",
    "mul",
    "div",
    "true_divide",
    "subtract",
    "multiply",
    "divide",
    "neg",
}


@dataclass(frozen=True)
class FixedMap:
    """What such a function is.

    Attributes:
        factor: its Lipschitz constant, or an upper bound.
        constant: whether 0 may go to something else.
        unchanged: whether every number stays in its place, so that it is no step at all.
    """

    factor: float
    constant: bool = False
    unchanged: bool = False


def is_look(name: str) -> bool:
    """Whether a function that gives no tensor tells its caller about the numbers in one, and not only its form."""
    return name not in _HARMLESS and not (name.startswith("is_") and name != "is_nonzero")


def known_map(call: Call, data: Tensor, number: int, examples: int) -> FixedMap | None:
    """What a call does to its one data tensor, for its result of this number; None if that is not known.

    Args:
        call: with one tensor of data, and no parameters.
        data: that tensor, the examples first.
        number: which of the call's results.
        examples: how many there are.
    """
    name = call.name[:-1] if call.name.endswith("_") and not call.name.endswith("__") else call.name
    result = call.gave[number][0]
    fits = (
        result.ndim > 0
        and data.ndim > 0
        and len(result) == len(data) == examples
        and result.dtype == data.dtype
    )
    if not fits or not data.is_floating_point():
        return None
    if name in _ARITHMETIC:
        return _arithmetic(name, call, data, result)
    if name in ("softmax", "log_softmax"):
        return _softmax(name, call, data)
    if "max_pool" in name:
        return _max_pool(name, call, data, result)
    return _linear(call, data, number) if name in _LINEAR and name == call.name else None


def _arithmetic(name: str, call: Call, data: Tensor, result: Tensor) -> FixedMap | None:
    """Numbers or constant tensors added or multiplied, entry by entry."""
    if result.shape != data.shape or call.kwargs:
        return None
    if name == "neg":
        return FixedMap(1.0)
    if len(call.args) != 2:
        return None
    constant = torch.as_tensor(call.args[1] if call.args[0] is data else call.args[0])
    if not torch.isfinite(constant).all():
        return None
    if name in ("add", "sub", "subtract", "rsub", "__rsub__"):
        return FixedMap(1.0, constant=True)
    size = constant.double().abs()
    if name in ("mul", "multiply"):
        return FixedMap(float(size.max()))
    if call.args[0] is not data or not bool((size > 0).all()):
        return None  # a number over the data is not linear in it
    return FixedMap(float(1 / size.min()) * (1 + 2.0**-52))


def _softmax(name: str, call: Call, data: Tensor) -> FixedMap | None:
    """Softmax's Jacobian diag p − ppᵀ has norm at most ½; log-softmax's is I − 1pᵀ, at most √n‖p‖ ≤ √n."""
    dim = call.kwargs.get("dim", call.args[1] if len(call.args) > 1 else None)
    if not isinstance(dim, int) or dim % data.ndim == 0:
        return None
    return FixedMap(0.5 if name == "softmax" else math.sqrt(data.shape[dim]), constant=True)


def _max_pool(name: str, call: Call, data: Tensor, result: Tensor) -> FixedMap | None:
    """A maximum moves by at most the largest move in its window; an entry is in only so many windows."""
    axes = int(name[-2]) if name.endswith("d") and name[-2].isdecimal() else 0
    if axes == 0 or "unpool" in name or data.ndim != axes + 2 or result.ndim != data.ndim:
        return None
    if name.startswith("adaptive"):
        pairs = list(zip(data.shape[2:], result.shape[2:], strict=True))
        if any(after > before for before, after in pairs):
            return None
        return FixedMap(math.sqrt(math.prod(1 if before % after == 0 else 2 for before, after in pairs)))
    keys = ("input", "kernel_size", "stride", "padding", "dilation")
    given = {
        key: call.kwargs.get(key, call.args[k] if k < len(call.args) else None) for k, key in enumerate(keys)
    }

    def each(value: Any, default: Any) -> list[int]:
        value = default if value is None or value == [] else value
        values = [value] * axes if isinstance(value, int) else list(value)
        return values * axes if len(values) == 1 else values

    kernel = each(given["kernel_size"], 1)
    stride, dilation = each(given["stride"], kernel), each(given["dilation"], 1)
    # an entry at p is tap j of window q where q·stride + j·dilation = p: every (stride/gcd)-th j at most
    windows = [math.ceil(k * math.gcd(s, d) / s) for k, s, d in zip(kernel, stride, dilation, strict=True)]
    return FixedMap(math.sqrt(math.prod(windows)))


def _linear(call: Call, data: Tensor, number: int) -> FixedMap | None:
    """Asked on tensors of our own: does it keep examples apart, move nothing, and how large is it?

    With coefficients that are not negative its norm is at most √(largest row sum · largest column sum) (Schur's
    test), which is exact for slices, copies, zero padding and pooling without overlap.
    """
    if call.name in ("interpolate", "upsample") and "bicubic" in (*call.args, *call.kwargs.values()):
        return None  # it has negative coefficients

    def at(values: Tensor) -> Tensor:
        args, kwargs = pytree.tree_map(lambda v: values if v is data else v, (call.args, call.kwargs))
        return list(tensors_in(call.function(*args, **kwargs)))[number]

    ones = torch.ones_like(data, dtype=torch.float64).requires_grad_(True)
    rows = torch.arange(1.0, len(data) + 1, dtype=torch.float64, device=data.device)
    order = torch.arange(data.numel(), device=data.device).to(data.dtype).view(data.shape)
    try:
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):
            moved, zero = at(order), at(torch.zeros_like(ones)).detach()
            total = at(ones) - zero
            (columns,) = torch.autograd.grad(total.sum(), ones)
            apart = at(_column(rows, ones) * ones.detach()) - zero
    except RuntimeError:
        return None
    sums, constant = total.detach(), bool((zero != 0).any())
    if not torch.equal(apart, _column(rows, sums) * sums):
        return None  # it mixes examples: otherwise twice the numbers are exactly twice the sums
    if not constant and torch.equal(moved.flatten(), order.flatten()):
        return FixedMap(1.0, unchanged=True)
    product = float(sums.max()) * float(columns.max())
    whole = bool((sums == sums.round()).all() and (columns == columns.round()).all())
    slack = 1.0 if whole else 1 + 2.0**-52 * (data.numel() + 4)
    return FixedMap(math.sqrt(product) * slack, constant=constant)


def _column(values: Tensor, like: Tensor) -> Tensor:
    """One number an example, shaped to multiply ``like``."""
    return values.view(-1, *[1] * (like.ndim - 1))
