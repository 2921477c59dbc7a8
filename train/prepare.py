"""Prepares a job's data before the job runs: trains the tokenizer, tokenizes both splits into the cache.

    python -m train.prepare --config configs/albert_base.py [--config.KEY=VALUE ...]

It takes the job's own config. The job does the same by itself where this has not been run; and so does every other job
that reads the same text with the same tokenizer. Interrupted, the same command goes on where it was.
"""

import sys

from train.options import cli
from train.options.request import Request
from train.options.tables import JOB_OPTIONS


def run(request: Request) -> None:
    """Prepares as requested; raises what `train.data.pretraining.dataset.prepare` raises."""
    from train.data.pretraining import dataset

    prepared = dataset.prepare(request.values, request.local_workdir / "tokenizer", _say)
    tokenizer = prepared.tokenizer
    _say(f"tokenizer: {tokenizer.kind}, {tokenizer.vocab_size:,} pieces, fingerprint {tokenizer.fingerprint[:16]}")
    for name, store in (("training", prepared.train), ("held-out", prepared.held_out)):
        counts, shards = store.counts, store.manifest["shards"]
        megabytes = sum(shard["bytes"] for shard in shards.values()) / 1e6
        _say(
            f"{name} data: {counts['documents']:,} documents, {counts['sentences']:,} sentences, "
            f"{counts['tokens']:,} tokens; {len(shards)} shard{'s' * (len(shards) > 1)}, {megabytes:,.1f} MB in "
            f"{store.directory}"
        )


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(cli.main("prepare", JOB_OPTIONS, run))
