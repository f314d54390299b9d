"""Finding the state_dict in whatever it was saved in, and the names that its tensors had before wrappers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast

from probes.checkpoints.pickles import UnreadableError
from probes.checkpoints.tensor_tree import Leaf
from probes.errors import mention

__all__ = ["ASIDE", "LONGEST_NAME", "clean_names", "find_state", "renamed_to_fit", "training_position"]

_WRAPPERS = (
    "model_state_dict", "state_dict", "model_state", "model", "net", "network", "module", "params", "weights",
    "ema_state_dict", "state_dict_ema", "model_ema", "ema", "swa_model", "swa", "averaged_model",
)  # fmt: skip
ASIDE = (
    "optimizer", "optimizers", "optimizer_state_dict", "optimizer_states", "optim", "opt", "lr_scheduler",
    "lr_schedulers", "scheduler", "scheduler_state_dict", "callbacks", "loops", "hyper_parameters", "scaler",
    "grad_scaler", "amp", "rng", "rng_state",
)  # fmt: skip
_INSIDE = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
_FIRST = ("model", "net", "network")
_STEPS = ("global_step", "step", "iteration", "iterations", "global_iteration", "iter", "num_steps")
_EPOCHS = ("epoch", "epochs", "current_epoch")
_DEEPEST = 50
_WANTED = "give a file of names and tensors, such as torch.save(model.state_dict(), …) makes"
LONGEST_NAME = 1000
"""Letters of a tensor's name; what is done with names takes their length several times over."""

T = TypeVar("T")


def find_state(tree: Any, key: str | None = None) -> dict[str, Leaf]:
    """The one mapping of names to tensors in what a file says.

    Args:
        tree: dictionaries, lists, numbers and tensors.
        key: where several are in it, the name of the one to take, or names joined by slashes.

    Raises:
        UnreadableError: there is none, or several and ``key`` does not choose, or something else among its tensors.
    """
    if key is not None:
        tree = _chosen(tree, key)
    if not isinstance(tree, Mapping | list | tuple) or (
        not isinstance(tree, Mapping) and not _children(tree)
    ):
        kind = "Tensor" if isinstance(tree, Leaf) else type(tree).__name__
        raise UnreadableError(f"holds a {kind}, not a state_dict; {_WANTED}")
    found = _search(tree, (), set())
    if not found:
        if isinstance(tree, Mapping):
            names = ", ".join(str(name)[:40] for name in list(tree)[:6] if isinstance(name, str | int))
            raise UnreadableError(f"no state_dict in it (keys: {names}); {_WANTED}")
        raise UnreadableError(f"holds a {type(tree).__name__}, not a state_dict; {_WANTED}")
    if len(found) > 1:
        names = ", ".join("/".join(part[:100] for part in path) for path, _ in found[:8])
        raise UnreadableError(f"several state_dicts in it ({names}); choose one with `key=NAME`")
    return _tensors_alone(found[0][1])


def _chosen(tree: Any, key: str) -> Any:
    for part in key.split("/"):
        inner = dict(_children(tree))
        if part not in inner:
            known = ", ".join(list(inner)[:8]) or "none"
            raise UnreadableError(f"{mention('key', key)}: nothing named {part} in it; there are: {known}")
        tree = inner[part]
    return tree


def _children(node: Any) -> list[tuple[str, Any]]:
    """What a mapping or list holds that could hold tensors, or is asked for by name."""
    if isinstance(node, Mapping):
        return [(str(name), value) for name, value in node.items() if isinstance(name, str | int)]
    if isinstance(node, list | tuple) and len(node) <= 1000:
        inner = [(str(place), value) for place, value in enumerate(node)]
        return [(name, value) for name, value in inner if isinstance(value, Mapping | list | tuple)]
    return []


def _search(
    node: Any, path: tuple[str, ...], seen: set[int]
) -> list[tuple[tuple[str, ...], Mapping[Any, Any]]]:
    """Every state_dict below ``node``.

    A wrapper's usual name goes before all others, unless the same tensors stand under another name too: an average
    of the weights, or the best of them.
    """
    if len(path) > _DEEPEST:
        raise UnreadableError(f"its mappings are nested too deeply; {_WANTED}")
    if id(node) in seen:
        return []
    seen.add(id(node))
    if _is_state(node):
        return [(path, node)]
    if isinstance(node, Mapping) and "param_groups" in node:  # an optimiser's
        return []
    children = [
        (name, value)
        for name, value in _children(node)
        if isinstance(value, Mapping | list | tuple) and value
    ]
    rank = {name: place for place, name in enumerate(_WRAPPERS)}
    children.sort(key=lambda child: rank.get(child[0], len(rank)))
    taken: dict[str, tuple[int, ...]] = {}
    found = []
    for name, value in children:
        if name in ASIDE:
            continue
        below = _search(value, (*path, name), seen)
        if taken:
            below = [other for other in below if _same_tensors(taken, _shapes(other[1]))]
        elif below and name in rank:
            taken = _shapes(below[0][1])
        found += below
    return found


def _same_tensors(one: Mapping[str, tuple[int, ...]], other: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether all tensors of one have their names and shapes in the other too."""
    few, many = sorted((one, other), key=len)
    return bool(few) and few.items() <= many.items()


def _shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Of its tensors, by the names that they had before wrappers changed them."""
    cleaned = clean_names(name for name in state if name != "n_averaged")
    return {now: state[name].shape for name, now in cleaned.items() if isinstance(state[name], Leaf)}


def _is_state(value: Any) -> bool:
    """Names to tensors, and perhaps numbers and other single things beside them."""
    return (
        isinstance(value, Mapping)
        and any(isinstance(item, Leaf) for item in value.values())
        and all(isinstance(name, str) for name in value)
        and not any(isinstance(item, Mapping) and not _is_extra(name) for name, item in value.items())
    )


def _is_extra(name: str) -> bool:
    return name.rpartition(".")[2] == "_extra_state"


def _tensors_alone(state: Mapping[Any, Any]) -> dict[str, Leaf]:
    """The tensors, once it is clear that nothing else stands where a tensor should."""
    for name, item in state.items():
        shown = name if len(name) <= 80 else f"{name[:80]}…"
        if len(name) > LONGEST_NAME:
            raise UnreadableError(
                f"a tensor's name has {len(name)} letters ({shown!r}); give it a shorter one"
            )
        if not name or not name.isprintable():
            raise UnreadableError(f"a tensor's name is no text ({shown!r}); {_WANTED}")
        parameter = "." in name or name in ("weight", "bias")
        if parameter and not isinstance(item, Leaf) and not _is_extra(name):
            raise UnreadableError(f"{shown} is no tensor but a {type(item).__name__}; {_WANTED}")
    return {name: item for name, item in state.items() if isinstance(item, Leaf) and not _is_extra(name)}


def clean_names(names: Iterable[str]) -> dict[str, str]:
    """What each name was before wrappers changed it.

    ``module.`` (data parallel, averaged) and ``_orig_mod.`` (compiled) go wherever they stand; ``model.``,
    ``net.`` and ``network.`` where every name begins so. Names that would become the same stay.
    """
    names = list(names)
    cleaned = {name: _without_wrappers(name) for name in names}
    if len(set(cleaned.values())) < len(names):
        cleaned = {name: name for name in names}
    changed = bool(names)
    while changed:
        changed = False
        for first in _FIRST:
            prefix = f"{first}."
            if all(name.startswith(prefix) and len(name) > len(prefix) for name in cleaned.values()):
                cleaned = {name: now[len(prefix) :] for name, now in cleaned.items()}
                changed = True
    return cleaned


def _without_wrappers(name: str) -> str:
    parts = name.split(".")
    kept = [part for part in parts[:-1] if part not in _INSIDE]
    return ".".join([*kept, parts[-1]])


def renamed_to_fit(found: Mapping[str, T], own: Iterable[str]) -> dict[str, T]:
    """The file's tensors under the network's names, where only wrappers' names or one prefix of either differ.

    Args:
        found: names in the file, wrappers taken off, to anything.
        own: the network's names; what has no match keeps the file's name.
    """
    own = list(own)
    cleaned = {now: name for name, now in clean_names(own).items()}
    inner = {now: name for name, now in zip(own, map(_without_wrappers, own), strict=True)}
    ways = [{name: name for name in own}, cleaned, inner if len(inner) == len(own) else {}]
    for name in list(found)[:3]:
        prefixes = {other.removesuffix(name) for other in own if other.endswith(f".{name}")}
        ways += [{name.removeprefix(prefix): name for name in own} for prefix in sorted(prefixes)[:9]]
    for name in own[:3]:
        prefixes = {other.removesuffix(name) for other in found if other.endswith(f".{name}")}
        ways += [{f"{prefix}{name}": name for name in own} for prefix in sorted(prefixes)[:9]]
    best = max(ways, key=lambda way: len(way.keys() & found.keys()))
    renamed = {best.get(name, name): value for name, value in found.items()}
    return renamed if len(renamed) == len(found) else dict(found)


def training_position(tree: Any, details: Mapping[str, Any]) -> dict[str, float]:
    """``step`` and ``epoch`` as the file has them, on its top or beside the state_dict one mapping further in."""
    found: dict[str, float] = {}
    for level in _levels(tree, details):
        for ours, names in (("step", _STEPS), ("epoch", _EPOCHS)):
            for name in names:
                value = level.get(name)
                if ours not in found and _is_count(value):
                    found[ours] = cast(float, value)
    return found


def _levels(tree: Any, details: Mapping[str, Any]) -> Iterator[Mapping[Any, Any]]:
    yield details
    if isinstance(tree, Mapping):
        yield tree
        yield from (
            value
            for name, value in tree.items()
            if isinstance(value, Mapping) and name not in ASIDE and "param_groups" not in value
        )


def _is_count(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1 << 53
