"""Write docs/assets.md from the table of dmgan/storage/downloads.py: python -m docs.update_assets"""

from pathlib import Path

from dmgan.storage.downloads import page

if __name__ == "__main__":
    Path(__file__).with_name("assets.md").write_text(page(), encoding="utf-8")
