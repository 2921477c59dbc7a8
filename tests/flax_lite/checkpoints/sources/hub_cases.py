"""Helpers for the tests of the hub: small repositories, and a check of errors."""

import json

import pytest

from flax_lite.checkpoints.sources.hub import HubId, fetch_model

TINY = HubId("owner/tiny")
MODEL = {"config.json": b"{}", "model.safetensors": b"weights" * 1000}
INDEX = "model.safetensors.index.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def index_of(*names, **content):
    return json.dumps({"weight_map": {f"tensor{n}": name for n, name in enumerate(names)}} | content).encode()


def refused(message, fetch=fetch_model, hub_id=TINY):
    """Checks that fetching raises ValueError without a chain of exceptions of other libraries; returns its message."""
    with pytest.raises(ValueError, match=message) as caught:
        fetch(hub_id)
    error = caught.value
    while error is not None:
        assert type(error).__module__.split(".")[0] in ("builtins", "flax_lite", "json")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return str(caught.value)
