"""Sampling of images from captions; an image is a pure function of weights, tokens, seed and image number."""
