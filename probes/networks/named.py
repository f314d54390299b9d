"""The networks that have a name of their own; torch loads when one is described."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from probes.errors import InputError

if TYPE_CHECKING:
    from probes.networks.specs import NetworkSpec

__all__ = ["NAMED"]


def _conv(inputs: int, outputs: int, norm: str) -> NetworkSpec:
    from probes.networks.images import ConvSpec

    return ConvSpec(_side(inputs), outputs=outputs)


def _conv_bn(inputs: int, outputs: int, norm: str) -> NetworkSpec:
    from probes.networks.images import ConvSpec

    return ConvSpec(_side(inputs), outputs=outputs, norm="batch")


def _residual16(inputs: int, outputs: int, norm: str) -> NetworkSpec:
    from probes.networks.images import ResidualSpec

    return ResidualSpec(_side(inputs), outputs=outputs, norm=norm)


def _char_transformer(inputs: int, outputs: int, norm: str) -> NetworkSpec:
    from probes.networks.transformer import TransformerSpec

    return TransformerSpec(context=inputs)


def _side(inputs: int) -> int:
    side = math.isqrt(inputs)
    if side**2 != inputs:
        raise InputError(
            f"`network`: needs square images of one channel, but x has {inputs} numbers an example"
        )
    return side


NAMED: dict[str, Callable[[int, int, str], NetworkSpec]] = {
    "conv": _conv,
    "conv-bn": _conv_bn,
    "residual16": _residual16,
    "char-transformer": _char_transformer,
}
"""The networks that ``probe train --network`` knows beside perceptrons: each is a description from the numbers that an
example has, the outputs, and the norm."""
