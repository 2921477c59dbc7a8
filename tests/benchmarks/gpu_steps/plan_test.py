"""The order of the cases, and the cases that depend on results."""

import dataclasses

from benchmarks.gpu_steps.cases import REAL, SMOKE, Case, Setting
from benchmarks.gpu_steps.plan import groups, plan

FUSED = Setting(unroll=0, attention="cudnn")
XLA = Setting(unroll=0)
WANTED = groups(REAL, list(REAL.models), [128, 512])
(ALBERT,) = groups(REAL, ["albert_base"], [128])
FIRST = Case(model="albert_base", length=128, rows=256)


def case(rows=256, **setting):
    return dataclasses.replace(FIRST, rows=rows, setting=Setting(unroll=0, **setting))


def test_every_group_starts_before_any_continues():
    found = plan(REAL, WANTED, {})
    assert len(WANTED) == 6
    assert [one.group for one in found[:6]] == WANTED
    albert = {("albert_xxlarge", FUSED), ("albert_base", FUSED)}
    assert {(one.model, one.setting) for one in found[:6]} == {*albert, ("bert_base", XLA)}
    assert [one.setting for one in found[6:12]] == [None] * 6
    assert len(set(found)) == len(found)


def test_more_rows_come_before_other_settings():
    found = plan(REAL, [ALBERT], {})[2:6]
    assert [(one.rows, one.setting) for one in found] == [(512, FUSED), (1024, FUSED), (512, None), (1024, None)]


def test_other_settings_differ_from_the_default_in_one_option():
    """Scanned layers for all models, and XLA's attention if cuDNN is the default."""
    others = plan(REAL, [ALBERT], {})[6:8]
    assert [one.setting for one in others] == [Setting(attention="cudnn"), XLA]
    found = plan(REAL, groups(REAL, ["bert_base"], [128]), {})
    assert found[6].setting == Setting()
    assert found[7].setting == dataclasses.replace(XLA, remat="dots")


def test_float32_has_no_fused_attention():
    assert {SMOKE.default(model) for model in SMOKE.models} == {XLA}


def test_fused_attention_is_for_models_without_dropout_of_probabilities():
    found = plan(REAL, WANTED, {})
    assert not any(one.setting and one.setting.attention == "cudnn" for one in found if one.model == "bert_base")


def test_more_rows_are_tried_with_the_fastest_setting_while_they_help():
    speeds = {case(): 1.0, case(attention="cudnn"): 2.0}
    assert case(512, attention="cudnn") in plan(REAL, [ALBERT], speeds)
    assert case(512) not in plan(REAL, [ALBERT], speeds)
    assert case(1024, attention="cudnn") in plan(REAL, [ALBERT], {**speeds, case(512, attention="cudnn"): 2.5})
    assert case(1024, attention="cudnn") not in plan(REAL, [ALBERT], {**speeds, case(512, attention="cudnn"): 1.5})
    assert case(1024, attention="cudnn") not in plan(REAL, [ALBERT], {**speeds, case(512, attention="cudnn"): None})


def test_more_rows_of_pytorch_depend_on_its_own_speed():
    torch = [dataclasses.replace(FIRST, rows=rows, setting=None) for rows in (256, 512, 1024)]
    assert set(torch) <= set(plan(REAL, [ALBERT], {}))
    assert torch[2] not in plan(REAL, [ALBERT], {torch[0]: 1.0, torch[1]: None})
    assert torch[1] not in plan(REAL, [ALBERT], {torch[0]: None})


def test_variants_are_of_the_fastest_case_and_of_those_that_did_not_fit():
    speeds = {case(): 1.0, case(attention="cudnn"): 2.0, case(512, attention="cudnn"): None}
    found = plan(REAL, [ALBERT], speeds)
    for changes in ({"remat": "dots"}, {"remat": "full"}, {"deterministic": True}):
        assert case(attention="cudnn", **changes) in found
    assert case(512, attention="cudnn", remat="full") in found
    assert case(remat="full") not in found


def test_layers_are_recomputed_if_nothing_fits():
    speeds = {case(): None, case(attention="cudnn"): None}
    assert case(attention="cudnn", remat="full") in plan(REAL, [ALBERT], speeds)
