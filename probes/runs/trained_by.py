"""What a checkpoint says of the optimizer that trained it: for results to carry, and for Adam's own curvature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from probes.checkpoints.adam import AdamState, adam_state
from probes.checkpoints.state_dict import renamed_to_fit
from probes.errors import shown
from probes.networks.series import NetworkRecord

__all__ = ["adam_of", "trained_by"]

_LONGEST = 100  # letters of an optimizer's name
_NUMBERS = ("batch_size", "rho", "beta1")


def trained_by(details: Mapping[str, Any]) -> dict[str, str | int | float]:
    """The optimizer and what it was given, as attributes of results; what is not said, or nonsense, is left out."""
    said = {name: details.get(name) for name in _NUMBERS}
    found: dict[str, str | int | float] = {
        name: value
        for name, value in said.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    optimizer = details.get("optimizer")
    return {**found, "optimizer": shown(optimizer[:_LONGEST])} if isinstance(optimizer, str) else found


def adam_of(record: NetworkRecord, key: str | None) -> AdamState | None:
    """What the preconditioned Hessian at a checkpoint is made of; None where Adam's state is not known of every tensor.

    Args:
        record: the network.
        key: which state_dict of its file it is.

    Raises:
        InputError: the state that there is is damaged.
    """
    state = adam_state(record.path, key=key)
    if state is None:
        return None
    modules = {reported: own for own, reported in record.names.items()}
    second = {modules.get(name, name): moment for name, moment in state.second_moments.items()}
    second = renamed_to_fit(second, record.names)
    known = all(name in second and second[name].shape == record.shapes[name] for name in record.names)
    return replace(state, second_moments=second) if known else None
