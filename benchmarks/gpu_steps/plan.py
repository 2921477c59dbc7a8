"""What is measured next: the most important first, and what depends on results as soon as they are there."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

from benchmarks.gpu_steps.cases import Case, Group, Setting, Work

# Tokens a second of what has been measured; None where it failed.
Speeds = Mapping[Case, float | None]


def groups(work: Work, models: Sequence[str], lengths: Sequence[int]) -> list[Group]:
    """All models on rows of all lengths."""
    return [Group(model, length) for length in lengths for model in work.models if model in models]


def plan(work: Work, wanted: Sequence[Group], speeds: Speeds) -> list[Case]:
    """The cases, those that have been measured too, in order; where results are missing, as if there were no surprise.

    Every group has the first of each kind before any has the next: with the fewest rows what "auto" chooses, and
    PyTorch; more rows while they help; then other settings, and what the fastest costs with remat, or deterministic.
    """
    stages = (_default, _torch, _more_rows, _more_rows_of_torch, _others, _variants)
    found = (case for stage in stages for group in wanted for case in stage(work, group, speeds))
    return list(dict.fromkeys(found))


def fastest(speeds: Speeds, fits: Callable[[Case], bool]) -> Case | None:
    """The measured case with the most tokens a second among those that fit."""
    found = {case: speed for case, speed in speeds.items() if speed is not None and fits(case)}
    return max(found, key=found.__getitem__, default=None)


def _case(work: Work, group: Group, setting: Setting | None) -> Case:
    return Case(model=group.model, length=group.length, rows=work.rows(group)[0], setting=setting)


def _default(work: Work, group: Group, speeds: Speeds) -> Iterator[Case]:
    yield _case(work, group, work.default(group.model))


def _torch(work: Work, group: Group, speeds: Speeds) -> Iterator[Case]:
    yield _case(work, group, None)


def _others(work: Work, group: Group, speeds: Speeds) -> Iterator[Case]:
    default = work.default(group.model)
    yield _case(work, group, dataclasses.replace(default, unroll=1))
    yield _case(work, group, dataclasses.replace(default, attention="xla"))


def _more_rows(work: Work, group: Group, speeds: Speeds) -> Iterator[Case]:
    best = fastest(speeds, lambda case: case.group == group and _keeps_all(case) and case.rows == work.rows(group)[0])
    yield from _climb(best or _case(work, group, work.default(group.model)), work.rows(group), speeds)


def _more_rows_of_torch(work: Work, group: Group, speeds: Speeds) -> Iterator[Case]:
    yield from _climb(_case(work, group, None), work.rows(group), speeds)


def _climb(start: Case, rows: Sequence[int], speeds: Speeds) -> Iterator[Case]:
    """More rows, until memory ends or they bring nothing."""
    for fewer, more in itertools.pairwise(dataclasses.replace(start, rows=number) for number in rows):
        before, after = speeds.get(fewer, 0.0), speeds.get(more, 0.0)
        if before is None:
            return
        yield more
        if after is None or 0 < after < before:
            return


def _variants(work: Work, group: Group, speeds: Speeds) -> Iterator[Case]:
    best = fastest(speeds, lambda case: case.group == group and _keeps_all(case))
    best = best or _case(work, group, work.default(group.model))
    assert best.setting is not None
    for remat in work.remats:
        yield dataclasses.replace(best, setting=dataclasses.replace(best.setting, remat=remat))
    yield dataclasses.replace(best, setting=dataclasses.replace(best.setting, deterministic=True))
    # What did not fit may do with its layers recomputed.
    for case in _more_rows(work, group, speeds):
        if case in speeds and speeds[case] is None and case.setting is not None:
            yield dataclasses.replace(case, setting=dataclasses.replace(case.setting, remat="full"))


def _keeps_all(case: Case) -> bool:
    """Whether it is a setting that batches are tried with."""
    return case.setting is not None and case.setting.remat == "none" and not case.setting.deterministic
