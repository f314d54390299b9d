"""Muon as one optimizer of a whole network: torch's own moves matrices alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import Optimizer

__all__ = ["Muon"]


class Muon(Optimizer):
    """Tensors of two axes by torch's Muon without weight decay, all others by Adam, at the same step size.

    Muon's step is η √max(1, d_out/d_in) times nearly UVᵀ of the gradients' running mean, whose singular values five
    Newton-Schulz iterations in bfloat16 bring to between about 0.7 and 1.2. A mean whose norm is below 1e-7 steps less.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float) -> None:
        """Take a network's tensors, and the step size of both."""
        tensors = list(params)
        matrices = [tensor for tensor in tensors if tensor.ndim == 2]
        others = [tensor for tensor in tensors if tensor.ndim != 2]
        self.parts: list[Optimizer] = []
        if matrices:
            self.parts.append(torch.optim.Muon(matrices, lr=lr, weight_decay=0))
        if others:
            self.parts.append(torch.optim.Adam(others, lr=lr))
        super().__init__(tensors, {"lr": lr})
        self._share_groups()

    def _share_groups(self) -> None:
        """Have the step sizes that are set here be those of the parts."""
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take one step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The states of the parts."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what :meth:`state_dict` gave."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share_groups()
