"""A network in an awkward state, and all that a careless probe could change in one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from tests.support.reference import make


def subject() -> nn.Module:
    """A perceptron with batch norm in a state that a careless probe would spoil."""
    network = make(norm="batch")
    network.train()
    network.layers[1].eval()
    network.layers[0].weight.requires_grad_(False)
    network.layers[2].weight.grad = torch.ones_like(network.layers[2].weight)
    network.layers[1].register_forward_hook(lambda *_: None)
    return network


def picture(network: nn.Module) -> dict[str, Any]:
    """All that the probe could have changed; tensors by address and value."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "tensors": {name: (t.data_ptr(), t.tolist()) for name, t in network.state_dict().items()},
        "identity": {name: id(t) for name, t in [*network.named_parameters(), *network.named_buffers()]},
        "requires_grad": {name: t.requires_grad for name, t in network.named_parameters()},
        "grad": {name: None if t.grad is None else t.grad.tolist() for name, t in network.named_parameters()},
        "training": {name: module.training for name, module in network.named_modules()},
        "hooks": {name: [list(getattr(m, hook)) for hook in hooks] for name, m in network.named_modules()},
        "random": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002 (the global state is what is watched)
        "grad mode": torch.is_grad_enabled(),
        "default dtype": torch.get_default_dtype(),
    }
