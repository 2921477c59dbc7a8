"""What the four shapes weigh and how long they take: parameters, size on disk, FLOPs, latency of one row.

    python -m benchmarks.sizes [--length 128] [--repeats 20] [--smoke]

BERT, ALBERT and DistilBERT of base size, and the student that joins both ideas: one layer shared over six.
"""

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

import flax_lite as fl
from flax_lite.config import EncoderConfig
from flax_lite.flops import encoder_flops

_SMOKE = {"vocab_size": 100, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}


def shapes(*, smoke: bool = False) -> Mapping[str, EncoderConfig]:
    """The architectures by name; `smoke` makes them tiny."""
    small = _SMOKE if smoke else {}
    albert = small | ({"embedding_size": 16} if smoke else {})
    return {
        "BERT-base": fl.BertConfig.from_preset("bert-base-uncased", **small),
        "DistilBERT": fl.DistilBertConfig.from_preset("distilbert-base-uncased", **small),
        "ALBERT-base": fl.AlbertConfig.from_preset("albert-base-v2", **albert),
        "distilALBERT (configs/distilalbert.py)": fl.AlbertConfig.from_preset(
            "albert-base-v2", **albert | {"num_hidden_layers": 6, "vocab_size": small.get("vocab_size", 30522)}
        ),
    }


def latency_seconds(encoder: fl.Encoder, length: int, repeats: int) -> float:
    """Median time of a forward pass over one row, compiled before."""
    ids = jnp.ones((1, length), jnp.int32)
    run = jax.jit(lambda model, ids: model(ids).last_hidden_state)
    run(encoder, ids).block_until_ready()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run(encoder, ids).block_until_ready()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def table(configs: Mapping[str, EncoderConfig], length: int, repeats: int) -> list[str]:
    """Lines of Markdown."""
    lines = [
        f"| | parameters | with the masked-LM head | float32 on disk | GFLOP a row | ms a row of {length} |",
        "|---|---|---|---|---|---|",
    ]
    for name, config in configs.items():
        encoder = fl.Encoder(config, rngs=nnx.Rngs(0), execution=fl.Execution(dtype="float32", unroll="auto"))
        count = fl.num_parameters(fl.get_params(encoder))
        whole = fl.num_parameters(fl.get_params(nnx.eval_shape(lambda c=config: fl.MaskedLM(c, rngs=nnx.Rngs(0)))))
        flops = encoder_flops(config, length) * length / 1e9
        seconds = latency_seconds(encoder, length, repeats)
        lines.append(
            f"| {name} | {count:,} | {whole:,} | {4 * whole / 1e6:.0f} MB | {flops:.1f} | {1000 * seconds:.0f} |"
        )
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizes", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--length", type=int, default=128, help="tokens of the row")
    parser.add_argument("--repeats", type=int, default=20, help="forward passes whose median is taken")
    parser.add_argument("--smoke", action="store_true", help="tiny shapes")
    given = parser.parse_args(argv)
    device = jax.devices()[0]
    print(f"{device.device_kind} ({device.platform}), jax {jax.__version__}, Python {platform.python_version()}\n")
    print("\n".join(table(shapes(smoke=given.smoke), given.length, given.repeats)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
