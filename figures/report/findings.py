"""What a report of one network is made from: data for its figures, and what its page says in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import xarray as xr

from figures.network import Network

__all__ = ["Findings", "Judged", "Section"]

Section = tuple[str, str, Sequence[Sequence[str]]]
"""Heading, explanation (which may be empty) and a table, whose first row is its heading."""


class Judged(Protocol):
    """A claim, and what became of it; ``analysis.judged.Judged`` has these attributes and says what they are."""

    @property
    def claim(self) -> str:
        """Its id."""

    @property
    def kind(self) -> str:
        """Theorem, lemma, model, estimate or rule."""

    @property
    def group(self) -> str:
        """The heading that it stands under; those of one group follow each other."""

    @property
    def words(self) -> str:
        """Its verdicts in short."""

    @property
    def statement(self) -> str:
        """What it states, in words and symbols."""

    @property
    def formula(self) -> str:
        """The same in LaTeX; may be empty."""

    @property
    def measures(self) -> str:
        """What is on its left side."""

    @property
    def source(self) -> str:
        """Who says so."""

    @property
    def proved(self) -> bool:
        """Whether a proof under its premises is known."""

    @property
    def premises(self) -> Sequence[tuple[str, str, str]]:
        """Name, statement and outcome of each."""

    @property
    def why(self) -> str:
        """The reason of its verdict; may be empty."""

    @property
    def checkpoints(self) -> Sequence[Sequence[str]]:
        """A row for each, the first row its heading."""


class Findings(Network, Protocol):
    """A network with bounds beside its measurements, and sentences and tables on it.

    Anything with these attributes will do; ``analysis.Findings`` has them.
    """

    @property
    def envelopes(self) -> Mapping[str, xr.Dataset]:
        """For each claim's id what was measured and what it allows.

        ``log10_measured``, ``log10_measured_median`` and ``log10_bound`` over (checkpoint, eta) or (checkpoint,
        eta, layer), where known ``premises_hold`` too, and the attribute ``subject``.
        """

    @property
    def slack(self) -> xr.Dataset | None:
        """``log10_rung`` and ``premises_hold`` (rung, checkpoint, eta), ``share`` (cause, checkpoint, eta).

        None where the run did not measure the ladder.
        """

    @property
    def split(self) -> xr.Dataset | None:
        """The effective constant taken apart, as ``draw_split`` takes it; None where the run did not measure it."""

    @property
    def labels(self) -> xr.Dataset | None:
        """``certified``, ``kept`` (checkpoint, eta), ``certified_by`` (rung, checkpoint, eta) and ``examples``.

        None where the run did not measure them.
        """

    @property
    def curvature(self) -> xr.Dataset | None:
        """As ``draw_curvature`` takes it; None where the run did not measure it."""

    @property
    def alignment(self) -> xr.Dataset | None:
        """As ``draw_alignment`` takes it; None where the run did not measure it."""

    @property
    def alarms(self) -> Sequence[str]:
        """A sentence for each fault of the measurement, which stands above all else."""

    @property
    def in_short(self) -> Sequence[tuple[str, str]]:
        """The run in a few sentences, each with a word for what it is about."""

    @property
    def probed(self) -> Sequence[tuple[str, str]]:
        """What it takes to know what was measured, a word and what is known of it each."""

    @property
    def judged(self) -> Sequence[Judged]:
        """Each claim with what became of it, the telling first."""

    @property
    def introduction(self) -> Sequence[str]:
        """Paragraphs below the title."""

    @property
    def sections(self) -> Sequence[Section]:
        """Tables, each with its heading and an explanation."""

    @property
    def unfinished(self) -> Sequence[str]:
        """A sentence where more of the run is still to be measured."""

    @property
    def warnings(self) -> Sequence[str]:
        """A sentence for each thing to beware of."""
