"""Small data in every form, networks for it, and what they must come to, by plain loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from probes.data.batches import Batches
from probes.data.loaders import read_batches
from probes.data.losses import resolve_loss
from probes.evaluation.evaluator import Evaluator

EXACT = torch.float64
DRAW = torch.Generator().manual_seed(1)
X = torch.randn(11, 3, dtype=EXACT, generator=DRAW)
Y = torch.randint(0, 4, (11,), generator=DRAW)
LENGTHS = (5, 3, 5, 5, 2, 4, 4)
SENTENCES = [torch.randint(0, 6, (length,), generator=DRAW) for length in LENGTHS]


class Language(nn.Module):
    """A causal language model of words' running means, which returns what Hugging Face's do."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 4)
        self.hidden = nn.Linear(4, 5)
        self.head = nn.Linear(5, 6)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> SimpleNamespace:
        words = self.embedding(input_ids)
        if attention_mask is not None:
            words = words * attention_mask[..., None]
        count = torch.arange(1, input_ids.shape[1] + 1, device=input_ids.device)[:, None]
        return SimpleNamespace(logits=self.head(torch.tanh(self.hidden(words.cumsum(1) / count))))


def made(kind: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind().double()


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4))


def by_loop(network: nn.Module, losses: Iterator[Tensor]) -> tuple[float, dict[str, Tensor]]:
    """The mean of examples' losses, and its gradients, one example at a time."""
    every = list(losses)
    mean = torch.stack(every).sum() / len(every)
    names = [name for name, _ in network.named_parameters()]
    found = torch.autograd.grad(mean, list(network.parameters()))
    return float(mean.detach()), dict(zip(names, found, strict=True))


def agrees(network: nn.Module, data: Any, loss: str, losses: Iterator[Tensor], **settings: Any) -> Evaluator:
    """Assert that the data's loss, gradients and curvature are those of a plain loop."""
    batches = data if isinstance(data, Batches) else read_batches(data, "--data mine")[0]
    evaluator = Evaluator(
        network, batches, None, resolve_loss(loss, batches)[1], dtype=EXACT, **{"chunk": 3, **settings}
    )
    expected, gradients = by_loop(network, losses)
    found = evaluator.evaluate(evaluator.frozen, wanted=list(evaluator.frozen))
    assert found.loss == pytest.approx(expected, rel=1e-10)
    for name, gradient in gradients.items():
        torch.testing.assert_close(found.gradients[name], gradient, rtol=1e-10, atol=1e-13)
    return evaluator


class Pairs(Dataset[Any]):
    """Examples (x, label)."""

    def __init__(self, form: Callable[[Tensor, Tensor], Any] = lambda x, y: (x, int(y))) -> None:
        self.form = form

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, place: int) -> Any:
        return self.form(X[place], Y[place])


def language_batches(masked: bool = False) -> list[dict[str, Tensor]]:
    """Two sentences at a time where lengths agree, or all padded to five words."""
    if masked:
        ids = torch.stack([nn.functional.pad(s, (0, 5 - len(s))) for s in SENTENCES])
        mask = torch.stack([(torch.arange(5) < len(s)).long() for s in SENTENCES])
        return [{"input_ids": ids[k : k + 3], "attention_mask": mask[k : k + 3]} for k in (0, 3, 6)]
    groups = ([0], [1], [2, 3], [4], [5, 6])
    return [{"input_ids": torch.stack([SENTENCES[k] for k in group])} for group in groups]


def sentence_losses(network: nn.Module) -> Iterator[Tensor]:
    """Each sentence's mean −log p of the words after the first."""
    for sentence in SENTENCES:
        logits = network(sentence[None]).logits[0]
        yield nn.functional.cross_entropy(logits[:-1], sentence[1:])
