"""Measures of image sets: features, IS, FID, KID and R-precision."""
