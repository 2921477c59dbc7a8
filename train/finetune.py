"""Fine-tuning: trains a pretrained encoder and a head on a labeled task, and scores it.

python -m train.finetune --config configs/glue.py:sst2 --config.init_from=SOURCE --config.data.source=files:DIR \
        [--workdir DIR] [--config.KEY=VALUE ...] [--sweep config.optimizer.learning_rate=1e-5,5e-5,2e-4]
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_collections import config_dict

from train.errors import UserError
from train.options import cli, schema
from train.options.request import Request
from train.options.task_tables import FINETUNE_OPTIONS as OPTIONS
from train.options.task_tables import TABLE_OF_TASK

if TYPE_CHECKING:
    from train.plan.rehearsal import Rehearsal


def run(
    config: Mapping[str, Any],
    workdir: str | Path,
    *,
    table: str | None = None,
    train: Any = None,
    evaluation: Any = None,
    test: Any = None,
    callbacks: Sequence[Callable[[dict[str, Any]], object]] = (),
) -> dict[str, Any]:
    """Fine-tunes a model and returns the content of summary.json, or of results.json for several seeds.

    Args:
        config: the options to set, as the `get_config` of a config file returns them; others have their defaults.
        workdir: the output directory.
        table: the TASK_OPTIONS of that file; None: that of the config's task.
        train: the training examples, instead of data.source: a list of dictionaries, a pandas DataFrame, or a
            `datasets.Dataset`, with the columns that the task's files have.
        evaluation: the held-out examples; None: a share of `train`, where the task can hold one out.
        test: the test examples.
        callbacks: called with each row of metrics, as metrics.jsonl gets it.

    Raises:
        UserError: the config does not fit its table, or the data or the model to start from is not usable.
        StopError: a signal stopped the run; its state is saved, and the same call resumes it.
        RunError: a loss was not finite, or a checkpoint could not be written.
    """
    nested = config.to_dict() if isinstance(config, config_dict.ConfigDict) else dict(config)
    if table is None:
        table = TABLE_OF_TASK.get(nested.get("task", ""), "texts")
    elif table not in OPTIONS:
        raise UserError(f"table={table!r}: there are {', '.join(OPTIONS)}")
    options = OPTIONS[table]
    given = {"train": train, "dev": evaluation, "test": test}
    sets = {name: data for name, data in given.items() if data is not None}
    if sets and train is None:
        raise UserError("evaluation and test examples belong to training examples: give train= too")
    if sets:
        nested["data"] = {**nested.get("data", {}), "source": "objects"}
    values = schema.validate(options, nested, "this config")
    frozen = config_dict.FrozenConfigDict(schema.nest(values))
    work = Path(os.path.expanduser(workdir))
    request = Request(
        job="finetune", options=options, config=frozen, spec="CONFIG", workdir=work, callbacks=tuple(callbacks)
    )
    with tempfile.TemporaryDirectory() as folder:
        run_request(request, _written(values["task"], sets, Path(folder)) if sets else None)
    name = "results.json" if values["seeds"] > 1 else "summary.json"
    return json.loads((work / name).read_text())


def _written(task: str, sets: Mapping[str, Any], folder: Path) -> str:
    from train.tasks.readers.objects import write_objects

    return write_objects(task, sets, folder)


def run_request(request: Request, source: str | None = None) -> None:
    """Fine-tunes a model, with each of the seeds and each combination of a sweep.

    Args:
        request: the request.
        source: where the data is read, if it is not the `data.source` of the request.

    Raises:
        UserError, StopError, RunError: as `train.run.loop.run`.
    """
    if not request.sweep:
        _run_seeds(request, source)
        return
    from train.jobs.sweeps import run_sweep

    run_sweep(request, lambda single: _run_seeds(single, source))


def _run_seeds(request: Request, source: str | None) -> str:
    """Fine-tunes a model with each of the seeds; returns the metric that chooses the checkpoint."""
    import functools

    from train.jobs.finetuning import make_job, resolved
    from train.jobs.finetuning_report import check_push
    from train.machine import hosts
    from train.options import runtime
    from train.run import loop
    from train.run.workdir import kept_tokenizer
    from train.tasks.opening import prepare

    runtime.settle_runtime(request.values)
    with hosts.sync_errors("preparing the task"):
        check_push(request.values)
        kept = kept_tokenizer(request)
        values = request.values | ({"data.source": source} if source else {})
        prepared = prepare(values, lambda line: print(line, flush=True), kept_tokenizer=kept)
    request = resolved(request, prepared)
    headline = prepared.best_metric(request.values["best_metric"])[0]
    if request.config.seeds == 1:
        loop.run(request, functools.partial(make_job, prepared), lambda _: prepared.identity())
        return headline
    from train.jobs.seeds import run_seeds

    run_seeds(
        request,
        lambda single: loop.run(single, functools.partial(make_job, prepared), lambda _: prepared.identity()),
        headline,
    )
    return headline


def rehearsal(request: Request) -> "Rehearsal":
    """Returns how to build the job for --dry_run, on its own data, which is small."""
    import functools

    from train.jobs.finetuning import make_job, resolved
    from train.plan.rehearsal import Rehearsal
    from train.tasks.opening import prepare
    from train.tasks.rows import WINDOW

    prepared = prepare(request.values, lambda line: print(line, flush=True))
    return Rehearsal(functools.partial(make_job, prepared), resolved(request, prepared), batches=WINDOW)


def plan(request: Request) -> None:
    """Prints what a run would need, for --dry_run."""
    from train.plan.report import print_plan

    print_plan(rehearsal(request), request.target)


if __name__ == "__main__":
    sys.exit(
        cli.main(
            "finetune", OPTIONS, run_request, help_config="configs/glue.py:sst2", plan=plan, joins=True, sweeps=True
        )
    )
