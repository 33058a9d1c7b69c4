"""Inspection of single generated images: stages, word attention, scores, the nearest training image; web page."""
