"""What was probed: the network, its checkpoints, the data, how it was moved and how exactly."""

from __future__ import annotations

import json
from itertools import groupby

import xarray as xr

from analysis.in_short import ALONG, network_name
from analysis.wording import count_of, number
from trust import measurements as variables

__all__ = ["probed"]


def probed(measurements: xr.Dataset) -> list[tuple[str, str]]:
    """What it takes to know what was measured, a word and what is known of it each.

    Args:
        measurements: of a run, completed.
    """
    attributes = {str(name): str(value) for name, value in measurements.attrs.items()}
    etas = measurements[variables.ETA].values
    moving = [str(name) for name in measurements["layer"].values]
    weights = count_of(int(measurements[variables.IS_WEIGHT].sum()), "weight matrix").replace("xs", "ces")
    direction = attributes.get("direction", "")
    found = [
        ("network", f"{network_name(measurements)}; {weights} among {count_of(len(moving), 'tensor')}"),
        ("widths", _widths(measurements)),
        ("activation", _activations(attributes)),
        ("checkpoints", _checkpoints(measurements)),
        ("data", _data(attributes)),
        ("loss", attributes.get("loss", "")),
        ("moved", f"{ALONG.get(direction, direction)}{_biases(attributes)}"),
        ("η", f"{len(etas)} values, 0 and {number(float(etas[1]))} to {number(float(etas[-1]))}"),
        ("arithmetic", _arithmetic(attributes)),
        ("batch norm", attributes.get("batchnorm", "") if "batch" in attributes.get("norm", "") else ""),
        ("seed", attributes.get("seed", "")),
        ("versions", attributes.get("versions", "")),
    ]
    return [(word, said) for word, said in found if said]


def _widths(measurements: xr.Dataset) -> str:
    """d_0, …, d_L where each matrix takes what the one before gives; equal ones in a row are counted."""
    if not {"rows", "columns"} <= set(measurements.coords):
        return ""
    own = measurements["is_weight"].values.astype(bool)
    rows, columns = (measurements[name].values[own].tolist() for name in ("rows", "columns"))
    if rows[:-1] != columns[1:]:
        return ""
    runs = [(width, len(list(same))) for width, same in groupby([columns[0], *rows])]
    return "–".join(f"{width}" if count == 1 else f"{width} (×{count})" for width, count in runs)


def _activations(attributes: dict[str, str]) -> str:
    """The names of the activations in the network's structure, where it was read."""
    try:
        steps = json.loads(attributes.get("structure") or "[]")
        names = [str(step["name"]) for step in steps if step["kind"] == "activation"]
    except (ValueError, TypeError, KeyError):
        return ""
    return ", ".join(dict.fromkeys(names))


def _checkpoints(measurements: xr.Dataset) -> str:
    labels = [str(label) for label in measurements["checkpoint"].values]
    ends = " to ".join(dict.fromkeys((labels[0], labels[-1])))
    hashes = ""
    if "weights_hash" in measurements.coords:
        shown = [str(value) for value in measurements["weights_hash"].values]
        hashes = f"; hash of the weights {' to '.join(dict.fromkeys((shown[0], shown[-1])))}"
    return f"{len(labels)}: {ends}{hashes}"


def _data(attributes: dict[str, str]) -> str:
    examples = f"{int(float(attributes.get('number_of_examples', '0'))):,} examples"
    parts = [f"{examples} of {attributes.get('data', 'unknown data')}"]
    if "data_hash" in attributes:
        parts.append(f"hash {attributes['data_hash']}")
    return "; ".join(filter(None, [*parts, attributes.get("data_note")]))


def _biases(attributes: dict[str, str]) -> str:
    if attributes.get("biases") == "false":
        return ""
    return "; biases too" if attributes.get("biases_moved") == "true" else "; biases not"


def _arithmetic(attributes: dict[str, str]) -> str:
    parts = [attributes.get("dtype", ""), attributes.get("device", "")]
    if (precision := attributes.get("precision", "full")) != "full":
        parts.append(f"layers in {precision}")
    if "matmul" in attributes:
        parts.append(f"products by {attributes['matmul']}")
    return ", ".join(filter(None, parts))
