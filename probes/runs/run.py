"""``probe run``: measure every checkpoint's slice, keep each at once, continue what was begun."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from torch import Tensor
from tqdm import tqdm

from probes.checkpoints.checkpoint import TrainingOrder, read_checkpoint, training_order
from probes.data.batches import Batch, Batches
from probes.data.dataset import DataSet, load_data
from probes.data.losses import ModelLoss, resolve_loss
from probes.data.text import is_text_spec
from probes.errors import InputError
from probes.networks.frozen_network import (
    FrozenNetwork,
    NetworkRecord,
    NetworkSeries,
    check_data_fits,
    load_network,
)
from probes.networks.hugging_face import is_tokenised_text, tokenised_windows
from probes.runs.estimate import is_worth_saying
from probes.runs.folder import RunFolder
from probes.runs.planning import Planned, Probed, plan_run, recorded_choice
from probes.runs.results import join
from probes.slices.slice import SliceSettings, evaluations_per_slice, measure_slice
from probes.system.callables import is_callable_spec, load_callable
from probes.system.processes import ALONE, Share

__all__ = ["Prepared", "Source", "measure", "measure_run", "plan", "prepare"]


@dataclass(frozen=True)
class Source:
    """Where networks, data and the loss come from, as the user gave them.

    Attributes:
        checkpoints: files and folders.
        network: a callable that makes the module, for networks that are no plain perceptrons.
        activation: φ of a foreign perceptron.
        residual: whether a foreign perceptron adds its layers' inputs.
        key: the state_dict to take where a file holds several.
        data: a name, file or callable; None takes what the checkpoints say they were trained on.
        examples: keep only that many examples.
        loss: a name or callable; None means cross-entropy for labels.
    """

    checkpoints: tuple[str, ...]
    network: str | None = None
    activation: str | None = None
    residual: bool = False
    key: str | None = None
    data: str | None = None
    examples: int | None = None
    loss: str | None = None


@dataclass(frozen=True)
class Prepared:
    """Everything read and checked, nothing measured."""

    order: TrainingOrder
    networks: NetworkSeries
    data: DataSet
    loss: str


def resolve_device(name: str) -> str:
    """``auto`` is the GPU where there is one.

    Raises:
        InputError: a device that this machine lacks.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name}: not available here; use cpu or auto") from error
    return name


def prepare(source: Source) -> Prepared:
    """Read every checkpoint and the data and see that they fit together, before anything is measured.

    Raises:
        InputError: the first thing that does not fit.
    """
    networks, order = read_networks(source)
    data, loss = read_data(source, networks.load(0), order.paths[0])
    return Prepared(order, networks, data, loss)


def read_networks(source: Source) -> tuple[NetworkSeries, TrainingOrder]:
    """Every checkpoint, read and checked one after the other, and their order.

    Raises:
        InputError: the first thing that does not fit.
    """
    order = training_order([Path(path) for path in source.checkpoints])
    factory = load_callable(source.network, option="--network") if source.network is not None else None

    def read(path: Path) -> FrozenNetwork:
        return load_network(
            read_checkpoint(path, key=source.key),
            network=factory,
            activation=source.activation,
            residual=source.residual,
        )

    return NetworkSeries(read, order.paths), order


def data_spec(source: Source, frozen: FrozenNetwork, path: Path) -> str | None:
    """The data that the user names, or the checkpoint, if either does."""
    return source.data or _stated(frozen.details, "data", path)


def read_data(source: Source, frozen: FrozenNetwork, path: Path) -> tuple[DataSet, str]:
    """The data and the loss's name.

    Raises:
        InputError: none is named, or they do not fit the network.
    """
    details, spec = frozen.details, data_spec(source, frozen, path)
    if spec is None:
        raise InputError(
            f"{path}: does not say what data it was trained on; add --data mnist, or a file with x and y"
        )
    examples = details.get("examples") if source.data is None and source.examples is None else source.examples
    if not isinstance(examples, int | None):
        raise InputError(f"{path}: its description is damaged (examples {examples!r}); train again")
    named = source.loss or _stated(details, "loss", path)
    if is_text_spec(spec) and is_tokenised_text(path):
        masks = type(frozen.network).__name__.endswith("ForMaskedLM")
        data = DataSet(spec, Batches([Batch(*tokenised_windows(spec, path, masks=masks))])).head(examples)
        named = named or ("cross-entropy" if masks else "next-token")
    else:
        data = load_data(spec, examples=examples)
    if frozen.spec is not None and frozen.spec.vocabulary is None:
        data = data.in_floats()
    loss, function = resolve_loss(named, data.batches)
    if not isinstance(function, ModelLoss):  # which calls the network as only it knows how
        check_data_fits(frozen, data, loss)
    return data, loss


def _stated(details: Mapping[str, Any], name: str, path: Path) -> str | None:
    """What a checkpoint says of itself, unless that is code, which only the user may name.

    Raises:
        InputError: it names a Python callable, or is no text.
    """
    value = details.get(name)
    ours = name == "data" and isinstance(value, str) and value.startswith(("mnist:", "text:"))
    if value is None or ours or (isinstance(value, str) and not is_callable_spec(value)):
        return value
    raise InputError(
        f"{path}: says {name} {value}, which is code to run; add --{name} yourself if you trust it"
    )


def _following(networks: NetworkSeries, index: int, direction: str) -> Mapping[str, Tensor] | None:
    """The next checkpoint's parameters, where they are the direction."""
    if direction != "update":
        return None
    network = networks.load(index + 1, beside=index).network
    return {name: parameter.detach() for name, parameter in network.named_parameters()}


def _measured_networks(networks: NetworkSeries, direction: str) -> Sequence[NetworkRecord]:
    """The last checkpoint has no update to follow."""
    if direction != "update":
        return networks
    if len(networks) < 2:
        raise InputError("--direction update: needs at least two checkpoints, in training order")
    return networks[:-1]


def slices(
    prepared: Prepared,
    settings: SliceSettings,
    *,
    skip: Callable[[int], bool] | None = None,
    what: str = "probing",
    share: Share = ALONE,
    quiet: bool = False,
) -> Iterator[tuple[int, xr.Dataset]]:
    """Measure checkpoint after checkpoint, with a progress bar on a terminal's standard error unless ``quiet``."""
    measured = _measured_networks(prepared.networks, settings.direction)
    todo = [index for index in range(len(measured)) if skip is None or not skip(index)]
    function = resolve_loss(prepared.loss, prepared.data.batches)[1]
    total = len(measured) * evaluations_per_slice(settings)
    done = (len(measured) - len(todo)) * evaluations_per_slice(settings)
    hidden = True if quiet else None  # None: hidden where there is no terminal
    with tqdm(total=total, initial=done, desc=what, unit="eta", disable=hidden, file=sys.stderr) as bar:
        for index in todo:
            bar.set_postfix_str(measured[index].label)
            dataset = measure_slice(
                prepared.networks.load(index).network,
                prepared.data.batches,
                settings=settings,
                loss=function,
                names=measured[index].names,
                label=measured[index].label,
                following=_following(prepared.networks, index, settings.direction),
                progress=bar.update,
                share=share,
            )
            yield index, _described(dataset, measured[index], prepared)
            fitted = dataset.attrs["chunk"]
            if fitted < settings.chunk:  # memory ran out: the next checkpoint need not find out again
                settings = replace(settings, chunk=fitted)


def _described(dataset: xr.Dataset, frozen: NetworkRecord, prepared: Prepared) -> xr.Dataset:
    """Add what is known of the checkpoint and what is needed to repeat the run."""
    details = frozen.details
    coordinates = {
        "step": details.get("step"),
        "epoch": details.get("epoch"),
        "train_accuracy": details.get("train_accuracy"),
    }
    for name, value in coordinates.items():
        number = float(value) if isinstance(value, int | float) else float("nan")
        dataset = dataset.assign_coords({name: ("checkpoint", [number])})
    dataset = dataset.assign_coords(weights_hash=("checkpoint", [frozen.digest]))
    dataset.attrs |= {
        "loss": prepared.loss,
        "data": prepared.data.spec,
        "data_hash": prepared.data.digest(),
        "data_note": prepared.data.note,
        "noise_floor": float(dataset["noise_floor"].max()),
        "versions": versions(),
        "command": " ".join(sys.argv),
        "threads": torch.get_num_threads(),
    }
    return dataset


def versions() -> str:
    """Versions of what computes, in one line."""
    packages = ("deep-relative-trust", "torch", "numpy", "scipy", "xarray")
    return ", ".join(
        [f"python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)]
    )


def plan(
    source: Source,
    settings: SliceSettings,
    out: Path | None = None,
    *,
    auto_chunk: bool = False,
    estimate: bool = False,
    share: Share = ALONE,
) -> tuple[Prepared, Planned]:
    """Read and check everything, and settle what a run settles before it measures; nothing is written.

    Args:
        source: checkpoints, network, data and loss.
        settings: what to measure.
        out: the results' folder; None for a run that keeps nothing.
        auto_chunk: choose how many examples are evaluated at once by a short timing, in place of
            ``settings.chunk``.
        estimate: say what a short run will take, too.
        share: the processes that read it, each for itself; the first of them settles.

    Raises:
        InputError: anything given that cannot be used.
    """
    settings, prepared = _prepared_together(source, settings, share)
    first = prepared.networks[0]
    measured = _measured_networks(prepared.networks, settings.direction)
    decisive: dict[str, Any] = {**asdict(settings), "etas": settings.etas.tolist()}
    decisive["perturb"] = list(settings.perturb)
    decisive |= {
        "checkpoints": [frozen.digest for frozen in measured],
        "data": prepared.data.digest(),
        "loss": prepared.loss,
        "network": str(first.spec or source.network),
    }
    function = resolve_loss(prepared.loss, prepared.data.batches)[1]
    network = prepared.networks.load(0).network
    probed = Probed(network, first.names, prepared.data.batches, function, len(measured))
    settled = share.first(
        lambda: plan_run(probed, settings, decisive, out, auto_chunk=auto_chunk, estimate=estimate)
    )
    return prepared, settled


def measure(
    source: Source,
    settings: SliceSettings,
    *,
    auto_chunk: bool = False,
    what: str = "probing",
    share: Share = ALONE,
) -> xr.Dataset:
    """Measure every checkpoint's slice and keep nothing on disk; all processes of ``share`` get all.

    Raises:
        InputError: anything given that cannot be used.
    """
    prepared, planned = plan(source, settings, auto_chunk=auto_chunk, share=share)
    measured = slices(prepared, planned.settings, what=what, share=share, quiet=share.rank > 0)
    return join([dataset for _, dataset in measured])


def _prepared_together(
    source: Source, settings: SliceSettings, share: Share
) -> tuple[SliceSettings, Prepared]:
    """What every process reads for itself, and must find the same.

    Raises:
        InputError: what one of them cannot use ends all.
    """
    settings = share.together(lambda: replace(settings, device=resolve_device(settings.device)))
    prepared = share.together(lambda: prepare(source))
    if share.size > 1:
        digests = {
            "checkpoints": " ".join(frozen.digest for frozen in prepared.networks),
            "data": prepared.data.digest(),
        }
        share.agree(digests, remedy="give them as files that do not change, without randomness of their own")
    return settings, prepared


def measure_run(
    source: Source,
    settings: SliceSettings,
    out: Path,
    *,
    auto_chunk: bool = False,
    what: str = "probing",
    order: Callable[[TrainingOrder], object] = lambda _: None,
    share: Share = ALONE,
    shard: str = "data",
) -> RunFolder:
    """Measure every checkpoint's slice into ``out``, skipping what is there already.

    Args:
        source: checkpoints, network, data and loss.
        settings: what to measure.
        out: the results' folder.
        auto_chunk: choose how many examples are evaluated at once by a short timing, in place of
            ``settings.chunk``. The choice is kept in the folder, and holds for whoever continues.
        what: the progress bar's word.
        order: called with the order in which the checkpoints are taken.
        share: the processes that measure it together, all called with the same arguments.
        shard: a name of :data:`probes.system.processes.SHARDS`: how they divide the work.

    Raises:
        InputError: anything given that cannot be used; what was measured before stays.
    """
    prepared, planned = plan(source, settings, out, auto_chunk=auto_chunk, share=share)
    order(prepared.order)
    settings, estimate = planned.settings, planned.estimate
    folder = RunFolder(out)
    details: dict[str, Any] = {
        "versions": versions(),
        "command": sys.argv,
        "data": prepared.data.spec,
        "processes": share.size,
    }
    if auto_chunk:
        details["chunk"] = planned.choice.to_json()

    def opened() -> tuple[list[int], int]:
        folder.open(planned.plan, details)
        # what the folder says counts, should two runs have begun it at once
        kept = (recorded_choice(out) if auto_chunk else None) or planned.choice
        return [index for index in range(len(planned.measured)) if not folder.has_slice(index)], kept.chunk

    with folder:
        missing, chunk = share.first(opened)
        settings = replace(settings, chunk=chunk)
        if share.rank > 0 and shard == "checkpoints":
            folder.attach()
        if share.rank == 0 and estimate is not None and is_worth_saying(estimate):
            print(f"probe: {estimate.line()}", file=sys.stderr, flush=True)
        together = share if shard == "data" else ALONE
        mine = set(missing if shard == "data" else missing[share.rank :: share.size])
        quiet = share.rank > 0
        done = slices(
            prepared, settings, skip=lambda index: index not in mine, what=what, share=together, quiet=quiet
        )
        for index, dataset in done:
            if together.rank == 0:
                folder.write_slice(index, dataset)
        share.wait()
    return folder
