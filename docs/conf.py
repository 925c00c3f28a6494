"""Sphinx's settings: the pages in Markdown, and the API from docstrings. `make docs` builds both.

The source directory is the checkout, so that the pages may link to every file of it as they do in a repository.
"""

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
CARD = 'projects/insta_colorization/weights/README.md'
sys.path.insert(0, str(ROOT / 'projects'))

project = 'insta_colorization'
extensions = ['sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx.ext.apidoc', 'myst_parser']
root_doc = 'docs/index'
include_patterns = ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'docs/**', CARD]
# Folders are not even entered.
exclude_patterns = ['.*', '**/.mim', 'build', 'data', 'results', 'tests', 'work_dirs', 'docs/_build']
html_theme = 'alabaster'
html_theme_options = {'page_width': '75rem'}
# What a fenced block is in the pages; those without a language are commands.
highlight_language = 'text'
myst_heading_anchors = 4

# A page for every module, made anew by every build. Names that only forward have none.
apidoc_modules = [
    {
        'path': '../projects/insta_colorization',
        'destination': 'docs/api',
        'exclude_patterns': [f'../projects/insta_colorization/{name}.py' for name in ('hooks', 'loops', 'metrics')],
        'separate_modules': True,
        'module_first': True,
        'automodule_options': {'members', 'show-inheritance'},
    }
]
# A name is described where it is defined, not once more in each package that offers it.
autodoc_default_options = {'ignore-module-all': True}
autodoc_member_order = 'bysource'
autodoc_use_type_comments = False  # there are none, and looking for them takes a tenth of the time
napoleon_numpy_docstring = False
napoleon_use_ivar = True

_CODE = re.compile(r'(?<!`)`([^`\n]+)`(?!`)(?=(\w)?)')
_STAR = re.compile(r'(?<=\()\*(?=,)')


def to_rst(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings here have the code of Markdown: `names` and fenced blocks."""
    fenced = False
    for number, line in enumerate(lines):
        if line.lstrip().startswith('```'):
            fenced = not fenced
            lines[number] = line.replace('```python', '.. code-block:: python\n') if fenced else ''
        elif fenced:
            lines[number] = f'   {line}'
        else:
            literal = _CODE.sub(lambda match: f'``{match[1]}``' + (r'\ ' if match[2] else ''), line)
            lines[number] = _STAR.sub(r'\*', literal)
    lines[:] = '\n'.join(lines).split('\n')


def setup(app: Sphinx) -> None:
    """Before napoleon, which reads what comes out."""
    app.connect('autodoc-process-docstring', to_rst, priority=400)
