"""Prepares a job's data before the job runs: trains the tokenizer, tokenizes both splits into the cache.

    python -m train.prepare --config configs/albert_base.py [--config.KEY=VALUE ...]

It takes the job's own config. A job that finds no prepared data prepares it itself; jobs that read the same text with
the same tokenizer share it. After an interruption, the same command resumes.
"""

import sys

from train.options import cli
from train.options.request import Request
from train.options.tables import JOB_OPTIONS


def run(request: Request) -> None:
    """Prepares the data of a job; raises what `train.data.pretraining.dataset.prepare` raises."""
    from train.data.pretraining import dataset

    prepared = dataset.prepare(request.values, request.local_workdir / "tokenizer", _log)
    tokenizer = prepared.tokenizer
    _log(f"tokenizer: {tokenizer.kind}, {tokenizer.vocab_size:,} pieces, fingerprint {tokenizer.fingerprint[:16]}")
    for name, store in (("training", prepared.train), ("held-out", prepared.held_out)):
        counts, shards = store.counts, store.manifest["shards"]
        megabytes = sum(shard["bytes"] for shard in shards.values()) / 1e6
        _log(
            f"{name} data: {counts['documents']:,} documents, {counts['sentences']:,} sentences, "
            f"{counts['tokens']:,} tokens; {len(shards)} shard{'s' * (len(shards) > 1)}, {megabytes:,.1f} MB in "
            f"{store.directory}"
        )


def _log(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(cli.main("prepare", JOB_OPTIONS, run))
