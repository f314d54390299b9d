"""Write the tables of variables in reference/variables.md from the vocabulary: ``python docs/variables.py``."""

from __future__ import annotations

import re
from pathlib import Path

from trust.measurements import ALL

PAGE = Path(__file__).parent / "reference" / "variables.md"
SECTIONS = {
    "breakdown": "### `breakdown`: losses, gradients, outputs",
    "noise-floor": "### What rounding alone does (in every run)",
    "spot-check": "### `spot-check`: what rounding does further out (`--spot-check`)",
    "spectra": "### `spectra`: singular values (`--spectra`)",
    "sensitivity": "### `sensitivity`: Jacobians and gates (`--jacobian N`)",
    "split": "### `split`: the gradient's change taken apart (`--split`)",
    "ladder": "### `ladder`: what the bounds are made of (`--ladder`)",
    "pattern": "### `pattern`: which units are active (`--pattern N`)",
    "alignment": "### `alignment`: neighbouring layers' Jacobians (`--alignment N`)",
    "curvature": "### `curvature`: along the slice (unless `--no-curvature`)",
    "eigenvalues": "### `eigenvalues` (`--curvature K`, `--curvature-lowest K`)",
    "traces": "### `traces` (`--curvature K`, K > 0)",
    "gradient-curvature": "### `gradient-curvature` (`--curvature K`, K > 0)",
    "norm-sharpness": "### `norm-sharpness` (`--curvature K`, K > 0)",
    "batch-sharpness": "### `batch-sharpness` (`--batch-sharpness SIZE`)",
    "step-limit": "### `step-limit` (`--limit`)",
    "predicted-limit": "### `predicted-limit` (`--limit`)",
    "adversarial": "### With `--direction adversarial`",
    "": "### Coordinates",
}
_PLACE = re.compile(
    r"(?<=<!-- variables: python docs/variables.py -->\n).*(?=<!-- end of variables -->)", re.S
)


def tables() -> str:
    """A section for each measure, a row for each of its variables."""
    parts = []
    for measure, heading in SECTIONS.items():
        rows = ["| variable | dims | units | meaning |", "| --- | --- | --- | --- |"]
        for variable in ALL.values():
            if variable.measure == measure:
                meaning = variable.meaning.replace("|", "\\|")
                rows.append(
                    f"| `{variable}` | {', '.join(variable.dims)} | {variable.units or '–'} | {meaning} |"
                )
        parts.append(f"{heading}\n\n" + "\n".join(rows) + "\n")
    return "\n" + "\n".join(parts) + "\n"


def page(text: str) -> str:
    """The page with its tables made anew."""
    return _PLACE.sub(lambda _: tables(), text)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
