"""Captions to features: the DAMSM's encoders, their cache, and a captioner."""
