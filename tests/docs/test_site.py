"""The site is built without a warning, lists all that there is, and asks nothing of any other."""

from __future__ import annotations

import html
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from probes.cli.main import main
from tests.docs.commands import ROOT
from trust.claims import all_claims

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"]
    where = ["--doctree-dir", str(out / "doctrees"), str(ROOT / "docs"), str(out / "html")]
    done = subprocess.run([*build, *where], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out / "html"


def asked(text: str) -> list[str]:
    """What a page fetches from elsewhere by itself: scripts, styles, fonts, pictures, frames."""
    tags = re.findall(r"<(?:script|img|iframe|source|audio|video|embed|object|link)\b[^>]*>", text)
    places = [place for tag in tags for place in re.findall(r'(?:src|href|srcset|data)="([^"]*)"', tag)]
    places += re.findall(r"(?:url\(|@import\s+)[\"']?([^\"')\s]+)", text)
    return [place for place in places if re.match(r"(?:[a-z]+:)?//", place)]


def test_no_page_asks_anything_of_another_place(site: Path) -> None:
    files = [path for path in site.rglob("*") if path.suffix in (".html", ".css")]
    assert len(files) > 60
    assert {
        path.name: asked(path.read_text("utf-8")) for path in files if asked(path.read_text("utf-8"))
    } == {}
    assert asked('<script src="https://a.b/c.js"></script>') == ["https://a.b/c.js"]
    assert asked("@font-face { src: url(//a.b/c.woff2) }") == ["//a.b/c.woff2"]


def test_every_page_picture_and_notebook_is_there(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        assert (site / page.relative_to(ROOT / "docs")).with_suffix(".html").is_file()
    assert list(site.rglob("first-verdict.ipynb"))
    index = (site / "index.html").read_text("utf-8")
    assert (site / re.findall(r'<img[^>]*src="([^"]*figure1[^"]*)"', index)[0]).is_file()


def test_every_command_with_its_options_is_listed(site: Path) -> None:
    page = (site / "reference" / "commands.html").read_text("utf-8")
    sections = re.split(r'<section id="probe-', page)[1:]
    text = {part.partition('"')[0]: html.unescape(re.sub(r"<[^>]+>", "", part)) for part in sections}
    for name, command in main.commands.items():
        options = [option for one in command.params for option in one.opts if option.startswith("--")]
        assert [option for option in options if option not in text[name]] == []


def test_every_claim_is_listed(site: Path) -> None:
    text = (site / "reference" / "claims.html").read_text("utf-8")
    assert [claim for claim in all_claims() if f'id="{claim}"' not in text] == []


@pytest.mark.parametrize("name", ["trust", "trust.claims", "analysis", "probes", "figures", "studies.frame"])
def test_every_public_function_and_class_is_listed(name: str, site: Path) -> None:
    package = importlib.import_module(name)
    text = "".join(path.read_text("utf-8") for path in (site / "reference" / "api").glob(f"{name}*.html"))
    values = {one: getattr(package, one) for one in package.__all__}
    public = [one for one, value in values.items() if inspect.isfunction(value) or inspect.isclass(value)]
    assert len(public) > 3
    assert [one for one in public if not re.search(rf'id="{name}(\.optim)?\.{one}"', text)] == []
