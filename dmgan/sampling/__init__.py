"""Sampling: captions to images, each a pure function of weights, tokens and the image's own seed."""
