"""Chips and targets by name."""

import pytest

from train.errors import UserError
from train.machine.chips import CHIPS, kind_of, parse_target, present_target


@pytest.mark.parametrize(
    ("text", "kind", "devices", "topology", "compiles"),
    [
        ("v5e:2x4", "v5e", 8, "2x4", True),
        ("v4:2x2x2", "v4", 8, "2x2x2", True),
        ("8xcpu", "cpu", 8, None, True),
        ("16xh100", "h100", 16, None, False),
    ],
)
def test_a_target_is_a_kind_and_a_number(text, kind, devices, topology, compiles):
    target = parse_target(text)
    assert (target.kind, target.devices, target.topology, target.can_be_compiled_for) == (
        kind,
        devices,
        topology,
        compiles,
    )
    assert target.chip is CHIPS[kind]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v5e", "KIND:AxB"),
        ("v9:2x2", "v5e, v5p"),
        ("8xtpu", "NxKIND"),
        ("8xv5e", "needs a topology, for example v5e:2x2"),
        ("0xcpu", "8xcpu"),
    ],
)
def test_an_invalid_target_is_explained(text, message):
    with pytest.raises(UserError, match=message):
        parse_target(text)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("TPU v5 lite", "v5e"),
        ("TPU v5p", "v5p"),
        ("TPU v5", "v5p"),
        ("TPU v6 lite", "v6e"),
        ("TPU v6e", "v6e"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100_pcie"),
        ("Tesla T4", "t4"),
        ("NVIDIA L40S", "NVIDIA L40S"),
        ("NVIDIA RTX A1000", "NVIDIA RTX A1000"),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVIDIA H100 80GB HBM3 MIG 1g.10gb"),
        ("cpu", "cpu"),
        ("NVIDIA B900", "NVIDIA B900"),
    ],
)
def test_kind_of_recognizes_device_kinds(name, kind):
    assert kind_of(name) == kind


@pytest.mark.parametrize(
    ("kind", "bfloat16", "float32"),
    [("h100", 989e12, 494e12), ("v5e", 197e12, 197e12), ("t4", None, 8.1e12), ("cpu", None, None)],
)
def test_the_peak_depends_on_the_compute_dtype(kind, bfloat16, float32):
    """TPUs round the factors of float32 products to bfloat16, newer GPUs to TF32; a T4 supports neither."""
    chip = CHIPS[kind]
    assert (chip.peak_flops_per_second("bfloat16"), chip.peak_flops_per_second("float32")) == (bfloat16, float32)


def test_the_present_devices_are_a_target():
    target = present_target()
    assert (target.kind, target.devices) == ("cpu", 8)
