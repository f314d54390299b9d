"""The slice: freeze a network, perturb every layer relatively along a direction, and measure what breaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from probes.checkpoints.adam import AdamState
from probes.data.batches import Batches
from probes.data.dataset import data_of
from probes.data.losses import Loss, ModelLoss, as_loss, resolve_loss
from probes.data.torch_losses import is_torch_loss
from probes.errors import InputError, mention
from probes.evaluation.at_once import fastest_count
from probes.evaluation.chunks import default_chunk
from probes.evaluation.compiled import uncompiled, uncompiled_names
from probes.evaluation.devices import resolved_device
from probes.evaluation.evaluator import Evaluation, Evaluator
from probes.evaluation.frozen_state import mixes_examples, probing
from probes.evaluation.perturbed_weights import PerturbedWeights
from probes.evaluation.products import fastest_route, shapes_of
from probes.measures.measure import Frozen, Measure, Point, Points
from probes.measures.registry import chosen_measures
from probes.measures.settings import SliceSettings
from probes.networks.data_fit import check_call
from probes.networks.kinds import spec_of
from probes.slices.dataset import assembled, collected
from probes.slices.freezing import freeze
from probes.system.memory import keep_freed_memory
from probes.system.processes import ALONE, Share
from trust.measurements import WITHOUT_LINE

__all__ = ["evaluations_per_slice", "measure_slice", "refuse_mixed", "settled_at_once", "settled_route"]

Progress = Callable[[int], object]

_MANY_ETAS = 100
"""Of fewer in all slices the timing would take as long as it saves."""


def measure_slice(
    network: nn.Module,
    x: Any,
    y: Any = None,
    *,
    settings: SliceSettings | None = None,
    loss: str | Loss | Callable[..., Tensor] | None = None,
    names: Mapping[str, str] | None = None,
    label: str = "network",
    following: Mapping[str, Tensor] | None = None,
    progress: Progress | None = None,
    share: Share = ALONE,
    adam: AdamState | None = None,
) -> xr.Dataset:
    """Measure one slice of a frozen network, leaving the network exactly as it was found.

    Args:
        network: maps x (n, …) to outputs (n, …); its weights are taken as they are. One that was compiled is
            measured as it was before.
        x: inputs (n, …) as a tensor, array or list, or all data: a DataLoader, a Dataset, a dict, batches in any form
            that :func:`probes.data.loaders.read_batches` reads.
        y: targets (n, …) likewise; None for data that have their own.
        settings: what to measure, and how; None for :class:`SliceSettings` as it is by default.
        loss: a name of :func:`probes.data.losses.resolve_loss`, one of torch's losses, a function of (outputs, targets)
            with one number an example, or one of (model, batch); None: cross-entropy for labels.
        names: the module's parameters to the names to report (default: all, under their own names). They are
            reported in the order of the forward pass (:func:`probes.measures.layers.find_layers`).
        label: the checkpoint's name in the result.
        following: the next checkpoint's parameters, for the direction ``update``.
        progress: called with 1 after each η.
        share: the processes that measure it together, all with the same arguments.
        adam: Adam's second moments, for the preconditioned Hessian of ``curvature``.

    Returns:
        Measurements with dims ``checkpoint`` (of size 1), ``eta``, ``layer``, ``example``; the names are
        those of :mod:`trust.measurements`.

    Raises:
        InputError: no network or settings, settings that do not fit, or a stochastic network.
    """
    if not isinstance(network, nn.Module):
        raise InputError(
            f"network: is a {type(network).__name__}, not a torch module; of a state_dict load the weights into the"
            " module that they belong to"
        )
    settings = SliceSettings.of(settings)
    settings = replace(settings, device=resolved_device(settings.device))
    classes = chosen_measures(settings)
    keep_freed_memory()
    with uncompiled(network) as network:
        batches, function, loss_name = _given(network, x, y, loss)
        own = {name: name for name, _ in network.named_parameters()}
        reported = own if names is None else uncompiled_names(names)
        mixed = mixes_examples(network, settings.batchnorm)
        chunk = default_chunk(len(batches), together=mixed) if settings.chunk is None else settings.chunk
        if mixed:
            refuse_mixed(settings, len(batches), chunk, share)
        settings = replace(settings, matmul=settled_route(settings, network, batches, chunk))
        at_once = settled_at_once(settings, network, batches, function, chunk) if share.size == 1 else 1
        settings = replace(settings, etas_at_once=at_once)
        with probing(
            network, batchnorm=settings.batchnorm, precision=settings.precision, matmul=settings.matmul
        ):
            evaluator = Evaluator(
                network,
                batches,
                None,
                function,
                dtype=getattr(torch, settings.dtype),
                device=settings.device,
                chunk=chunk,
                precision=settings.precision,
                share=share,
                divisible=not mixed,
            )
            next_weights = None if following is None else uncompiled_names(following)
            frozen, floor, again = freeze(evaluator, settings, reported, next_weights, mixed=mixed)
            frozen = replace(frozen, adam=adam)
            measures = [one(frozen) for one in classes if _fits(one, frozen)]
            recording = [one for one in measures if one.records(settings)]
            _record(frozen, 0, [one for one in recording if one.gradients], again)
            del again  # nothing else holds its gradients: the memory is free for those of the next η
            _visit(frozen, recording, progress or (lambda _: None))
            found = assembled(frozen, label, collected(frozen, floor, measures))
            found.attrs |= {} if loss_name is None else {"loss": loss_name}
            return found


def settled_route(settings: SliceSettings, network: nn.Module, batches: Batches, chunk: int) -> str:
    """What multiplies the network's matrices: a matter of float32 on a CPU alone."""
    if settings.dtype != "float32" or settings.device != "cpu" or settings.precision != "full":
        return "torch"
    _, first = next(batches.chunks(1))
    tokens = first.token_ids()
    positions = 1 if tokens is None else tokens.shape[1]  # a matrix meets every token of an example
    return fastest_route(settings.matmul, shapes_of(dict(network.named_parameters()), chunk * positions))


def settled_at_once(
    settings: SliceSettings, network: nn.Module, batches: Batches, loss: Loss, chunk: int, *, slices: int = 1
) -> int:
    """How many η are evaluated at once: as asked for, or as is fastest where there are many in so many slices."""
    if settings.etas_at_once is not None:
        return settings.etas_at_once
    gradients = any(one.gradients and one.records(settings) for one in chosen_measures(settings))
    if settings.direction in WITHOUT_LINE or len(settings.etas) * slices < _MANY_ETAS or not gradients:
        return 1
    with (
        uncompiled(network) as network,
        probing(network, batchnorm=settings.batchnorm, precision=settings.precision, matmul=settings.matmul),
    ):
        evaluator = Evaluator(
            network,
            batches[:chunk],
            None,
            loss,
            dtype=getattr(torch, settings.dtype),
            device=settings.device,
            chunk=chunk,
            precision=settings.precision,
        )
        return fastest_count(evaluator)


def _given(
    network: nn.Module, x: Any, y: Any, loss: str | Loss | Callable[..., Tensor] | None
) -> tuple[Batches, Loss, str | None]:
    """Data and loss in any form as they are computed with, and the loss's name.

    What a run has read and resolved passes as it is; its name is None, for the run says it.

    Raises:
        InputError: they cannot be used, or the network cannot take them.
    """
    if isinstance(x, Batches):
        ready = not (loss is None or isinstance(loss, str) or is_torch_loss(loss))
        if ready:
            return x, as_loss(loss), None  # type: ignore[arg-type]
        resolved = resolve_loss(loss, x)
        return x, resolved.function, resolved.name
    data, spec = data_of(x, y), spec_of(network)
    if spec is not None and spec.vocabulary is None:
        data = data.in_floats()
    resolved = resolve_loss(loss, data.batches)
    if not isinstance(resolved.function, ModelLoss):  # which calls the network as only it knows how
        check_call(network, data, resolved)
    return data.batches, resolved.function, resolved.name


def _fits(measure: type[Measure], frozen: Frozen) -> bool:
    """Whether it is taken; one that the user named must not be left out in silence.

    Raises:
        InputError: it was named, and has no meaning here.
    """
    fits = measure.fits(frozen)
    if not fits and measure.name in frozen.settings.measure:
        raise InputError(
            f"{mention('measure', measure.name)}: has no meaning for this network, loss and direction"
        )
    return fits


def evaluations_per_slice(settings: SliceSettings) -> int:
    """How many times a slice reports progress: for each η, once for gradients and once for a closer look."""
    classes = chosen_measures(settings)
    looks = sum(
        any(one.records(settings) for one in classes if one.gradients is kind) for kind in (True, False)
    )
    return len(settings.etas) * (min(looks, 1) if settings.direction in WITHOUT_LINE else looks)


def _visit(frozen: Frozen, measures: list[Measure], report: Progress) -> None:
    """Feed the measures at every η; those with gradients have recorded the frozen network, at 0, before.

    On a line gradients come first; when they are let go of, what looks closer at each η has the memory. Where
    every η has a perturbation of its own, all is measured while it is there.
    """
    with_gradients = [one for one in measures if one.gradients]
    closer = [one for one in measures if not one.gradients]
    rows = range(len(frozen.etas))
    if frozen.direction is None:
        for row in rows if measures else ():
            _record(frozen, row, with_gradients if row > 0 else [])
            _record(frozen, row, closer)
            report(1)
        return
    if with_gradients:
        report(1)
        _with_gradients(frozen, with_gradients, report)
    share = frozen.evaluator.share
    looks = evaluations_per_slice(frozen.settings) > len(rows) * bool(with_gradients)
    for row in rows if looks else ():
        _record(frozen, row, closer if row % share.size == share.rank else [])
        report(1)
    for one in closer:
        _merge(one, share)


def _with_gradients(frozen: Frozen, measures: list[Measure], report: Progress) -> None:
    """Feed the measures at every η but 0, several at once where that is faster and works."""
    path, rows = frozen.path, range(1, len(frozen.etas))
    while rows:
        some, points = rows[:1], None
        if isinstance(path, PerturbedWeights) and path.at_once > 1 and len(rows) > 1:
            groups = -(-len(rows) // path.at_once)  # of equal sizes: none that hardly pays
            points = _together(frozen, path, rows[: -(-len(rows) // groups)])
        if points is None:
            _record(frozen, rows[0], measures)
        else:
            some = points.rows
            for one in measures:
                one.record_together(points)
        del points  # the memory is free for those of the next η
        rows = rows[len(some) :]
        for _ in some:
            report(1)


def _together(frozen: Frozen, path: PerturbedWeights, rows: range) -> Points | None:
    """Several η at once; None where that cannot be done, as of anybody's network it may not."""
    etas = [float(frozen.etas[row]) for row in rows]
    try:
        moved, found = path.evaluate_together(etas, wanted=frozen.measured, samples=frozen.samples)
    except Exception:
        path.at_once = 1
        return None
    return Points(rows, etas, moved, found)


def _record(frozen: Frozen, row: int, measures: list[Measure], known: Evaluation | None = None) -> None:
    """Let measures of one kind record at a row's η."""
    if not measures:
        return
    eta = float(frozen.etas[row])
    evaluation = known
    if evaluation is None and measures[0].gradients:
        evaluation = frozen.path.evaluate(eta, wanted=frozen.measured, samples=frozen.samples)
    moved = frozen.evaluator.frozen if known is not None else frozen.path.at(eta)
    for one in measures:
        one.record(Point(row, eta, moved, evaluation))


def _merge(measure: Measure, share: Share) -> None:
    """Take the rows that other processes recorded from them: row k is of process k modulo their number."""
    tables = measure.tables()
    if share.size == 1 or not tables:
        return
    others = np.arange(len(tables[0])) % share.size != share.rank
    for table in tables:
        table[others] = 0.0
    share.sum_([torch.from_numpy(table) for table in tables])  # in place: they share their memory


def refuse_mixed(settings: SliceSettings, examples: int, chunk: int, share: Share = ALONE) -> None:
    """Batch statistics make one function of all examples: refuse what is defined example by example.

    Raises:
        InputError: it names the setting.
    """
    if examples < 2 or examples > chunk:
        raise InputError(
            f"`batchnorm='batch'`: the statistics are those of all {examples} examples at once;"
            f" give `chunk={max(examples, 2)}`, or from 2 to {chunk} examples"
        )
    if share.size > 1:
        raise InputError(
            "`batchnorm='batch'`: the statistics are those of all examples at once, so processes cannot share them;"
            " add `shard='checkpoints'`"
        )
    for name in ("jacobian", "pattern", "alignment"):
        if getattr(settings, name) > 0:
            raise InputError(f"`batchnorm='batch'`: an output depends on all examples; leave `{name}` out")
    if settings.direction == "adversarial":
        raise InputError(
            "`batchnorm='batch'`: not with `direction='adversarial'`, which looks at some examples only"
        )
