"""Fine-tuning: trains a pretrained encoder and a head on a labeled task, and scores it.

python -m train.finetune --config configs/glue.py:sst2 --config.init_from=SOURCE --config.data.source=files:DIR \
        [--workdir DIR] [--config.KEY=VALUE ...]
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_collections import config_dict

from train.options import cli, schema
from train.options.request import Request
from train.options.task_tables import FINETUNE_OPTIONS as OPTIONS

if TYPE_CHECKING:
    from train.plan.rehearsal import Rehearsal


def run(config: Mapping[str, Any], workdir: str | Path, *, table: str = "texts") -> dict[str, Any]:
    """Fine-tunes a model and returns the content of summary.json, or of results.json for several seeds.

    Args:
        config: the options to set, as the `get_config` of a config file returns them; others have their defaults.
        workdir: the output directory.
        table: the TASK_OPTIONS of that file.

    Raises:
        UserError: the config does not fit its table, or the data or the model to start from is not usable.
        StopError: a signal stopped the run; its state is saved, and the same call resumes it.
        RunError: a loss was not finite, or a checkpoint could not be written.
    """
    options = OPTIONS[table]
    nested = config.to_dict() if isinstance(config, config_dict.ConfigDict) else dict(config)
    values = schema.validate(options, nested, "this config")
    frozen = config_dict.FrozenConfigDict(schema.nest(values))
    work = Path(os.path.expanduser(workdir))
    run_request(Request(job="finetune", options=options, config=frozen, spec="CONFIG", workdir=work))
    name = "results.json" if values["seeds"] > 1 else "summary.json"
    return json.loads((work / name).read_text())


def run_request(request: Request) -> None:
    """Fine-tunes a model, with each of the seeds; raises what `train.run.loop.run` raises."""
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
        prepared = prepare(request.values, lambda line: print(line, flush=True), kept_tokenizer=kept)
    request = resolved(request, prepared)
    if request.config.seeds == 1:
        loop.run(request, functools.partial(make_job, prepared), lambda _: prepared.identity())
        return
    from train.jobs.seeds import run_seeds

    run_seeds(
        request,
        lambda single: loop.run(single, functools.partial(make_job, prepared), lambda _: prepared.identity()),
        prepared.scorer.reported.headline,
    )


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
    sys.exit(cli.main("finetune", OPTIONS, run_request, help_config="configs/glue.py:sst2", plan=plan, joins=True))
