"""Reference reproduction and benchmarking suite for text-to-image GANs."""

__version__ = "0.1.0"
