"""Seals against digests computed by hand."""

from __future__ import annotations

import hashlib

import pytest
import xarray as xr

from probes.system.seals import ATTRIBUTE, BLANK, digest_of, seal, seal_holds


def test_a_document_is_sealed_without_its_seal() -> None:
    expected = hashlib.sha256(b'{"a":[1,2],"b":"x"}').hexdigest()
    assert digest_of({"b": "x", "a": [1, 2]}) == expected
    assert digest_of({"b": "x", ATTRIBUTE: "anything", "a": [1, 2]}) == expected


def test_a_file_is_sealed_over_all_its_bytes_but_the_seal() -> None:
    dataset = xr.Dataset({"loss": ("eta", [0.5, 1.5])}, attrs={ATTRIBUTE: BLANK, "text": "x"})
    blank = bytes(dataset.to_netcdf(engine="scipy"))
    sealed = seal(blank)
    place = sealed.index(ATTRIBUTE.encode()) + 16
    assert sealed[place : place + 64].decode() == hashlib.sha256(blank).hexdigest()
    assert sealed[:place] + BLANK.encode() + sealed[place + 64 :] == blank
    assert seal_holds(sealed) is True
    assert seal_holds(sealed + b"\0") is False
    bare = bytes(dataset.drop_attrs().to_netcdf(engine="scipy"))
    assert seal_holds(bare) is None
    with pytest.raises(AssertionError, match="without the attribute"):
        seal(bare)
