"""A network's tensors in another precision, one at a time: each is converted where it is used, and let go of again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode

__all__ = ["Widened"]


class Widened(TorchFunctionMode):
    """Inside, whatever a network computes with these tensors it computes with them in the precision."""

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        dtype: torch.dtype,
        change: Callable[[str], Tensor | None] | None = None,
    ) -> None:
        """Know the tensors again.

        Args:
            tensors: the very tensors that the network is called with.
            dtype: what real numbers among them become.
            change: gives the tangent of each by its name, None where it is zero; inside
                :func:`torch.autograd.forward_ad.dual_level` it travels along.
        """
        super().__init__()
        self.dtype, self.change = dtype, change
        self.known = {id(tensor): (name, tensor) for name, tensor in tensors.items()}

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Convert the known tensors among a function's arguments."""
        kwargs = kwargs or {}
        if getattr(function, "__name__", "") == "__get__":  # an attribute: a shape needs no conversion
            found = function(*args, **kwargs)
            if not isinstance(found, Tensor | torch.dtype):
                return found
        return function(*self._converted(args), **self._converted(kwargs))

    def _converted(self, value: Any) -> Any:
        """The same with the known tensors in the precision, in lists and dicts too."""
        if isinstance(value, Tensor):
            return self._tensor(*self.known[id(value)]) if id(value) in self.known else value
        if type(value) in (list, tuple):
            return type(value)(map(self._converted, value))
        if type(value) is dict:
            return {key: self._converted(one) for key, one in value.items()}
        return value

    def _tensor(self, name: str, tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        wide = tensor.to(self.dtype)
        tangent = None if self.change is None else self.change(name)
        if tangent is None:
            return wide
        dual: Tensor = forward_ad.make_dual(wide, tangent.to(self.dtype))  # type: ignore[no-untyped-call]
        return dual
