"""The order of the cases: the most important first, and those that depend on results as soon as these are known."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

from benchmarks.gpu_steps.cases import Case, Group, Setting, Work

# Tokens per second of the cases that have been tried; None if one failed.
Speeds = Mapping[Case, float | None]


def groups(work: Work, models: Sequence[str], lengths: Sequence[int]) -> list[Group]:
    """Returns every combination of model and length."""
    return [Group(model, length) for length in lengths for model in work.models if model in models]


def plan(work: Work, wanted: Sequence[Group], speeds: Speeds) -> list[Case]:
    """Returns all cases in order, also those already measured; missing results are assumed to hold no surprise.

    Each stage covers every group before the next stage begins: with the fewest rows the default setting, and PyTorch;
    more rows while they help; then other settings, and the fastest setting with remat and deterministic.
    """
    stages = (_default, _torch, _more_rows, _more_rows_of_torch, _others, _variants)
    found = (case for stage in stages for group in wanted for case in stage(work, group, speeds))
    return list(dict.fromkeys(found))


def fastest(speeds: Speeds, fits: Callable[[Case], bool]) -> Case | None:
    """Returns the measured case with the most tokens per second among those that fit."""
    found = {case: speed for case, speed in speeds.items() if speed is not None and fits(case)}
    return max(found, key=found.__getitem__, default=None)


def _smallest(work: Work, group: Group, setting: Setting | None) -> Case:
    return Case(model=group.model, length=group.length, rows=work.rows(group)[0], setting=setting)


def _default(work: Work, group: Group, speeds: Speeds) -> Iterator[Case]:
    yield _smallest(work, group, work.default(group.model))


def _torch(work: Work, group: Group, speeds: Speeds) -> Iterator[Case]:
    yield _smallest(work, group, None)


def _others(work: Work, group: Group, speeds: Speeds) -> Iterator[Case]:
    default = work.default(group.model)
    yield _smallest(work, group, dataclasses.replace(default, unroll=1))
    yield _smallest(work, group, dataclasses.replace(default, attention="xla"))


def _more_rows(work: Work, group: Group, speeds: Speeds) -> Iterator[Case]:
    rows = work.rows(group)
    best = fastest(speeds, lambda case: case.group == group and _is_plain(case) and case.rows == rows[0])
    yield from _increase(best or _smallest(work, group, work.default(group.model)), rows, speeds)


def _more_rows_of_torch(work: Work, group: Group, speeds: Speeds) -> Iterator[Case]:
    yield from _increase(_smallest(work, group, None), work.rows(group), speeds)


def _increase(start: Case, rows: Sequence[int], speeds: Speeds) -> Iterator[Case]:
    """Yields cases with more rows until they do not fit or are slower."""
    for fewer, more in itertools.pairwise(dataclasses.replace(start, rows=number) for number in rows):
        before, after = speeds.get(fewer, 0.0), speeds.get(more, 0.0)
        if before is None:
            return
        yield more
        if after is None or 0 < after < before:
            return


def _variants(work: Work, group: Group, speeds: Speeds) -> Iterator[Case]:
    best = fastest(speeds, lambda case: case.group == group and _is_plain(case))
    best = best or _smallest(work, group, work.default(group.model))
    assert best.setting is not None
    for remat in work.remats:
        yield dataclasses.replace(best, setting=dataclasses.replace(best.setting, remat=remat))
    yield dataclasses.replace(best, setting=dataclasses.replace(best.setting, deterministic=True))
    # A case that did not fit may fit with its layers recomputed.
    for case in _more_rows(work, group, speeds):
        if case in speeds and speeds[case] is None and case.setting is not None:
            yield dataclasses.replace(case, setting=dataclasses.replace(case.setting, remat="full"))


def _is_plain(case: Case) -> bool:
    """Whether it is a case of flax_lite without remat and not deterministic."""
    return case.setting is not None and case.setting.remat == "none" and not case.setting.deterministic
