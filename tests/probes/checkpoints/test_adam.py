"""Adam's second moments: of our checkpoints, of torch's, and of files that tell a story."""

from __future__ import annotations

import copy
import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from probes import InputError
from probes.checkpoints.adam import adam_state
from probes.checkpoints.checkpoint import read_checkpoint
from probes.checkpoints.order import training_order
from probes.runs.source import Source, prepare
from probes.runs.training import train
from probes.system.seals import digest_of
from tests.probes.runs.test_full_batch import FULL, gradient, replace, toy, weights_of


@pytest.fixture
def trained(tmp_path: Path) -> list[Path]:
    return train(replace(FULL, optimizer="adam", lr=0.01), tmp_path / "run", data=toy())


def test_second_moments_of_ours_are_means_of_squared_gradients(trained: list[Path]) -> None:
    assert adam_state(trained[0]) is None  # before the first step there are none
    v = {name: torch.zeros_like(tensor) for name, tensor in weights_of(trained[0]).items()}
    for t, (before, after) in enumerate(itertools.pairwise(trained), 1):
        for name, g in gradient(weights_of(before))[1].items():
            v[name] = 0.999 * v[name] + 0.001 * g * g
        found = adam_state(after)
        assert found is not None
        assert (found.step, found.beta1, found.beta2, found.eps) == (t, 0.9, 0.999, 1e-8)
        assert list(found.second_moments) == list(read_checkpoint(after).tensors)
        for name, P in found.preconditioner().items():
            torch.testing.assert_close(found.second_moments[name].double(), v[name], rtol=1e-3, atol=1e-12)
            expected = (1 - 0.9**t) * ((v[name] / (1 - 0.999**t)).sqrt() + 1e-8)
            torch.testing.assert_close(P, expected, rtol=1e-3, atol=1e-8)


def test_adams_step_is_preconditioned_descent(trained: list[Path]) -> None:
    """After one step the mean of gradients is (1 − β₁) g, and w moves by η P⁻¹ (1 − β₁) g."""
    found = adam_state(trained[1])
    assert found is not None
    before, after = weights_of(trained[0]), weights_of(trained[1])
    for name, g in gradient(before)[1].items():
        move = 0.01 * 0.1 * g / found.preconditioner()[name]
        torch.testing.assert_close(after[name], before[name] - move, rtol=1e-5, atol=1e-6)


def test_what_lies_beside_checkpoints_is_none_of_them(trained: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert training_order([folder]).paths == trained
    assert len(prepare(Source(str(folder), data=(toy().x, toy().y))).networks) == len(trained)
    with pytest.raises(InputError, match="holds Adam's second moments and no network"):
        read_checkpoint(folder / "optimizer-state" / trained[1].name)
    other = train(FULL, tmp_path / "sgd", data=toy())
    assert not (tmp_path / "sgd" / "optimizer-state").exists()
    assert adam_state(other[2]) is None


def rewritten(file: Path, change: Any, *, seal: bool = True) -> None:
    """The file of moments with other tensors or another description."""
    with safe_open(file, framework="pt") as stream:
        (key,), described = stream.metadata(), json.loads(next(iter(stream.metadata().values())))
    moments = load_file(file)
    change(moments, described)
    if seal:
        from probes.checkpoints.checkpoint import tensors_digest

        described["moments"] = tensors_digest(moments)
        described["sha256"] = digest_of(described)
    save_file(moments, file, {key: json.dumps(described)})


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda v, d: v["layers.0.weight"].neg_(), "no means of squares"),
        (lambda v, d: v["layers.0.bias"].fill_(math.nan), "no means of squares"),
        (lambda v, d: v.update({"layers.0.bias": torch.ones(3)}), "other shapes"),
        (lambda v, d: v.update({"more": torch.ones(3)}), "other shapes"),
        (lambda v, d: d.update(step=0), "after 0 steps"),
        (lambda v, d: d.update(step="1"), "no numbers"),
        (lambda v, d: d.update(step=1e300), "after 1e+300 steps"),
        (lambda v, d: d.update(betas=[0.9]), "betas are"),
        (lambda v, d: d.update(betas=[1.0, 0.999]), "none of Adam's"),
        (lambda v, d: d.update(eps=-1), "none of Adam's"),
        (lambda v, d: d.update(eps=[]), "no numbers"),
        (lambda v, d: d.pop("step"), "step"),
        (lambda v, d: d.update(checkpoint="0" * 64), "another checkpoint"),
    ],
)
def test_damaged_moments_are_refused(trained: list[Path], change: Any, part: str) -> None:
    file = trained[2].parent / "optimizer-state" / trained[2].name
    rewritten(file, change)
    with pytest.raises(InputError, match="is damaged") as caught:
        adam_state(trained[2])
    assert part in str(caught.value)
    assert str(file) in str(caught.value)


def test_moments_that_changed_on_disk_are_noticed(trained: list[Path]) -> None:
    folder = trained[2].parent / "optimizer-state"
    rewritten(folder / trained[2].name, lambda v, d: v["layers.0.bias"].mul_(2), seal=False)
    (folder / trained[3].name).write_bytes((folder / trained[4].name).read_bytes())
    (folder / trained[4].name).write_bytes(b"rubbish")
    for path, part in zip(trained[2:5], ("checksum", "another checkpoint", "is damaged"), strict=True):
        with pytest.raises(InputError, match=part):
            adam_state(path)
    (folder / trained[5].name).unlink()
    assert adam_state(trained[5]) is None
    train(
        replace(FULL, optimizer="adam", lr=0.01), trained[0].parent, data=toy()
    )  # nothing is lost that matters


def stepped(network: nn.Module, kind: Any = torch.optim.Adam, **given: Any) -> torch.optim.Optimizer:
    optimizer: torch.optim.Optimizer = kind(network.parameters(), lr=0.01, **given)
    for k in range(3):
        optimizer.zero_grad()
        network(torch.randn(8, 4, generator=torch.Generator().manual_seed(k))).square().sum().backward()
        optimizer.step()
    return optimizer


@pytest.fixture
def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2))


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("names", [("model", "optimizer"), ("state_dict", "optimizer_states")])
def test_a_file_of_torch_save(
    tmp_path: Path, network: nn.Module, kind: Any, amsgrad: bool, names: tuple[str, str]
) -> None:
    optimizer = stepped(network, kind, betas=(0.8, 0.99), amsgrad=amsgrad)
    state: Any = optimizer.state_dict()
    path = tmp_path / "c.pt"
    torch.save({names[0]: network.state_dict(), names[1]: [state] if names[1].endswith("s") else state}, path)
    found = adam_state(path)
    assert found is not None
    assert (found.step, found.beta1, found.beta2, found.eps) == (3, 0.8, 0.99, 1e-8)
    assert list(found.second_moments) == [name for name, _ in network.named_parameters()]
    for name, parameter in network.named_parameters():
        own = optimizer.state[parameter]["max_exp_avg_sq" if amsgrad else "exp_avg_sq"]
        torch.testing.assert_close(found.second_moments[name], own)


def test_names_that_the_optimizer_has_go_before_the_order(tmp_path: Path, network: nn.Module) -> None:
    pairs = dict(reversed(list(network.named_parameters())))
    optimizer = torch.optim.Adam(pairs.items(), lr=0.01)  # type: ignore[arg-type, unused-ignore]
    network(torch.randn(8, 4)).square().sum().backward()
    optimizer.step()
    torch.save({"model": network.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "c.pt")
    found = adam_state(tmp_path / "c.pt")
    assert found is not None
    for name, parameter in pairs.items():
        torch.testing.assert_close(found.second_moments[name], optimizer.state[parameter]["exp_avg_sq"])


def test_where_it_is_not_clear_there_is_none(tmp_path: Path, network: nn.Module) -> None:
    state, adam = network.state_dict(), stepped(network).state_dict()
    fewer = copy.deepcopy(adam)
    fewer["param_groups"][0]["params"] = [0, 1, 2, 3, 4]
    swapped = copy.deepcopy(adam)
    swapped["state"][0], swapped["state"][1] = swapped["state"][1], swapped["state"][0]
    twos = copy.deepcopy(adam)
    twos["param_groups"] = [
        {**twos["param_groups"][0], "params": [0, 1, 2], "betas": (0.5, 0.9)},
        {**twos["param_groups"][0], "params": [3, 4, 5]},
    ]
    for optimizer in (
        stepped(network, torch.optim.SGD, momentum=0.9).state_dict(),
        stepped(network, torch.optim.NAdam).state_dict(),
        torch.optim.Adam(network.parameters()).state_dict(),
        fewer,
        swapped,
        twos,
        {"state": [], "param_groups": {}},
        {"state": {}, "param_groups": [3]},
        {"state": {}, "param_groups": [{"params": []}]},
        [adam, adam],
    ):
        torch.save({"model": state, "optimizer": optimizer}, tmp_path / "c.pt")
        assert adam_state(tmp_path / "c.pt") is None
    torch.save(state, tmp_path / "c.pt")
    assert adam_state(tmp_path / "c.pt") is None


def test_states_that_adam_cannot_have_had(tmp_path: Path, network: nn.Module) -> None:
    adam = stepped(network).state_dict()

    def changed(group: dict[str, Any] | None = None, **own: Any) -> dict[str, Any]:
        made = copy.deepcopy(adam)
        made["param_groups"][0] |= group or {}
        for one in made["state"].values():
            one |= own
        return made

    for optimizer, part in (
        (changed({"betas": (1.5, 0.9)}), "none of Adam's"),
        (changed({"betas": "ab"}), "betas are"),
        (changed({"betas": None}), "betas are"),
        (changed({"eps": torch.ones(3)}), "no numbers"),
        (changed(step=torch.tensor(math.nan)), "no numbers"),
        (changed(step=torch.tensor(2.5)), "2.5 steps"),
        (changed(step="3"), "no numbers"),
        (changed(exp_avg_sq=-adam["state"][0]["exp_avg_sq"]), None),
    ):
        torch.save({"model": network.state_dict(), "optimizer": optimizer}, tmp_path / "c.pt")
        if part is None:  # of one shape for all
            assert adam_state(tmp_path / "c.pt") is None
            continue
        with pytest.raises(InputError, match="Adam state is damaged") as caught:
            adam_state(tmp_path / "c.pt")
        assert part in str(caught.value)
    negative = copy.deepcopy(adam)
    negative["state"][0]["exp_avg_sq"].neg_()
    torch.save({"model": network.state_dict(), "optimizer": negative}, tmp_path / "c.pt")
    with pytest.raises(InputError, match="no means of squares"):
        adam_state(tmp_path / "c.pt")
