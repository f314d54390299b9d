"""What is said reaches the terminal as text alone, and where nobody takes it the work is done all the same."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import probes
from probes import InputError
from probes.errors import shown
from probes.system.terminal import say
from tests.conftest import Probe
from tests.support import processes
from tests.support.reference import make

RED = "\x1b[31m\x9b0m\u202e"
ROOT = Path(__file__).parent.parent.parent


def test_text_is_shown_as_text() -> None:
    assert shown("η ≤ 1 – ‖ΔW‖\nnext") == "η ≤ 1 – ‖ΔW‖\nnext"
    assert shown(RED + "\t\r\x07\udcff\u200b") == r"\x1b[31m\x9b0m\u202e\t\r\x07\udcff\u200b"
    error = InputError(f"a{RED}\nb " + "x" * 5000 + " end")
    assert str(error).startswith(r"a\x1b[31m\x9b0m\u202e b xxx")
    assert str(error).endswith("x end")
    assert len(str(error)) < 900


def test_everything_is_said_in_one_place() -> None:
    sources = [path for room in ("probes", "studies") for path in (ROOT / room).rglob("*.py")]
    speaking = re.compile(r"^[^>#]*\b(click\.echo|print)\(|std(out|err)\.write\(", re.MULTILINE)
    found = [path.name for path in sources if speaking.search(path.read_text("utf-8"))]
    assert found == ["terminal.py"]


def clean(*texts: str) -> None:
    for text in texts:
        assert shown(text) == text, ascii(text)


def test_names_and_descriptions_cannot_command_the_terminal(
    probe: Probe, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / f"net{RED}\udcff"  # bytes that are no UTF-8
    folder.mkdir()
    arrays = folder / f"data{RED}.npz"
    arrays.write_bytes(data.read_bytes())
    for step in range(2):
        torch.save(make(seed=step).state_dict(), folder / f"step{RED}\udcff{step}.pt")
    files = sorted(folder.glob("*.pt"))
    source = ["--data", arrays, "--activation", "relu"]
    out, report = tmp_path / f"out{RED}\udcff", tmp_path / "report"
    done = [
        probe("run", *files, *source, "--etas", "0.01,0.1", "--out", out),
        probe("run", *files, *source, "--etas", "0.01,0.1", "--out", out, "--json"),
        probe("run", *files, *source, "--etas", "0.01,0.1", "--out", out, "--dry-run"),
        probe("run", *files, *source, "--etas", "0.01,0.1", "--out", out, "--dry-run", "--json"),
        probe("layers", files[0], *source),
        probe("limit", *files, *source),
        probe("limit", *files, *source, "--json"),
        probe("distance", *files),
        probe("report", out, "--out", report),
        probe("report", out, "--out", report, "--json"),
        probe("export", out, tmp_path / f"x{RED}.csv"),
    ]
    assert [result.exit_code for result in done] == [0] * len(done), done
    refused = [
        probe("run", files[0], *source, "--etas", "0.1", "--out", out),
        probe("run", f"{folder}/missing", "--out", out),
        probe("run", files[0], "--network", f"{folder}/missing.py:make", "--out", out),
        probe("run", files[0], "--activation", RED, "--data", arrays, "--out", out),
        probe("run", files[0], "--data", f"text:{folder}", "--out", out),
        probe("run", files[0], f"--{RED}"),
        probe("report", RED),
        probe("falsify", RED),
        probe(RED),
    ]
    assert [result.exit_code for result in refused] == [2] * len(refused), refused
    for result in (*done, *refused):
        clean(result.stdout, result.stderr)
    clean((report / "report.md").read_text("utf-8"))
    labels = probes.load(out)["checkpoint"].values.tolist()
    assert labels == [rf"step\x1b[31m\x9b0m\u202e\udcff{step}" for step in range(2)]
    documents = [json.loads(result.stdout) for result in done if result.stdout.startswith(("{", "["))]
    assert documents[0]["results"] == str(out)  # a program reads it as it is


def test_a_path_that_the_safetensors_library_cannot_open_is_named(
    probe: Probe, trained: Path, tmp_path: Path
) -> None:
    path = tmp_path / "\udcff.safetensors"
    path.write_bytes(sorted(trained.glob("*.safetensors"))[0].read_bytes())
    result = probe("layers", path)
    assert result.exit_code == 2
    assert r"\udcff.safetensors: cannot be read: its path is no UTF-8" in result.stderr


def test_an_encoding_that_lacks_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding, expected in (("ascii", r"-- \u03b7 x 2"), ("iso8859-7", "-- η x 2"), ("utf-8", "── η × 2")):
        stream = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(stream, encoding=encoding))
        say("── η × 2")
        assert stream.getvalue().decode(encoding) == f"{expected}\n"


class Full(io.StringIO):
    def write(self, _: str) -> int:
        raise OSError(28, "No space left on device")


def test_what_standard_error_does_not_take_is_lost_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (Full(), closed, None):
        monkeypatch.setattr(sys, "stderr", stream)
        say("nobody reads it", err=True)
    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(InputError, match="standard output cannot be written"):
        say("nobody reads it")


RUN = ["run", "net.pt", "--activation", "relu", "--data", "data.npz", "--etas", "0.01,0.1", "--samples", "2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("streams")
    torch.save(make().state_dict(), found / "net.pt")
    random = np.random.default_rng(0)
    np.savez(found / "data.npz", x=random.normal(size=(9, 6)), y=np.arange(9) % 3)
    return found


def shell(
    folder: Path, redirection: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A process of its own, started by a shell with some streams closed or led elsewhere."""
    words = ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-m", "probes", *arguments]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        words, cwd=folder, env=variables, capture_output=True, text=True, timeout=processes.LONG, check=False
    )


@pytest.mark.parametrize(
    ("redirection", "status", "said"),
    [
        ("2>&-", 0, ""),
        (">&- 2>&- <&-", 0, ""),
        (
            ">/dev/full",
            2,
            "standard output cannot be written (No space left on device); what is in files by now",
        ),
        (">/dev/full 2>/dev/full", 2, ""),
    ],
)
def test_a_run_is_done_whoever_listens(folder: Path, redirection: str, status: int, said: str) -> None:
    out = "".join(filter(str.isalnum, redirection)) or "out"
    done = shell(folder, redirection, *RUN, "--out", out)
    assert done.returncode == status
    lines = [
        line
        for line in done.stderr.splitlines()
        if "probe: about" not in line and "better than chance" not in line
    ]  # how long it takes
    assert len(lines) == bool(said)
    assert said in "".join(lines)
    assert probes.load(folder / out).attrs["complete"] == "true"
    assert not (folder / out / ".lock").exists()


@pytest.mark.parametrize(
    ("redirection", "status", "lines"),
    [(">/dev/full", 2, 1), (">&-", 0, 0), ("2>&-", 0, 0), (">/dev/full 2>&-", 2, 0), ("| true", 0, 0)],
)
def test_help_that_nobody_takes(folder: Path, redirection: str, status: int, lines: int) -> None:
    for arguments in (["--help"], ["run", "--help"], ["claims", "--json"]):
        done = shell(folder, redirection, *arguments)
        assert (done.returncode, len(done.stderr.splitlines())) == (status, lines), (arguments, done.stderr)


def test_output_in_ascii(folder: Path) -> None:
    ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    for arguments in (
        ["--help"],
        ["falsify", "--help"],
        [*RUN, "--out", "a\u03b7"],
        ["report", "a\u03b7"],
        ["claims"],
    ):
        done = shell(folder, "", *arguments, **ascii_only)
        said = [line for line in done.stderr.splitlines() if "better than chance" not in line]
        assert (done.returncode, said) == (0, []), done.stderr
        assert "--help" in arguments or done.stdout.isascii()  # click writes help in UTF-8 then
    document = shell(folder, "", "claims", "--json", **ascii_only).stdout
    assert "‖" in json.loads(document)[0]["statement"]
