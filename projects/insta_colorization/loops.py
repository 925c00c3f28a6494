"""Forwards to `insta_colorization.engine.loops`: the `custom_imports` of saved configs name this module."""

from insta_colorization.engine.loops import ResumableIterLoop
