"""A claim with all that a run says of it: what it states, under which premises, how it fared and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from analysis.in_short import SILENT, is_wrong
from analysis.statuses import Verdict
from analysis.tables import Rows, verdict_table
from trust.claims import Claim, Premise

__all__ = ["Group", "Judged", "judged"]


class Group(Enum):
    """What the data say of a claim, the telling first."""

    CONTRADICTED = "What the data contradict"
    BORNE_OUT = "What the data bear out"
    SILENT = "Of which the data say nothing here"


@dataclass(frozen=True)
class Judged:
    """A claim, and how it fared.

    Attributes:
        claim: its id.
        kind: theorem, lemma, model, estimate or rule.
        group: which of the three it belongs to.
        words: its verdicts, each with the number of checkpoints.
        statement: in words and symbols.
        formula: the same in LaTeX; empty where there is none.
        measures: what is on its left side.
        source: who says so.
        proved: whether a proof under its premises is known.
        premises: name, statement and outcome of each.
        why: the reason of the verdict that most checkpoints share; may be empty.
        checkpoints: a row for each, the first row its heading.
    """

    claim: str
    kind: str
    group: str
    words: str
    statement: str
    formula: str
    measures: str
    source: str
    proved: bool
    premises: Sequence[tuple[str, str, str]]
    why: str
    checkpoints: Rows


def judged(verdicts: Sequence[Verdict], claims: Iterable[Claim]) -> list[Judged]:
    """Each claim that was judged: first what is contradicted, then what is borne out, then the rest."""
    told = {one.claim for one in verdicts if one.status not in SILENT}
    by_id = {claim.id: claim for claim in claims}
    found = []
    for name, kind, words, *_, why in verdict_table(verdicts)[1:]:
        claim, own = by_id[name], [one for one in verdicts if one.claim == name]
        wrong = any(map(is_wrong, own))
        group = Group.CONTRADICTED if wrong else Group.BORNE_OUT if name in told else Group.SILENT
        found.append(
            Judged(
                claim=name,
                kind=kind,
                group=group.value,
                words=words,
                statement=claim.statement,
                formula=claim.formula,
                measures=claim.left,
                source=claim.source,
                proved=claim.proved,
                premises=[_outcome(premise, own) for premise in claim.premises],
                why=why,
                checkpoints=_checkpoints(own),
            )
        )
    order = [group.value for group in Group]
    return sorted(found, key=lambda one: order.index(one.group))


def _outcome(premise: Premise, own: Sequence[Verdict]) -> tuple[str, str, str]:
    """What became of a premise at the checkpoints."""
    words = {True: "holds", False: "fails", None: "not known"}
    counts = Counter(words[one.premises.get(premise.name)] for one in own)
    parts = [f"{word} ({count})" if len(counts) > 1 else word for word, count in counts.items()]
    return premise.name, premise.statement + " (shown, not required)" * (not premise.gates), ", ".join(parts)


def _checkpoints(own: Sequence[Verdict]) -> Rows:
    """A row a checkpoint, with the reasons where there are any."""
    rows = [["checkpoint", "verdict", "why"]]
    rows += [[one.checkpoint or "whole training run", one.words, one.remark] for one in own]
    return rows if any(row[2] for row in rows[1:]) else [row[:2] for row in rows]
