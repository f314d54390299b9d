"""Python looks for garbage as often as ever while something is measured, and as often as before afterwards."""

from __future__ import annotations

import gc

import pytest

from probes.system.garbage import look_as_ever, look_seldom


def test_as_ever_for_a_while_and_then_as_before() -> None:
    usual = gc.get_threshold()
    try:
        look_seldom()
        seldom = gc.get_threshold()
        assert seldom[0] > usual[0]
        with look_as_ever():
            assert gc.get_threshold() == usual
        assert gc.get_threshold() == seldom
        with pytest.raises(ZeroDivisionError), look_as_ever():
            raise ZeroDivisionError
        assert gc.get_threshold() == seldom
    finally:
        gc.set_threshold(*usual)
