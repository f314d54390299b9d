"""Results of a tiny run, as each version of the schema wrote them; run this module with a folder to write them into.

``schema-2`` beside this file was made so. Once a schema is released its results are never made again: later versions
must read what earlier ones wrote.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from probes.checkpoints.checkpoint import write_checkpoint
from probes.measures.settings import SliceSettings
from probes.networks.perceptron import Perceptron, PerceptronSpec
from probes.runs.run import measure_run
from probes.runs.source import Source

SPEC = PerceptronSpec((2, 3, 2), "tanh", biases=(True, True))
ETAS = [0.0, 0.01, 0.1]


def make_network(step: int) -> Perceptron:
    """A network whose weights follow from its step alone, by arithmetic that is the same everywhere."""
    network = Perceptron(SPEC)
    state = {
        name: torch.tensor([(7 * k + 3 * place + step) % 11 / 8 - 0.625 for k in range(tensor.numel())])
        .reshape(tensor.shape)
        .to(torch.float32)
        for place, (name, tensor) in enumerate(network.state_dict().items())
    }
    network.load_state_dict(state)
    return network


def make_data() -> tuple[np.ndarray, np.ndarray]:
    """Four examples of two classes."""
    return np.array([[0.5, -1.0], [1.5, 0.25], [-0.75, 1.0], [0.125, 2.0]], np.float32), np.array(
        [0, 1, 0, 1]
    )


def make(out: Path) -> None:
    """Measure two checkpoints into ``out``."""
    out = out.absolute()
    before, torch_threads = Path.cwd(), torch.get_num_threads()
    with TemporaryDirectory() as folder:
        os.chdir(folder)  # what is recorded of paths is the same wherever it is made
        torch.set_num_threads(1)
        try:
            x, y = make_data()
            np.savez("data.npz", x=x, y=y)
            Path("net").mkdir()
            for step in (0, 5):
                details = {"network": SPEC.to_json(), "step": step, "epoch": step / 5, "train_accuracy": 0.5}
                write_checkpoint(
                    Path("net") / f"checkpoint-{step}.safetensors", make_network(step).state_dict(), details
                )
            sys.argv = ["probe", "run", "net", "--data", "data.npz", "--out", "results"]
            measure_run(Source(("net",), data="data.npz"), out, settings=SliceSettings(etas=np.array(ETAS)))
        finally:
            torch.set_num_threads(torch_threads)
            os.chdir(before)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
