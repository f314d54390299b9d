"""What the step limits are made of: measured at the one η where the effective constant is read off.

It stands above ``analysis``, which tells whether rounding left evidence there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import xarray as xr
from torch import Tensor, nn

from analysis.constants import constants_known
from probes.data.losses import Loss
from probes.errors import InputError, mention
from probes.measures.etas import parse_etas
from probes.measures.settings import SliceSettings
from probes.runs.run import measure
from probes.runs.source import Paths, Source
from probes.slices.slice import measure_slice
from probes.system.processes import ALONE, Share
from trust.measurements import SMALL_ETA, WITHOUT_LINE

__all__ = ["measure_limits", "measure_network_limits"]


def measure_limits(
    source: Source | Paths, *, settings: SliceSettings | None = None, share: Share = ALONE
) -> xr.Dataset:
    """Measure what :func:`analysis.step_limits` sets side by side, of each checkpoint, as ``probe limit`` does.

    Args:
        source: checkpoints, or with their network, data and loss.
        settings: how; the grid and all that no limit needs are settled here.
        share: the processes that measure together.

    Raises:
        InputError: anything given that cannot be used.
    """
    given = Source.of(source)
    return _measured(
        lambda chosen: measure(given, chosen, what="limits", share=share), SliceSettings.of(settings)
    )


def measure_network_limits(
    network: nn.Module,
    x: Any,
    y: Any = None,
    *,
    settings: SliceSettings | None = None,
    loss: str | Loss | Callable[..., Tensor] | None = None,
    label: str = "network",
) -> xr.Dataset:
    """The same of one network with its weights as they are, which is left exactly as it was found.

    Args:
        network: as :func:`probes.measure_slice` takes it, and the data and the loss too.
        x: inputs, or all data.
        y: targets.
        settings: as :func:`measure_limits` takes them.
        loss: a name or a function; None: cross-entropy for labels.
        label: the network's name in the result.

    Raises:
        InputError: anything given that cannot be used.
    """
    return _measured(
        lambda chosen: measure_slice(network, x, y, settings=chosen, loss=loss, label=label),
        SliceSettings.of(settings),
    )


def _measured(measured: Callable[[SliceSettings], xr.Dataset], settings: SliceSettings) -> xr.Dataset:
    """At η₀; where rounding leaves no evidence there, on the grid of ``probe run``, so that both read C off at one η.

    Raises:
        InputError: along this direction there is no limit.
    """
    if settings.direction in WITHOUT_LINE:
        raise InputError(
            f"{mention('direction', settings.direction)}: has no step limit, since every eta has a step of its own"
        )
    for etas in ([0.0, SMALL_ETA], parse_etas("log")):
        chosen = replace(
            settings,
            etas=etas,
            samples=1,
            ladder=False,
            spectra="none",
            split="none",
            spot_check=len(etas) > 2,
        )
        found = measured(chosen)
        if constants_known(found):
            break
    return found
