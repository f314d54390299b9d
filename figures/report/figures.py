"""All figures of a report, with the numbers that they drew."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd  # type: ignore[import-untyped, unused-ignore]
from matplotlib.figure import Figure

from figures import style
from figures.bounds import draw_jacobian_bounds, draw_ladder, numbers_of_jacobian_bounds, numbers_of_ladder
from figures.certified import draw_certified_labels, numbers_of_certified_labels
from figures.constants import draw_constants, numbers_of_constants
from figures.envelopes import about
from figures.figure1 import draw_figure1, numbers_of_figure1
from figures.legends import gathered_legend
from figures.network import Network
from figures.report.findings import Findings
from figures.saving import save_figure, write_whole
from figures.slack import draw_slack, numbers_of_slack
from figures.split import (
    draw_frozen_breakdown,
    draw_split,
    numbers_of_frozen_breakdown,
    numbers_of_split,
)
from figures.steps import numbers_of_step_limits, plot_step_limits

__all__ = ["draw_step_limits", "numbers_of_all_step_limits", "write_report_figures"]


def write_report_figures(
    folder: Path,
    networks: Sequence[Findings],
    *,
    formats: Sequence[str] = ("png", "pdf"),
    write: Callable[[Path, bytes], object] = write_whole,
) -> list[Path]:
    """Draw and save everything that there is to show of ``networks``.

    The files are ``figure1``, ``limits``, and for each network ``constants-SLUG``, ``ladder-SLUG``
    and ``jacobian-SLUG`` (where envelopes of claims about the function and about Jacobians are given),
    ``slack-SLUG`` and ``labels-SLUG`` (where these are), ``split-SLUG`` and ``residuals-held-SLUG`` (where the split
    is, at one η and along the slice), each with its CSV.

    Args:
        folder: where to; made if it is missing.
        networks: a row each of figure 1.
        formats: as for ``save_figure``.
        write: as for ``save_figure``.

    Returns:
        The files, in the order written.

    Raises:
        ValueError: no network, an unknown format, or two networks of the same file name.
        OSError: a file cannot be written.
    """
    slugs = [_slug(network.title) for network in networks]
    if len(set(slugs)) != len(slugs):
        raise ValueError(f"networks need different titles, got {', '.join(repr(n.title) for n in networks)}")
    written: list[Path] = []

    def save(
        name: str, draw: Callable[[Any], Figure], numbers_of: Callable[[Any], pd.DataFrame], what: Any
    ) -> None:
        written.extend(save_figure(draw(what), folder / name, numbers_of(what), formats=formats, write=write))

    save("figure1", draw_figure1, numbers_of_figure1, networks)
    save("limits", draw_step_limits, numbers_of_all_step_limits, networks)
    for slug, network in zip(slugs, networks, strict=True):
        save(f"constants-{slug}", draw_constants, numbers_of_constants, network.summary)
        if network.split is not None:
            save(f"split-{slug}", draw_split, numbers_of_split, network.split)
            if network.split.sizes["eta"] > 1:
                save(f"residuals-held-{slug}", draw_frozen_breakdown, numbers_of_frozen_breakdown, network)
        if function := about(network.envelopes, "function", layered=False):
            save(f"ladder-{slug}", draw_ladder, numbers_of_ladder, function)
        if network.slack is not None:
            save(f"slack-{slug}", draw_slack, numbers_of_slack, network.slack)
        if network.labels is not None:
            save(f"labels-{slug}", draw_certified_labels, numbers_of_certified_labels, network.labels)
        if jacobian := about(network.envelopes, "jacobian", layered=True):
            save(f"jacobian-{slug}", draw_jacobian_bounds, numbers_of_jacobian_bounds, jacobian)
    return written


def _slug(title: str) -> str:
    """A title as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "network"


def draw_step_limits(networks: Sequence[Network]) -> Figure:
    """``plot_step_limits`` of each network, side by side."""
    with style.context():
        width = style.FULL_WIDTH if len(networks) > 1 else style.COLUMN_WIDTH
        figure = Figure(figsize=(width, 2.7), layout="constrained")
        row = figure.subplots(1, len(networks), squeeze=False, sharey=True)[0]
        for ax, network in zip(row, networks, strict=True):
            plot_step_limits(network.limits, ax=ax, legend=False)
            ax.set_title(network.title)
            ax.label_outer()
            ax.tick_params(labelbottom=True)
        gathered_legend(figure, row)
    return figure


def numbers_of_all_step_limits(networks: Sequence[Network]) -> pd.DataFrame:
    """What ``draw_step_limits`` draws; ``panel`` says which network."""
    parts = [numbers_of_step_limits(network.limits).assign(panel=network.title) for network in networks]
    return pd.concat(parts, ignore_index=True)
