"""Tests of the mathematics: closed forms first, then every theorem as a property, then bad input."""
