"""Low-rank adapters as the PEFT library saves them, put into their base network by that library.

What the folder's configuration says is checked word by word, and which modules have an adapter is read off the names
of its tensors: nothing that the configuration names is imported, fetched, or used as a pattern.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from probes.checkpoints.checkpoint import Checkpoint
from probes.checkpoints.hugging_face import ADAPTER
from probes.errors import InputError
from probes.system.json_files import read_json

__all__ = ["adapted", "is_adapter"]

_LARGEST_JSON = 1 << 20
_PREFIX = "base_model.model."
_PART = re.compile(
    r"(.+)\.(lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)(\.weight|\.bias)?"
)
_LITERAL = re.compile(r"[\w.]{1,200}")  # a module's path, and as a pattern nothing that takes long
_TAKEN = ("lora_alpha", "use_rslora", "use_dora", "lora_bias", "fan_in_fan_out", "bias")
_HARMLESS = {
    "peft_type", "peft_version", "task_type", "inference_mode", "revision", "auto_mapping", "base_model_name_or_path",
    "r", "rank_pattern", "alpha_pattern", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern",
    "modules_to_save", "init_lora_weights", "lora_dropout", "eva_config", "megatron_core", "qalora_group_size",
}  # fmt: skip
"""What is read elsewhere, or has done its work when the adapter was made."""
_BESIDE_THE_BASE = (None, True, False, "gaussian", "eva", "orthogonal")
"""The initialisations that leave the base network as it was."""


def is_adapter(path: Path) -> bool:
    """Whether a checkpoint is the folder of an adapter."""
    return (path / ADAPTER).is_file()


def adapted(base: nn.Module, adapter: Checkpoint, *, merged: bool) -> tuple[nn.Module, str]:
    """Put an adapter into its base network.

    Args:
        base: the network, its weights in place; it is changed.
        adapter: the folder's tensors.
        merged: whether W + (α/r) B A becomes the weight, which then moves as the base's own would; else the base is
            frozen and the adapter's own tensors move.

    Returns:
        The network, and what of the configuration decides its numbers.

    Raises:
        InputError: the library is missing, the configuration is damaged or says more than is understood here, or
            tensors do not fit.
    """
    content = _checked(_json(adapter.path / ADAPTER))
    try:
        import peft
    except ImportError as error:
        raise InputError(
            "an adapter needs the peft library: pip install 'deep-relative-trust[hf]'"
        ) from error
    ranks = _ranks(adapter.tensors)
    missing = [name for name in ranks if not _has_module(base, name)]
    if missing:
        raise InputError(
            f"it adapts {missing[0]}, which the base network does not have; give its own with `base`"
        )
    trainable = {name: parameter.requires_grad for name, parameter in base.named_parameters()}
    for parameter in base.parameters() if merged else ():
        parameter.data = parameter.data.clone()  # merging writes into them, and they are the checkpoint's own
    chosen = {key: content[key] for key in _TAKEN if key in content}
    try:
        with warnings.catch_warnings(action="ignore"):
            config = peft.LoraConfig(
                target_modules=list(ranks),
                r=next(iter(ranks.values())),
                rank_pattern={f"^{re.escape(name)}": rank for name, rank in ranks.items()},
                alpha_pattern=content.get("alpha_pattern") or {},
                modules_to_save=content.get("modules_to_save"),
                **chosen,
            )
            model = peft.get_peft_model(base, config)
            own = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
            _same_names(adapter.tensors, own)
            peft.set_peft_model_state_dict(model, {name: t.float() for name, t in adapter.tensors.items()})
    except InputError:
        raise
    except Exception as error:  # whatever the library makes of a configuration
        raise InputError(
            f"its adapter does not fit its base ({' '.join(str(error).split())[:160]})"
        ) from error
    if not merged:
        return model.get_base_model(), json.dumps([chosen, content.get("alpha_pattern")], sort_keys=True)
    network = model.merge_and_unload()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(trainable.get(name, False))
    return network, json.dumps([chosen, content.get("alpha_pattern"), "merged"], sort_keys=True)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path, largest=_LARGEST_JSON)
        if not isinstance(content, dict):
            raise ValueError("no mapping")
    except OSError as error:
        raise InputError(f"its {ADAPTER} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"its {ADAPTER} is damaged ({str(error)[:80]})") from error
    return content


def _checked(content: dict[str, Any]) -> dict[str, Any]:
    """The configuration, once it is clear that all of it is understood.

    Raises:
        InputError: it is of another kind of adapter, or has a setting that is not known here.
    """
    merge = (
        "merge it with the peft library (merge_and_unload, save_pretrained) and give the folder of the result"
    )
    if content.get("peft_type") != "LORA":
        raise InputError(f"its adapter is of kind {str(content.get('peft_type'))[:40]}, not LORA; {merge}")
    unknown = [key for key, value in content.items() if value and key not in (*_TAKEN, *_HARMLESS)]
    if unknown:
        raise InputError(f"its {ADAPTER} says {unknown[0][:60]}, which is not understood here; {merge}")
    if content.get("init_lora_weights") not in _BESIDE_THE_BASE:
        raise InputError(
            f"its adapter came with changes of the base network's own weights (init_lora_weights); {merge}"
        )
    saved, alphas = content.get("modules_to_save") or [], content.get("alpha_pattern") or {}
    words = [*saved, *alphas] if isinstance(saved, list) and isinstance(alphas, dict) else [None]
    if not all(isinstance(word, str) and _LITERAL.fullmatch(word) for word in words):
        raise InputError(f"its {ADAPTER} has patterns for names of modules, which are not read here; {merge}")
    numbers = [content.get("lora_alpha", 8), *alphas.values()]
    flags = [content.get(key) or False for key in _TAKEN[1:-1]]
    if not all(type(value) in (int, float) and abs(value) < 1e6 for value in numbers) or not (
        all(isinstance(flag, bool) for flag in flags)
        and content.get("bias", "none") in ("none", "all", "lora_only")
    ):
        raise InputError(f"its {ADAPTER} is damaged; copy, download or save it again")
    return content


def _ranks(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """The modules that have an adapter, and its rank: how many rows A has.

    Raises:
        InputError: there is none.
    """
    found = {}
    for name, tensor in tensors.items():
        part = _PART.fullmatch(name.removeprefix(_PREFIX))
        if (
            part is not None
            and part[2] in ("lora_A", "lora_embedding_A")
            and tensor.ndim == 2
            and part[3] != ".bias"
        ):
            found[part[1]] = int(tensor.shape[0])
    if not found:
        raise InputError("there is no adapter in it (no tensor lora_A)")
    return found


def _has_module(network: nn.Module, path: str) -> bool:
    try:
        network.get_submodule(path)
    except AttributeError:
        return False
    return True


def _same_names(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are missing, have no place or another shape.

    Raises:
        InputError: it names the first.
    """
    for name, tensor in own.items():
        if name not in given:
            raise InputError(f"no tensor {name}, which its {ADAPTER} asks for; it would be random")
        if given[name].shape != tensor.shape:
            raise InputError(
                f"tensor {name} has shape {tuple(given[name].shape)}, the base network asks for {tuple(tensor.shape)};"
                " give its own with `base`"
            )
    for name in given:
        if name not in own:
            raise InputError(f"tensor {name} has no place in the adapter of that base network")
