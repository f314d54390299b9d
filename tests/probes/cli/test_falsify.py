"""``probe falsify``: outcomes, files, and input that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from analysis.falsifier import witness
from tests.analysis.falsifier.test_witness import GOOD
from tests.conftest import Probe
from tests.probes.cli.refusals import one_line
from tests.support.clock import tick

KEYS = {"claim", "witness", "worst_log10_ratio", "certified", "trials", "doubt"}
FAST = ("--widths", "2,1", "--budget", 20)
MINE = """
from trust.claims import CHAIN, NO_BIASES, Claim, log10, output_change, perturbed, weights

def bound(m):
    return log10(perturbed(weights(m))["relative_perturbation"].sum("layer"))

MINE = Claim(id="mine", source="me", statement="‖f̃ − f‖/‖f‖ ≤ Σ r_k", left="change", measured=output_change,
             bound=bound, premises=(CHAIN, NO_BIASES), needs=("output_change", "relative_perturbation"))
NOTHING = 3
"""


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of a second for every evaluation: a budget in seconds comes to the same on every machine."""
    tick(monkeypatch, 0.1)


def _written(tmp_path: Path, content: Any, name: str = "witness.json") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def test_a_refutation(probe: Probe, tmp_path: Path) -> None:
    found = probe("falsify", "theorem1-jacobian", *FAST, "--out", tmp_path / "out")
    assert found.exit_code == 0, found.output
    assert "REFUTED as restated here" in found.stdout
    assert "theorem1-jacobian-gated" in found.stdout
    file = tmp_path / "out" / "theorem1-jacobian.json"
    assert json.loads(file.read_text())["claim"] == "theorem1-jacobian"
    again = probe("falsify", "--replay", file)
    assert again.exit_code == 0
    assert "the inequality FAILS" in again.stdout
    document = json.loads(probe("falsify", "--replay", file, "--json").stdout)
    assert document == {"claim": "theorem1-jacobian", "refuted": True}


def test_the_json_document(probe: Probe, tmp_path: Path) -> None:
    found = probe("falsify", "theorem1-jacobian", *FAST, "--json")
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    assert set(document) == KEYS
    assert document["certified"] is True
    assert document["doubt"] is None
    assert document["trials"] > 0
    again = probe("falsify", "--replay", _written(tmp_path, document), "--json")  # the whole document will do
    assert json.loads(again.stdout)["refuted"] is True
    holds = probe("falsify", "spectral-product", "--widths", "1,1", "--budget", 0.3, "--json")
    document = json.loads(holds.stdout)
    assert set(document) == KEYS
    assert document["witness"] is None
    assert document["certified"] is False


def test_a_budget_in_trials_is_the_same_on_every_machine(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most a batch of 64 above it, however long each takes."""
    options = ("spectral-product", "--widths", "2,2", "--trials", 100, "--json")
    found = []
    for seconds in (0.1, 1000.0):
        tick(monkeypatch, seconds)
        found.append(json.loads(probe("falsify", *options).stdout))
    assert found[0] == found[1]
    assert 100 <= found[0]["trials"] < 164


def test_a_claim_that_holds_leaves_no_file(probe: Probe, tmp_path: Path) -> None:
    found = probe("falsify", "spectral-product", "--budget", 0.3, "--out", tmp_path / "out")
    assert found.exit_code == 0
    assert "no counterexample" in found.stdout
    assert list((tmp_path / "out").iterdir()) == []


def test_a_tampered_witness(probe: Probe, tmp_path: Path) -> None:
    found = probe(
        "falsify", "--replay", _written(tmp_path, {**GOOD, "input": ["1/2", "1/5"], "left": [99, 99]})
    )
    assert found.exit_code == 0
    assert "does not fail" in found.stdout
    found = probe("falsify", "--replay", _written(tmp_path, {**GOOD, "input": ["1/2", "1/2"]}))
    assert "not certified" in found.stdout


def test_a_users_claim(probe: Probe, tmp_path: Path) -> None:
    file = tmp_path / "claims.py"
    file.write_text(MINE)
    options = ("--widths", "1,1,1", "--activation", "identity", "--budget", 20, "--out", tmp_path / "out")
    found = probe("falsify", f"{file}:MINE", *options)
    assert found.exit_code == 0, found.output
    assert "REFUTED" in found.stdout
    assert (tmp_path / "out" / "mine.json").is_file()
    replayed = probe("falsify", "--replay", tmp_path / "out" / "mine.json", "--claim", f"{file}:MINE")
    assert "the inequality FAILS" in replayed.stdout
    one_line(probe("falsify", "--replay", tmp_path / "out" / "mine.json"), "mine", "no such claim")
    by_id = probe("falsify", "mine", "--claim", f"{file}:MINE", *options[:4], "--budget", 0.2, "--json")
    assert json.loads(by_id.stdout)["claim"] == "mine"
    one_line(probe("falsify", f"{file}:NOTHING"), "int", "not a trust.claims.Claim")
    one_line(probe("falsify", f"{file}:MISSING"), "nothing")
    one_line(probe("falsify", f"{tmp_path}/none.py:MINE"), "no such file")


def test_arguments_that_cannot_be_used(probe: Probe, tmp_path: Path) -> None:
    one_line(probe("falsify"), "CLAIM")
    one_line(probe("falsify", "lemma1", "--replay", tmp_path / "x"), "either")
    one_line(probe("falsify", "theorem1-jacobain"), "did you mean theorem1-jacobian?")
    one_line(probe("falsify", "zzzzzz"), "probe claims")
    one_line(probe("falsify", "a\nb"), "no such claim")
    one_line(probe("falsify", "all"), "--out")
    one_line(probe("falsify", "lemma2-calibrated", "--budget", 1), "lemma2-calibrated")
    for widths in (
        "",
        "2",
        "2,",
        "2,x",
        "0,1",
        "17,1",
        "-1,2",
        "1e3,2",
        "9" * 5000 + ",1",
        ",".join("1" * 18),
    ):
        one_line(probe("falsify", "lemma1", "--widths", widths), "--widths")
    one_line(probe("falsify", "theorem1-function-layerwise", "--widths", "2,1"), "2,1")
    one_line(probe("falsify", "path-metric-direct", "--widths", "16,16,16,16,16"), "16,16")
    for activation in (
        "gelu",
        "tanh",
        "leaky_relu:x",
        "leaky_relu:0",
        "leaky_relu:1/0",
        "leaky_relu:1e999999999",
    ):
        one_line(probe("falsify", "theorem1-jacobian", "--activation", activation), "activation")
    for budget in ("0", "-1", "nan", "inf"):
        one_line(probe("falsify", "lemma1", "--budget", budget), "--budget")
    for trials in (0, 10**10):
        one_line(probe("falsify", "lemma1", "--trials", trials), "--trials")
    one_line(probe("falsify", "lemma1", "--seed", -1), "--seed")
    for option, value in (("--budget", "x"), ("--seed", "x"), ("--seed", "1.5")):
        result = probe("falsify", "lemma1", option, value)
        assert result.exit_code == 2
        assert "Traceback" not in result.output
    (tmp_path / "file").touch()
    one_line(probe("falsify", "lemma1", *FAST, "--out", tmp_path / "file"), "file")


HOSTILE: dict[str, Any] = {
    "empty": b"",
    "binary": bytes(range(256)) * 10,
    "not UTF-8": b'{"claim": "\xff"}',
    "nested lists": b"[" * 100_000,
    "nested and closed": b"[" * 100_000 + b"]" * 100_000,
    "nested in a number": b'{"claim": "lemma2", "widths": ' + b"[" * 900 + b"]" * 900 + b"}",
    "2 MB": b'{"claim": "' + b"x" * 2_000_000 + b'"}',
    "a list": [GOOD],
    "null": None,
    "no claim": {k: v for k, v in GOOD.items() if k != "claim"},
    "claim of another type": {**GOOD, "claim": 7},
    "unknown claim": {**GOOD, "claim": "unknown"},
    "long claim": {**GOOD, "claim": "x" * 100_000},
    "claim of many lines": {**GOOD, "claim": "a\n\n\nb\rc"},
    "missing weights": {k: v for k, v in GOOD.items() if k != "weights"},
    "huge exponent": {**GOOD, "input": ["1e999999999", "1"]},
    "huge slope": {**GOOD, "activation": "leaky_relu:1e999999999"},
    "huge widths": {**GOOD, "widths": [10**9, 10**9]},
    "wrong shape": {**GOOD, "weights": [[["1"]]]},
    "wrong type": {**GOOD, "weights": "text"},
    "NaN": b'{"claim": "theorem1-jacobian", "widths": [1, 1], "activation": "identity", "weights": [[[NaN]]]}',
    "infinity": json.dumps({**GOOD, "input": [1, 2]}).replace("[1, 2]", "[1, Infinity]").encode(),
    "a number of 5000 digits": b'{"claim": "lemma2", "widths": [' + b"9" * 5000 + b"]}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(name: str, probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are refused before anything is computed from them."""

    def compute(*_: Any) -> None:
        raise AssertionError("a hostile file was taken for a network")

    monkeypatch.setattr(witness, "certify", compute)
    path = _written(tmp_path, HOSTILE[name])
    result = probe("falsify", "--replay", path)
    one_line(result, "witness.json" if "claim" not in name else "")
    assert len(result.stderr) < 1000


def test_a_file_that_names_code_is_not_run(probe: Probe, tmp_path: Path) -> None:
    code = tmp_path / "x.py"
    code.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n" + MINE)
    for name in (f"{code}:MINE", "os:system", "x.py:y"):
        one_line(probe("falsify", "--replay", _written(tmp_path, {**GOOD, "claim": name})), "names code")
    assert not (tmp_path / "ran").exists()


def test_files_that_are_none(probe: Probe, tmp_path: Path) -> None:
    without_a_form = _written(tmp_path, {**GOOD, "claim": "lemma2-calibrated"})
    one_line(probe("falsify", "--replay", without_a_form), "witness.json", "cannot be checked")
    one_line(probe("falsify", "--replay", tmp_path / "missing.json"), "missing.json", "no such file")
    one_line(probe("falsify", "--replay", "/dev/zero"), "/dev/zero", "plain file")
    assert probe("falsify", "--replay", tmp_path).exit_code == 2


def test_all_claims(probe: Probe, tmp_path: Path) -> None:
    found = probe("falsify", "all", "--widths", "2,2", "--budget", 2, "--out", tmp_path / "out", "--json")
    assert found.exit_code == 0, found.output
    documents = json.loads(found.stdout)
    assert all(document["trials"] > 0 for document in documents)
    assert any(document["certified"] for document in documents)
    assert "lemma2-calibrated" not in {document["claim"] for document in documents}
    assert "lemma2-calibrated needs step_limit" in found.stderr
    assert all(set(document) == KEYS for document in documents)
    page = (tmp_path / "out" / "falsified.md").read_text()
    assert all(document["claim"] in page for document in documents)
    files = {path.stem for path in (tmp_path / "out").glob("*.json")}
    assert files == {document["claim"] for document in documents if document["certified"]}
