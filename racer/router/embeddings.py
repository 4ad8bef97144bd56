"""The frozen encoder's vectors, computed once for each text and found again by its content.

`cache_dir/embeddings/KEY.npz` holds `names` (n,), the texts' fingerprints, and `vectors` (n, C), of one encoder with
one pooling and truncation. Another choice of tasks, or a table that has grown, embeds only what is new.
"""

import hashlib
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from filelock import FileLock

from racer import hashing
from racer.config import EncoderConfig
from racer.files import whole
from racer.router.encoder import Encoder


def vectors_of(texts: list[str], encoder: Encoder, config: EncoderConfig, source: Path, cache: Path,
               accelerator: Accelerator) -> np.ndarray:
    """Return the vectors (n, C) float32 of the texts by the encoder in `source`; new ones join the cache."""
    key = hashing.of_json([hashing.of_folder(source), config.pooling, encoder.max_length, config.truncation_side])
    path = cache / "embeddings" / f"{key}.npz"
    names = np.array([hashlib.sha256(t.encode()).hexdigest()[:32] for t in texts])
    if accelerator.is_main_process:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            _complete(path, names, texts, encoder.to(accelerator.device))
    accelerator.wait_for_everyone()
    known, vectors = _read(path)
    order = np.argsort(known)
    return vectors[order[np.searchsorted(known, names, sorter=order)]]


def _complete(path: Path, names: np.ndarray, texts: list[str], encoder: Encoder) -> None:
    """Add to the file at `path` every text that it lacks."""
    known, vectors = _read(path) if path.exists() else (names[:0], np.empty((0, encoder.width), np.float32))
    names, first = np.unique(names, return_index=True)
    new = ~np.isin(names, known)
    if new.any() or not path.exists():
        added = encoder.embed([texts[i] for i in first[new]], progress=True)
        with whole(path) as partial:
            np.savez(partial, names=np.concatenate([known, names[new]]), vectors=np.concatenate([vectors, added]))


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path) as file:
        return file["names"], file["vectors"]
