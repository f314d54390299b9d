"""Networks of Hugging Face folders: built by the installed transformers library, never by code or words from outside.

The folder's config.json chooses one of the library's own classes; its weights are read like any checkpoint's. Nothing
is fetched, no code in the folder runs, and no missing weight is filled with random numbers.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from probes.checkpoints.state_dict import renamed_to_fit
from probes.data.targets import IGNORED
from probes.data.text import CONTEXT, shuffled_windows, text_of
from probes.errors import InputError, mention
from probes.system.json_files import read_json

__all__ = [
    "has_configuration",
    "is_tokenised_text",
    "is_transposed_linear",
    "renamed_by_library",
    "tokenised_windows",
    "transformers_module",
]

_LARGEST_JSON = 1 << 24
_MASKED = 0.15  # the share that BERT was trained with
_MASK_SEED = 20200210  # fixed, so that runs can be repeated
_KINDS = (
    "ForCausalLM", "LMHeadModel", "ForMaskedLM", "ForConditionalGeneration", "ForSequenceClassification",
    "ForTokenClassification", "ForImageClassification", "ForAudioClassification",
)  # fmt: skip
_ELSEWHERE = ("auto_map", "trust_remote_code", "backbone", "timm_model")
"""Words of a configuration, at any depth, that would have parts of the network come from somewhere else."""


def has_configuration(path: Path) -> bool:
    """Whether a checkpoint is a folder with a config.json."""
    return path.is_dir() and (path / "config.json").is_file()


def transformers_module(folder: Path, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The network that config.json describes, in float32 and with plain attention, which has second derivatives.

    Args:
        folder: with config.json.
        tensors: the weights; the network must not be larger than they are.

    Raises:
        InputError: the library is missing, or config.json is damaged, asks for code of its own, names a network
            of another kind than those that are built, or does not fit the weights.
    """
    content = _json(folder / "config.json")
    for word in _words(content):
        if word in _ELSEWHERE:
            raise InputError(
                f"its config.json asks for code of its own, or parts from elsewhere ({word}), which are never run or"
                " fetched; build the network yourself and give it as `network='file.py:callable'`"
            )
    try:
        import transformers
    except ImportError as error:
        raise InputError(
            "a Hugging Face folder needs the transformers library: pip install 'deep-relative-trust[hf]',"
            " or give the network as `network='file.py:callable'`"
        ) from error
    names = content.get("architectures")
    name = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
    if not name.isidentifier() or not name.endswith(_KINDS) or name.startswith("Timm"):
        raise InputError(
            f"its config.json names {name[:60] or 'no architecture'}; language models (causal, masked, encoder and"
            " decoder) and classifiers of sequences, tokens, images and audio are built, for others give the network"
            " as `network='file.py:callable'`"
        )
    kind = getattr(transformers, name, None)
    try:
        if kind is None or not issubclass(kind, transformers.PreTrainedModel):
            raise ValueError("the installed transformers library has no such model")
        with _quiet(transformers):
            config = kind.config_class.from_dict(content)
            config._attn_implementation = "eager"
            with torch.device("meta"):  # shapes first: a damaged configuration may ask for more than there is
                shapes = {key: tensor.shape for key, tensor in kind(config).named_parameters()}
            _no_larger(shapes, tensors)
            module = kind(config).float()
    except InputError:
        raise
    except Exception as error:  # whatever the library makes of a configuration
        raise InputError(
            f"{name} cannot be built from its config.json ({str(error).splitlines()[0][:120]})"
        ) from error
    assert isinstance(module, nn.Module)
    return module


def is_transposed_linear(module: nn.Module) -> bool:
    """Whether a module is the library's ``Conv1D``: a linear map, its weight stored as inputs × outputs."""
    library: Any = sys.modules.get("transformers.pytorch_utils")
    return library is not None and isinstance(module, library.Conv1D)


def _words(content: dict[str, Any]) -> Iterator[str]:
    """The keys of nested mappings, of those that have a value."""
    todo: list[Any] = [content]
    while todo:
        part = todo.pop()
        todo += part.values() if isinstance(part, dict) else part if isinstance(part, list) else []
        yield from (key for key, value in part.items() if value) if isinstance(part, dict) else ()


def _no_larger(shapes: Mapping[str, torch.Size], tensors: Mapping[str, Tensor]) -> None:
    """Refuse, before memory is taken, a network that has more numbers than the file.

    Raises:
        InputError: it names a parameter that is missing or has another shape.
    """
    if sum(shape.numel() for shape in shapes.values()) <= sum(tensor.numel() for tensor in tensors.values()):
        return
    fitted = renamed_to_fit(tensors, shapes)
    for name, shape in shapes.items():
        if name in fitted and fitted[name].shape != shape:
            raise InputError(
                f"tensor {name} has shape {tuple(fitted[name].shape)}, its config.json says {tuple(shape)}"
            )
    missing = next((name for name in shapes if name not in fitted), "")
    raise InputError(f"no tensor {missing}, which its config.json asks for; it would be random")


def renamed_by_library(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The tensors as ``from_pretrained`` puts them into a network of the library's, which has renamed many of its own.

    Old names become today's, and what the library leaves out as harmless (``position_ids``, masks) is left out.
    What is missing is missing here too, and what has no place has its own name.

    Args:
        module: any network.
        tensors: what a file has.

    Returns:
        None where the network is not of the library, or its own loading fails.
    """
    library: Any = sys.modules.get("transformers")
    if library is None or not isinstance(module, library.PreTrainedModel):
        return None
    kinds = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
    options = {"output_loading_info": True, "ignore_mismatched_sizes": True}
    try:
        with _quiet(library):
            loaded, info = type(module).from_pretrained(
                None,
                config=module.config,
                state_dict=dict(tensors),
                dtype=torch.float64
                if torch.float64 in kinds
                else torch.float32,  # in which every number is exact
                **options,
            )
    except Exception:  # whatever the library makes of a file
        return None
    optional = [re.compile(text) for text in loaded._keys_to_ignore_on_load_missing or ()]
    absent = {*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}
    found = {
        name: tensor
        for name, tensor in loaded.state_dict().items()
        if name not in absent and (name in tensors or not any(one.search(name) for one in optional))
    }
    found |= {name: torch.empty(shape, device="meta") for name, shape, _ in info["mismatched_keys"]}
    return found | {name: tensors[name] for name in info["unexpected_keys"]}


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Without the library's progress bars and reports: what does not fit is said here."""
    logging = library.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    try:
        logging.set_verbosity(logging.CRITICAL)
        logging.disable_progress_bar()
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


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
        (folder / "tokenizer.json").open("rb").close()
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_truncation()
        ids = tokenizer.encode(text, add_special_tokens=False).ids
    except OSError as error:
        raise InputError(f"{folder / 'tokenizer.json'}: cannot be read ({error.strerror})") from error
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
        content = read_json(path, largest=_LARGEST_JSON)
        if not isinstance(content, dict):
            raise ValueError("no mapping")
    except OSError as error:
        raise InputError(f"its config.json cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"its config.json is damaged ({str(error)[:80]})") from error
    return content
