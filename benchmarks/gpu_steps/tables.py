"""The results in Markdown: targets and the best cases, then every row."""

from collections.abc import Callable, Mapping, Sequence

from benchmarks.gpu_steps.cases import SMOKE, TORCH_TARGET, Case, Group, Work
from benchmarks.gpu_steps.plan import fastest
from benchmarks.gpu_steps.results import Measurement, Results, disagreements, tokens_per_second, utilization
from benchmarks.harness.circumstances import describe
from benchmarks.harness.tables import markdown_table
from benchmarks.harness.timing import spread

_TERMS = """\
The pretraining step of one device: forward, backward, clipping and update (LAMB for ALBERT, AdamW for BERT), its state
donated, the batch on the device, each step waited for. Seconds are wall-clock time; a step is the median of those after
the warm-up. MFU: model FLOPs (three forward passes of the encoder, and of the word head at masked positions; no
recomputation) over what the device could have done in that time by its data sheet; "of product": by the
measured rate of a large matrix product. Tokens include padding: a quarter of the rows are shortened. PyTorch:
Hugging Face's model, heads at masked positions, with fused AdamW for both families, because it has no LAMB; its
first step stands for compiling. Cases that were built together ("built together" below) shared the
processor, so their seconds of compiling are longer than alone. ALBERT is the second version, which has no dropout in
its layers; BERT's is 0.1.
"""
_NOT_RUN = "not run"
_SMOKE = ": tiny sizes, to see that it works, and no measurement"
_WAITS = ", PyTorch with more rows not run"
_SUMMARY = ("model", "T", "rows", "setting", "step (ms)", "tokens/s", "MFU", "target", "of product")
_TORCH_SUMMARY = ("PyTorch rows", "PyTorch tokens/s", "times PyTorch", "target")


def page(work: Work, results: Results, groups: Sequence[Group]) -> str:
    """Formats the whole report."""
    peak = "not known" if results.peak is None else f"{results.peak / 1e12:.0f}"
    rates = f"TFLOPs per second: data sheet {peak}, measured product {results.floor / 1e12:.1f}."
    title = f"# The pretraining step on a GPU{_SMOKE if work is SMOKE else ''}"
    sections = [title, _TERMS, f"{describe(results.circumstances)}.", rates, summary(work, results, groups)]
    sections += ["## Every row", rows_table(work, results)]
    if settings := sorted({one.settings for one in results.measured.values()}):
        sections.append("\n".join(f"- {one}" for one in settings))
    if differing := disagreements(results):
        sections += ["## Not the same result", "\n".join(f"- {line}" for line in differing)]
    return "\n\n".join(section.strip() for section in sections) + "\n"


def summary(work: Work, results: Results, groups: Sequence[Group]) -> str:
    """Formats a row for each group: the fastest case of flax_lite and of PyTorch, and the targets."""
    return markdown_table((*_SUMMARY, *_TORCH_SUMMARY), [_summary_row(work, results, group) for group in groups])


def _summary_row(work: Work, results: Results, group: Group) -> list[str]:
    model, columns = work.models[group.model], _columns(work, results)
    best = fastest(results.speeds, lambda case: case.group == group and case.setting is not None)
    rival = fastest(results.speeds, lambda case: case.group == group and case.setting is None)
    cells, of_product, torch, ratio = ["", _NOT_RUN, "", "", ""], "", ["", _NOT_RUN], ""
    if best is not None:
        numbers = {head: cell(best, results.measured[best]) for head, cell in columns.items()}
        cells = [str(best.rows), str(best.setting), *(numbers[head] for head in ("step (ms)", "tokens/s", "MFU"))]
        of_product = numbers["of product"]
    if rival is not None:
        torch = [str(rival.rows), columns["tokens/s"](rival, results.measured[rival])]
    if best is not None and rival is not None:
        waits = any(one.case.group == group and one.case.setting is None for one in results.not_run)
        speeds = [tokens_per_second(case, results.measured[case]) for case in (best, rival)]
        ratio = f"{speeds[0] / speeds[1]:.2f}{_WAITS if waits else ''}"
    head = [model.title, str(group.length)]
    return [*head, *cells, f"{model.target:.0%}", of_product, *torch, ratio, f"{TORCH_TARGET}"]


def rows_table(work: Work, results: Results) -> str:
    """Formats a row for each case; a case that failed or was not run has the reason in place of numbers."""
    outcomes: dict[Case, Measurement | str] = {row.case: row.outcome for row in results.rows}
    outcomes |= {one.case: f"{_NOT_RUN}: {one.reason}" for one in results.not_run}
    columns, order = _columns(work, results), list(work.models)
    lines = []
    for case in sorted(outcomes, key=lambda case: (case.length, order.index(case.model))):
        outcome = outcomes[case]
        if isinstance(outcome, str):
            cells = [outcome.replace("|", "/"), *[""] * len(columns)]
        else:
            cells = ["measured", *(cell(case, outcome) for cell in columns.values())]
        setting = "PyTorch" if case.setting is None else str(case.setting)
        lines.append([work.models[case.model].title, str(case.length), str(case.rows), setting, *cells])
    return markdown_table(["model", "T", "rows", "setting", "outcome", *columns], lines)


def _columns(work: Work, results: Results) -> Mapping[str, Callable[[Case, Measurement], str]]:
    def share(case: Case, one: Measurement, rate: float | None) -> str:
        found = utilization(work.flops(case), one, rate)
        return "" if found is None else f"{found:.1%}"

    def quartiles(one: Measurement) -> str:
        found = spread(one.step_seconds)
        return f"{1e3 * found.low:.2f}, {1e3 * found.high:.2f} ({len(one.step_seconds)})" if found else ""

    return {
        "compile (s)": lambda _, one: f"{one.build_seconds:.1f}",
        "step (ms)": lambda _, one: f"{1e3 * one.step:.2f}",
        "quartiles (steps)": lambda _, one: quartiles(one),
        "tokens/s": lambda case, one: f"{tokens_per_second(case, one):,.0f}",
        "MFU": lambda case, one: share(case, one, results.peak),
        "of product": lambda case, one: share(case, one, results.floor),
        "memory (GiB)": lambda _, one: "" if one.peak_bytes is None else f"{one.peak_bytes / 2**30:.1f}",
        "first loss": lambda _, one: f"{one.loss:.4f}",
        "gradient norm": lambda _, one: f"{one.grad_norm:.4f}",
    }
