"""Forwards to `insta_colorization.apis.inferencer`: programs name this module."""

from insta_colorization.apis.inferencer import ColorizationInferencer
