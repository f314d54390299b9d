"""Witnesses in files: small networks that refute a claim, written and checked again from scratch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from analysis.falsifier import Outcome, Replay, UnsupportedError, WitnessError, replay
from probes.cli.claims import claim_named
from probes.errors import InputError
from probes.system.files import write_atomically
from probes.system.json_files import read_json
from trust.claims import Claim

__all__ = ["replay_file", "write_witness"]

_MOST_BYTES = 1_000_000
_LONGEST_NAME = 200


def write_witness(claim: Claim, outcome: Outcome, out: Path) -> None:
    """Write the witness into ``out``, where there is one.

    Raises:
        InputError: the file cannot be written.
    """
    if outcome.certificate is not None:
        document = json.dumps(outcome.to_json(claim)["witness"], indent=1, ensure_ascii=False) + "\n"
        write_atomically(out / f"{claim.id}.json", document.encode())


def replay_file(path: Path, specs: Sequence[str] = ()) -> Replay:
    """Check a witness file again from scratch.

    Args:
        path: the file.
        specs: claims of the user's own, as :func:`probes.cli.claims.chosen_claims` takes them.

    Raises:
        InputError: the file is no witness.
    """
    try:
        if not path.is_file():
            raise InputError(f"{path}: no such file" if not path.exists() else f"{path}: is not a plain file")
        document = read_json(path, largest=_MOST_BYTES)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"as JSON: {error}"
        raise InputError(f"{path}: cannot be read ({reason})") from error
    if isinstance(document, dict) and isinstance(document.get("witness"), dict):
        document = document["witness"]  # what probe falsify --json printed
    name = document.get("claim") if isinstance(document, dict) else None
    if not isinstance(name, str):
        raise InputError(f"{path}: is no witness (it names no claim)")
    if ":" in name:
        raise InputError(f"{path}: names code to run, {name[:80]}; give the claim yourself with --claim")
    if len(name) > _LONGEST_NAME:
        raise InputError(f"{path}: is no witness (its claim's name is too long)")
    try:
        return replay(document, claim_named(name, specs))
    except WitnessError as error:
        raise InputError(f"{path}: is no witness ({error})") from error
    except UnsupportedError as error:
        raise InputError(f"{path}: cannot be checked ({error})") from error
