"""`--dry_run`: its output, its error messages, and that it writes nothing."""

import sys

import pytest

from train import distill, finetune, pretrain
from train.machine.chips import parse_target
from train.options import cli
from train.options.config_files import load_config
from train.plan import compiling
from train.plan.compiling import compile_elsewhere

JOBS = {
    "pretrain": (pretrain, "configs/albert_tiny.py", ()),
    "distill": (
        distill,
        "configs/distilbert_tiny.py",
        (
            "--config.teacher=random",
            "--config.losses.cosine=0",
            "--config.student.init=random",
            "--config.tokenizer=train:wordpiece:600",
        ),
    ),
    "finetune": (finetune, "configs/glue.py:sst2,smoke", ()),
}


@pytest.fixture(autouse=True)
def _in_checkout(monkeypatch, repository):
    monkeypatch.chdir(repository)


def plan(job, *arguments):
    module, config, overrides = JOBS[job]
    options = module.OPTIONS if job != "finetune" else module.OPTIONS[load_config(config).table]
    argv = ["--config", config, *overrides, "--dry_run", *arguments]
    return cli.main(job, options, lambda request: 1 / 0, argv, plan=module.plan)


@pytest.mark.parametrize("job", JOBS)
def test_a_plan_is_printed_and_nothing_is_run(job, tmp_path, capsys):
    assert plan(job, "--workdir", str(tmp_path / "work"), "--config.mesh.data=2") == 0
    printed = capsys.readouterr().out
    for expected in (
        "plan for 8 x cpu: mesh data=2 fsdp=1",
        "optimizer state:",
        "all-reduce",
        "FLOP a token",
        "tokens/s",
    ):
        assert expected in printed
    assert "compiling" not in printed
    assert not (tmp_path / "work").exists()


def test_a_plan_for_other_devices_uses_their_properties(capsys):
    """Their dtype, memory and peak; a plan that does not fit names options that do."""
    sizes = ("batch_size=1024", "data.sequence_length=512", "model.hidden_size=1024", "model.intermediate_size=4096")
    assert plan("pretrain", *(f"--config.{size}" for size in sizes), "--target", "8xt4") == 0
    small = capsys.readouterr().out
    assert "execution: float32" in small
    assert "of 16 GiB" in small
    assert "does not fit: accumulation_steps=" in small
    assert plan("pretrain", "--target", "8xh100") == 0
    large = capsys.readouterr().out
    assert "execution: bfloat16, 4 layer(s) unrolled" in large
    assert "989 TFLOP/s" in large


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--target", "v5e"), "expected KIND:AxB"),
        (("--target", "3xcpu"), "Nearest valid sizes"),
        (("--config.mesh.data=16", "--target", "8xcpu"), "there are 8"),
        (("--config.tokenizer=nowhere",), "tokenizer=nowhere"),
    ],
)
def test_an_impossible_plan_is_one_message(arguments, message, capsys):
    assert plan("pretrain", *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_target_without_a_plan_is_refused(capsys):
    argv = ["--config", "configs/albert_tiny.py", "--target", "8xcpu"]
    assert cli.main("pretrain", pretrain.OPTIONS, lambda request: None, argv, plan=pretrain.plan) == 2
    assert "give both, or neither" in capsys.readouterr().err
    assert cli.main("pretrain", pretrain.OPTIONS, lambda request: None, [*argv, "--dry_run"]) == 2
    assert "unknown option --target" in capsys.readouterr().err


def test_the_step_is_compiled_for_eight_cpus(capsys):
    mesh = ("--config.mesh.data=-1", "--config.mesh.fsdp=2", "--target", "8xcpu")
    assert plan("pretrain", "--config.model.num_hidden_layers=1", *mesh) == 0
    printed = capsys.readouterr().out
    assert "plan for 8xcpu: mesh data=4 fsdp=2" in printed
    compiled = printed.partition("compiling the step for 8xcpu ...")[2]
    assert "of temporaries" in compiled
    assert "all-reduce" in compiled


def test_a_compiler_that_hangs_or_fails_is_reported(monkeypatch, tmp_path):
    fake = tmp_path / "python"
    monkeypatch.setattr(compiling.sys, "executable", str(fake))

    def outcome(body, limit=60.0):
        fake.write_text(f"#!{sys.base_prefix}/bin/python3\n{body}\n")
        fake.chmod(0o755)
        return compile_elsewhere("pretrain", [], parse_target("8xcpu"), limit)

    assert outcome("import time; time.sleep(60)", limit=0.5) == "not done after 0 s"
    assert outcome("import sys; sys.exit('jax: no memory left')") == "failed: jax: no memory left"
    assert outcome("print('nothing')") == "failed: exit status 0, no message"


def test_a_missing_tpu_compiler_names_the_extra(monkeypatch):
    monkeypatch.setattr(compiling.util, "find_spec", lambda name: None)
    assert "flax-lite[tpu]" in compile_elsewhere("pretrain", [], parse_target("v5e:2x4"), 1.0)
