"""The compilation cache: its directory, the conditions for having one, and its permissions."""

import os
import stat

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from train.errors import UserError
from train.run import compilation_cache as module
from train.run.compilation_cache import compilation_cache, private_directory

SETTINGS = (
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_enable_compilation_cache",
)


@pytest.fixture(autouse=True)
def _no_setting_of_the_users():
    """JAX's default settings, without the cache that the suite's processes share."""
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    for name, value in zip(SETTINGS, (None, -1, 0.0, True), strict=True):
        jax.config.update(name, value)
    reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    reset_cache()


def compile_something(factor):
    return jax.jit(lambda x: x * factor + 1).lower(jnp.ones(3)).compile()


def programs(folder):
    return sorted(path.name for path in folder.glob("jit*-cache"))


def on_an_accelerator(monkeypatch, cache):
    monkeypatch.setattr(module.jax, "default_backend", lambda: "gpu")
    monkeypatch.setenv("FLAX_LITE_CACHE", str(cache))


def test_programs_are_cached_in_the_given_directory(tmp_path):
    """The second run reads what the first wrote; outside the context nothing is cached."""
    folder = tmp_path / "programs"
    with compilation_cache(str(folder)) as line:
        compile_something(2.25)
    assert line == f"compilation cache: {folder}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    kept = programs(folder)
    assert any(name.startswith("jit__lambda") for name in kept)
    hits = []
    listener = lambda event, **more: hits.append(event)  # noqa: E731
    jax.monitoring.register_event_listener(listener)
    try:
        with compilation_cache(str(folder)):
            compile_something(2.25)
    finally:
        jax.monitoring.unregister_event_listener(listener)
    assert "/jax/compilation_cache/cache_hits" in hits
    compile_something(3.25)
    assert programs(folder) == kept
    assert (jax.config.jax_compilation_cache_dir, jax.config.jax_compilation_cache_max_size) == (None, -1)


def test_programs_that_a_killed_job_half_wrote_are_removed(tmp_path):
    """Otherwise JAX would warn about them each time (an error here) and cache no further programs."""
    with compilation_cache(str(tmp_path)):
        compile_something(8.25)
    (torn,) = tmp_path.glob("jit__lambda*-cache")
    torn.write_bytes(torn.read_bytes()[:100])
    torn.with_name(torn.name.replace("-cache", "-atime")).unlink()
    complete = len(programs(tmp_path)) - 1
    with compilation_cache(str(tmp_path)):
        assert len(programs(tmp_path)) == complete
        compile_something(8.25)
        compile_something(9.25)
    assert len(list(tmp_path.glob("jit__lambda*-cache"))) == 2
    assert torn.stat().st_size > 100


def test_accelerators_use_the_users_cache(tmp_path, monkeypatch):
    on_an_accelerator(monkeypatch, tmp_path)
    with compilation_cache("auto") as line:
        compile_something(4.25)
    folder = tmp_path / f"compiled-{os.geteuid()}"
    assert line == f"compilation cache: {folder}"
    assert programs(folder)


@pytest.mark.parametrize("option", ["auto", None])
def test_a_cpu_has_no_cache(option):
    with compilation_cache(option) as line:
        assert jax.config.jax_compilation_cache_dir is None
    assert line.startswith("compilation cache: none")


def test_auto_keeps_the_users_setting(tmp_path, monkeypatch):
    on_an_accelerator(monkeypatch, tmp_path / "cache")
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "users"))
    with compilation_cache("auto") as line:
        compile_something(5.25)
    assert line == f"compilation cache: {tmp_path / 'users'} (JAX_COMPILATION_CACHE_DIR)"
    assert programs(tmp_path / "users")
    assert not (tmp_path / "cache").exists()
    kept = programs(tmp_path / "users")
    with compilation_cache(None):
        compile_something(6.25)
    assert programs(tmp_path / "users") == kept
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "users")


def test_jax_enable_compilation_cache_is_respected(tmp_path):
    jax.config.update("jax_enable_compilation_cache", False)
    with compilation_cache(str(tmp_path / "programs")) as line:
        compile_something(7.25)
    assert "JAX_ENABLE_COMPILATION_CACHE is off" in line
    assert not (tmp_path / "programs").exists()


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777])
def test_a_directory_that_others_may_write_to_is_refused(tmp_path, monkeypatch, mode):
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(mode)
    (tmp_path / "link").symlink_to(folder)
    for path in (folder, tmp_path / "link"):
        with (
            pytest.raises(UserError, match=f"may be written by other users .*: chmod 700 {folder}"),
            compilation_cache(str(path)),
        ):
            pass
    assert jax.config.jax_compilation_cache_dir is None


def test_a_directory_of_another_user_is_refused(tmp_path, monkeypatch):
    """Including the default directory: a job must not execute what another user has written."""
    on_an_accelerator(monkeypatch, tmp_path)
    other = os.geteuid() + 1
    monkeypatch.setattr(module.os, "geteuid", lambda: other)
    with (
        pytest.raises(UserError, match=f"belongs to user {other - 1}, this is user {other}"),
        compilation_cache("auto"),
    ):
        pass


def test_a_directory_that_others_may_read_is_accepted(tmp_path):
    tmp_path.chmod(0o755)
    assert private_directory(tmp_path) == tmp_path.resolve()


def test_a_directory_that_cannot_be_created(tmp_path, monkeypatch):
    """It is an error if the user asked for it, and means no cache if it is the default."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be created"), compilation_cache(str(tmp_path / "file" / "programs")):
        pass
    on_an_accelerator(monkeypatch, tmp_path / "file")
    with compilation_cache("auto") as line:
        assert jax.config.jax_compilation_cache_dir is None
    assert "cannot be created" in line


def test_a_path_in_a_bucket_is_refused():
    with (
        pytest.raises(UserError, match="expected auto, none or a local directory"),
        compilation_cache("gs://bucket/programs"),
    ):
        pass
