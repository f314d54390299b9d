"""The networks of a run are all one network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from probes import InputError
from probes.checkpoints.checkpoint import read_checkpoint, write_checkpoint
from probes.networks.frozen_network import load_network
from probes.networks.kinds import build
from probes.networks.transformer import TransformerSpec
from probes.runs.source import Source, prepare
from probes.runs.training import train
from tests.probes.networks.examples import CONV, plan_for, toy


def test_checkpoints_of_different_networks_are_not_mixed(tmp_path: Path) -> None:
    data = toy(CONV)
    np.savez(tmp_path / "d.npz", x=data.x.numpy(), y=data.y.numpy())
    files = [
        str(train(plan_for(spec, epochs=1, data="toy"), tmp_path / name, data=data)[0])
        for name, spec in (("a", CONV), ("b", replace(CONV, norm="batch")))
    ]
    prepare(Source((files[0],), data=str(tmp_path / "d.npz")))
    with pytest.raises(InputError, match="another network"):
        prepare(Source(tuple(files), data=str(tmp_path / "d.npz")))
    first = load_network(read_checkpoint(Path(files[0])))
    assert prepare(Source((files[0],), data=str(tmp_path / "d.npz"))).networks[0].spec == first.spec
    corpus = tmp_path / "corpus"
    corpus.write_bytes(bytes(range(64, 128)) * 8)
    for heads in (2, 4):  # tensors of the same names and shapes
        wide = TransformerSpec(width=8, heads=heads, blocks=1)
        write_checkpoint(
            tmp_path / f"{heads}.safetensors", build(wide).state_dict(), {"network": wide.to_json()}
        )
    pair = tuple(str(tmp_path / f"{heads}.safetensors") for heads in (2, 4))
    prepare(Source(pair[:1], data=f"text:{corpus}"))
    with pytest.raises(InputError, match="another network"):
        prepare(Source(pair, data=f"text:{corpus}"))
    with pytest.raises(InputError, match="activation="):
        prepare(Source((files[0],), data=str(tmp_path / "d.npz"), activation="tanh"))
