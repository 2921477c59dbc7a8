"""Settings and fixtures of the whole suite."""

import atexit
import gc
import os
import shutil
import tempfile
from importlib import metadata

# Nothing is downloaded, except with `HF_HUB_OFFLINE=0 pytest -m network`. huggingface_hub reads this at import.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# The assertions are for the CPU, and several test processes cannot share an accelerator.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# XLA reads these before the first import of jax anywhere in the process. Sharding tests need several devices.
_FLAGS = ["--xla_force_host_platform_device_count=8"]
# Most of the suite's time goes into compiling small programs that run once. This switch of JAX turns off LLVM's
# optimizations; the older fusion emitters, which jaxlib 0.11 no longer has, avoid MLIR. A gradient of two layers with
# dropout compiles in 2.0 CPU seconds instead of 10.9. XLA's earlier passes (fusion, partitioning) are unchanged.
# To compile as users do: JAX_DISABLE_MOST_OPTIMIZATIONS=0 XLA_FLAGS=--xla_cpu_use_fusion_emitters=true pytest
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if metadata.version("jaxlib").startswith("0.10."):
    _FLAGS.append("--xla_cpu_use_fusion_emitters=false")
_given = os.environ.get("XLA_FLAGS", "")
os.environ["XLA_FLAGS"] = " ".join([_given, *(flag for flag in _FLAGS if flag.split("=")[0] not in _given)]).strip()

# A compilation cache shared by the test processes and the jobs that they start. The first process creates and removes
# it. JAX locks the directory only if its size is limited (jax._src.lru_cache).
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="flax_lite-compiled-")
    os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(2**30)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jaxtyping
import pytest
from filelock import FileLock
from jax._src.interpreters.partial_eval import DynamicJaxprTracer

import tests.type_checker  # noqa: F401 (--jaxtyping-packages in pyproject.toml finds it by its name)

# When a model is built inside a trace, Flax reads `.sharding` of each tracer. JAX raises with a message that prints the
# program so far: two thirds of the time to build a model.
DynamicJaxprTracer._origin_msg = lambda self: ""

_MAPPINGS = Path("/proc/self/maps")
REPOSITORY = Path(__file__).resolve().parent.parent
# Names of test folders: tests/flax_lite and some of its subfolders.
_TYPED = ("flax_lite", "architecture", "layers", "models", "rows", "training", "distillation", "question_answering")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process more than cores, because processes that wait for subprocesses left a seventh of two cores idle."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="module", autouse=True)
def _few_compiled_programs() -> Iterator[None]:
    """Keeps a process under Linux's limit of 65530 memory mappings (vm.max_map_count).

    XLA maps memory for every compiled program, and a signal kills the process if that fails. One process that ran half
    of the suite reached 56408 mappings.
    """
    yield
    if _MAPPINGS.exists() and len(_MAPPINGS.read_bytes().splitlines()) > 20_000:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="module", autouse=True)
def _types_and_shapes(request: pytest.FixtureRequest) -> None:
    """Checks jaxtyping annotations only in the tests of models, losses and masking.

    Jobs repeat the same calls, and the checks cost time: 13% in the tests of optimizers and dropout.
    """
    jaxtyping.config.update("jaxtyping_disable", request.path.parent.name not in _TYPED)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Public text and tokenizers outside the repository; tests that need them are skipped if they are absent."""
    path = Path(os.environ.get("FLAX_LITE_DATA", REPOSITORY.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no shared test data at {path} (set FLAX_LITE_DATA to its directory)")
    return path


@pytest.fixture(scope="session")
def shared_temp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory shared by the test processes of this session."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # a worker's directory is inside the session's


@pytest.fixture(scope="session")
def once(shared_temp: Path) -> Callable[[str, Callable[[Path], object]], Path]:
    """`once(name, make)` returns a directory that `make(directory)` has filled in one test process for all of them.

    If `make` fails, its output is removed, and the next test that needs it calls it again.
    """

    def made(name: str, make: Callable[[Path], object]) -> Path:
        directory, finished = shared_temp / "once" / name, shared_temp / "once" / f"{name}.finished"
        directory.parent.mkdir(exist_ok=True)
        with FileLock(directory.parent / f"{name}.lock"):
            if not finished.exists():
                shutil.rmtree(directory, ignore_errors=True)
                directory.mkdir()
                make(directory)
                finished.touch()
        return directory

    return made


@pytest.fixture(autouse=True)
def _private_cache(shared_temp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uses one cache of tokenized corpora for the session instead of the user's cache."""
    monkeypatch.setenv("FLAX_LITE_CACHE", str(shared_temp / "cache"))
