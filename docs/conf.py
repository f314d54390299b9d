"""The site: Sphinx with furo and Markdown. ``make docs`` builds it into build/site, warnings as errors."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

project = "deep-relative-trust"
author = "The deep-relative-trust developers"
version = release = version_of("deep-relative-trust")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "docs.extensions.docstrings",
    "docs.extensions.mathml",
    "docs.extensions.generated",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["**/_*"]
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
html_math_renderer = "mathml"

html_theme = "furo"
html_title = project
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {"top_of_page_buttons": []}

napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_preprocess_types = False
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

nitpicky = True
# the site asks no other site what is there, so other libraries' names are text; so are ours that no package shows
nitpick_ignore_regex = [
    (
        "py:class",
        r"(torch|np|numpy|xr|xarray|pd|pandas|matplotlib|collections|fractions|os|pathlib)\..*|Figure|Table",
    ),
    ("py:.*", r"(trust|analysis|probes|figures|studies)\.\w+\.[\w.]+|trust\.measurements"),
    ("py:.*", "Ascent|Outcome|CHECKS|FACTORS|ORDER_ONE|mention"),
    ("py:exc", "InputError|UnsupportedError|WitnessError"),
]
