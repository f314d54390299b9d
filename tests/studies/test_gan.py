"""The adversarial pair: what its parts compute, and that it is learnt from images of two kinds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from studies.parts import gan
from studies.parts.gan import Discriminator, GanSpec, Generator, train_gan
from studies.parts.networks import dropped_rate

SMALL = GanSpec(latent=2, width=8, depth=2)


def dark_and_bright(count: int = 40) -> tuple[Tensor, Tensor]:
    """Images (n, 4) all about −1 of class 0 and all about 1 of class 1."""
    labels = torch.arange(count) % 2
    noise = 0.1 * torch.rand(count, 4, generator=torch.Generator().manual_seed(0))
    return (2.0 * labels - 1)[:, None] * (1 - noise), labels


def test_the_rate_is_a_tenth_in_the_last_sixth() -> None:
    assert [dropped_rate(0.6, step, 12) for step in (0, 9, 10, 11)] == [0.6, 0.6, 0.06, 0.06]
    assert dropped_rate(0.6, 2, 3) == 0.6


def test_generator_and_discriminator_by_hand() -> None:
    torch.manual_seed(0)
    generator = Generator(SMALL, pixels=4, classes=3, low=-1.0, high=2.0)
    noise, labels = torch.randn(5, 2), torch.tensor([0, 1, 2, 2, 1])
    first, second = generator.perceptron.layers
    z = torch.cat([noise, torch.eye(3)[labels]], 1) @ first.weight.T + first.bias
    outputs = torch.where(z > 0, z, 0.2 * z) @ second.weight.T + second.bias
    images = generator(noise, labels)
    torch.testing.assert_close(images, 3 / (1 + torch.exp(-outputs)) - 1)
    assert [one.ndim for one in generator.parameters()] == [2, 1, 2, 1]

    discriminator = Discriminator(SMALL, pixels=4, classes=3)
    scores = discriminator.perceptron(images)
    assert discriminator(images, labels).tolist() == scores[torch.arange(5), labels].tolist()


def test_the_same_arguments_give_the_same_networks_and_leave_chance_alone() -> None:
    images, labels = dark_and_bright()
    before = torch.get_rng_state()
    pairs = [train_gan(images, labels, steps=3, seed=seed, spec=SMALL) for seed in (0, 0, 1)]
    assert torch.equal(before, torch.get_rng_state())
    for same, again, other in zip(
        *([*pair[0].parameters(), *pair[1].parameters()] for pair in pairs), strict=True
    ):
        assert torch.equal(same, again)
        assert not torch.equal(same, other)


def test_each_step_is_as_long_as_the_rate_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both networks' matrices move by η, and by η/10 in the last of six steps; Fromage's factor takes η²/2 along W."""
    moves: list[float] = []
    plain = gan._descend

    def watched(player: torch.optim.Optimizer, loss: Tensor) -> None:
        weights = [one for one in player.param_groups[0]["params"] if one.ndim == 2]
        before = [one.detach().clone() for one in weights]
        plain(player, loss)
        moves.extend(float((w - b).detach().norm() / b.norm()) for w, b in zip(weights, before, strict=True))

    monkeypatch.setattr(gan, "_descend", watched)
    train_gan(*dark_and_bright(), "fromage", 0.01, steps=6, seed=0, spec=SMALL)
    assert len(moves) == 6 * 4
    assert moves == pytest.approx([0.01] * 20 + [0.001] * 4, rel=0.01)


def test_it_learns_two_kinds_of_images() -> None:
    generator, _ = train_gan(*dark_and_bright(), "fromage", 0.03, steps=400, seed=0, spec=SMALL)
    with torch.no_grad():
        made = generator.drawn(torch.arange(200) % 2, torch.Generator().manual_seed(0))
    assert made[0::2].mean() < -0.8
    assert made[1::2].mean() > 0.8


def test_training_that_leads_nowhere_ends() -> None:
    generator, _ = train_gan(*dark_and_bright(), "sgd", 1e30, steps=10**9, seed=0, spec=SMALL)
    made = generator.drawn(torch.arange(4) % 2, torch.Generator().manual_seed(0))
    assert not torch.isfinite(made).all()
