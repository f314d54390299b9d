"""Adam's second moments beside a checkpoint: what its preconditioned Hessian is measured with.

``probe train`` keeps them in a folder of their own beside its checkpoints, for a file among these would be taken for
a network; files of ``torch.save`` have them where the optimizer's state_dict is saved with the network's.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from probes.checkpoints.checkpoint import tensors_digest
from probes.checkpoints.formats import open_tree
from probes.checkpoints.pickles import UnreadableError
from probes.checkpoints.safetensors_file import ADAM
from probes.checkpoints.state_dict import ASIDE, clean_names, find_state
from probes.checkpoints.tensor_tree import Leaf, TensorTree, Unsuitable
from probes.errors import InputError
from probes.system.files import make_folder, write_atomically
from probes.system.json_files import parse_json
from probes.system.seals import ATTRIBUTE, digest_of

__all__ = ["AdamState", "adam_state", "keep_adam_state"]

_FOLDER = "optimizer-state"
_OF, _MOMENTS = "checkpoint", "moments"
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
"""Last parts of the names of tensors in a state_dict that no optimizer moves."""


@dataclass(frozen=True)
class AdamState:
    """What Adam knew when a checkpoint was saved.

    Attributes:
        second_moments: v, before its bias is corrected, by the parameters' names as the checkpoint has them.
        step: t ≥ 1, how many steps were taken.
        beta1: decay of the mean of gradients.
        beta2: decay of the mean of their squares, v.
        eps: what is added to √v̂.

    Raises:
        ValueError: Adam has no such state.
    """

    second_moments: Mapping[str, Tensor]
    step: int
    beta1: float
    beta2: float
    eps: float

    def __post_init__(self) -> None:
        """See the class."""
        numbers = [self.step, self.beta1, self.beta2, self.eps]
        if not all(type(one) in (int, float) and math.isfinite(one) for one in numbers):
            raise ValueError(f"betas, eps or step are no numbers ({reprlib.repr(numbers)})")
        if type(self.step) is not int or not 1 <= self.step < 1 << 53:
            raise ValueError(f"it was saved after {self.step} steps")
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1 and self.eps >= 0):
            raise ValueError(f"betas {self.beta1}, {self.beta2} and eps {self.eps} are none of Adam's")
        for name, moment in self.second_moments.items():
            if not moment.is_floating_point() or not bool((torch.isfinite(moment) & (moment >= 0)).all()):
                raise ValueError(f"{name[:80]} has second moments that are no means of squares")

    def preconditioner(self) -> dict[str, Tensor]:
        """The diagonal of P = (1 − β₁^t)·(√v̂ + ε), v̂ = v/(1 − β₂^t), in float64 (arXiv 2207.14484).

        Adam's step is gradient descent's with averaged gradients and P⁻¹ in front; 1 − β₁^t corrects their bias.
        """
        first, second = (1 - beta**self.step for beta in (self.beta1, self.beta2))
        return {
            name: first * ((moment.double() / second).sqrt() + self.eps)
            for name, moment in self.second_moments.items()
        }


def keep_adam_state(
    checkpoint: Path,
    tensors: Mapping[str, Tensor],
    parameters: Iterable[tuple[str, Tensor]],
    optimizer: torch.optim.Adam,
) -> None:
    """Write Adam's second moments beside a checkpoint that is about to be written; before the first step, nothing.

    It takes as much space again as the checkpoint itself.

    Args:
        checkpoint: its file.
        tensors: its tensors, by whose digest both are known to belong together.
        parameters: the network's, by name.
        optimizer: of one group.

    Raises:
        InputError: it cannot be written.
    """
    from safetensors.torch import save

    group = optimizer.param_groups[0]
    states = {name: optimizer.state.get(parameter, {}) for name, parameter in parameters}
    moments = {name: own["exp_avg_sq"].detach().cpu().contiguous() for name, own in states.items() if own}
    if not moments:
        return
    described: dict[str, Any] = {
        _OF: tensors_digest(tensors),
        _MOMENTS: tensors_digest(moments),
        "step": max(int(own["step"]) for own in states.values() if own),
        "betas": list(group["betas"]),
        "eps": group["eps"],
    }
    described[ATTRIBUTE] = digest_of(described)
    path = checkpoint.parent / _FOLDER / checkpoint.name
    make_folder(path.parent)
    write_atomically(path, save(moments, {ADAM: json.dumps(described, sort_keys=True)}))


def adam_state(path: str | Path, *, key: str | None = None) -> AdamState | None:
    """Adam's state at a checkpoint, from beside one of ``probe train``, or from inside a file of ``torch.save``.

    In such a file moments go to tensors by the names in the optimizer's groups, or else by their order, where number
    and shapes are those of the network's own tensors.

    Args:
        path: the checkpoint.
        key: as for :func:`probes.checkpoints.checkpoint.read_checkpoint`.

    Returns:
        None where there is none, as before the first step; where several optimizers, groups of different betas or
        other tensors than the network's leave open what belongs to what; or where the optimizer is another.

    Raises:
        InputError: the checkpoint cannot be read, or there is a state that Adam cannot have had.
    """
    path = Path(path)
    with open_tree(path) as found:
        if found.digest is not None:
            shapes = {name: leaf.shape for name, leaf in found.tree.items()}
            return _beside(path, found.digest, shapes)
        return _inside(path, found, key)


def _beside(path: Path, digest: Any, shapes: Mapping[str, tuple[int, ...]]) -> AdamState | None:
    """Of a checkpoint of ``probe train``.

    Raises:
        InputError: the file is damaged, or of another checkpoint.
    """
    from safetensors import safe_open

    file = path.parent / _FOLDER / path.name
    if not file.is_file():
        return None
    try:
        stream: Any = safe_open(file, framework="pt", device="cpu")
        details = parse_json((stream.metadata() or {}).get(ADAM, "null"))
        if not isinstance(details, dict) or details.get(ATTRIBUTE) != digest_of(details):
            raise ValueError("its checksum does not fit")
        if details.get(_OF) != digest:
            raise ValueError("it belongs to another checkpoint")
        names = list(stream.keys())
        if any(shapes.get(name) != tuple(stream.get_slice(name).get_shape()) for name in names):
            raise ValueError("its tensors have other shapes than the checkpoint's")
        moments = {name: stream.get_tensor(name).clone() for name in names}
        if tensors_digest(moments) != details.get(_MOMENTS):
            raise ValueError("the checksum of its tensors does not fit")
        return _state(moments, details["step"], details["betas"], details["eps"])
    except Exception as error:  # the library's own error types are not importable by name in every version
        raise InputError(
            f"{file}: is damaged ({error}); train again, or delete it to measure without"
        ) from error


def _inside(path: Path, found: TensorTree, key: str | None) -> AdamState | None:
    """Of a file that holds an optimizer's state_dict too."""
    optimizers = list(_optimizers(found.tree))
    if len(optimizers) != 1:
        return None
    groups, states = optimizers[0]["param_groups"], optimizers[0]["state"]
    if not all(isinstance(group, Mapping) and isinstance(group.get("params"), list) for group in groups):
        return None
    numbers = [number for group in groups for number in group["params"]]
    own = [state for number in numbers if isinstance(number, int) and _is_adams(state := states.get(number))]
    if not own or len(own) < len(numbers):
        return None
    described = [(group.get("betas"), group.get("eps")) for group in groups]
    try:
        network = find_state(found.tree, key)
        shapes = {now: network[name].shape for name, now in clean_names(network).items()}
        matched = _matched([name for group in groups for name in group.get("param_names") or []], shapes, own)
        if matched is None or any(one != described[0] for one in described):
            return None
        moments = {name: found.read(leaf) for name, leaf in matched.items()}
        steps = [_number(one["step"], found) for one in own]
        if len({repr(step) for step in steps}) != 1:
            return None
        betas, eps = described[0]
        return _state(moments, steps[0], betas, eps)
    except UnreadableError as error:
        raise InputError(f"{path}: its Adam state cannot be read ({error}); save it again") from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: its Adam state is damaged ({error}); save it again") from error


def _optimizers(tree: Any) -> Iterator[Mapping[Any, Any]]:
    """Optimizers' state_dicts under their usual names, or in lists there."""
    if not isinstance(tree, Mapping):
        return
    for name in ASIDE:
        value = tree.get(name)
        for one in value if isinstance(value, list | tuple) else [value]:
            if (
                isinstance(one, Mapping)
                and isinstance(one.get("state"), Mapping)
                and isinstance(one.get("param_groups"), list)
            ):
                yield one


def _is_adams(state: Any) -> TypeGuard[Mapping[Any, Any]]:
    """Whether one tensor's state is of Adam or AdamW: NAdam keeps a product besides, others no squares."""
    names = state.keys() if isinstance(state, Mapping) else set()
    return {"exp_avg", "exp_avg_sq", "step"} <= names and "mu_product" not in names


def _matched(
    listed: list[Any], shapes: Mapping[str, tuple[int, ...]], states: list[Any]
) -> dict[str, Leaf] | None:
    """The leaf of each parameter's v, by name; None where that is not clear."""
    leaves = [
        one.get("max_exp_avg_sq", one["exp_avg_sq"]) for one in states
    ]  # AMSGrad divides by the largest
    if not all(isinstance(leaf, Leaf) and not isinstance(leaf, Unsuitable) for leaf in leaves):
        return None
    names = [name for name in shapes if name.rpartition(".")[2] not in _BUFFERS]
    if len(listed) == len(leaves) and all(isinstance(name, str) for name in listed):
        names = list(clean_names(listed).values())
    if len(names) != len(leaves) or len(set(names)) != len(names):
        return None
    if any(shapes.get(name) != leaf.shape for name, leaf in zip(names, leaves, strict=True)):
        return None
    return dict(zip(names, leaves, strict=True))


def _number(value: Any, found: TensorTree) -> Any:
    if isinstance(value, Leaf) and not isinstance(value, Unsuitable) and value.count == 1:
        return float(found.read(value))
    return value


def _state(moments: Mapping[str, Tensor], step: Any, betas: Any, eps: Any) -> AdamState:
    """Checked.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(betas, list | tuple) or len(betas) != 2:
        raise ValueError(f"betas are {reprlib.repr(betas)}")
    if type(step) is float and step.is_integer() and abs(step) < 1 << 53:
        step = int(step)
    return AdamState(moments, step, betas[0], betas[1], eps)
