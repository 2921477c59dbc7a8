"""The results in Markdown: targets beside what was reached, then every row."""

from collections.abc import Callable, Mapping, Sequence

from benchmarks.circumstances import told
from benchmarks.gpu_steps.cases import SMOKE, TORCH_TARGET, Case, Group, Work
from benchmarks.gpu_steps.plan import fastest
from benchmarks.gpu_steps.results import Measurement, Results, disagreements, tokens_per_second, utilization
from benchmarks.markdown import table
from benchmarks.spread import spread

_TERMS = """\
The pretraining step of one device: forward, backward, clipping and update (LAMB for ALBERT, AdamW for BERT), its state
donated, the batch on the device, each step waited for. Seconds are wall-clock time; a step is the median of those after
the warm-up. MFU: model FLOPs (three forward passes of the encoder, and of the word head at masked positions; nothing
that is recomputed) over what the device could have done in that time by the maker's data sheet; "of product": by the
measured rate of a large product of matrices. Tokens count padding: a quarter of the rows are cut short. PyTorch:
Hugging Face's model, heads at masked positions, with fused AdamW for both families, as it has no LAMB of its own; its
first step stands for compiling. Where several cases were built together ("built together" below), they shared the
processor, and seconds of compiling are no one's own. ALBERT is the second version, which has no dropout in its layers;
BERT's is 0.1.
"""
_NOT_RUN = "not run"
_SMOKE = ": tiny sizes, to see that it works, and no measurement"
_WAITS = ", PyTorch with more rows not run"


def page(work: Work, results: Results, groups: Sequence[Group], not_run: Mapping[Case, str]) -> str:
    """All there is to say."""
    peak = "not known" if results.peak is None else f"{results.peak / 1e12:.0f}"
    rates = f"TFLOPs a second: data sheet {peak}, measured product {results.floor / 1e12:.1f}."
    title = f"# The pretraining step on a GPU{_SMOKE if work is SMOKE else ''}"
    sections = [title, _TERMS, f"{told(results.circumstances)}.", rates, summary(work, results, groups, not_run)]
    sections += ["## Every row", rows_table(work, results, not_run)]
    if settings := sorted({one.settings for one in results.measured.values()}):
        sections.append("\n".join(f"- {one}" for one in settings))
    if differing := disagreements(results):
        sections += ["## Not the same result", "\n".join(f"- {line}" for line in differing)]
    return "\n\n".join(section.strip() for section in sections) + "\n"


def summary(work: Work, results: Results, groups: Sequence[Group], not_run: Mapping[Case, str]) -> str:
    """A row for each group: the fastest of flax_lite and of PyTorch, and the targets."""
    heads = ["model", "T", "rows", "setting", "step (ms)", "tokens/s", "MFU", "target", "of product"]
    heads += ["PyTorch rows", "PyTorch tokens/s", "times PyTorch", "target"]
    return table(heads, [_summary_row(work, results, group, not_run) for group in groups])


def _summary_row(work: Work, results: Results, group: Group, not_run: Mapping[Case, str]) -> list[str]:
    model, measured = work.models[group.model], results.measured
    best = fastest(results.speeds, lambda case: case.group == group and case.setting is not None)
    rival = fastest(results.speeds, lambda case: case.group == group and case.setting is None)
    speeds = [case and tokens_per_second(case, measured[case]) for case in (best, rival)]
    ours, ratio = ["", _NOT_RUN, "", "", ""], ""
    of_product = ""
    if best is not None:
        ours = [str(best.rows), str(best.setting), *_step_and_speed(best, measured[best]), ""]
        ours[-1], of_product = (_percent(work, best, measured[best], rate) for rate in (results.peak, results.floor))
    theirs = ["", _NOT_RUN] if rival is None else [str(rival.rows), f"{speeds[1]:,.0f}"]
    if speeds[0] and speeds[1]:
        waits = any(case.group == group and case.setting is None for case in not_run)
        ratio = f"{speeds[0] / speeds[1]:.2f}{_WAITS if waits else ''}"
    target = [f"{model.target:.0%}", of_product]
    return [model.title, str(group.length), *ours, *target, *theirs, ratio, f"{TORCH_TARGET}"]


def rows_table(work: Work, results: Results, not_run: Mapping[Case, str]) -> str:
    """A row for each case, those that failed or were not run with the reason in place of numbers."""
    outcomes: dict[Case, Measurement | str] = {row.case: row.outcome for row in results.rows}
    outcomes |= {case: f"{_NOT_RUN}: {reason}" for case, reason in not_run.items()}
    heads = ["model", "T", "rows", "setting", "outcome", *_columns(work, results)]
    order = list(work.models)
    lines = [
        _row(work, results, case, outcomes[case])
        for case in sorted(outcomes, key=lambda case: (case.length, order.index(case.model)))
    ]
    return table(heads, lines)


def _row(work: Work, results: Results, case: Case, outcome: Measurement | str) -> list[str]:
    setting = "PyTorch" if case.setting is None else str(case.setting)
    head = [work.models[case.model].title, str(case.length), str(case.rows), setting]
    columns = _columns(work, results)
    if isinstance(outcome, str):
        return [*head, outcome.replace("|", "/"), *[""] * len(columns)]
    return [*head, "measured", *(cell(case, outcome) for cell in columns.values())]


def _columns(work: Work, results: Results) -> Mapping[str, Callable[[Case, Measurement], str]]:
    return {
        "compile (s)": lambda _, one: f"{one.build_seconds:.1f}",
        "step (ms)": lambda case, one: _step_and_speed(case, one)[0],
        "quartiles (steps)": lambda _, one: _quartiles(one),
        "tokens/s": lambda case, one: _step_and_speed(case, one)[1],
        "MFU": lambda case, one: _percent(work, case, one, results.peak),
        "of product": lambda case, one: _percent(work, case, one, results.floor),
        "memory (GiB)": lambda _, one: "" if one.peak_bytes is None else f"{one.peak_bytes / 2**30:.1f}",
        "first loss": lambda _, one: f"{one.loss:.4f}",
        "gradient norm": lambda _, one: f"{one.grad_norm:.4f}",
    }


def _step_and_speed(case: Case, one: Measurement) -> list[str]:
    return [f"{1e3 * one.step:.2f}", f"{tokens_per_second(case, one):,.0f}"]


def _percent(work: Work, case: Case, one: Measurement, rate: float | None) -> str:
    share = utilization(work.flops(case), one, rate)
    return "" if share is None else f"{share:.1%}"


def _quartiles(one: Measurement) -> str:
    found = spread(one.step_seconds)
    return f"{1e3 * found.low:.2f}, {1e3 * found.high:.2f} ({len(one.step_seconds)})" if found else ""
