"""Where what is made from a corpus is kept, and the names under which it is found again."""

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
    """The root of the cache: the given directory, or the default one."""
    return Path(cache_dir) if cache_dir is not None else default_cache_dir()


def corpus_inputs(corpus: Corpus, root: Path) -> dict[str, Any]:
    """All that a corpus's documents depend on, as JSON values: its own inputs, and the contents of its files."""
    return {
        "corpus": corpus.inputs,
        "files": [
            file.hash if isinstance(file, GeneratedText) else content_hash(file, root / "file_hashes")
            for file in corpus.files
        ],
    }


def cache_key(inputs: Mapping[str, Any]) -> str:
    """A name for what is made from these inputs."""
    return hashlib.blake2b(json.dumps(inputs, sort_keys=True).encode(), digest_size=16).hexdigest()
