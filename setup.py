"""Adds what `mim` looks for in an installed package, its folder `.mim`; everything else is in setup.cfg."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PACKAGE = Path('insta_colorization')
SHIPPED = ('configs', 'demo', 'tools', 'model-index.yml')


class BuildWithRecipes(build_py):
    """Copies the recipes and scripts into the package, or links them where the install is editable."""

    def run(self) -> None:
        super().run()
        root = Path('projects') if self.editable_mode else Path(self.build_lib)
        target = root / PACKAGE / '.mim'
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in SHIPPED:
            source = Path(name)
            if self.editable_mode:
                (target / name).symlink_to(Path('../../..') / name)
            elif source.is_dir():
                shutil.copytree(source, target / name, ignore=shutil.ignore_patterns('__pycache__', '*.py[cod]'))
            else:
                shutil.copy2(source, target / name)


setup(cmdclass={'build_py': BuildWithRecipes})
