"""Sets of files that no card describes, for tests of what is made of them."""

import hashlib
from types import SimpleNamespace

from vismodels.data.manifest import Acquired, write_acquired


def found_set(name, root):
    """Return what `locate` gives for all files below a folder."""

    def files():
        return {p.relative_to(root).as_posix(): p for p in sorted(root.rglob("*")) if p.is_file()}

    def digests():
        return {
            item: SimpleNamespace(sha256=hashlib.sha256(path.read_bytes()).hexdigest())
            for item, path in files().items()
        }

    return SimpleNamespace(card=SimpleNamespace(name=name), files=files(), digests=digests)


def acquired_set(found, folder):
    """Write what acquiring such a set stores."""
    folder.mkdir()
    items = {item: {"sha256": digest.sha256} for item, digest in found.digests().items()}
    write_acquired(Acquired({"name": found.card.name}, items, None), folder)
