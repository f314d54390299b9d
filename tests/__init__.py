"""What counts as evidence here.

A test may only lean on something that does not share the tested code's mistakes:

- a closed form, worked out by hand in the test;
- finite differences, or the same quantity in float64, or NumPy or another library's routine;
- an independent implementation, from the theory and not from the code (``tests/support/reference.py``);
- for a theorem, a property test: many random cases that meet its premises, none of which may break it;
- for a check, a planted violation that it must catch: a check that cannot fail is no evidence.

A tolerance is derived (from rounding, truncation or sampling), never tuned until a test passes. Every test is
small, needs no network and leaves nothing outside its temporary folder.

Every process has one thread, however the tests are started: as many processes as there are cores then share them
well, and sums are added up in the same order on every machine. A test of threads sets their number itself.
"""

import os

for _library in ("OMP", "MKL", "OPENBLAS"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"  # read when NumPy and torch are loaded, here or in a child
