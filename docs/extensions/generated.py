"""Pages made of the code: every command with its options, every claim with its premises."""

from __future__ import annotations

from collections.abc import Iterator

import click
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def cell(text: object) -> str:
    """Text in a table of Markdown."""
    return " ".join(str(text).split()).replace("|", "\\|")


def plain(text: str) -> str:
    """Text in Markdown, where nothing of it is markup."""
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>$#|" else sign for sign in " ".join(text.split()))


def commands() -> Iterator[str]:
    """A section a command: its use, what it does, and its options."""
    from probes.cli.main import main

    for name, command in sorted(main.commands.items()):
        context = click.Context(command, info_name=f"probe {name}", max_content_width=100)
        usage = " ".join(command.get_usage(context).removeprefix("Usage: ").split())
        yield f"## probe {name}\n\n```text\n{usage}\n```\n"
        yield from (f"{plain(part)}\n" for part in (command.help or "").replace("\b", "").split("\n\n"))
        records = (one.get_help_record(context) for one in command.params if getattr(one, "help", ""))
        yield "| option | what it does |\n| --- | --- |\n" + "\n".join(
            f"| `{cell(option.replace('|', ' | '))}` | {plain(what)} |"
            for option, what in filter(None, records)
        )


def claims() -> Iterator[str]:
    """A section a claim: what it says, of what kind it is, who says so, and what it asks for."""
    from trust.claims import all_claims

    for claim in all_claims().values():
        formula = getattr(claim, "formula", "")
        yield f"## {claim.id}\n"
        yield f"$$\n{formula}\n$$\n" if formula else f"{plain(claim.statement)}\n"
        proved = ", proved" if claim.proved else ""
        yield f"A {claim.kind.value}{proved}, about the {plain(claim.left)}. Source: {plain(claim.source)}.\n"
        if claim.mended_by:
            yield f"What mends it: {plain(claim.mend)} ([{claim.mended_by}](#{claim.mended_by})).\n"
        yield "\n".join(f"* *{plain(one.name)}*: {plain(one.statement)}" for one in claim.premises) + "\n"


def directive(parts: object) -> type[SphinxDirective]:
    """A directive that stands for what a function yields, in Markdown."""

    class Generated(SphinxDirective):
        def run(self) -> list[nodes.Node]:
            return self.parse_text_to_nodes("\n".join(parts()), allow_section_headings=True)  # type: ignore[operator]

    return Generated


def setup(app: Sphinx) -> dict[str, bool]:
    """As Sphinx asks of an extension."""
    app.add_directive("commands", directive(commands))
    app.add_directive("claims", directive(claims))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
