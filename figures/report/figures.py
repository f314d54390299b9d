"""All figures of a report, with the numbers that they drew."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped, unused-ignore]
from matplotlib.figure import Figure

from figures import style
from figures.alignment import draw_alignment, numbers_of_alignment
from figures.bounds import draw_jacobian_bounds, draw_ladder, numbers_of_jacobian_bounds, numbers_of_ladder
from figures.certified import draw_certified_labels, numbers_of_certified_labels
from figures.constants import draw_constants, numbers_of_constants
from figures.curvature import draw_curvature, numbers_of_curvature
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
from figures.zeros import show_zeros

__all__ = [
    "COMPARED",
    "caption",
    "draw_step_limits",
    "kind_of",
    "numbers_of_all_step_limits",
    "write_report_figures",
]

_CAPTIONS = {
    "figure1": "Each curve is a frozen checkpoint, moved by η in every layer at once: its loss, how far its input"
    " layer's gradient has changed (relative to itself), and its accuracy. A diamond is the measured step limit, where"
    " the loss is back at its start; the dotted line is the limit that Lemma 2 allows, the dashed curve the change that"
    " deep relative trust allows. A curve above its dashed one breaks the model; a diamond left of the dotted line"
    " means a step that Lemma 2's limit allows and the loss does not.",
    "limits": "How large a step may be, through training: as measured, and as each rule or estimate has it. What lies"
    " above the black line is not safe.",
    "constants": "The effective constant C of each weight matrix: its gradient's change over what deep relative trust"
    " allows, at η₀ = 10⁻⁴. The model sets it to 1 (dashed).",
    "split": "What C is made of, in orders of magnitude: single examples, what cancels in their mean, and the change of"
    " the loss's residuals. The black line is their sum; upwards they raise C, downwards they lower it.",
    "residuals-held": "The gradient's change whole, and with every example's residual ∂ℓ/∂f held as it was: what the"
    " Jacobians alone do.",
    "ladder": "The measured relative change of the output (black; band: median to worst example) below what each bound"
    " allows. Thin, faint lines have a premise that fails.",
    "slack": "Where the bounds lose their tightness: from the measured change up to Theorem 1 as published, in orders"
    " of magnitude. Alignment: norms are multiplied as if every layer stretched what the one before passes on as much"
    " as it can. Data-independent norms: the inputs that layers really get are no longer looked at. Conditioning and α:"
    " norms are replaced by condition numbers κ and the activation's least slope. One worst κ: the largest κ stands"
    " for every layer's.",
    "labels": "The share of sampled examples whose label did not change (black), and whose label provably cannot.",
    "curvature": "The largest eigenvalues of the Hessian, the Gauss-Newton matrix and any layer's own block through"
    " training, batch sharpness, and the critical sharpness 2/s that a plain gradient step of length s tells; dotted,"
    " where the checkpoints say by which step size plain descent trained them, its edge 2/η.",
    "alignment": "How far the layers' Jacobians are from aligned through training, of all layers and of those from a"
    " later one on: 0 is aligned. Beside it the slack of ∏β‖W_k‖₂ over the Jacobian's norm (median; band: 10 % to 90 %"
    " of the examples), of which alignment is one part.",
    "jacobian": "The relative change of each layer's Jacobian (black; band: median to worst example) beside the bounds"
    " on it.",
}
"""What a reader sees, by the kind of figure."""
COMPARED = {
    "breakdown": "The breakdown of each run's input layer along the slice of its last checkpoint, and the change that"
    " deep relative trust allows it (dashed).",
    "constants": "The effective constant C through each run's training, the largest of its layers'; the model sets it"
    " to 1.",
    "limits": "The measured step limit through each run's training, and the limit that Lemma 2 allows (dashed).",
}
"""What a reader sees in figures of runs side by side, by their files' names."""


def caption(name: str, titles: Sequence[str]) -> str:
    """What there is to see in a figure of :func:`write_report_figures`, with its network; empty for another's.

    Args:
        name: the file's, without its ending.
        titles: the networks'.
    """
    kind, title = kind_of(name, titles)
    said = _CAPTIONS.get(kind, "")
    return f"{title}. {said}" if said and title else said


def kind_of(name: str, titles: Sequence[str]) -> tuple[str, str]:
    """The kind of a figure of :func:`write_report_figures`, and its network; both empty for another's.

    Args:
        name: the file's, without its ending.
        titles: the networks'; empty is the network of a figure of all.
    """
    if name in ("figure1", "limits"):
        return name, ""
    for title in titles:
        kind = name.removesuffix(f"-{_slug(title)}")
        if kind != name and kind in _CAPTIONS:
            return kind, title
    return "", ""


def write_report_figures(
    folder: Path,
    networks: Sequence[Findings],
    *,
    formats: Sequence[str] = ("png", "pdf"),
    write: Callable[[Path, bytes], object] = write_whole,
) -> list[Path]:
    """Draw and save everything that there is to show of ``networks``.

    The files are ``figure1``, ``limits``, and for each network ``constants-SLUG``, ``ladder-SLUG`` and
    ``jacobian-SLUG`` (where envelopes of claims about the function and about Jacobians are given), ``slack-SLUG``
    (where a step is finite), ``labels-SLUG``, ``curvature-SLUG`` and ``alignment-SLUG`` (where these are),
    ``split-SLUG`` and ``residuals-held-SLUG`` (where the split is, at one η and along the slice), each with its CSV.

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
        if network.slack is not None and bool(np.isfinite(network.slack["share"]).any()):
            save(f"slack-{slug}", draw_slack, numbers_of_slack, network.slack)
        if network.labels is not None:
            save(f"labels-{slug}", draw_certified_labels, numbers_of_certified_labels, network.labels)
        if network.curvature is not None:
            save(f"curvature-{slug}", draw_curvature, numbers_of_curvature, network.curvature)
        if network.alignment is not None:
            save(f"alignment-{slug}", draw_alignment, numbers_of_alignment, network.alignment)
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
        show_zeros(row)
        gathered_legend(figure, row)
    return figure


def numbers_of_all_step_limits(networks: Sequence[Network]) -> pd.DataFrame:
    """What ``draw_step_limits`` draws; ``panel`` says which network."""
    parts = [numbers_of_step_limits(network.limits).assign(panel=network.title) for network in networks]
    return pd.concat(parts, ignore_index=True)
