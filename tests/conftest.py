"""Settings and fixtures of the whole suite."""

import atexit
import gc
import os
import shutil
import tempfile

# Nothing is downloaded by default: `HF_HUB_OFFLINE=0 pytest -m network` is. The library reads it when it is imported.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# What is asserted is asserted of the CPU; and several test processes cannot share an accelerator.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Sharding tests need several devices; XLA reads this before the first import of jax anywhere in the process.
_DEVICES_FLAG = "--xla_force_host_platform_device_count=8"
if _DEVICES_FLAG not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_DEVICES_FLAG}".strip()

# What one process has compiled, others read: workers, and the jobs that tests start. The first process makes the
# directory and removes it. A limit is what makes JAX lock it (jax._src.lru_cache).
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="flax_lite-compiled-")
    os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(2**30)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from jaxtyping import install_import_hook

import tests.type_checker  # noqa: F401 (the hook below finds it by its name)
from tests.time_limit import (  # noqa: F401 (pytest finds hooks by their names)
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_runtest_setup,
)

# From here on every annotated call of flax_lite is checked: types, and shapes by the letters of the annotations.
install_import_hook("flax_lite", "tests.type_checker.check")

_MAPPINGS = Path("/proc/self/maps")
REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module", autouse=True)
def _few_compiled_programs() -> Iterator[None]:
    """Keeps a process under Linux's limit of 65530 memory mappings (vm.max_map_count).

    XLA maps memory for every program it compiles, and the process dies of a signal where it gets none. One process of
    half the suite reached 56408.
    """
    yield
    if _MAPPINGS.exists() and len(_MAPPINGS.read_bytes().splitlines()) > 20_000:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real public text and tokenizers, kept outside the repository; tests that read them skip where they are absent."""
    path = Path(os.environ.get("FLAX_LITE_DATA", REPOSITORY.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no shared test data at {path} (set FLAX_LITE_DATA to its directory)")
    return path


@pytest.fixture(autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests never read or fill the user's own cache of tokenised corpora; one cache serves the session."""
    monkeypatch.setenv("FLAX_LITE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
