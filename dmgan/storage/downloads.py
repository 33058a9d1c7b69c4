"""Downloads of CUB, COCO, weights and released models; an interrupted download resumes."""

import fcntl
import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import NamedTuple

from dmgan.errors import UserError
from dmgan.runtime.progress import Progress, log
from dmgan.storage import files
from dmgan.storage.reading import read_object

_ATTEMPTS = 5  # consecutive attempts that receive no new byte
_BACKOFF = 1.0  # seconds before the second attempt; doubled before every further attempt
_TIMEOUT = 60  # seconds without a received byte
_PIECE = 1 << 20
_RETRIED = (408, 425, 429, 500, 502, 503, 504)
_PAGE_STARTS = (b"<!doctype html", b"<html")


class Asset(NamedTuple):
    """A file that others publish and this project reads."""

    name: str  # NAME of the subcommand `fetch NAME`
    file: str  # file name
    description: str  # of the content
    url: str | None  # direct address; None: must be downloaded by hand
    page: str  # web page that links to the file
    licence: str
    if_dead: str  # advice if the link is dead
    size: int | None = None  # bytes; None: unknown, recorded at the first download
    sha256: str | None = None  # complete or "first digits…last digits"; None: recorded at the first download

    def fits(self, sha256: str) -> bool:
        """Return whether a file's SHA-256 agrees with the known digits."""
        start, _, end = (self.sha256 or "").partition("…")
        return sha256.startswith(start) and sha256.endswith(end)


_CUB_PAGE = "https://data.caltech.edu/records/65de6-vp158"
_COCO = "http://images.cocodataset.org"
_COCO_PAGE = "https://cocodataset.org/#download"
_DMGAN = "https://github.com/MinfengZhu/DM-GAN"
_ATTNGAN = "https://github.com/taoxugit/AttnGAN"
_CUB_TERMS = "non-commercial research and education; the photographs belong to their authors"
_COCO_TERMS = "images: terms of Flickr and their authors; annotations: CC BY 4.0"
_MIT = "code MIT; the authors state no licence for weights and captions"
_BY_HAND = "ask the authors, or train the encoders here; use another copy only if `import` accepts it"
_STATISTICS = (
    "the link is dead. A copy is recognised by its arrays mu (2048,) and sigma (2048, 2048), and by the FID of the "
    "released weights against it by torchvision-released: 15.34 on CUB, 26.55 on COCO (DM-GAN's README)"
)
_TRAIN = "pretrain and train again: python -m dmgan pretrain, python -m dmgan train"

ASSETS = (
    Asset(
        "cub-images", "CUB_200_2011.tgz", "CUB-200-2011: images, boxes, classes",
        f"{_CUB_PAGE}/files/CUB_200_2011.tgz?download=1", _CUB_PAGE, _CUB_TERMS,
        "the old vision.caltech.edu address is dead; open the record's page and download by hand",
    ),
    Asset(
        "cub-captions", "birds.zip", "CUB: ten captions an image, split, captions.pickle of the released encoders",
        None, _ATTNGAN, "not stated (captions of Reed et al. 2016)", _BY_HAND,
    ),
    Asset(
        "coco-train-images", "train2014.zip", "COCO: 82,783 training images", f"{_COCO}/zips/train2014.zip",
        _COCO_PAGE, _COCO_TERMS, "open the page and download by hand",
    ),
    Asset(
        "coco-val-images", "val2014.zip", "COCO: validation images, the papers' test set", f"{_COCO}/zips/val2014.zip",
        _COCO_PAGE, _COCO_TERMS, "open the page and download by hand",
    ),
    Asset(
        "coco-captions", "annotations_trainval2014.zip", "COCO: five captions an image",
        f"{_COCO}/annotations/annotations_trainval2014.zip", _COCO_PAGE, _COCO_TERMS,
        "open the page and download by hand",
    ),
    Asset(
        "coco-captions-pickle", "coco.zip", "COCO: captions.pickle of the released encoders",
        None, _ATTNGAN, "not stated", _BY_HAND,
    ),
    Asset(
        "inception", "inception_v3_google-0cc3c7bd.pth", "Inception-v3, ImageNet weights of torchvision",
        "https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth",
        "https://docs.pytorch.org/vision/stable/models/inception.html",
        "code BSD-3; trained on ImageNet, whose terms are for research",
        "install torchvision elsewhere and copy the file from its cache", sha256="0cc3c7bd…",
    ),
    Asset(
        "faster-rcnn", "fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth",
        "Faster R-CNN v2 of torchvision, the object detector of SOA",
        "https://download.pytorch.org/models/fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth",
        "https://docs.pytorch.org/vision/stable/models/faster_rcnn.html",
        "code BSD-3; trained on COCO, contains no images",
        "install torchvision elsewhere and copy the file from its cache", sha256="dd69338a…",
    ),
    Asset(
        "inception-2015", "pt_inception-2015-12-05-6726825d.pth",
        "Inception-v3 of 2015, TensorFlow's weights, as used by torch-fidelity and clean-fid",
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        "https://github.com/mseitzer/pytorch-fid/releases/tag/fid_weights",
        "Apache-2.0; trained on ImageNet, whose terms are for research",
        "torch-fidelity's release v0.2.0 on GitHub has the same file as weights-inception-2015-12-05-6726825d.pth",
        size=95_628_359, sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    ),
    Asset(
        "vgg16", "vgg16-397923af.pth", "VGG-16, ImageNet weights of torchvision",
        "https://download.pytorch.org/models/vgg16-397923af.pth",
        "https://docs.pytorch.org/vision/stable/models/vgg.html",
        "code BSD-3; trained on ImageNet, whose terms are for research",
        "install torchvision elsewhere and copy the file from its cache", sha256="397923af…",
    ),
    Asset(
        "cub-text-encoder", "text_encoder200.pth", "DAMSM text encoder, CUB", None, _ATTNGAN, _MIT, _BY_HAND,
        sha256="d7278a9b…0c01",
    ),
    Asset(
        "cub-image-encoder", "image_encoder200.pth", "DAMSM image encoder, CUB", None, _ATTNGAN, _MIT, _BY_HAND,
        sha256="459e25c9…2d5b",
    ),
    Asset("coco-text-encoder", "text_encoder100.pth", "DAMSM text encoder, COCO", None, _ATTNGAN, _MIT, _BY_HAND),
    Asset("coco-image-encoder", "image_encoder100.pth", "DAMSM image encoder, COCO", None, _ATTNGAN, _MIT, _BY_HAND),
    Asset(
        "cub-dmgan", "bird_DMGAN.pth", "DM-GAN generator, CUB", None, _DMGAN, _MIT, _TRAIN, sha256="444c9e43…bab55"
    ),
    Asset("coco-dmgan", "coco_DMGAN.pth", "DM-GAN generator, COCO", None, _DMGAN, _MIT, _TRAIN),
    Asset(
        "cub-inception", "model.ckpt-5000", "Inception tuned on CUB's test classes, of the papers' Inception Score",
        None, "https://github.com/hanzhanggit/StackGAN-inception-model", "code Apache-2.0; none stated for the weights",
        "the link is dead (Drive refuses access; the repository's issue 11 posted another). A copy of "
        "birds_valid299/model.ckpt-5000 is recognised by `bird-inception`, which accepts no other names and shapes of "
        "its 378 averaged variables, and by the IS of real test birds, about 22.7 (training birds: about 5.1)",
    ),
    Asset(
        "cub-statistics", "bird_val.npz", "mean and covariance of CUB's real features, of DM-GAN's FID", None, _DMGAN,
        "not stated", _STATISTICS, sha256="6ef8414f…4a47",
    ),
    Asset(
        "coco-statistics", "coco_val.npz", "mean and covariance of COCO's real features, of DM-GAN's FID", None, _DMGAN,
        "not stated", _STATISTICS,
    ),
    Asset("cub-attngan", "bird_AttnGAN2.pth", "AttnGAN generator, CUB", None, _ATTNGAN, _MIT, _TRAIN),
    Asset("coco-attngan", "coco_AttnGAN2.pth", "AttnGAN generator, COCO", None, _ATTNGAN, _MIT, _TRAIN),
)  # fmt: skip


def find(name: str) -> Asset:
    """Return the asset called `name`; UserError naming the known assets otherwise."""
    for each in ASSETS:
        if each.name == name:
            return each
    raise UserError(f"asset {name!r}: unknown; known are {', '.join(each.name for each in ASSETS)}")


def listing() -> str:
    """Return a description of every asset, a few lines per asset, for a terminal."""
    blocks = []
    for each in ASSETS:
        lines = [f"{each.name}: {each.description}", f"    {each.file}, {_known(each)}"]
        lines += [f"    {each.url or 'by hand, from ' + each.page}", f"    licence: {each.licence}"]
        blocks.append("\n".join([*lines, f"    link dead: {each.if_dead}"]))
    return "\n".join(blocks)


def page() -> str:
    """Return the text of docs/assets.md."""
    lines = [
        "# Files to download",
        "",
        "Made by `python -m docs.update_assets` from the table in `dmgan/storage/downloads.py`. The embedded data set",
        "needs none of these files. `python -m dmgan fetch NAME --to FOLDER` downloads a file that has a direct",
        "address, resumes after an interruption and checks size and SHA-256. A file without a direct address is",
        "downloaded by hand from its page, perhaps under another name.",
        "If size or hash is unknown, the first download records it in FILE.origin.json, and later downloads are",
        "checked against that record. A hash with … is known only by its first and last digits, and only these are",
        "checked. For torchvision's files these are the first eight digits, which are part of the official file name:",
        "they detect a wrong file, but not a forged file. The digits for the authors' weights come from third parties.",
        "The tests use a local server and try no address of this table. CLIP's weights are the user's choice",
        "(`--clip-weights`): their address and hash are not listed here, and the file's SHA-256 is recorded in",
        "`metrics.json`.",
        "",
        "| name | what | file | from | size, SHA-256 | licence | when the link is dead |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in ASSETS:
        source = f"<{each.url}>" if each.url else f"by hand: <{each.page}>"
        cells = (f"`{each.name}`", each.description, f"`{each.file}`", source, _known(each), each.licence, each.if_dead)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _known(asset: Asset) -> str:
    size = "size recorded at the first download" if asset.size is None else f"{asset.size:,} bytes"
    return f"{size}, SHA-256 {asset.sha256 or 'recorded at the first download'}"


# Download.

_COUNT = re.compile(r"[0-9]{1,15}")  # Python refuses to convert numbers of thousands of digits
_RANGE = re.compile(r"bytes ([0-9]{1,15})-[0-9]{1,15}/([0-9]{1,15})")
_LARGEST = 64 << 30  # bytes of a file of unknown size


class _Cut(Exception):
    """Raised if a transfer ends early; the received bytes are kept."""


def fetch(asset: Asset, folder: Path, url: str | None = None) -> Path:
    """Download an asset into `folder` and return its path; `url`, such as a mirror's, replaces the asset's address.

    Bytes are appended to FILE.part, from which a later call resumes; FILE appears when it is complete and checked.
    UserError with the address and instructions for a manual download if the download fails.
    """
    url = url or asset.url
    if url is None:
        raise UserError(
            f"{asset.name}: has no direct address; download {asset.file} by hand from the links of {asset.page}. "
            f"If they are dead: {asset.if_dead}"
        )
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise UserError(f"--url {url}: is not an http or https address")
    download = _Download(asset, Path(folder), url)
    if download.path.exists():
        return download.check_present()
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with open(download.part, "ab") as part:
            try:
                fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"{download.part}: another fetch is writing this file; wait until it ends") from None
            try:
                download.run(part)
            finally:
                if download.part.exists() and download.part.stat().st_size == 0:
                    download.part.unlink()
                    download.state.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"{download.path}: could not be written ({error.strerror or error}); free space or fix the permissions, "
            "then run the same command again: it resumes"
        ) from error
    return download.path


class _Download:
    """One download: bytes in FILE.part, the server's response in FILE.part.json, hash in FILE.origin.json."""

    def __init__(self, asset: Asset, folder: Path, url: str):
        self.asset, self.url = asset, url
        self.path = folder / asset.file
        self.part = folder / f"{asset.file}.part"
        self.state = folder / f"{asset.file}.part.json"
        self.record = folder / f"{asset.file}.origin.json"

    def fail(self, reason: str) -> UserError:
        return UserError(
            f"{self.asset.name}: {reason} ({self.url}). By hand: download {self.asset.file} from {self.asset.page} "
            f"into {self.path.parent}. If the link is dead: {self.asset.if_dead}"
        )

    def check_present(self) -> Path:
        """Return the path of the existing file; UserError if it is another file."""
        sha256 = files.file_sha256(self.path)
        wrong = self.differs(self.path.stat().st_size, sha256)
        if wrong:
            raise UserError(f"{self.path}: exists, but {wrong}; move it away and fetch it again")
        log(f"{self.path}: exists already, SHA-256 {sha256}")
        return self.path

    def differs(self, size: int, sha256: str) -> str:
        """Return a description of how a file differs from the asset; "" if it does not differ."""
        asset = self.asset
        if asset.size is not None and size != asset.size:
            return f"has {size:,} bytes, not {asset.size:,}"
        if not asset.fits(sha256):
            return f"has SHA-256 {sha256}, not {asset.sha256}"
        if self.record.exists():
            recorded = read_object(self.record, "delete it to accept the file", {"sha256": str})["sha256"]
            if recorded != sha256:
                return f"has SHA-256 {sha256}, not {recorded} as recorded in {self.record.name}"
        return ""

    def run(self, part) -> None:
        """Download until the partial file is complete, then check and rename it."""
        furthest, attempts = 0, 0
        while True:
            try:
                self.transfer(part)
                break
            except _Cut as cut:
                part.flush()
                size = os.fstat(part.fileno()).st_size
                attempts = 0 if size > furthest else attempts + 1
                furthest = max(furthest, size)
                if attempts >= _ATTEMPTS:
                    raise self.fail(f"gave up after {_ATTEMPTS} attempts: {cut}; the received bytes are kept") from None
                wait = _BACKOFF * 2**attempts
                log(f"{self.asset.name}: {cut}; resuming in {wait:.0f} s")
                time.sleep(wait)
        part.flush()
        os.fsync(part.fileno())
        self.finish()

    def transfer(self, part) -> None:
        """Make one request and append the missing bytes; _Cut if the transfer ends early."""
        have, state = os.fstat(part.fileno()).st_size, self.read_state()
        request = urllib.request.Request(self.url, headers={"User-Agent": "dmgan-fetch"})
        # Without a validator or a known hash, parts of two different files could be joined unnoticed.
        if have and state and (state["validator"] or self.asset.sha256):
            request.add_header("Range", f"bytes={have}-")
            if state["validator"]:
                request.add_header("If-Range", state["validator"])
        else:
            have = self.restart(part)
        try:
            response = urllib.request.urlopen(request, timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            if error.code == 416 and state and have == state["total"]:
                return  # the part was complete already
            if error.code == 416:
                self.restart(part)
                raise _Cut("the server's file is shorter than the partial download; starting again") from None
            reason = f"the server answers {error.code} {error.reason}"
            if error.code in _RETRIED:
                raise _Cut(reason) from None
            raise self.fail(reason) from None
        except (http.client.HTTPException, OSError) as error:
            raise _Cut(f"no connection ({_why(error)})") from None
        with response:
            self.receive(response, part, have, state)

    def receive(self, response, part, have: int, state: dict | None) -> None:
        """Append the response to the partial file, or start again if the server sends the whole file."""
        if response.status == 206:
            content_range = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            total = int(content_range[2]) if content_range else None
            if state is None or content_range is None or int(content_range[1]) != have or total != state["total"]:
                self.restart(part)
                raise _Cut("the server's file has changed; starting again")
        else:
            have, length = self.restart(part), response.headers.get("Content-Length", "")
            total = int(length) if _COUNT.fullmatch(length) else None
        self.refuse_page(response.headers.get_content_type() == "text/html")
        if total is None and not response.chunked and self.asset.size is None and self.asset.sha256 is None:
            raise self.fail("the server does not send the file's size, so that a truncated file would go unnoticed")
        if not have:
            files.write_json(self.state, {"url": self.url, "validator": _validator(response.headers), "total": total})
        done, most = have, total or self.asset.size or _LARGEST
        with Progress(max(1, (total or 0) >> 20), "MB", done=have >> 20) as progress:
            while piece := _read(response):
                if not done:
                    self.refuse_page(piece.lstrip().lower().startswith(_PAGE_STARTS))
                part.write(piece)
                progress.step(((done + len(piece)) >> 20) - (done >> 20))
                done += len(piece)
                if done > most:  # a server that states no length may send for ever
                    self.restart(part)
                    raise self.fail(f"the server sends more than {most:,} bytes")
        if total is not None and done < total:
            raise _Cut(f"connection lost at {done:,} of {total:,} bytes")

    def refuse_page(self, is_page: bool) -> None:
        if is_page and not self.asset.file.endswith((".html", ".htm")):
            raise self.fail("the server sends a web page instead of the file (a login, a quota or a confirmation page)")

    def read_state(self) -> dict | None:
        """Return the stored response data of the server; None if missing, damaged or of another address."""
        return read_part_state(self.state, self.url)

    def restart(self, part) -> int:
        """Empty the partial file and return its size, 0."""
        part.truncate(0)
        self.state.unlink(missing_ok=True)
        return 0

    def finish(self) -> None:
        """Check the complete download, record its origin, and rename it."""
        with open(self.part, "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size = self.part.stat().st_size
        wrong = self.differs(size, sha256)
        if wrong:
            self.part.unlink()
            self.state.unlink(missing_ok=True)
            raise self.fail(f"the downloaded file {wrong}; it was deleted")
        files.write_json(self.record, {"url": self.url, "size": size, "sha256": sha256})
        os.replace(self.part, self.path)
        files.sync_folder(self.path.parent)
        self.state.unlink(missing_ok=True)
        known = "as expected" if self.asset.sha256 else f"recorded in {self.record.name}"
        log(f"{self.path}: {size:,} bytes, SHA-256 {sha256} ({known})")


def read_part_state(path: Path, url: str) -> dict | None:
    """Return the response data of a partial download; None if missing, damaged or of another address than `url`."""
    try:
        state = read_object(path, "", {"url": str, "validator": str, "total": int})
    except UserError:
        return None
    return state if state["url"] == url and state["validator"].isprintable() else None


def _read(response) -> bytes:
    try:
        return response.read(_PIECE)
    except (http.client.HTTPException, OSError) as error:
        raise _Cut(f"connection lost ({_why(error)})") from None


def _why(error: Exception) -> str:
    return str(getattr(error, "reason", "") or error) or type(error).__name__


def _validator(headers) -> str:
    """Return the strong ETag of a response, else its Last-Modified date; "" if the server sends neither."""
    etag = headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")
