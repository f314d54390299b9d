"""Tests of the figures: what is drawn is what was given, the rest is marked, and nothing else changes."""
