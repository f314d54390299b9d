"""Networks of Hugging Face folders: built by the installed transformers library, never by code or words from outside.

The folder's config.json chooses one of the library's own classes; its weights are read like any checkpoint's. Nothing
is fetched, no code in the folder runs, and no missing weight is filled with random numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from probes.data.targets import IGNORED
from probes.data.text import CONTEXT, shuffled_windows, text_of
from probes.errors import InputError, mention

__all__ = ["has_configuration", "is_tokenised_text", "tokenised_windows", "transformers_module"]

_LARGEST_JSON = 1 << 24
_MASKED = 0.15  # the share that BERT was trained with
_MASK_SEED = 20200210  # fixed, so that runs can be repeated
_KINDS = ("ForCausalLM", "LMHeadModel", "ForMaskedLM", "ForSequenceClassification")


def has_configuration(path: Path) -> bool:
    """Whether a checkpoint is a folder with a config.json."""
    return path.is_dir() and (path / "config.json").is_file()


def transformers_module(folder: Path, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The network that config.json describes, in float32 and with plain attention, which has second derivatives.

    Args:
        folder: with config.json.
        tensors: the weights; the network must not be larger than they are.

    Raises:
        InputError: the library is missing, or config.json is damaged, asks for code of its own, names no
            causal language model, masked one or sequence classifier, or does not fit the weights.
    """
    content = _json(folder / "config.json")
    if "auto_map" in content:
        raise InputError("its config.json asks for code of its own (auto_map), which is never run")
    try:
        import transformers
    except ImportError as error:
        raise InputError(
            "a Hugging Face folder needs the transformers library: pip install 'deep-relative-trust[hf]',"
            " or give the network as `network='file.py:callable'`"
        ) from error
    names = content.get("architectures")
    name = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
    if not name.isidentifier() or not name.endswith(_KINDS):
        raise InputError(
            f"its config.json names {name[:60] or 'no architecture'}; causal language models, masked ones and"
            " sequence classifiers are built, for others give the network as `network='file.py:callable'`"
        )
    kind = getattr(transformers, name, None)
    try:
        if kind is None or not issubclass(kind, transformers.PreTrainedModel):
            raise ValueError("the installed transformers library has no such model")
        config = kind.config_class.from_dict(content)
        config._attn_implementation = "eager"
        with torch.device("meta"):  # shapes first: a damaged configuration may ask for more than there is
            shapes = {key: tensor.shape for key, tensor in kind(config).named_parameters()}
        _same_shapes(shapes, tensors)
        module = kind(config).float()
    except InputError:
        raise
    except Exception as error:  # whatever the library makes of a configuration
        raise InputError(
            f"{name} cannot be built from its config.json ({str(error).splitlines()[0][:120]})"
        ) from error
    assert isinstance(module, nn.Module)
    return module


def _same_shapes(shapes: Mapping[str, torch.Size], tensors: Mapping[str, Tensor]) -> None:
    """Refuse, before memory is taken, a network whose parameters are not those of the file.

    Raises:
        InputError: a parameter is missing or has another shape.
    """
    for name, shape in shapes.items():
        if name not in tensors:
            raise InputError(f"no tensor {name}, which its config.json asks for; it would be random")
        if tensors[name].shape != shape:
            raise InputError(
                f"tensor {name} has shape {tuple(tensors[name].shape)}, its config.json says {tuple(shape)}"
            )


def is_tokenised_text(folder: Path) -> bool:
    """Whether a folder has a tokenizer for text."""
    return (folder / "tokenizer.json").is_file()


def tokenised_windows(spec: str, folder: Path, *, masks: bool = False) -> tuple[Tensor, Tensor | None]:
    """A text as windows of :data:`probes.data.text.CONTEXT` tokens of the folder's own tokenizer.

    Args:
        spec: ``text`` or ``text:FILE``.
        folder: with tokenizer.json.
        masks: for a masked language model: hide about 15 % of the tokens, at least one in every window, always
            the same ones.

    Returns:
        Token ids (n, context), int64, and where they are masked the true ids (else -100); None without masks.

    Raises:
        InputError: the library is missing, the tokenizer is damaged or knows no mask, or the text is too short.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise InputError(
            "text for a Hugging Face folder needs: pip install 'deep-relative-trust[hf]'"
        ) from error
    text = text_of(spec).decode("utf-8", "replace")
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_truncation()
        ids = tokenizer.encode(text, add_special_tokens=False).ids
    except Exception as error:  # the library has one type for everything
        raise InputError(f"{folder / 'tokenizer.json'}: is damaged ({str(error)[:100]})") from error
    if len(ids) < CONTEXT:
        raise InputError(
            f"{mention('data', spec)}: needs at least {CONTEXT} tokens of text, it has {len(ids)}"
        )
    windows = shuffled_windows(torch.tensor(ids, dtype=torch.int64), CONTEXT)
    if not masks:
        return windows, None
    mask = next((k for k in map(tokenizer.token_to_id, ("[MASK]", "<mask>")) if k is not None), None)
    if mask is None:
        raise InputError(f"{folder / 'tokenizer.json'}: knows no mask; give arrays x and y instead of text")
    chance = torch.rand(windows.shape, generator=torch.Generator().manual_seed(_MASK_SEED))
    hidden = (chance < _MASKED) | (chance == chance.amin(1, keepdim=True))
    return torch.where(hidden, mask, windows), torch.where(hidden, windows, IGNORED)


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise ValueError("too large")
        content = json.loads(path.read_text("utf-8"))
        if not isinstance(content, dict):
            raise ValueError("no mapping")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"its config.json is damaged ({str(error)[:80]})") from error
    return content
