"""Data that a network cannot take is refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from probes import InputError
from probes.checkpoints.checkpoint import read_checkpoint
from probes.data.dataset import DataSet
from probes.data.losses import LOSSES, ResolvedLoss
from probes.networks.data_fit import check_data_fits, check_spec_fits
from probes.networks.frozen_network import load_network
from tests.probes.networks.examples import CONV, TRANSFORMER, toy
from tests.support.reference import make_data

CROSS_ENTROPY = ResolvedLoss("cross-entropy", LOSSES["cross-entropy"])


def test_data_that_the_network_cannot_take(tmp_path: Path) -> None:
    x, y = make_data()
    torch.save(nn.Linear(6, 3).state_dict(), tmp_path / "net.pt")
    checkpoint = read_checkpoint(tmp_path / "net.pt")
    for frozen in (load_network(checkpoint), load_network(checkpoint, network=lambda: nn.Linear(6, 3))):
        check_data_fits(frozen, DataSet("d", x, y), CROSS_ENTROPY)
        for bad_x, bad_y in ((x[:, :5], y), (x, y + 1), (x, y - 1)):
            with pytest.raises(InputError, match="data='d'"):
                check_data_fits(frozen, DataSet("d", bad_x, bad_y), CROSS_ENTROPY)


def test_data_that_does_not_fit() -> None:
    images, text = toy(CONV), toy(TRANSFORMER)
    check_spec_fits(CONV, images, "cross-entropy")
    check_spec_fits(TRANSFORMER, text, "cross-entropy")
    check_spec_fits(TRANSFORMER, DataSet("d", text.x[:, :3], text.y[:, :3]), "cross-entropy")
    for spec, data, part in (
        (CONV, text, "real numbers"),
        (TRANSFORMER, images, "characters"),
        (CONV, DataSet("d", images.x[:, :35], images.y), "36"),
        (CONV, DataSet("d", images.x, images.y + 1), "labels"),
        (CONV, DataSet("d", images.x, images.y[:, None]), "one label an example"),
        (TRANSFORMER, DataSet("d", text.x + 1, text.y), "character"),
        (TRANSFORMER, DataSet("d", text.x - 1, text.y), "character"),
        (TRANSFORMER, DataSet("d", text.x, text.y + 1), "labels"),
        (TRANSFORMER, DataSet("d", text.x, text.y[:, 0]), "one label a character"),
        (TRANSFORMER, DataSet("d", text.x.repeat(1, 2), text.y.repeat(1, 2)), "10 characters"),
    ):
        with pytest.raises(InputError, match=part):
            check_spec_fits(spec, data, "cross-entropy")
