"""The lines of a console block: what `probe` does is done, at toy size; of other programs the words are looked at.

A command of the pages runs as it is written, in the order of its page, with options behind it that make it small:
what a page promises of files, options and headings is the same for few examples as for many. Figure 1 and studies,
which would train for minutes at any size, have their options read by the command's own parser and no more; their toy
presets run in tests/studies. Nor is the playground opened, which would wait for a browser.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import click
from click.testing import CliRunner

from probes.cli.main import main

ROOT = Path(__file__).parents[2]
SMALLER = {
    "train": ["--epochs", "1", "--examples", "60", "--checkpoints", "2"],
    "run": ["--examples", "60", "--samples", "8", "--etas", "0.0001,0.01,0.1", "--no-spot-check"],
    "limit": ["--examples", "60"],
    "report": ["--format", "png"],
    "compare": ["--format", "png"],
    "falsify": ["--trials", "12000"],
}
"""What makes a command small; of an option that is given twice the last one counts."""
READ_ALONE = ("figure1", "study", "playground")


def lines(source: str) -> list[tuple[str, list[str]]]:
    """Each command of a block with the lines that it is said to print."""
    found: list[tuple[str, list[str]]] = []
    for line in re.sub(r"\\\n\s*", " ", source).splitlines():
        if line.startswith("$ "):
            found += [(part, []) for part in line.removeprefix("$ ").split(" && ")]
        else:
            assert found, f"no command stands above {line!r}"
            found[-1][1].append(line)
    return found


def obey(command: str) -> str:
    """Do what a command of ours does, or see that another program's is about something; give what was printed."""
    words = [word for word in shlex.split(command, comments=True) if word != "…"]
    while re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words.pop(0)
    program, *rest = words
    if program == "probe":
        return _probe(*rest)
    if program == "torchrun":
        name, *given = rest[rest.index("probes") + 1 :]
        read(name, given)
    elif program == "make":
        assert re.search(rf"^{rest[0]}:", (ROOT / "Makefile").read_text("utf-8"), re.M), command
    elif program.endswith(("python", "python3")):
        _python(rest)
    else:
        assert words[:2] in (["dask", "scheduler"], ["dask", "worker"]), f"nothing tests {command}"
    return ""


def read(name: str, given: list[str]) -> None:
    """Have the command's own parser read its words; what they name need not be there."""
    command = main.commands[name]
    context = click.Context(command, info_name=name)
    values, left, _ = command.make_parser(context).parse_args(args=list(given))
    assert left == []
    for parameter in command.params:
        if parameter.name in values and not isinstance(parameter.type, (click.Path, click.File)):
            parameter.type_cast_value(context, values[parameter.name])


def read_options(source: str) -> None:
    """A file of options names those of `probe run`."""
    known = {parameter.name for parameter in main.commands["run"].params}
    unknown = set(tomllib.loads(source)) - known
    assert not unknown, f"no options: {unknown}"


def _probe(name: str, *given: str) -> str:
    """The command with its words made small; its status must be 0."""
    words = list(given)
    if name in READ_ALONE:
        read(name, words)
        return ""
    for k, word in enumerate(words):  # one that was saved in longer training
        path = Path(word)
        if path.suffix == ".safetensors" and path.parent.is_dir() and not path.exists():
            words[k] = str(sorted(path.parent.glob("*.safetensors"))[-1])
    if not {"--config", "--replay", "--dry-run"} & set(words):
        words += SMALLER.get(name, [])
        if name == "train":
            words += [] if "--network" in words else ["--width", "8"]
            words += [] if "all" in words else ["--batch-size", "30"]
    result = CliRunner().invoke(main, [name, *words])
    assert result.exit_code == 0, f"probe {name} {shlex.join(words)}\n{result.output}"
    return result.output


def _python(words: list[str]) -> None:
    """Modules, files and extras that are named are there; nothing is installed and no benchmark runs."""
    assert words[0] == "-m", words
    module, *rest = words[1:]
    files = [rest[k + 1] for k, word in enumerate(rest) if word in ("-c", "-r")]
    if module.split(".")[0] in ("benchmarks", "studies"):
        files += [module.replace(".", "/") + ("" if (ROOT / module.replace(".", "/")).is_dir() else ".py")]
        text = "".join(path.read_text("utf-8") for path in ROOT.glob(f"{files[-1]}/*.py")) or (
            ROOT / files[-1]
        ).read_text("utf-8")
        assert [word for word in rest if word.startswith("--") and f'"{word}"' not in text] == []
    elif module == "pytest":
        for word in rest:
            if word.startswith("tests/"):
                stem, names, end = re.fullmatch(r"([^{]*)(?:\{(.*)\})?(.*)", word).groups()  # type: ignore[union-attr]
                files += [stem + one + end for one in (names or "").split(",")]
    else:
        assert module in ("venv", "pip"), words
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
            "optional-dependencies"
        ]
        for asked in re.findall(r"\.\[([\w,]+)\]", " ".join(rest)):
            assert set(asked.split(",")) <= set(extras)
    missing = [file for file in files if not (ROOT / file).exists()]
    assert not missing, f"not there: {missing}"
