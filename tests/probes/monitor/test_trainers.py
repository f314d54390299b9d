"""The callbacks in real small trainings of others' trainers, against the commands on the checkpoints these saved."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import probes
from tests.conftest import Probe
from tests.probes.monitor.trainings import loss_of, make, make_data

pytestmark = pytest.mark.slow  # other people's trainers


def distance(probe: Probe, folder: Path, step: int) -> dict[str, float]:
    """What ``probe distance`` says of a step, and deep relative trust under an empty name."""
    said = probe("distance", folder / f"{step - 1}.pt", folder / f"{step}.pt", "--json")
    assert said.exit_code == 0, said.output
    found = json.loads(said.stdout)
    return {one["name"]: one["relative"] for one in found["layers"]} | {"": found["distance"]}


def logged(log: Any, step: int) -> dict[str, float]:
    """The same as logged."""
    at = log.sel(step=step)
    names = at["layer"].values.tolist()
    return dict(zip(names, at["relative_update"].values.tolist(), strict=True)) | {
        "": float(at["deep_relative_trust"])
    }


def test_lightning(probe: Probe, tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch", reason="Lightning is not installed")
    from probes.monitor.lightning import MonitorCallback

    class Task(lightning.LightningModule):  # type: ignore[misc, name-defined]
        """A perceptron, trained with gradients accumulated over two batches."""

        def __init__(self) -> None:
            super().__init__()
            self.layers = make().layers

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers[:-1]:
                x = layer(x).relu()
            return self.layers[-1](x)  # type: ignore[no-any-return]

        def training_step(self, batch: Any) -> Tensor:
            return loss_of(self, *batch)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    class Saving(lightning.Callback):  # type: ignore[misc, name-defined]
        """Every batch, the weights as they are."""

        def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
            torch.save(module.state_dict(), tmp_path / f"{trainer.global_step}.pt")

    x, y = make_data(32)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=8)
    watching = MonitorCallback(log=tmp_path / "log.jsonl", held=(x, y), every=2, updates_every=1)
    trainer = lightning.Trainer(
        max_epochs=2,
        accumulate_grad_batches=2,
        callbacks=[watching, Saving()],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(Task(), loader)
    log = probes.read_log(tmp_path / "log.jsonl")
    assert log["step"].values.tolist() == [1, 2, 3, 4]
    assert log["limit_step"].values.tolist() == [2, 4]
    assert log.attrs["closed"]
    for step in (2, 3, 4):
        assert logged(log, step) == pytest.approx(distance(probe, tmp_path, step), rel=1e-6)
    torch.save({"x": x, "y": y}, tmp_path / "data.pt")
    options = ("--activation", "relu", "--data", tmp_path / "data.pt", "--device", "cpu", "--json")
    (limit,) = json.loads(probe("limit", tmp_path / "4.pt", *options).stdout)
    for name in ("measured", "predicted", "constant", "loss"):
        assert float(log[name][-1]) == pytest.approx(limit[name], rel=1e-6), name


def test_transformers(probe: Probe, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="Transformers is not installed")
    pytest.importorskip("accelerate", reason="Transformers' trainer needs accelerate")
    from probes.monitor.transformers import MonitorCallback

    class Saving(transformers.TrainerCallback):  # type: ignore[misc, name-defined]
        """Every step, the weights as they are."""

        def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            torch.save(given["model"].state_dict(), tmp_path / f"{state.global_step}.pt")

    def loss(model: nn.Module, batch: Any) -> Tensor:
        found: Tensor = model(**batch).loss
        return found

    torch.manual_seed(0)
    tokens = torch.randint(0, 17, (24, 12))
    shape = {"n_layer": 2, "n_embd": 16, "n_head": 2, "n_positions": 12, "vocab_size": 17}
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(**shape, bos_token_id=0, eos_token_id=0, tie_word_embeddings=False)
    )
    examples = [{"input_ids": row, "labels": row} for row in tokens]
    held = [{"input_ids": tokens[:8], "labels": tokens[:8]}]
    watching = MonitorCallback(log=tmp_path / "log.jsonl", held=held, loss=loss, every=3, updates_every=1)
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "out"),
        max_steps=4,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    transformers.Trainer(
        model=model, args=arguments, train_dataset=examples, callbacks=[watching, Saving()]
    ).train()
    log = probes.read_log(tmp_path / "log.jsonl")
    assert log["step"].values.tolist() == [1, 2, 3, 4]
    assert log["limit_step"].values.tolist() == [3]
    assert float(log["measured"][0]) > 0
    assert log.attrs["closed"]
    for step in (2, 3, 4):
        assert logged(log, step) == pytest.approx(distance(probe, tmp_path, step), rel=1e-6)


@pytest.mark.parametrize(
    ("adapter", "library", "extra"),
    [("lightning", "lightning", "lightning"), ("transformers", "transformers", "hf")],
)
def test_without_the_library_it_says_what_to_install(adapter: str, library: str, extra: str) -> None:
    code = f"""
import sys
sys.modules[{library!r}] = None
try:
    import probes.monitor.{adapter}
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"pip install 'deep-relative-trust[{extra}]'" in done.stdout
