"""Text as data: windows, the characters after them, and files that cannot be used."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch

import probes.data.text
from probes import InputError
from probes.data.dataset import load_data
from probes.data.text import CONTEXT, is_text_spec, text_windows
from probes.runs.source import _stated


def written(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return f"text:{path}"


def test_every_window_and_what_comes_after_it(tmp_path: Path) -> None:
    content = bytes(range(256)) + "żółw\n".encode() * 40
    x, y = text_windows(written(tmp_path / "a.txt", content))
    count = (len(content) - 1) // CONTEXT
    assert x.shape == y.shape == (count, CONTEXT)
    assert x.dtype == y.dtype == torch.int64
    windows = [bytes(row) for row in x.tolist()]
    starts = [content.index(window) for window in windows if window in content[:256]]
    assert sorted(starts) == [0, 64, 128, 192]
    assert sorted(windows) == sorted(content[k * CONTEXT : (k + 1) * CONTEXT] for k in range(count))
    assert torch.equal(x[:, 1:], y[:, :-1])
    pairs = {(bytes(a), bytes(b)) for a, b in zip(x.tolist(), y.tolist(), strict=True)}
    assert pairs == {
        (content[k : k + CONTEXT], content[k + 1 : k + 1 + CONTEXT])
        for k in range(0, count * CONTEXT, CONTEXT)
    }


@pytest.mark.parametrize(("length", "count"), [(65, 1), (128, 1), (129, 2)])
def test_how_many_windows_fit(tmp_path: Path, length: int, count: int) -> None:
    assert len(text_windows(written(tmp_path / "a", b"x" * length))[0]) == count


def test_the_order_is_mixed_and_always_the_same(tmp_path: Path) -> None:
    content = b"".join(bytes([65 + k]) * CONTEXT for k in range(20)) + b"!"
    spec = written(tmp_path / "a.txt", content)
    first = text_windows(spec)[0][:, 0].tolist()
    assert first == text_windows(spec)[0][:, 0].tolist()
    assert first != sorted(first)
    assert sorted(first) == list(range(65, 85))


def test_data_keep_characters_as_whole_numbers(tmp_path: Path) -> None:
    spec = written(tmp_path / "a.txt", bytes(range(65, 91)) * 20)
    data = load_data(spec, examples=3)
    assert data.x.dtype == data.y.dtype == torch.int64
    assert data.x.shape == (3, CONTEXT)
    assert data.spec == f"{spec}[:3]"
    assert torch.equal(data.x, load_data(spec).x[:3])
    assert data.digest() != load_data(spec).digest()
    with pytest.raises(InputError, match="examples="):
        load_data(spec, examples=99)


def test_pythons_own_documentation() -> None:
    data = load_data("text")
    assert len(data) > 3000
    assert data.digest() == load_data("text").digest()
    assert int(data.x.max()) < 256
    text = bytes(data.x.flatten().tolist()).decode("utf-8", "replace")
    assert "statement" in text
    assert "exception" in text
    topics = importlib.import_module("pydoc_data.topics").topics
    whole = "\n".join(topics[name] for name in sorted(topics)).encode()
    windows = sorted(bytes(row) for row in data.x.tolist())
    assert windows == sorted(whole[k : k + CONTEXT] for k in range(0, len(data) * CONTEXT, CONTEXT))


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 64])
def test_texts_that_are_too_short(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match="65 bytes"):
        load_data(written(tmp_path / "a.txt", content))


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for spec in (f"text:{tmp_path / 'missing'}", f"text:{tmp_path}", "text:"):
        with pytest.raises(InputError, match="data='text:"):
            load_data(spec)
    monkeypatch.setattr(probes.data.text, "_LARGEST", 100)
    assert len(load_data(written(tmp_path / "a.txt", b"x" * 100))) == 1
    with pytest.raises(InputError, match="larger"):
        load_data(written(tmp_path / "b.txt", b"x" * 101))


def test_what_is_text(tmp_path: Path) -> None:
    assert is_text_spec("text")
    assert is_text_spec("text:corpus")
    assert not is_text_spec("texts")
    assert not is_text_spec("mnist")
    # a file without a suffix looks like module:callable, and is no code all the same
    assert _stated({"data": "text:corpus"}, "data", tmp_path) == "text:corpus"
    assert _stated({"data": "mnist:folder"}, "data", tmp_path) == "mnist:folder"
    with pytest.raises(InputError, match="code"):
        _stated({"data": "texts:corpus"}, "data", tmp_path)
    with pytest.raises(InputError, match="code"):
        _stated({"loss": "text:corpus"}, "loss", tmp_path)
