"""Write the notebook of start/first-verdict.md from the page: ``python docs/notebook.py``."""

from __future__ import annotations

import json
import re
from pathlib import Path

PAGE = Path(__file__).parent / "start" / "first-verdict.md"
NOTEBOOK = PAGE.with_suffix(".ipynb")
_BLOCK = re.compile(r"^```(python|console)\n(.*?)^```\n", re.S | re.M)


def notebook(text: str) -> str:
    """The page's text as cells: Python to run, commands after an exclamation mark, and what is said between."""
    cells, end = [], 0
    for block in _BLOCK.finditer(text):
        cells += [_cell("markdown", text[end : block.start()]), _cell("code", _code(*block.groups()))]
        end = block.end()
    cells.append(_cell("markdown", text[end:]))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    whole = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


def _code(language: str, text: str) -> str:
    """What a cell runs: of commands those alone, not what they print."""
    if language == "python":
        return text
    return "\n".join(f"!{line.removeprefix('$ ')}" for line in text.splitlines() if line.startswith("$ "))


def _cell(kind: str, text: str) -> dict[str, object]:
    """A cell as the format has it, line by line."""
    source = text.strip("\n").splitlines(keepends=True)
    rest = {"execution_count": None, "outputs": []} if kind == "code" else {}
    return {"cell_type": kind, "metadata": {}, "source": source, **rest}


if __name__ == "__main__":
    NOTEBOOK.write_text(notebook(PAGE.read_text("utf-8")), "utf-8")
