"""Folders that tests read."""

from pathlib import Path

ROOT = Path(__file__).parent.parent  # of the project
GOLDEN = Path(__file__).parent / "golden"
CONFIGS = ROOT / "workflow" / "config"
SHARED = ROOT.parent / "shared"  # data that is not part of the project; tests that need it skip without it
