"""One call from a run's measurements to each figure, and from a module and data to the first, for notebooks.

It stands here because it takes both halves: ``figures`` draws what it is given and knows no analysis, ``analysis``
draws nothing, and only rooms above them may know both. Each function analyses what its figure needs and no more;
whoever wants verdicts too calls :func:`analysis.find` once, and the functions of ``figures`` with what it found.

>>> import probes, torch
>>> from studies import show
>>> _ = torch.manual_seed(0)
>>> network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
>>> settings = probes.SliceSettings(etas=[0, 0.01, 0.1])
>>> found = probes.measure_slice(network, torch.randn(30, 4), torch.arange(30) % 3, settings=settings)
>>> len(show.figure1(found).axes)  # in a notebook it is shown; figure.savefig("figure1.png") keeps it
3
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import figures
from analysis import Overview, certified_labels, find_envelopes, summarise
from analysis import slack as analyse_slack
from analysis import split as analyse_split
from figures.envelopes import about
from probes.errors import InputError

if TYPE_CHECKING:
    import torch
    import xarray as xr
    from matplotlib.figure import Figure

    from probes.measures.settings import SliceSettings

__all__ = [
    "comparison",
    "constants",
    "figure1",
    "jacobian",
    "labels",
    "ladder",
    "limits",
    "network",
    "residuals_held",
    "slack",
    "split",
]

T = TypeVar("T")


def figure1(runs: xr.Dataset | Mapping[str, xr.Dataset]) -> Figure:
    """The paper's Figure 1: loss, the input layer's breakdown and training accuracy, a row for each run.

    Args:
        runs: measurements of one run, or of several by their titles.
    """
    return figures.draw_figure1(_networks(runs))


def network(
    network: torch.nn.Module,
    x: Any,
    y: Any = None,
    *,
    loss: str | Callable[..., Any] | None = None,
    settings: SliceSettings | None = None,
) -> Figure:
    """Figure 1 of a module and data, measured at its weights as they are.

    What is drawn is measured anew with each call; who wants more than one figure keeps what
    :func:`probes.measure_slice` returns.

    Args:
        network: as :func:`probes.measure_slice` takes it, like all else here.
        x: inputs, or all data.
        y: targets.
        loss: a name or a function.
        settings: how to measure; None: the loss and the gradients along the slice, which is all that is drawn.

    Raises:
        InputError: anything given that cannot be used.
    """
    from probes.measures.settings import SliceSettings
    from probes.slices.slice import measure_slice

    drawn = SliceSettings(ladder=False, spectra="none", split="none", samples=1)
    return figure1(measure_slice(network, x, y, loss=loss, settings=drawn if settings is None else settings))


def limits(runs: xr.Dataset | Mapping[str, xr.Dataset]) -> Figure:
    """The step limits through training, of one run or side by side of several by their titles."""
    return figures.draw_step_limits(_networks(runs))


def comparison(runs: Mapping[str, xr.Dataset]) -> dict[str, Figure]:
    """Runs in one frame each: ``breakdown`` along the slice, ``constants`` and ``limits`` through training.

    Args:
        runs: measurements by title.
    """
    networks = _networks(runs)
    return {
        "breakdown": figures.draw_compared_breakdown(networks),
        "constants": figures.draw_compared_constants(networks),
        "limits": figures.draw_compared_limits(networks),
    }


def constants(run: xr.Dataset) -> Figure:
    """The effective constants through training and across layers."""
    return figures.draw_constants(summarise(run))


def split(run: xr.Dataset) -> Figure:
    """The effective constant taken apart.

    Raises:
        InputError: the run did not measure it.
    """
    return figures.draw_split(_measured(analyse_split(run), "split='small'"))


def residuals_held(run: xr.Dataset) -> Figure:
    """The breakdown, whole and with every example's residual held.

    Raises:
        InputError: the run did not measure it along the slice.
    """
    found = _measured(analyse_split(run), "split='slice'")
    _measured(found if found.sizes["eta"] > 1 else None, "split='slice'")
    return figures.draw_frozen_breakdown(Overview("", run))


def ladder(run: xr.Dataset) -> Figure:
    """The bounds on the output's change above each other, along the slice and through training.

    Raises:
        InputError: the run did not measure them.
    """
    return figures.draw_ladder(_envelopes(run, "function", "samples=200"))


def slack(run: xr.Dataset) -> Figure:
    """What loosens the bounds from rung to rung, through training.

    Raises:
        InputError: the run did not measure the ladder.
    """
    return figures.draw_slack(_measured(analyse_slack(run), "ladder=True"))


def labels(run: xr.Dataset) -> Figure:
    """Which labels provably do not change, along the slice.

    Raises:
        InputError: the run did not measure it.
    """
    return figures.draw_certified_labels(_measured(certified_labels(run), "pattern=50"))


def jacobian(run: xr.Dataset) -> Figure:
    """The layers' Jacobians beside their bounds, of the last checkpoint.

    Raises:
        InputError: the run did not measure them.
    """
    return figures.draw_jacobian_bounds(_envelopes(run, "jacobian", "jacobian=8"))


def _networks(runs: xr.Dataset | Mapping[str, xr.Dataset]) -> list[Overview]:
    """Each run by its title.

    Raises:
        InputError: there is something else among them.
    """
    import xarray as xr

    named: Mapping[str, Any] = (
        runs if isinstance(runs, Mapping) and not isinstance(runs, xr.Dataset) else {"": runs}
    )
    for title, run in named.items():
        if not isinstance(run, xr.Dataset):
            of = f" of {title!r}" if title else ""
            raise InputError(
                f"{str(run)[:60]!r}{of}: is a {type(run).__name__}, not measurements; give the dataset that probes.load"
                " or probes.measure_slice returns, or a dict of them by title"
            )
    return [Overview(title, run) for title, run in named.items()]


def _envelopes(run: xr.Dataset, subject: str, setting: str) -> dict[str, xr.Dataset]:
    """Those that a figure of a subject shows: of layers for Jacobians, of whole networks for the function."""
    layered = subject == "jacobian"
    found = about(find_envelopes(run, subject=subject), subject, layered=layered)
    return _measured(found or None, setting)


def _measured(found: T | None, setting: str) -> T:
    """What was found, unless that is nothing.

    Raises:
        InputError: it names the setting with which it is measured.
    """
    if found is None:
        raise InputError(f"the run did not measure what this figure shows; measure it with `{setting}`")
    return found
