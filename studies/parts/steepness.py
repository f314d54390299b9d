"""How steep a network is: what can be certified, what its Jacobians say at examples, and the steepest that is found."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probes.networks.perceptron import Perceptron
from probes.networks.transformer import CharTransformer
from trust.activations import transmission
from trust.function_bounds import log10_input_sensitivity_bound
from trust.lipschitz import attention_lipschitz, layer_norm_lipschitz, layer_norm_radius
from trust.norms import spectral_norm

__all__ = ["Part", "log10_certificate", "matrices", "parts_of", "steepest_found", "steepness"]

Part = Callable[[Tensor], Tensor]
_FIRST_STEP = 0.1  # of a point's size, to its partner
_SMALL = 1e-3
_RATE = 0.05
_CHECKED = 4


def matrices(network: Perceptron | CharTransformer) -> list[nn.Parameter]:
    """The weights that the certificate is made of; positions are added to the input, and do not matter to it."""
    names = [name for name, one in network.named_parameters() if one.ndim == 2 and name != "positions.weight"]
    return [network.get_parameter(name) for name in names]


def log10_certificate(network: Perceptron | CharTransformer, length: int) -> float:
    """log10 of a Lipschitz constant over all inputs: pixels, or sequences of vectors where embeddings go in.

    Args:
        network: a plain perceptron, or a transformer.
        length: tokens of a sequence.
    """
    if isinstance(network, Perceptron):
        norms = [spectral_norm(weight) for weight in matrices(network)]
        betas = [transmission(network.spec.activation).beta] * (len(norms) - 1) + [1.0]
        return float(log10_input_sensitivity_bound(1.0, spectral_norms=norms, betas=betas))
    width, heads = network.spec.width, network.spec.heads
    beta = transmission("gelu").beta
    total = math.log10(_steepest_norm(network.norm) * spectral_norm(network.characters.weight))
    block: Any
    for block in network.blocks:
        first, attention = block.attention_norm, block.attention
        radius = layer_norm_radius(
            width=width, largest_gain=first.weight.abs().max(), bias_norm=first.bias.norm()
        )
        split = (heads, width // heads, width)
        query, key, value = (
            one.weight.detach().double().view(split)
            for one in (attention.query, attention.key, attention.value)
        )
        scores = query.transpose(1, 2) @ key / math.sqrt(width // heads)
        mixed = attention_lipschitz(
            [spectral_norm(one) for one in value],
            score_norms=[spectral_norm(one) for one in scores],
            radius=radius,
            length=length,
        )
        branches = [
            float(mixed) * spectral_norm(attention.project.weight) * _steepest_norm(first),
            beta
            * spectral_norm(block.up.weight)
            * spectral_norm(block.down.weight)
            * _steepest_norm(block.mlp_norm),
        ]
        total += sum(math.log10(1 + branch) for branch in branches)
    return total


def _steepest_norm(norm: nn.LayerNorm) -> float:
    return float(layer_norm_lipschitz(largest_gain=norm.weight.abs().max(), epsilon=norm.eps))


def parts_of(network: Perceptron | CharTransformer) -> list[Part]:
    """The network as maps one after the other: layers with their activation, or blocks and the head."""
    if isinstance(network, Perceptron):
        *hidden, last = network.layers
        return [*(partial(_activated, network, layer) for layer in hidden), last]

    def head(h: Tensor) -> Tensor:
        outputs: Tensor = nn.functional.linear(network.norm(h), network.characters.weight)
        return outputs

    return [*network.blocks, head]


def _activated(network: Perceptron, layer: nn.Module, h: Tensor) -> Tensor:
    activated: Tensor = network.activation(layer(h))
    return activated


def steepness(parts: Sequence[Part], x: Tensor) -> tuple[float, float]:
    """At one input (1, …): ‖J‖₂ of the whole, and the product of the parts' own ‖J_k‖₂, which is no less.

    Args:
        parts: maps of batches.
        x: in their precision.
    """
    whole: Tensor | None = None
    product = 1.0
    h = x.detach()
    for part in parts:
        after = part(h).detach()
        taken = torch.func.jacrev if after.numel() < h.numel() else torch.func.jacfwd
        jacobian = taken(part)(h).reshape(after.numel(), h.numel()).detach()
        product *= _norm(jacobian)
        whole = jacobian if whole is None else jacobian @ whole
        h = after
    assert whole is not None
    return _norm(whole), product


def _norm(matrix: Tensor) -> float:
    """The spectral norm by the smaller Gram matrix, to half of the digits at worst where it is the largest value."""
    gram = matrix @ matrix.T if matrix.shape[0] < matrix.shape[1] else matrix.T @ matrix
    return math.sqrt(max(float(torch.linalg.eigvalsh(gram)[-1]), 0.0))


def steepest_found(parts: Sequence[Part], x: Tensor, *, steps: int, seed: int) -> float:
    """The largest ‖f(x) − f(x')‖/‖x − x'‖ or ‖J‖₂ that ascent finds: no Lipschitz constant is less.

    Ascent by Adam on pairs of points goes from the inputs given, and from as many that are a thousandth of them, where
    layer norms are steep; at the ends of the best pairs the Jacobian is looked at too.

    Args:
        parts: maps of batches.
        x: where to begin (n, …).
        steps: of the ascent.
        seed: of the pairs' first directions.
    """
    generator = torch.Generator().manual_seed(seed)
    starts = torch.cat([x, _SMALL * x]).detach()
    axes = tuple(range(1, starts.ndim))
    size = starts.square().mean(axes, keepdim=True).sqrt()
    place = (starts / size).requires_grad_()
    apart = torch.randn(starts.shape, generator=generator, dtype=starts.dtype).requires_grad_()
    ascent = torch.optim.Adam([place, apart], lr=_RATE)

    def ratios() -> Tensor:
        one = size * place
        step = _FIRST_STEP * size * apart
        stretched = (_through(parts, one + step) - _through(parts, one)).flatten(1).norm(dim=1)
        ratio: Tensor = stretched / step.flatten(1).norm(dim=1)
        return ratio

    best, at, to = torch.zeros(len(starts), dtype=starts.dtype), starts.clone(), starts.clone()
    for step in range(steps + 1):
        found = ratios()
        better = found.detach() > best
        best = torch.where(better, found.detach(), best)
        with torch.no_grad():
            at[better] = (size * place)[better]
            to[better] = (size * (place + _FIRST_STEP * apart))[better]
        if step < steps:
            gradients = torch.autograd.grad(-found.clamp_min(1e-300).log().sum(), [place, apart])
            for tensor, gradient in zip((place, apart), gradients, strict=True):
                tensor.grad = gradient.nan_to_num()
            ascent.step()
    chosen = best.topk(min(_CHECKED, len(best))).indices
    ends = [steepness(parts, point[None])[0] for where in (at, to) for point in where[chosen]]
    return float(np.max([float(best.max()), *ends]))


def _through(parts: Sequence[Part], x: Tensor) -> Tensor:
    for part in parts:
        x = part(x)
    return x
