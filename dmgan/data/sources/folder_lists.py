"""Images of a folder by the lists that name them: one image per path, however the lines spell it."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from dmgan.data.sources.caption_files import Box, CaptionFile, Row, read_caption_file
from dmgan.data.sources.listing import (
    LEFT_OUT,
    NO_CAPTION,
    Decision,
    is_image,
    is_unicode,
    is_unread_image,
    printable,
    size_and_sha256,
)


@dataclass
class Image:
    """An image with all that the rows of a list state of it."""

    name: str  # path within the folder
    captions: list[object] = field(default_factory=list)
    split: str | None = None
    class_name: str | None = None
    box: Box | None = None
    spellings: set[str] = field(default_factory=set)


def images_of_lists(root: Path, files: list[str], lists: list[Path]):
    """Return the images of files that list captions, the decisions, and size and hash of the files."""
    images: dict[str, Image] = {}
    decisions, inputs = [], {}
    for path in lists:
        found = read_caption_file(path)
        decisions += found.decisions + _merge(images, found, _base_folder(root, path, files, found.rows), root)
        if found.unread:
            names = f"{path.name}: {', '.join(found.unread)}"
            decisions.append(Decision(None, "columns that are not read", "ignored", names, accepted=True))
        inputs[os.path.relpath(path, root) if path.is_relative_to(root) else path.name] = size_and_sha256(path)
    decisions += [
        Decision(printable(name), NO_CAPTION, LEFT_OUT)
        for name in files
        if name not in images and (is_image(name) or is_unread_image(name))
    ]
    return list(images.values()), decisions, inputs


def _base_folder(root: Path, path: Path, files: list[str], rows: list[Row]) -> Path:
    """Return the folder to which the names of a list are relative: the one in which most of them are files.

    Candidates are the root, the list's own folder and, if neither has any of them, the sub-folders of the root.
    """
    names = {row.image for row in rows if is_unicode(row.image)}
    counts = {
        base: sum(os.path.isfile(_path(base, name)) for name in names) for base in dict.fromkeys([root, path.parent])
    }
    if not any(counts.values()):
        known = set(files)
        tops = dict.fromkeys(each.rpartition("/")[0] for each in files if is_image(each))
        counts |= {root / top: sum(f"{top}/{_slashes(name)}" in known for name in names) for top in tops if top}
    return max(counts, key=counts.get)


def _slashes(name: str) -> str:
    return name.replace("\\", "/")


def _path(base: Path, name: str) -> str:
    """Return the path of an image; backslashes are separators unless there is a file of that very name."""
    path = os.path.normpath(os.path.join(os.path.abspath(base), name))
    if "\\" in name and not os.path.isfile(path):
        path = os.path.normpath(os.path.join(os.path.abspath(base), _slashes(name)))
    return path


def _within(root: Path, path: str) -> str | None:
    """Return a path relative to the root; None if it is outside."""
    for start in (os.path.abspath(root), os.path.realpath(root)):
        if path.startswith(start.rstrip("/") + "/"):
            return path[len(start.rstrip("/")) + 1 :]
    return None


def _merge(images: dict[str, Image], found: CaptionFile, base: Path, root: Path) -> list[Decision]:
    """Add the rows of a list to the images, by their path within the root; return the decisions."""
    decisions, backslashes = [], []
    for row in found.rows:
        if not is_unicode(row.image):
            decisions.append(Decision(printable(row.image), "file name that is not UTF-8", "left out; rename the file"))
            continue
        path = _path(base, row.image)
        name = _within(root, path)
        if name is None:
            decisions.append(Decision(row.image, "image outside the folder --root", LEFT_OUT))
            continue
        if "\\" in row.image and "\\" not in name:
            backslashes.append(row.image)
        image = images.setdefault(name, Image(name))
        image.captions += row.captions
        image.spellings.add(row.image)
        for key in ("split", "class_name", "box"):
            before, now = getattr(image, key), getattr(row, key)
            if before is None:
                setattr(image, key, now)
            elif now is not None and now != before:
                what = key.partition("_")[0]
                detail = f"{before} and {now}"
                decisions.append(Decision(name, f"image with more than one {what}", "first one kept", detail))
    decisions += [
        Decision(each.name, "image named in several ways", "captions merged", ", ".join(sorted(each.spellings)))
        for each in images.values()
        if len(each.spellings) > 1
    ]
    if backslashes:
        detail = f"{len(backslashes):,} names, such as {backslashes[0]}"
        kind = "image name with backslashes"
        decisions.append(Decision(backslashes[0], kind, "read as folders", detail, len(backslashes)))
    for image in images.values():
        image.spellings.clear()  # of this list
    return decisions
