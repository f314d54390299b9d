"""Tests of pages in a real browser: what a reader sees, presses and is read, and that nothing leaves the page."""
