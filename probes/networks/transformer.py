"""A character-level transformer, as a description and as a torch module."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from probes.errors import InputError
from probes.networks.specs import LARGEST_WIDTH, MOST_LAYERS, Description, check_size

__all__ = ["CharTransformer", "TransformerSpec"]


@dataclass(frozen=True)
class TransformerSpec(Description):
    """A decoder-only transformer on characters, which predicts each next one.

    Pre-norm blocks h ← h + attention(norm(h)), h ← h + mlp(norm(h)) with GELU and four times the width inside, learned
    positions, a last norm. The head is tied: it is the matrix of the characters' embeddings. Queries, keys and values
    have no bias (a key's has gradient zero, as softmax does not see it).

    Attributes:
        vocabulary: how many different characters there are.
        context: the longest sequence.
        width: of the residual stream.
        heads: of each attention; they divide the width.
        blocks: how many.
    """

    kind: ClassVar[str] = "transformer"
    norm: ClassVar[str] = "layer"
    residual: ClassVar[bool] = True

    vocabulary: int = 256
    context: int = 64
    width: int = 64
    heads: int = 4
    blocks: int = 2

    def __post_init__(self) -> None:
        """Check everything, so that a description from a file can be trusted.

        Raises:
            InputError: a value that makes no network.
        """
        check_size("vocabulary", self.vocabulary, 2**20)
        check_size("context", self.context, LARGEST_WIDTH)
        check_size("width", self.width, LARGEST_WIDTH)
        check_size("heads", self.heads, self.width)
        check_size("blocks", self.blocks, MOST_LAYERS)
        if self.width % self.heads:
            raise InputError(
                f"a transformer's heads must divide its width, got {self.heads} and {self.width}"
            )

    @property
    def depth(self) -> int:
        """The embedding, in each block values, their projection and the two of the perceptron, and the head."""
        return 4 * self.blocks + 2

    @property
    def inputs(self) -> int:
        """Characters."""
        return self.context

    @property
    def outputs(self) -> int:
        """One for each character that may come next."""
        return self.vocabulary

    @property
    def widest(self) -> int:
        """Numbers in the hidden layer of a block, in the attention weights, or in the outputs."""
        return self.context * max(4 * self.width, self.heads * self.context, self.vocabulary)


class _Attention(nn.Module):
    """Causal attention by plain products and softmax: torch's fused one cannot be differentiated twice on a CPU."""

    def __init__(self, spec: TransformerSpec) -> None:
        super().__init__()
        self.heads = spec.heads
        self.query = nn.Linear(spec.width, spec.width, bias=False)
        self.key = nn.Linear(spec.width, spec.width, bias=False)
        self.value = nn.Linear(spec.width, spec.width, bias=False)
        self.project = nn.Linear(spec.width, spec.width)

    def forward(self, h: Tensor) -> Tensor:
        count, length, width = h.shape
        split = (count, length, self.heads, width // self.heads)
        query, key, value = (
            layer(h).view(split).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(2, 3) / math.sqrt(width // self.heads)
        later = torch.ones(length, length, dtype=torch.bool, device=h.device).triu(1)
        weights = torch.softmax(scores.masked_fill(later, -math.inf), dim=-1)
        mixed: Tensor = self.project((weights @ value).transpose(1, 2).reshape(h.shape))
        return mixed


class _TransformerBlock(nn.Module):
    """h ← h + attention(norm(h)), h ← h + mlp(norm(h))."""

    def __init__(self, spec: TransformerSpec) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(spec.width)
        self.attention = _Attention(spec)
        self.mlp_norm = nn.LayerNorm(spec.width)
        self.up = nn.Linear(spec.width, 4 * spec.width)
        self.down = nn.Linear(4 * spec.width, spec.width)

    def forward(self, h: Tensor) -> Tensor:
        h = h + self.attention(self.attention_norm(h))
        grown: Tensor = h + self.down(functional.gelu(self.up(self.mlp_norm(h))))
        return grown


def _embedding(count: int, width: int) -> nn.Embedding:
    """Vectors with entries of variance 1/width."""
    weight = torch.empty(count, width)
    if not weight.is_meta:  # drawing there would draw nothing, after importing torch's compiler for seconds
        weight.normal_(std=width**-0.5)
    embedding: nn.Embedding = nn.Embedding.from_pretrained(weight, freeze=False)  # type: ignore[no-untyped-call]
    return embedding


class CharTransformer(nn.Module):
    """The module of a :class:`TransformerSpec`: characters (n, t) to outputs (n, t, vocabulary)."""

    def __init__(self, spec: TransformerSpec) -> None:
        """Build it with PyTorch's default initialisation, and embeddings of entries of variance 1/width.

        The head shares the characters' embeddings, so that larger ones would make the first outputs large.
        """
        super().__init__()
        self.spec = spec
        self.characters = _embedding(spec.vocabulary, spec.width)
        self.positions = _embedding(spec.context, spec.width)
        self.blocks = nn.ModuleList(_TransformerBlock(spec) for _ in range(spec.blocks))
        self.norm = nn.LayerNorm(spec.width)

    def forward(self, x: Tensor) -> Tensor:
        """The outputs (n, t, vocabulary) for what comes after each character."""
        h = self.characters(x) + self.positions(torch.arange(x.shape[1], device=x.device))
        for block in self.blocks:
            h = block(h)
        return functional.linear(self.norm(h), self.characters.weight)
