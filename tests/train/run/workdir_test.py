"""The work directory: its lock, the checks against earlier runs, and that a refusal changes nothing."""

import dataclasses
import errno
import fcntl
import json
import os
import sys
import time
from pathlib import Path

import pytest
from ml_collections import config_dict

from tests.train import toy
from tests.train.forked import Process
from train.errors import UserError
from train.options.request import Request
from train.options.schema import flatten, nest, resolve
from train.run import workdir
from train.run.records import totals


def request(path, extend=False, **changes):
    values = resolve(toy.OPTIONS, toy.VALUES) | {name.replace("__", "."): value for name, value in changes.items()}
    texts = {name.replace("__", "."): str(value) for name, value in changes.items()}
    config = config_dict.FrozenConfigDict(nest(values))
    return Request(
        job="toy", options=toy.OPTIONS, config=config, spec="toy.py", workdir=path, overrides=texts, extend=extend
    )


def opened(*args, **kwargs):
    """Opens and closes a work directory."""
    with workdir.open_workdir(request(*args, **kwargs)) as work:
        return work


def trained(path):
    """Makes a work directory of a run that has done steps."""
    opened(path)
    (path / "metrics.jsonl").write_text('{"step": 1, "split": "train", "loss": 1.0}\n')
    (path / "checkpoints" / "4").mkdir(parents=True)
    return path


def snapshot(path):
    return {str(file): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file() and file.name != "lock"}


def test_open_stores_the_request(tmp_path):
    work = opened(tmp_path / "a" / "b", batch_size=16)
    kept = json.loads((work.path / "config.json").read_text())
    assert kept["format"] == workdir.FORMAT
    assert kept["job"] == "toy"
    assert kept["config"]["batch_size"] == 16
    assert set(flatten(kept["config"])) == {option.path for option in toy.OPTIONS}


def test_free_options_may_change(tmp_path):
    trained(tmp_path / "w")
    work = opened(tmp_path / "w", log_every_steps=7, mesh__data=8)
    assert json.loads((work.path / "config.json").read_text())["config"]["mesh"]["data"] == 8


def test_changed_fixed_options_are_refused_by_name(tmp_path):
    path = trained(tmp_path / "w")
    before = snapshot(path)
    with pytest.raises(UserError) as caught:
        opened(path, seed=3, optimizer__learning_rate=0.5, log_every_steps=7)
    message = str(caught.value)
    assert "seed: 0 -> 3" in message
    assert "optimizer.learning_rate: 0.05 -> 0.5" in message
    assert "log_every_steps: " not in message
    assert f"--workdir {tmp_path / 'w-2'} --config.seed=3" in message
    assert snapshot(path) == before


def started_before(path, *options):
    """Makes a work directory of a run that has done steps with a version that lacks these options."""
    trained(path)
    config = json.loads((path / "config.json").read_text())
    kept = {option: value for option, value in flatten(config["config"]).items() if option not in options}
    (path / "config.json").write_text(json.dumps(config | {"config": nest(kept)}))
    return path


NEWER = ("optimizer.decay_from", "optimizer.bias_correction")


@pytest.mark.parametrize(
    ("options", "changes", "is_logged"),
    [
        ((), {}, False),
        (NEWER[:1], {}, True),
        (NEWER[1:], {}, False),
        (NEWER, {}, True),
        (NEWER, {"log_every_steps": 7}, True),
        (NEWER, {"optimizer__decay_from": None}, False),
        (NEWER, {"total_steps": 30, "extend": True}, True),
    ],
)
def test_a_run_continues_without_newer_options(options, changes, is_logged, tmp_path, capsys):
    """Their values in the config file apply to new runs only."""
    path = started_before(tmp_path / "w", *options)
    first = opened(path, **changes)
    assert ("continues without them" in capsys.readouterr().out) == is_logged
    assert first.extended_from == (20 if "extend" in changes else None)
    more = {"total_steps": 30} if "extend" in changes else {}
    for work in (first, opened(path, **more), opened(path, **more, mesh__data=8)):  # resuming does not store them
        expected = {"optimizer.decay_from": "peak", "optimizer.bias_correction": None} | dict.fromkeys(options)
        assert {option: work.request.values[option] for option in NEWER} == expected
    kept = flatten(json.loads((path / "config.json").read_text())["config"])
    assert set(NEWER) - kept.keys() == set(options)


@pytest.mark.parametrize(
    ("option", "value"), [("optimizer__decay_from", "peak"), ("optimizer__bias_correction", False)]
)
def test_a_newer_option_on_the_command_line_is_refused(option, value, tmp_path):
    """Applying it to the run would mix two experiments."""
    path = started_before(tmp_path / "w", *NEWER)
    before = snapshot(path)
    with pytest.raises(UserError, match=f"{option.replace('__', '.')}: None -> {value!r}"):
        opened(path, **{option: value})
    assert snapshot(path) == before


def test_an_option_without_a_default_is_taken_from_the_config(tmp_path):
    path = started_before(tmp_path / "w", "optimizer.learning_rate")
    assert opened(path).request.config.optimizer.learning_rate == 0.05
    assert json.loads((path / "config.json").read_text())["config"]["optimizer"]["learning_rate"] == 0.05


def test_a_run_without_steps_takes_newer_options(tmp_path):
    path = started_before(tmp_path / "w", *NEWER)
    (path / "checkpoints" / "4").rmdir()
    (path / "metrics.jsonl").unlink()
    assert opened(path).request.config.optimizer.decay_from == "peak"
    assert json.loads((path / "config.json").read_text())["config"]["optimizer"]["decay_from"] == "peak"


def test_fixed_options_may_change_before_the_first_step(tmp_path):
    """An attempt that failed because of a mistyped path must not bind the next one."""
    opened(tmp_path / "w", data__source="mistyped")
    (tmp_path / "w" / "tokenizer").mkdir()
    work = opened(tmp_path / "w", data__source="right")
    assert json.loads((work.path / "config.json").read_text())["config"]["data"]["source"] == "right"
    assert not (tmp_path / "w" / "tokenizer").exists()


def test_more_steps_need_extend(tmp_path):
    path = trained(tmp_path / "w")
    with pytest.raises(UserError, match="--extend"):
        opened(path, total_steps=30)
    with pytest.raises(UserError) as caught:
        opened(path, total_steps=10)
    assert "--extend" not in str(caught.value)
    with pytest.raises(UserError, match="seed"):
        opened(path, extend=True, total_steps=30, seed=1)
    assert opened(path, extend=True, total_steps=30).extended_from == 20
    assert opened(path, total_steps=30).extended_from is None


def test_a_finished_job_is_reported(tmp_path, capsys):
    work = opened(tmp_path / "w")
    work.write_summary({"status": "finished", "step": 20})
    assert not opened(tmp_path / "w").finished  # not without its model
    work.model.mkdir()
    assert opened(tmp_path / "w").finished
    assert "is complete" in capsys.readouterr().out
    (tmp_path / "w" / "metrics.jsonl").write_text("{}\n")
    assert not opened(tmp_path / "w", extend=True, total_steps=30).finished


def test_a_directory_with_other_files_is_refused(tmp_path):
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(UserError, match=r"photo\.jpg"):
        opened(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_another_jobs_directory_is_refused(tmp_path):
    path = trained(tmp_path / "w")
    kept = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**kept, "job": "finetune"}))
    with pytest.raises(UserError, match=r"belongs to train\.finetune"):
        opened(path)


@pytest.mark.parametrize(("text", "message"), [("{", "cannot be read"), ('{"format": 9, "config": {}}', "format 9")])
def test_unknown_formats_are_refused(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=message):
        opened(tmp_path)


def test_unusable_paths_are_refused(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=f"--workdir {path} cannot be used"):
            opened(path)
    with pytest.raises(UserError, match="cannot be"):
        opened(Path("/proc/flax_lite"))


def test_leftovers_of_a_killed_first_start_are_accepted(tmp_path):
    for name in ("lock", ".config.json.staged"):
        (tmp_path / name).touch()
    opened(tmp_path)


def hold():
    with workdir.open_workdir(request(Path(sys.argv[1]))):
        print("held", file=sys.stderr)
        time.sleep(120)


def test_the_lock_excludes_other_processes_and_ends_with_its_holder(tmp_path):
    holder = Process(tmp_path / "w", call=f"{__name__}:hold")
    holder.wait_for_error("held")
    with pytest.raises(UserError, match=f"in use by process {holder.pid} on "):
        opened(tmp_path / "w")
    holder.kill()
    holder.wait()
    opened(tmp_path / "w")


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch, number):
    """A marker file instead of a lock would keep every later process out once its holder was killed."""

    def flock(descriptor, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(UserError, match=r"cannot be locked: .* on a local disk"):
        opened(tmp_path / "w")


def test_totals_add_up_over_runs():
    first = {"seconds": {"steps": 6.0, "compile": 2.0}, "wall_seconds": 10.0, "lost_steps": 0}
    second = {"seconds": {"steps": 3.0, "eval": 1.0}, "wall_seconds": 5.0, "lost_steps": 4}
    assert totals([first, second]) == {
        "wall_seconds": 15.0,
        "seconds": {"steps": 9.0, "compile": 2.0, "eval": 1.0},
        "lost_steps": 4,
        "goodput": 0.6,
    }


def warmed(path, extend=False, share=0.25, **changes):
    """Opens a directory whose batch size derives from total_steps, as the warm-up steps of a fine-tuning do."""
    wanted = request(path, extend, **changes)
    derived = {} if share is None else {"batch_size": lambda values: int(share * values["total_steps"])}
    wanted = wanted.with_values({name: of(wanted.values) for name, of in derived.items()})
    with workdir.open_workdir(dataclasses.replace(wanted, derived=derived)) as work:
        return work


@pytest.mark.parametrize(("steps", "kept"), [((20, 40), 5), ((20, 40, 40), 5), ((20, 40, 80, 80), 5), ((20, 20), 5)])
def test_derived_options_are_kept_when_a_run_is_extended(tmp_path, steps, kept):
    for number, total in enumerate(steps):
        work = warmed(trained_by(tmp_path / "w"), extend=total > steps[number - 1], total_steps=total)
    assert work.request.config.batch_size == kept
    assert work.request.config.total_steps == steps[-1]
    assert json.loads((tmp_path / "w" / "config.json").read_text())["derived"] == ["batch_size"]


def trained_by(path):
    if (path / "config.json").exists():
        (path / "metrics.jsonl").write_text('{"step": 1, "split": "train", "loss": 1.0}\n')
    return path


def test_a_given_option_does_not_become_a_derived_one(tmp_path):
    path = trained(tmp_path / "w")  # its batch_size of 8 is not a quarter of 20
    with pytest.raises(UserError, match="batch_size: 8 -> 5"):
        warmed(path)
    warmed(tmp_path / "v")
    with pytest.raises(UserError, match="batch_size: 5 -> 10"):
        warmed(trained_by(tmp_path / "v"), extend=True, share=None, total_steps=40, batch_size=10)


def ended_early(path, **more):
    work = opened(path)
    work.write_summary({"status": "finished", "step": 12, "ended_early": True, **more})
    work.model.mkdir()
    (path / "metrics.jsonl").write_text('{"step": 12, "split": "train", "loss": 1.0}\n')
    return path


@pytest.mark.parametrize("more", [{}, {"ended_early_of": 20}])
def test_a_run_that_ended_early_can_be_extended(tmp_path, capsys, more):
    path = ended_early(tmp_path / "w", **more)
    assert opened(path).finished
    assert "complete: 12 steps (ended early; 20 were requested)" in capsys.readouterr().out
    work = opened(path, extend=True, total_steps=40)
    assert (work.finished, work.extended_from, work.patient_from) == (False, 20, 12)
    (path / "summary.json").unlink()  # the resumed run writes a new one
    work = opened(path, total_steps=40)
    assert (work.finished, work.extended_from, work.patient_from) == (False, None, 12)


def test_an_extension_that_was_killed_at_once_is_not_complete(tmp_path):
    path = ended_early(tmp_path / "w", ended_early_of=20)
    opened(path, extend=True, total_steps=40)
    assert not opened(path, total_steps=40).finished


def finished_on(path, **known):
    work = opened(path)
    work.write_summary({"status": "finished", "step": 20, "inputs": known})
    work.model.mkdir()
    (work.model / "config.json").touch()
    return path


@pytest.mark.parametrize(
    ("known", "now", "other"),
    [
        ({"data": "a"}, {"data": "a"}, None),
        ({"data": "a", "tokenizer": "t"}, {"data": "b", "tokenizer": "t"}, "data: a -> b"),
        ({"data": "a", "tokenizer": "t"}, {"data": "a", "tokenizer": "u"}, "tokenizer: t -> u"),
        ({"data": "a", "teacher": "t"}, {"data": "a"}, None),  # an input that the run did not record is not compared
        ({"data": "a"}, {}, None),
        ({}, {"data": "a"}, None),
    ],
)
def test_a_finished_job_is_refused_for_other_inputs(tmp_path, known, now, other):
    path = finished_on(tmp_path / "w", **known)
    before = snapshot(path)
    if other is None:
        with workdir.open_workdir(request(path), inputs=lambda _: now) as work:
            assert work.finished
        return
    with pytest.raises(UserError, match=other), workdir.open_workdir(request(path), inputs=lambda _: now):
        pass
    assert snapshot(path) == before


@pytest.mark.parametrize(
    ("fingerprint", "changes", "refused"),
    [
        ("a", {"data__source": "moved"}, None),
        ("b", {"data__source": "moved"}, "data.source: 'normal' -> 'moved'"),
        ("a", {"data__source": "moved", "seed": 3}, "seed: 0 -> 3"),
        ("a", {"data__source": "moved", "total_steps": 40}, "--extend"),
    ],
)
def test_the_same_text_at_another_path_is_accepted(tmp_path, capsys, fingerprint, changes, refused):
    path = finished_on(tmp_path / "w", data="a")
    wanted = request(path, **changes)
    if refused is None:
        with workdir.open_workdir(wanted, inputs=lambda _: {"data": fingerprint}) as work:
            assert work.finished
        assert "is the same text at another path" in capsys.readouterr().out
        return
    with pytest.raises(UserError) as caught, workdir.open_workdir(wanted, inputs=lambda _: {"data": fingerprint}):
        pass
    assert refused in str(caught.value)


@pytest.mark.parametrize(
    ("kept", "was_trained", "streams"),
    [({}, True, 1), ({"streams": 1}, True, 1), ({"streams": 2}, True, 2), ({}, False, workdir.STREAMS)],
)
def test_a_resumed_run_keeps_its_version_of_random_streams(tmp_path, kept, was_trained, streams):
    path = tmp_path / "w"
    assert opened(path).streams == workdir.STREAMS
    config = json.loads((path / "config.json").read_text())
    del config["streams"]
    (path / "config.json").write_text(json.dumps(config | kept))
    if was_trained:
        trained_by(path)
    for _ in range(2):
        assert opened(path).streams == streams
