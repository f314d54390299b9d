"""A network evaluated at a stack of its parameters' values at once, by ``torch.func.vmap``.

Where tensors are small, most of an evaluation's time goes into calling: one call for many values takes hardly longer
than one for one.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor
from torch.func import vmap

from probes.data.batch import Batch
from probes.data.labels import accuracy_of
from probes.evaluation.evaluator import AroundCall, Evaluation, Evaluator, Parameters

__all__ = ["evaluate_stack"]


def evaluate_stack(
    evaluator: Evaluator,
    stacks: Parameters,
    *,
    wanted: list[str],
    samples: int = 0,
    around: AroundCall | None = None,
) -> Evaluation:
    """As :meth:`Evaluator.evaluate` at each of k values, every tensor of the result with an axis (k, …) in front.

    Args:
        evaluator: network, data, and a loss that is a function of outputs; no other process has a share in it.
        stacks: the tensors (k, …) that have several values; the others are as they are frozen.
        wanted: whose gradients, of those in ``stacks``.
        samples: of how many examples the outputs are kept.
        around: a context for the network's call on each chunk.

    Raises:
        Exception: of any kind, where something in the network or the loss has no rule for stacks.
    """
    leaves = {name: stacks[name].detach().requires_grad_(True) for name in wanted}
    used = {**evaluator.frozen, **stacks, **leaves}
    axes = {name: 0 if name in stacks else None for name in used}
    count = len(next(iter(stacks.values())))
    total = torch.zeros(count, dtype=torch.float64, device=evaluator.device)
    hits: Tensor | None = torch.zeros_like(total)
    kept: list[Tensor] = []
    for start, batch in evaluator.own_chunks(evaluator.chunk):

        def one(tensors: Parameters, start: int = start, batch: Batch = batch) -> dict[str, Tensor]:
            with nullcontext() if around is None else around(start, batch, tensors):
                outputs = evaluator.call(tensors, batch.inputs)
            losses = evaluator.losses_of(outputs, batch)
            exact = outputs.detach().to(torch.float64)
            with torch.no_grad():
                found = {"loss": evaluator.losses_of(exact, batch.with_double_targets()).sum()}
                right = None if batch.targets is None else accuracy_of(exact, batch.targets)
            if right is not None:
                found["hits"] = right
            return found | {"losses": losses, "outputs": exact}

        with torch.set_grad_enabled(bool(leaves)):
            found = vmap(one, in_dims=(axes,))(used)
        if leaves:
            (found["losses"].sum() / len(evaluator)).backward()  # type: ignore[no-untyped-call]
        total += found["loss"].detach()
        hits = None if hits is None or "hits" not in found else hits + found["hits"]
        if start < samples:
            kept.append(found["outputs"][:, : samples - start].flatten(2))
    gradients = {
        name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for name, leaf in leaves.items()
    }
    shares = torch.full_like(total, torch.nan) if hits is None else hits / len(evaluator)
    return Evaluation(total / len(evaluator), shares, gradients, _side_by_side(kept, total))


def _side_by_side(kept: list[Tensor], like: Tensor) -> Tensor:
    """Outputs (k, n, width) of the chunks one behind the other; shorter ones have zeros behind them."""
    if not kept:
        return like.new_zeros(len(like), 0, 0)
    width = max(part.shape[2] for part in kept)
    return torch.cat([torch.nn.functional.pad(part, (0, width - part.shape[2])) for part in kept], dim=1)
