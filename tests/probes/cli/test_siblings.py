"""Files of the user's own import what is beside them, each from its own folder, at once and when they are called."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

import probes
from tests.conftest import Probe

# Each folder has a module `parts` of its own, imported at the top, and one `later`, imported in a call.
FILES = {
    "net/parts.py": "WIDTH = 5\n",
    "net/later.py": "from torch import nn\nPHI = nn.Tanh\n",
    "net/make.py": """
from torch import nn
from parts import WIDTH

def make():
    from later import PHI
    return nn.Sequential(nn.Linear(6, WIDTH), PHI(), nn.Linear(WIDTH, 3))
""",
    "data/parts.py": "COUNT = 20\n",
    "data/later.py": "SEED = 3\n",
    "data/make.py": """
import torch
from parts import COUNT

def batches():
    from later import SEED
    random = torch.Generator().manual_seed(SEED)
    for _ in range(2):
        from latest import classes
        x = torch.randn(COUNT, 6, generator=random)
        yield x, x.argmax(1) % classes()
""",
    "data/latest.py": "def classes(): return 3\n",
    "loss/parts.py": "from torch.nn.functional import cross_entropy\n",
    "loss/later.py": "FACTOR = 2.0\n",
    "loss/make.py": """
from parts import cross_entropy

def twice(outputs, targets):
    from later import FACTOR
    return FACTOR * cross_entropy(outputs, targets, reduction="none")
""",
    "measure/parts.py": """
from trust.measurements import Variable
SEVEN = Variable("seven", ("checkpoint", "eta"), "seven at each eta")
""",
    "measure/later.py": "NUMBER = 7\n",
    "measure/own.py": """
from probes import Measure
from parts import SEVEN

class Seven(Measure):
    name = "seven"
    finds = (SEVEN,)

    def __init__(self, frozen):
        super().__init__(frozen)
        self.seven = frozen.table()

    def record(self, point):
        from later import NUMBER
        self.seven[point.row] = NUMBER

    def found(self, others):
        return {SEVEN: self.seven}
""",
    "claim/parts.py": "ID = 'own-claim'\n",
    "claim/later.py": "BOUND = 5.0\n",
    "claim/own.py": """
from trust.claims import Claim, Kind, output_change
from parts import ID

def bound(measurements):
    from later import BOUND
    return 0 * output_change(measurements) + BOUND

OWN = Claim(id=ID, source="here", statement="less than 10^5", left="output", measured=output_change,
            bound=bound, kind=Kind.MODEL)
""",
}


def test_every_option_that_takes_a_file(probe: Probe, tmp_path: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content, "utf-8")
    network = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    torch.save(network.state_dict(), tmp_path / "net.pt")
    before = list(sys.path)
    options = ["--network", f"{tmp_path}/net/make.py:make", "--data", f"{tmp_path}/data/make.py:batches"]
    loss = ["--loss", f"{tmp_path}/loss/make.py:twice"]
    own = ["--measure", "default", "--measure", f"{tmp_path}/measure/own.py:Seven"]
    out = tmp_path / "run"
    done = probe(
        "run", tmp_path / "net.pt", *options, *loss, *own, "--etas", "0.001,0.01", "--no-limit", "--out", out
    )
    assert done.exit_code == 0, done.output
    found = probes.load(out)
    assert found.attrs["number_of_examples"] == 40
    assert set(found["seven"].values.ravel()) == {7.0}
    random = torch.Generator().manual_seed(3)
    x = torch.cat([torch.randn(20, 6, generator=random) for _ in range(2)])
    expected = 2 * torch.nn.functional.cross_entropy(network(x), x.argmax(1) % 3).detach()
    np.testing.assert_allclose(float(found["loss"][0, 0]), float(expected), rtol=1e-6)
    done = probe("report", out, "--claim", f"{tmp_path}/claim/own.py:OWN", "--format", "png")
    assert done.exit_code == 0, done.output
    assert any(line.startswith("own-claim") for line in done.stdout.splitlines())
    assert sys.path == before
