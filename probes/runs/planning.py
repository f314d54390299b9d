"""What a run is going to do, settled before it begins: where it continues, its chunk, and what it will take."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from probes.data.batches import Batches
from probes.data.losses import Loss, ModelLoss
from probes.errors import InputError
from probes.evaluation.frozen_state import mixes_examples, probing
from probes.measures.layers import find_layers
from probes.measures.settings import SliceSettings
from probes.runs.chunk import ChunkChoice, GradientTimer, choose_chunk
from probes.runs.estimate import (
    TWICE,
    Estimate,
    Work,
    activation_bytes,
    count_work,
    data_bytes,
    measure_rates,
    memory_of,
    output_width,
    rough_seconds,
)
from probes.runs.folder import RunFolder, read_manifest
from probes.runs.memory import free_bytes, peak_bytes
from probes.system.files import writing_errors

__all__ = ["Planned", "Probed", "check_folder", "plan_run", "recorded_choice"]

_WORTH_TIMING = 10.0  # seconds, roughly, below which a run is not told beforehand what it will take
_SHARE, _SECONDS = 0.01, 1.0  # of the run, and at most, for the estimate's own timings
_LEAST = 0.1  # seconds that they may take in any case, where an estimate was asked for
_ROOM = 0.5  # of the free memory: other programs want some, and the estimate is rough


@dataclass(frozen=True)
class Probed:
    """What the checkpoints of a run have in common.

    Attributes:
        network: the first checkpoint's.
        names: its parameters to the names reported.
        data: all examples.
        loss: their loss.
        checkpoints: how many are to be measured.
    """

    network: nn.Module
    names: Mapping[str, str]
    data: Batches
    loss: Loss
    checkpoints: int

    def timer(self, settings: SliceSettings) -> GradientTimer:
        """What times them."""
        dtype = getattr(torch, settings.dtype)
        return GradientTimer(self.network, self.data, self.loss, dtype=dtype, device=settings.device)

    def work(self, settings: SliceSettings, shapes: list[tuple[int, int]]) -> Work:
        """What one of them takes, with weight matrices of the given shapes."""
        outputs = not isinstance(self.loss, ModelLoss)
        mixed = mixes_examples(self.network, settings.batchnorm)
        return count_work(settings, shapes, len(self.data), outputs=outputs, mixed=mixed)


@dataclass(frozen=True)
class Planned:
    """A run before it begins.

    Attributes:
        plan: everything that decides the numbers, as :meth:`probes.runs.folder.RunFolder.open` takes it.
        settings: with the chunk that was chosen.
        choice: that chunk, and why.
        measured: for every checkpoint whether the folder holds it already.
        estimate: what remains to be done will take; None for a short run.
    """

    plan: dict[str, Any]
    settings: SliceSettings
    choice: ChunkChoice
    measured: list[bool]
    estimate: Estimate | None


def plan_run(
    probed: Probed,
    settings: SliceSettings,
    plan: Mapping[str, Any],
    out: Path | None,
    *,
    auto_chunk: bool,
    estimate: bool = False,
) -> Planned:
    """Settle everything that a run settles before it measures; nothing is written.

    Args:
        probed: what is measured.
        settings: how, with the chunk that was asked for.
        plan: the run's plan but for the chunk.
        out: the results' folder, which may hold a part of them; None for a run that keeps nothing.
        auto_chunk: choose the chunk rather than take that of ``settings``, unless the folder knows it already.
        estimate: say what a short run will take, too.

    Raises:
        InputError: the folder cannot be used.
    """
    whole = {**plan, "chunk": "auto" if auto_chunk else settings.chunk}
    known: ChunkChoice | None = None
    measured = [False] * probed.checkpoints
    if out is not None:
        if auto_chunk:
            known, given = recorded_choice(out), _given_chunk(out)
            whole["chunk"] = given or "auto"  # which continues what is there
        check_folder(out, whole)
        if (out / "run.json").is_file():
            folder = RunFolder(out).attach()
            measured = [folder.has_slice(index) for index in range(probed.checkpoints)]
    count = len(probed.data)
    evaluations = measured.count(False) * probed.work(settings, []).gradients / count
    choice = known or choose_chunk(
        probed.network,
        probed.data,
        probed.loss,
        dtype=getattr(torch, settings.dtype),
        device=settings.device,
        evaluations=evaluations,
        batchnorm=settings.batchnorm,
        asked=None if auto_chunk else settings.chunk,
        largest=lambda: _room(probed, settings),
    )
    settings = replace(settings, chunk=choice.chunk)
    told = _estimate(probed, settings, choice, measured, always=estimate)
    return Planned(whole, settings, choice, measured, told)


def recorded_choice(out: Path) -> ChunkChoice | None:
    """The chunk with which the run in a folder was begun; None where there is none.

    Raises:
        InputError: it is damaged.
    """
    given = _given_chunk(out)
    if given is not None:
        return ChunkChoice(given, "as the run in the folder")
    if not (out / "run.json").is_file() or read_manifest(out)["plan"].get("chunk") != "auto":
        return None
    details = read_manifest(out).get("details")
    try:
        return ChunkChoice.from_json(details.get("chunk") if isinstance(details, dict) else None)
    except InputError as error:
        raise InputError(f"{out / 'run.json'}: {error}") from error


def _given_chunk(out: Path) -> int | None:
    """The number that the run in a folder was asked to take; None where it was to choose, or there is no run."""
    planned = read_manifest(out)["plan"].get("chunk") if (out / "run.json").is_file() else None
    return planned if type(planned) is int else None


def check_folder(out: Path, plan: Mapping[str, Any]) -> None:
    """Refuse what :meth:`probes.runs.folder.RunFolder.open` would refuse, without creating anything.

    Raises:
        InputError: the folder holds something else, or cannot be written.
    """
    with writing_errors(out):
        RunFolder(out).refuse_another(json.loads(json.dumps(plan)))
        if out.exists() and not out.is_dir():
            raise InputError(f"{out}: is a file, not a folder; choose another --out")
        there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _room(probed: Probed, settings: SliceSettings) -> float:
    """How many examples at once the free memory has room for."""
    each = activation_bytes(probed.timer(settings))
    return _ROOM * free_bytes(settings.device) / (TWICE * each) if each else math.inf


def _estimate(
    probed: Probed, settings: SliceSettings, choice: ChunkChoice, measured: list[bool], *, always: bool
) -> Estimate | None:
    """What remains to be done will take, or None where even a rough guess says that it is little."""
    remaining, count = measured.count(False), len(probed.data)
    parameters = [tensor for tensor in probed.network.parameters() if tensor.ndim > 1]
    work = probed.work(settings, [_shape(tuple(tensor.shape)) for tensor in parameters])
    rough = remaining * rough_seconds(work, choice.seconds)
    if not always and not rough > _WORTH_TIMING:
        return None
    with probing(probed.network, batchnorm=settings.batchnorm):
        timer = probed.timer(settings)
        evaluator = timer.batch(min(2, count), 2)
        layers = find_layers(probed.network, evaluator, probed.names)
        weights = [layer.name for layer in layers if layer.is_weight]
        shapes = [_shape(layer.shape) for layer in layers if layer.is_weight]
        work = probed.work(settings, shapes)
        budget = min(_SECONDS, max(_SHARE * rough, _LEAST))
        rates = measure_rates(
            timer, weights, work, gradient=choice.seconds, chunk=choice.chunk, budget=budget
        )
        jacobian = min(settings.jacobian, count) if evaluator.has_outputs else 0
        numbers = sum(tensor.numel() for tensor in evaluator.frozen.values())
        resident = 0.0
        if settings.device == "cpu":
            resident = float(data_bytes(probed.data))
        evaluation = 0.0
        if timer.device.type == "cuda":  # whose allocator also knows what the kernels took
            chunk = timer.batch(min(choice.chunk, count), choice.chunk)
            evaluation = peak_bytes(
                lambda: chunk.evaluate(chunk.frozen, wanted=timer.trainable), timer.device
            )
        memory = memory_of(
            settings,
            parameters=numbers,
            largest=max((m * n for m, n in shapes), default=0),
            example=activation_bytes(timer),
            sample=min(settings.samples, count) if work.convolutions else 0,
            jacobian=jacobian * output_width(evaluator) if jacobian else 0,
            resident=resident,
            evaluation=evaluation,
        )
    seconds = remaining * rates.seconds(work)
    return Estimate(seconds, memory, remaining, measured.count(True), settings.chunk, settings.device)


def _shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """A weight as a matrix (out, everything else)."""
    return shape[0], math.prod(shape[1:])
