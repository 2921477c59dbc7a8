"""Where compiled programs are kept, where they are not, and whose directory that may be."""

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
    """JAX as it comes, without the directory that the suite's processes share."""
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


def test_programs_are_kept_in_the_directory_that_is_given(tmp_path):
    """The second run reads what the first has written; afterwards nothing is kept any more."""
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


def test_what_a_killed_job_has_half_written_is_dropped(tmp_path):
    """Or JAX would warn (an error here) of it each time, and keep no other program ever after."""
    with compilation_cache(str(tmp_path)):
        compile_something(8.25)
    (torn,) = tmp_path.glob("jit__lambda*-cache")
    torn.write_bytes(torn.read_bytes()[:100])
    torn.with_name(torn.name.replace("-cache", "-atime")).unlink()
    whole = len(programs(tmp_path)) - 1
    with compilation_cache(str(tmp_path)):
        assert len(programs(tmp_path)) == whole
        compile_something(8.25)
        compile_something(9.25)
    assert len(list(tmp_path.glob("jit__lambda*-cache"))) == 2
    assert torn.stat().st_size > 100


def test_accelerators_have_one_in_the_users_cache(tmp_path, monkeypatch):
    on_an_accelerator(monkeypatch, tmp_path)
    with compilation_cache("auto") as line:
        compile_something(4.25)
    folder = tmp_path / f"compiled-{os.geteuid()}"
    assert line == f"compilation cache: {folder}"
    assert programs(folder)


@pytest.mark.parametrize("leaf", ["auto", None])
def test_a_cpu_has_none(leaf):
    with compilation_cache(leaf) as line:
        assert jax.config.jax_compilation_cache_dir is None
    assert line.startswith("compilation cache: none")


def test_the_users_setting_stands_where_the_leaf_is_auto(tmp_path, monkeypatch):
    on_an_accelerator(monkeypatch, tmp_path / "cache")
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
    with compilation_cache("auto") as line:
        compile_something(5.25)
    assert line == f"compilation cache: {tmp_path / 'own'} (JAX_COMPILATION_CACHE_DIR)"
    assert programs(tmp_path / "own")
    assert not (tmp_path / "cache").exists()
    kept = programs(tmp_path / "own")
    with compilation_cache(None):
        compile_something(6.25)
    assert programs(tmp_path / "own") == kept
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "own")


def test_jax_may_be_told_to_keep_nothing(tmp_path):
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
    """Also the default one: a job must not run what another user has put there."""
    on_an_accelerator(monkeypatch, tmp_path)
    other = os.geteuid() + 1
    monkeypatch.setattr(module.os, "geteuid", lambda: other)
    with (
        pytest.raises(UserError, match=f"belongs to user {other - 1}, this is user {other}"),
        compilation_cache("auto"),
    ):
        pass


def test_a_directory_that_others_may_read_is_taken(tmp_path):
    tmp_path.chmod(0o755)
    assert private_directory(tmp_path) == tmp_path.resolve()


def test_a_place_where_none_can_be_made(tmp_path, monkeypatch):
    """The default is not worth a job; what the user asked for is."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be made"), compilation_cache(str(tmp_path / "file" / "programs")):
        pass
    on_an_accelerator(monkeypatch, tmp_path / "file")
    with compilation_cache("auto") as line:
        assert jax.config.jax_compilation_cache_dir is None
    assert "cannot be made" in line


def test_what_is_no_local_directory_is_refused():
    with (
        pytest.raises(UserError, match="expected auto, none or a local directory"),
        compilation_cache("gs://bucket/programs"),
    ):
        pass
