"""Prints a plan."""

import math
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from train.machine.chips import parse_target, present_target
from train.plan.compiling import Compiled, compile_elsewhere
from train.plan.estimate import UTILIZATION, Estimate, estimate
from train.plan.rehearsal import Planned, Rehearsal, rehearse
from train.run.progress import short_number

COMPILE_LIMIT_SECONDS = 900.0
_ROWS = (
    ("parameters", "parameter_bytes", "float32"),
    ("optimizer state", "optimizer_bytes", ""),
    ("teacher", "constant_bytes", ""),
    ("parameters in use", "gathered_bytes", "whole, in the compute dtype"),
    ("gradients", "gradient_bytes", "float32, whole"),
    ("activations", "activation_bytes", "estimated, of one micro-batch"),
)


def print_plan(rehearsal: Rehearsal, target_name: str | None) -> None:
    """Prints the estimate of a run; for a named target with an installed compiler, also compiles the step.

    Raises:
        UserError: the request does not fit these devices, or the target's name is unknown.
    """
    if target_name is None:
        target = present_target()
    else:
        target = parse_target(target_name)
        jax.config.update("jax_platforms", "cpu")  # leaves present accelerators to other processes
    with rehearse(rehearsal, target) as planned:
        for line in (*planned.job.describe, ""):
            print(line)
        config = planned.request.config
        numbers = estimate(
            planned.job,
            planned.batch,
            planned.constants,
            planned.sizes,
            accumulation_steps=config.accumulation_steps,
            loops_reduce=target.chip.platform == "cpu",
        )
        print("\n".join(_plan_lines(planned, numbers)), flush=True)
    if target_name is not None and target.can_be_compiled_for:
        print(f"compiling the step for {target.name} ...", flush=True)
        request = rehearsal.request
        compiled = compile_elsewhere(request.job, request.arguments(), target, COMPILE_LIMIT_SECONDS)
        print("\n".join(_compiled_lines(compiled)))


def _plan_lines(planned: Planned, numbers: Estimate) -> Iterator[str]:
    target, sizes = planned.target, planned.sizes
    used = math.prod(sizes)
    yield f"plan for {target.name}: mesh data={sizes[0]} fsdp={sizes[1]}, a batch of {numbers.tokens:,} tokens"
    for name, field, note in _ROWS:
        if size := getattr(numbers, field):
            yield f"  {name + ':':<20}{_size(size):>10} on each device" + (f"  ({note})" if note else "")
    room = target.chip.memory_bytes
    yield f"  {'total:':<20}{_size(numbers.total_bytes):>10}" + (f" of {_size(room)}" if room else "")
    if room and numbers.total_bytes > room:
        yield f"  does not fit: {_cure(planned, numbers, room)}"
    moved = ", ".join(f"{kind} {_size(size)}" for kind, size in numbers.collectives.items())
    yield f"  collectives a step:  {moved + ', and a few scalars' if moved else 'none'}"
    each = numbers.flops / numbers.tokens
    yield f"  operations:          {_flop(numbers.flops)} a step, {_flop(each)} a token"
    yield f"  step time:           {_step_time(planned, numbers, used)}"


def _cure(planned: Planned, numbers: Estimate, room: int) -> str:
    """Returns the fewest micro-batches that fit, else other options that save memory."""
    config = planned.request.config
    fixed = numbers.total_bytes - numbers.activation_bytes
    rows = config.batch_size // math.prod(planned.sizes)
    for steps in (steps for steps in range(config.accumulation_steps, rows + 1) if rows % steps == 0):
        total = fixed + numbers.activation_bytes * config.accumulation_steps / steps
        if total <= room:
            return f"accumulation_steps={steps} takes {_size(total)}, execution.remat=full saves more"
    return "raise mesh.fsdp, and set execution.remat=full"


def _step_time(planned: Planned, numbers: Estimate, devices: int) -> str:
    target, costs = planned.target, planned.job.costs
    dtype = "float32" if costs is None else costs.execution.compute_dtype.name
    peak, source = target.chip.peak_flops_per_second(dtype), "of the peak"
    if target.chip.platform == "cpu":
        # The devices of a CPU share its cores.
        peak, source, devices = measured_flops_per_second(), "of this machine's measured matrix product", 1
    if peak is None:
        return f"unknown for {target.kind}"
    seconds = numbers.seconds(peak, devices, UTILIZATION)
    rate = short_number(numbers.tokens / seconds)
    return f"{_duration(seconds)} at {UTILIZATION:.0%} {source} ({_flop(peak)}/s), {rate} tokens/s"


def measured_flops_per_second(width: int = 1024) -> float:
    """Returns the FLOP/s of a float32 matrix product on the default device, the best of three."""
    product = jax.jit(lambda x: x @ x)
    matrix = product(jnp.ones((width, width))).block_until_ready()
    times = []
    for _ in range(3):
        started = time.perf_counter()
        product(matrix).block_until_ready()
        times.append(time.perf_counter() - started)
    return 2 * width**3 / min(times)


def _compiled_lines(compiled: Compiled | str) -> Iterator[str]:
    if isinstance(compiled, str):
        yield f"  {compiled}"
        return
    sizes = compiled.memory
    yield f"  compiled in          {compiled.seconds:.0f} s"
    yield (
        f"  memory:              {_size(sizes['arguments'])} of arguments, {_size(sizes['temporaries'])} of "
        f"temporaries, {_size(sizes['program'])} of program"
    )
    counts = ", ".join(
        f"{count} {kind} ({_size(compiled.collectives.get(kind, 0))})"
        for kind, count in compiled.num_collectives.items()
    )
    yield f"  collectives a step:  {counts or 'none'}"


def _flop(number: float) -> str:
    text = short_number(number)
    return f"{text[:-1]} {text[-1]}FLOP" if text[-1].isalpha() else f"{text} FLOP"


def _size(size: float) -> str:
    for limit, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= limit:
            return f"{size / limit:.3g} {unit}"
    return f"{size:.0f} B"


def _duration(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"
