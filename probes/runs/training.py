"""``probe train``: networks, checkpoints where they are wanted, and the accuracy of every step."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from probes.checkpoints.adam import keep_adam_state
from probes.checkpoints.checkpoint import read_checkpoint, write_checkpoint
from probes.data.dataset import DataSet, load_data
from probes.data.labels import accuracy_of
from probes.data.losses import BatchLoss, ExampleLoss, ModelLoss, resolve_loss
from probes.errors import InputError, mention
from probes.evaluation.evaluator import Evaluator
from probes.evaluation.products import fastest_route, multiplying, shapes_of
from probes.networks.data_fit import check_spec_fits
from probes.networks.kinds import build
from probes.runs.optimizers import LOOKING, make_optimizer
from probes.runs.schedule import checkpoint_steps
from probes.runs.training_settings import MOST_STEPS, TrainingSettings
from probes.system.files import write_atomically
from probes.system.garbage import look_as_ever
from probes.system.json_files import read_json
from probes.system.locks import FolderLock, claim_folder
from probes.system.seals import sealed, unsealed
from probes.system.terminal import has_terminal, say
from trust.optim import agd_initialisation_

__all__ = ["DivergedError", "TrainingSettings", "train"]
_STATE = ".training-state"
_WORTH_THREADS = (
    400_000  # activations a layer: below, a second thread made a step slower (measured at width 256)
)


class DivergedError(InputError):
    """Training led to weights that are no numbers."""


@dataclass
class _State:
    """A training run between two steps, and what multiplies, which is settled once."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    order: torch.Generator
    permutation: Tensor
    step: int
    history: list[tuple[int, int, float, float, float]]
    matmul: str = "torch"

    def save(self, path: Path, identity: str) -> None:
        """Write all that is needed to go on exactly as if nothing had happened."""
        content = {
            "identity": identity,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "order": self.order.get_state(),
            "permutation": self.permutation,
            "step": self.step,
            "matmul": self.matmul,
            "history": torch.tensor(self.history, dtype=torch.float64),
        }
        stream = io.BytesIO()  # of a full disk torch.save would say something else
        torch.save(content, stream)
        write_atomically(path, sealed(stream.getbuffer()))

    def restore(self, content: Mapping[str, Any]) -> None:
        """Take up what :meth:`save` wrote."""
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.order.set_state(content["order"])
        self.permutation = content["permutation"]
        self.step = content["step"]
        self.matmul = str(content.get("matmul", "torch"))
        rows = content["history"].tolist()
        self.history = [
            (int(step), int(epoch), loss, accuracy, lr) for step, epoch, loss, accuracy, lr in rows
        ]


def train(
    settings: TrainingSettings,
    out: str | PathLike[str],
    *,
    data: DataSet | None = None,
    what: str = "training",
) -> list[Path]:
    """Train, saving checkpoints as it goes; the same call on the same folder continues or finds it done.

    Writes ``checkpoint-000000.safetensors`` and so on (the number is the step), and ``training.csv`` with the
    loss and accuracy of every step's batch before that step.

    Returns:
        The checkpoints' files, in training order.

    Raises:
        InputError: options or data that do not fit, or a folder that holds something else.
    """
    out = Path(out)
    data = data if data is not None else load_data(settings.data, examples=settings.examples)
    if settings.network.vocabulary is None:
        data = data.in_floats()
    size = settings.batch_size or len(data)
    epoch_steps = settings.epoch_steps or math.ceil(len(data) / size)
    if settings.epochs * epoch_steps > MOST_STEPS:
        raise InputError(
            f"{mention('epochs', settings.epochs)}: of {epoch_steps} steps each are more than the {MOST_STEPS} that"
            " can be trained"
        )
    shallow = settings.network.depth <= 2 or settings.network.residual
    steps = checkpoint_steps(
        settings.checkpoints, epochs=settings.epochs, epoch_steps=epoch_steps, shallow=shallow
    )
    loss_name, loss = resolve_loss(settings.loss, data.y)
    if isinstance(loss, BatchLoss | ModelLoss):
        raise InputError(
            f"{mention('loss', loss_name)}: networks are trained on a loss of (outputs, targets) only"
        )
    check_spec_fits(settings.network, data, loss_name)
    _check_batches(settings, data)
    identity = json.dumps({**settings.identity(), "data_hash": data.digest()}, sort_keys=True)
    total = settings.epochs * epoch_steps
    if _finished(out, identity, steps, total):
        return [out / _checkpoint_name(step) for step in steps]
    state = _begin(settings, data, loss)
    details = {
        "network": settings.network.to_json(),
        "data": settings.data,
        "examples": settings.examples,
        "data_hash": data.digest(),
        "loss": loss_name,
        "optimizer": settings.optimizer,
        "lr": settings.lr,
        "lr_decay": settings.lr_decay,
        "batch_size": size,
        "seed": settings.seed,
        **settings.options(),
        **_beta1(state.optimizer),
    }
    with (
        _open_folder(out, identity, state, steps),
        _few_threads(size * settings.network.widest),
        look_as_ever(),
        multiplying(state.matmul),
        tqdm(
            total=total,
            initial=state.step,
            desc=what,
            unit="step",
            disable=not has_terminal(),
            file=sys.stderr,
        ) as bar,
    ):
        while True:
            if state.step in steps:
                own = {
                    "epoch": state.step / epoch_steps,
                    "learning_rate": settings.rate(state.step, epoch_steps),
                }
                _save_checkpoint(state, out, data, {**details, **own})
                _write_history(out, state)
                state.save(out / _STATE, identity)
            if state.step >= total:
                break
            _step(state, data, loss, settings, epoch_steps)
            bar.update(1)
        _write_history(out, state)
        state.save(out / _STATE, identity)
    return [out / _checkpoint_name(step) for step in steps]


@contextmanager
def _few_threads(activations: int) -> Iterator[None]:
    """One thread while a step is small: threads that wait for each other at every layer cost more than they do.

    It also makes small trainings come out the same whatever the number of cores.
    """
    before = torch.get_num_threads()
    if activations < _WORTH_THREADS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _check_batches(settings: TrainingSettings, data: DataSet) -> None:
    size = settings.batch_size or len(data)
    if size > len(data):
        raise InputError(f"{mention('batch_size', settings.batch_size)}: there are only {len(data)} examples")
    if settings.network.norm == "batch" and (size == 1 or len(data) % size == 1):
        raise InputError(
            f"{mention('batch_size', settings.batch_size)}: would leave a batch of 1 of the {len(data)} examples, and"
            " batch norm needs at least 2; choose another size"
        )


def _beta1(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """How much of the mean of gradients Adam keeps, which its edge of stability depends on."""
    betas = optimizer.defaults.get("betas")
    return {} if betas is None else {"beta1": betas[0]}


def _begin(settings: TrainingSettings, data: DataSet, loss: ExampleLoss) -> _State:
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(settings.seed)
        model = build(settings.network)
        if settings.initialization == "agd":
            for tensor in model.parameters():
                if tensor.ndim >= 2:
                    agd_initialisation_(tensor)
    given: dict[str, Any] = settings.options()
    if settings.optimizer == "exponential-euler":
        given["evaluator"] = Evaluator(model, data.batches, None, loss)
    optimizer = make_optimizer(settings.optimizer, model.parameters(), lr=settings.lr, **given)
    order = torch.Generator().manual_seed(settings.seed)
    size = settings.batch_size or len(data)
    matmul = fastest_route("auto", shapes_of(dict(model.named_parameters()), size))
    return _State(model, optimizer, order, torch.empty(0, dtype=torch.int64), 0, [], matmul)


def _finished(out: Path, identity: str, steps: list[int], total: int) -> bool:
    """Whether nothing is left to do, told without making an optimizer; what is in doubt is left to who continues."""
    try:
        same = read_json(out / "training.json") == json.loads(identity)
        whole = unsealed((out / _STATE).read_bytes())
        if not same or whole is None or not (out / "training.csv").is_file():
            return False
        content = torch.load(io.BytesIO(whole), map_location="cpu", weights_only=True)
        reached = content["step"] if content["identity"] == identity else 0
        return bool(reached >= total) and all(_is_whole(out / _checkpoint_name(step), step) for step in steps)
    except Exception:  # of files that somebody else made: unpickling raises anything
        return False


def _open_folder(out: Path, identity: str, state: _State, steps: list[int]) -> FolderLock:
    """Make the folder this training's, or continue what is in it, with its lock held."""
    lock = claim_folder(out, lambda: _refuse_another(out, identity))
    try:
        manifest = out / "training.json"
        if not manifest.is_file():
            write_atomically(manifest, identity.encode())
        _continue(state, out, identity, steps)
    except BaseException:
        lock.release()
        raise
    return lock


def _refuse_another(out: Path, identity: str) -> None:
    """Refuse a folder that holds something else.

    Raises:
        InputError: it does.
    """
    manifest = out / "training.json"
    if manifest.is_file():
        try:
            same = read_json(manifest) == json.loads(identity)
        except ValueError:
            same = False
        if not same:
            raise InputError(f"{out}: holds another training run; choose another `out`")
        return
    if out.is_dir() and any(not entry.name.startswith(".") for entry in out.iterdir()):
        raise InputError(f"{out}: is not empty and holds no training run of ours; choose another `out`")


def _continue(state: _State, out: Path, identity: str, steps: list[int]) -> None:
    """Take up an interrupted run, unless a checkpoint that it had saved is gone."""
    path = out / _STATE
    if not path.is_file():
        return
    with _damage_told(path):
        whole = unsealed(path.read_bytes())
        if whole is None:
            raise ValueError("its checksum does not fit")
        content = torch.load(io.BytesIO(whole), map_location="cpu", weights_only=True)
        same, reached = content["identity"] == identity, int(content["step"])
    lost = [step for step in steps if step < reached and not _is_whole(out / _checkpoint_name(step), step)]
    if lost:
        path = out / _checkpoint_name(lost[0])
        say(f"probe: {path}: is missing or damaged; training from the start", err=True)
    elif same:
        with _damage_told(path):
            state.restore(content)


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """Say what to do about a state that cannot be taken up."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # of a file that somebody else made: unpickling raises anything
        raise InputError(f"{path}: is damaged ({error}); delete it to train from the start") from error


def _is_whole(path: Path, step: int) -> bool:
    """Whether the checkpoint of a step is as it was saved.

    Raises:
        OSError: it is there and cannot be read.
    """
    if not path.is_file():
        return False
    path.open("rb").close()
    try:
        return read_checkpoint(path).details.get("step") == step
    except InputError:
        return False


def _batches(state: _State, count: int, size: int) -> Iterator[Tensor]:
    """Endless batches, a new order for each pass; the position follows from the step alone."""
    per_pass = math.ceil(count / size)
    while True:
        place = state.step % per_pass
        if place == 0:
            state.permutation = torch.randperm(count, generator=state.order)
        yield state.permutation[place * size : (place + 1) * size]


def _step(
    state: _State, data: DataSet, loss: ExampleLoss, settings: TrainingSettings, epoch_steps: int
) -> None:
    lr = settings.rate(state.step, epoch_steps)
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    x, y = data.x, data.y
    if settings.batch_size is not None:
        index = next(_batches(state, len(data), settings.batch_size))
        x, y = x[index], y[index]
    x = _inputs(x)
    state.model.train()

    def gradients() -> tuple[Tensor, Tensor]:
        state.optimizer.zero_grad()
        outputs = state.model(x)
        mean = loss(outputs, y).mean()
        mean.backward()  # type: ignore[no-untyped-call]
        return mean.detach(), outputs.detach()

    mean, outputs = gradients()
    hits = accuracy_of(outputs, y)
    accuracy = float("nan") if hits is None else float(hits) / len(y)
    state.history.append((state.step, state.step // epoch_steps, float(mean), accuracy, lr))
    if settings.optimizer in LOOKING:
        state.optimizer.step(lambda: gradients()[0])  # type: ignore[arg-type, return-value]
    else:
        state.optimizer.step()
    state.step += 1


def _inputs(x: Tensor) -> Tensor:
    """In the precision of training; characters stay what they are."""
    return x.to(torch.float32) if x.is_floating_point() else x


def _checkpoint_name(step: int) -> str:
    return f"checkpoint-{step:06d}.safetensors"


def _save_checkpoint(state: _State, out: Path, data: DataSet, details: dict[str, Any]) -> None:
    tensors = state.model.state_dict()
    if any(
        not bool(torch.isfinite(tensor).all()) for tensor in tensors.values() if tensor.is_floating_point()
    ):
        raise DivergedError(f"the network has NaN or infinite weights at step {state.step}; lower `lr`")
    own = {"step": state.step, "train_accuracy": _accuracy(state.model, data)}
    path = out / _checkpoint_name(state.step)
    if isinstance(state.optimizer, torch.optim.Adam):
        keep_adam_state(path, tensors, state.model.named_parameters(), state.optimizer)
    write_checkpoint(path, tensors, {**details, **own})


def _accuracy(model: nn.Module, data: DataSet) -> float | None:
    """Accuracy on the whole training set, in evaluation mode; None where the targets are not labels."""
    model.eval()
    right = 0.0
    with torch.no_grad():
        for start in range(0, len(data), 1000):
            y = data.y[start : start + 1000]
            hits = accuracy_of(model(_inputs(data.x[start : start + 1000])), y)
            if hits is None:
                return None
            right += float(hits)
    return right / len(data)


def _write_history(out: Path, state: _State) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", "epoch", "loss", "accuracy", "lr"])
    writer.writerows(state.history)
    write_atomically(out / "training.csv", text.getvalue().encode())
