"""The root of the cache, and the keys of cached tokens and tokenizers."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from train.data.sources import Corpus
from train.data.sources.corpus import GeneratedText
from train.machine.files import content_hash, default_cache_dir


def cache_root(cache_dir: str | os.PathLike[str] | None) -> Path:
    """Returns the root of the cache: `cache_dir`, or the default if None."""
    return Path(cache_dir) if cache_dir is not None else default_cache_dir()


def corpus_inputs(corpus: Corpus, root: Path) -> dict[str, Any]:
    """Returns everything that the documents of a corpus depend on, as JSON values, with hashes of the file contents."""
    return {
        "corpus": corpus.inputs,
        "files": [
            file.hash if isinstance(file, GeneratedText) else content_hash(file, root / "file_hashes")
            for file in corpus.files
        ],
    }


def cache_key(inputs: Mapping[str, Any]) -> str:
    """Hashes the inputs of a cached artifact to its key."""
    return hashlib.blake2b(json.dumps(inputs, sort_keys=True).encode(), digest_size=16).hexdigest()
