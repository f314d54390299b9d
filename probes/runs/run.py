"""``probe run``: measure every checkpoint's slice, keep each at once, continue what was begun."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from torch import Tensor, nn
from tqdm import tqdm

from probes.checkpoints.order import TrainingOrder
from probes.choices import MOST_CHECKPOINTS
from probes.errors import InputError, shown
from probes.evaluation.chunks import default_chunk
from probes.evaluation.devices import resolved_device
from probes.evaluation.frozen_state import mixes_examples
from probes.measures.alignment import check_examples
from probes.measures.registry import chosen_measures
from probes.measures.settings import SliceSettings
from probes.networks.series import NetworkRecord, NetworkSeries
from probes.runs.config import write_config
from probes.runs.estimate import WORTH_SAYING, about, seconds_per_slice
from probes.runs.folder import RunFolder, slice_files
from probes.runs.results import join
from probes.runs.source import Paths, Prepared, Source, prepare
from probes.runs.trained_by import adam_of, trained_by
from probes.slices.freezing import check_layers
from probes.slices.slice import (
    evaluations_per_slice,
    measure_slice,
    refuse_mixed,
    settled_at_once,
    settled_route,
)
from probes.system.garbage import look_as_ever
from probes.system.processes import ALONE, Share
from probes.system.terminal import has_terminal, say

__all__ = ["PreparedRun", "measure", "measure_run", "prepare_run", "slices", "versions"]


@dataclass(frozen=True)
class PreparedRun(Prepared):
    """A run before it begins.

    Attributes:
        settings: what to measure, with the device and the chunk settled.
        records: the networks that are measured; the last one has no update to follow.
        identity: everything that decides the numbers, as :meth:`probes.runs.folder.RunFolder.open` takes it.
        key: where several state_dicts are in one file, the name of that which is measured.
    """

    settings: SliceSettings
    records: Sequence[NetworkRecord]
    identity: dict[str, Any]
    key: str | None = None

    def seconds(self) -> float:
        """About how long one checkpoint takes one process."""
        network = self.networks.load(0).network
        return seconds_per_slice(network, self.data.batches, self.loss.function, self.settings)


def prepare_run(
    source: Source, settings: SliceSettings, out: Path | None = None, *, share: Share = ALONE
) -> PreparedRun:
    """Read and check everything, and settle what a run settles before it measures; nothing is written.

    Args:
        source: checkpoints, network, data and loss.
        settings: what to measure.
        out: the results' folder; None for a run that keeps nothing.
        share: the processes that read it, each for itself; the first of them settles.

    Raises:
        InputError: anything given that cannot be used.
    """
    share.together(lambda: chosen_measures(settings))  # refused before there is a folder
    settings, prepared = _prepared_together(source, settings, share)
    if share.rank == 0 and (said := prepared.networks.conversion()) is not None:
        say(f"probe: {said}", err=True)
    check_examples(settings.alignment, len(prepared.data))  # before there is a folder
    records = _measured_networks(prepared.networks, settings.direction)
    if out is not None and len(records) > MOST_CHECKPOINTS:
        raise InputError(f"{len(records)} checkpoints: at most {MOST_CHECKPOINTS} fit into a run; give fewer")
    network = prepared.networks.load(0).network
    settled = share.first(lambda: _settled(settings, prepared, network, len(records), out))
    if mixes_examples(network, settings.batchnorm):
        refuse_mixed(settings, len(prepared.data), settled["chunk"])  # before there is a folder
    check_layers(network, settings, records[0].names)
    settings = replace(settings, **settled)
    identity: dict[str, Any] = {**asdict(settings), "etas": settings.etas.tolist()}
    identity |= {"perturb": list(settings.perturb), "measure": list(settings.measure)}
    identity["levels"] = None if settings.levels is None else list(settings.levels)
    identity |= {
        "checkpoints": [record.digest for record in records],
        "data": prepared.data.digest(),
        "loss": prepared.loss.name,
        "network": str(records[0].spec or source.network_name),
    }
    if out is not None:
        share.first(lambda: RunFolder(out).check(identity))
    return PreparedRun(
        **vars(prepared), settings=settings, records=records, identity=identity, key=source.key
    )


def _settled(
    settings: SliceSettings, prepared: Prepared, network: nn.Module, slices: int, out: Path | None
) -> dict[str, Any]:
    """What changes rounding alone: as asked for, as the run in the folder was begun, or settled now.

    Returns:
        How many examples at once, what multiplies, how many η at once, by the settings' names.

    Raises:
        InputError: what is asked for cannot be had.
    """
    recorded = None if out is None else RunFolder(out).begun()
    begun = {} if recorded is None else recorded["identity"]
    batches, loss = prepared.data.batches, prepared.loss.function
    chunk = begun.get("chunk") if settings.chunk is None else settings.chunk
    if chunk is None:
        together = mixes_examples(network, settings.batchnorm)
        chunk = default_chunk(len(batches), together=together)
    known = begun.get("matmul") if settings.matmul == "auto" else None
    matmul = known or settled_route(settings, network, batches, chunk)
    at_once = begun.get("etas_at_once") if settings.etas_at_once is None else settings.etas_at_once
    if at_once is None:
        chosen = replace(settings, matmul=matmul)
        at_once = settled_at_once(chosen, network, batches, loss, chunk, slices=slices)
    return {"chunk": chunk, "matmul": matmul, "etas_at_once": at_once}


def _prepared_together(
    source: Source, settings: SliceSettings, share: Share
) -> tuple[SliceSettings, Prepared]:
    """What every process reads for itself, and must find the same.

    Raises:
        InputError: what one of them cannot use ends all.
    """
    settings = share.together(lambda: replace(settings, device=resolved_device(settings.device)))
    prepared = share.together(lambda: prepare(source))
    if share.size > 1:
        digests = {
            "checkpoints": " ".join(frozen.digest for frozen in prepared.networks),
            "data": prepared.data.digest(),
        }
        share.agree(digests, remedy="give them as files that do not change, without randomness of their own")
    return settings, prepared


def _measured_networks(networks: NetworkSeries, direction: str) -> Sequence[NetworkRecord]:
    """The last checkpoint has no update to follow."""
    if direction != "update":
        return networks
    if len(networks) < 2:
        raise InputError("`direction='update'`: needs at least two checkpoints, in training order")
    return networks[:-1]


def _following(networks: NetworkSeries, index: int, direction: str) -> Mapping[str, Tensor] | None:
    """The next checkpoint's parameters, where they are the direction."""
    if direction != "update":
        return None
    network = networks.load(index + 1, beside=index).network
    return {name: parameter.detach() for name, parameter in network.named_parameters()}


def slices(
    run: PreparedRun,
    *,
    places: Collection[int] | None = None,
    what: str = "probing",
    share: Share = ALONE,
    quiet: bool = False,
) -> Iterator[tuple[int, xr.Dataset]]:
    """Measure checkpoint after checkpoint, with a progress bar on a terminal's standard error unless ``quiet``.

    Args:
        run: what to measure.
        places: of which checkpoints (default: all).
        what: the progress bar's word.
        share: the processes that measure each checkpoint together.
        quiet: show no bar.
    """
    settings, records = run.settings, run.records
    todo = [place for place in range(len(records)) if places is None or place in places]
    each = evaluations_per_slice(settings)
    total, done = len(records) * each, (len(records) - len(todo)) * each
    hidden = quiet or not has_terminal()
    with (
        look_as_ever(),
        tqdm(total=total, initial=done, desc=what, unit="eta", disable=hidden, file=sys.stderr) as bar,
    ):
        for place in todo:
            record = records[place]
            bar.set_postfix_str(record.label)
            dataset = measure_slice(
                run.networks.load(place).network,
                run.data.batches,
                settings=settings,
                loss=run.loss.function,
                names=record.names,
                label=record.label,
                following=_following(run.networks, place, settings.direction),
                adam=adam_of(record, run.key) if settings.curvature else None,
                progress=bar.update,
                share=share,
            )
            yield place, _described(dataset, record, run)
            # where memory ran out, or stacks failed, the next checkpoint need not find out again
            settings = replace(
                settings, chunk=dataset.attrs["chunk"], etas_at_once=dataset.attrs["etas_at_once"]
            )


def _described(dataset: xr.Dataset, record: NetworkRecord, prepared: Prepared) -> xr.Dataset:
    """Add what is known of the checkpoint and what is needed to repeat the run."""
    details = record.details
    coordinates = {
        "step": details.get("step"),
        "epoch": details.get("epoch"),
        "train_accuracy": details.get("train_accuracy"),
        "learning_rate": details.get("learning_rate"),
    }
    for name, value in coordinates.items():
        number = float(value) if isinstance(value, int | float) else float("nan")
        dataset = dataset.assign_coords({name: ("checkpoint", [number])})
    dataset = dataset.assign_coords(weights_hash=("checkpoint", [record.digest]))
    dataset.attrs |= {
        "loss": prepared.loss.name,
        "data": shown(prepared.data.spec),
        "data_hash": prepared.data.digest(),
        "data_note": prepared.data.note,
        "converted": f"{record.converted} to float32" if record.converted else "",
        "noise_floor": float(dataset["noise_floor"].max()),
        **trained_by(details),
        "versions": versions(),
        "command": shown(" ".join(sys.argv)),
        "threads": torch.get_num_threads(),
    }
    return dataset


def versions() -> str:
    """Versions of what computes, in one line."""
    packages = ("deep-relative-trust", "torch", "numpy", "scipy", "xarray")
    return ", ".join(
        [f"python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)]
    )


def measure(
    source: Source, settings: SliceSettings, *, what: str = "probing", share: Share = ALONE
) -> xr.Dataset:
    """Measure every checkpoint's slice and keep nothing on disk; all processes of ``share`` get all.

    Raises:
        InputError: anything given that cannot be used.
    """
    run = prepare_run(source, settings, share=share)
    measured = slices(run, what=what, share=share, quiet=share.rank > 0)
    return join([dataset for _, dataset in measured])


def measure_run(
    source: Source | Paths,
    out: str | os.PathLike[str],
    *,
    settings: SliceSettings | None = None,
    what: str = "probing",
    order: Callable[[TrainingOrder], object] = lambda _: None,
    share: Share = ALONE,
    shard: str = "data",
) -> RunFolder:
    """Measure every checkpoint's slice into ``out``, skipping what is there already.

    Args:
        source: checkpoints, network, data and loss; or checkpoints alone, files and folders of them, that say the rest.
        out: the results' folder.
        settings: what to measure; None for :class:`SliceSettings` as it is by default.
        what: the progress bar's word.
        order: called with the order in which the checkpoints are taken.
        share: the processes that measure it together, all called with the same arguments.
        shard: a name of :data:`probes.choices.CHOICES`: how they divide the work.

    Returns:
        The folder; :func:`probes.load` reads it.

    Raises:
        InputError: anything given that cannot be used; what was measured before stays.
    """
    settings = SliceSettings.of(settings)
    folder = RunFolder(Path(out))
    chosen = Source.of(source)
    run = prepare_run(chosen, settings, folder.path, share=share)
    order(run.order)
    details = {
        "versions": versions(),
        "command": sys.argv,
        "data": run.data.spec,
        "processes": share.size,
    }

    def opened() -> list[int]:
        folder.open(run.identity, details)
        unused = not slice_files(folder.path)
        write_config(folder.path, chosen, run.settings, shard=shard, anew=unused)
        missing = [place for place in range(len(run.records)) if not folder.has_slice(place)]
        if missing:
            _tell(run.seconds() * len(missing) / share.size, len(missing))
        return missing

    with folder:
        missing = share.first(opened)
        if share.rank > 0 and shard == "checkpoints":
            folder.attach()
        together = share if shard == "data" else ALONE
        mine = missing if shard == "data" else missing[share.rank :: share.size]
        begun = time.perf_counter()
        measured = slices(run, places=mine, what=what, share=together, quiet=share.rank > 0)
        for done, (place, dataset) in enumerate(measured, 1):
            if together.rank == 0:
                folder.write_slice(place, dataset)
            if done == 1 and share.rank == 0 and not has_terminal():  # where a bar would say it
                _tell((time.perf_counter() - begun) * (len(mine) - 1), len(mine) - 1)
        share.wait()
    return folder


def _tell(seconds: float, checkpoints: int) -> None:
    """Say beforehand what takes long."""
    if seconds > WORTH_SAYING:
        say(f"probe: {about(seconds, checkpoints)}", err=True)
