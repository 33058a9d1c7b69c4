"""Hash of a JSON value, and the entry in which a result states that of its own content."""

import hashlib
import json
from collections.abc import Mapping

SEAL = "content_sha256"


def json_sha256(content: object) -> str:
    """Return the SHA-256 of `content` as canonical JSON, which does not depend on the order of keys."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def content_sha256(content: Mapping[str, object]) -> str:
    """Return the hash of a result without its seal, as it is read back: JSON makes lists of tuples and text of keys."""
    return json_sha256(json.loads(json.dumps({key: each for key, each in content.items() if key != SEAL})))


def seal_is_whole(content: Mapping[str, object]) -> bool:
    """Return whether the content that was read is the content that was written; true if it has no seal."""
    return SEAL not in content or content[SEAL] == content_sha256(content)
