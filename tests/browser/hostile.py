"""A network whose names are markup to whoever takes them for it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

CHECKPOINTS = ("1 <script>alert(1)<", '2 "><img src=x onerror=alert(2)>', "3 {{ 7 * 7 }}")
"""Names of files, in which no slash can be."""
LAYERS = (
    "</script><script>alert(3)</script>",
    "a'b\"c",
    "<img src=x onerror=alert(4)>",
    "{{ 7 * 7 }}",
    "<!--",
    "&lt;b&gt;",
)
RUN = '"run" <b id=made>&<script>alert(6)'
TITLE = "</title></script><b id=made>title</b><script>alert(5)</script>"


class Hostile(nn.Module):
    """A perceptron without biases, a layer a name."""

    def __init__(self) -> None:
        super().__init__()
        for name in LAYERS:
            outputs = 3 if name == LAYERS[-1] else 6
            self.register_parameter(name, nn.Parameter(torch.randn(outputs, 6)))

    def forward(self, x: Tensor) -> Tensor:
        for name in LAYERS[:-1]:
            x = torch.relu(functional.linear(x, getattr(self, name)))
        return functional.linear(x, getattr(self, LAYERS[-1]))
