"""The controller of `ClipModel` resources, and the `clipmodel` command."""

__version__ = "0.1.0"
