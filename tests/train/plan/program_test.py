"""Parsing collectives from compiled programs: of 8 CPU devices, and lines of a TPU program."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from tests.flax_lite import tiny
from train.plan.program import Collective, bytes_by_kind, collectives, memory

WIDTH = 32


@pytest.fixture(scope="module")
def mesh():
    return tiny.mesh(8)


def compiled(mesh, function, *specs):
    shapes = [jax.ShapeDtypeStruct((WIDTH, WIDTH), jnp.float32, sharding=NamedSharding(mesh, spec)) for spec in specs]
    whole = NamedSharding(mesh, P())
    with jax.set_mesh(mesh):
        return jax.jit(function, out_shardings=whole).lower(*shapes).compile()


def test_a_sum_over_the_devices_is_one_all_reduce(mesh):
    program = compiled(mesh, lambda x, y: x.T @ y, P("data"), P("data"))
    assert collectives(program.as_text()) == [Collective("all-reduce", (("f32", (WIDTH, WIDTH)),), 1)]


def test_a_collective_in_a_loop_counts_once_for_each_iteration(mesh):
    """In a nested loop it counts the product of both trip counts."""

    def function(x, y):
        def inner(carry, _):
            return jnp.tanh(x.T @ (y * carry[0, 0])), None

        return jax.lax.scan(lambda carry, _: (jax.lax.scan(inner, carry, length=5)[0], None), x.T @ y, length=3)[0]

    found = collectives(compiled(mesh, function, P("data"), P("data")).as_text())
    assert sorted(each.times for each in found) == [1, 15]
    assert bytes_by_kind(found) == {"all-reduce": 16 * WIDTH * WIDTH * 4}


def test_a_gather_counts_its_result_on_each_device(mesh):
    found = collectives(compiled(mesh, lambda x: x * 2, P("data")).as_text())
    assert bytes_by_kind(found) == {"all-gather": WIDTH * WIDTH * 4}
    assert bytes_by_kind(found, at_least_elements=WIDTH * WIDTH + 1) == {}


def test_a_program_on_one_device_has_no_collectives(mesh):
    assert collectives(compiled(mesh, lambda x: x @ x, P()).as_text()) == []


def test_memory_counts_a_device_s_shard_of_the_arguments(mesh):
    assert memory(compiled(mesh, lambda x: x.sum(), P("data")))["arguments"] == WIDTH * WIDTH * 4 // 8


# Abridged from a step compiled for v5e:2x4: loops without a known trip count, tiled layouts, one collective in several
# computations, operands and results of an asynchronous one in one tuple.
_TPU = """
HloModule jit_step

%cond.1 (param: (s32[], bf16[8,4])) -> pred[] {
  %constant.9 = s32[]{:T(128)} constant(6)
  ROOT %compare.1 = pred[]{:T(256)} compare(%get.1, %constant.9), direction=LT
}

%body.1 (param.2: (s32[], bf16[8,4])) -> (s32[], bf16[8,4]) {
  %all-reduce.7 = (bf16[8,4]{1,0:T(8,128)(2,1)S(1)}, f32[4]{0:T(128)}) all-reduce(%x, %y), channel_id=3, to_apply=%add
}

%async_fusion.2 (param.3: bf16[2,4]) -> bf16[8,4] {
  ROOT %all-gather.5 = bf16[8,4]{1,0:T(8,128)(2,1)} all-gather(%param.3), channel_id=5, dimensions={0}
}

%async_fusion.3 (param.4: bf16[2,4]) -> bf16[8,4] {
  ROOT %all-gather.6 = bf16[8,4]{1,0:T(8,128)(2,1)} all-gather(%param.4), channel_id=5, dimensions={0}
}

ENTRY %main.9 (a: bf16[8,4]) -> bf16[8,4] {
  %while.1 = (s32[], bf16[8,4]{1,0}) while(%tuple.1), condition=%cond.1, body=%body.1
  %fusion.2 = bf16[8,4] fusion(%z), kind=kCustom, calls=%async_fusion.2
  %fusion.3 = bf16[8,4] fusion(%z), kind=kCustom, calls=%async_fusion.3
  %start = ((bf16[2,4]{1,0}), bf16[8,4]{1,0}) all-gather-start(%w), channel_id=8, dimensions={0}
}
"""


def test_a_tpu_program_is_parsed():
    found = collectives(_TPU)
    assert {(each.kind, each.times, each.num_bytes()) for each in found} == {
        ("all-reduce", 6, 6 * (8 * 4 * 2 + 4 * 4)),
        ("all-gather", 1, 8 * 4 * 2),
    }
    assert bytes_by_kind(found) == {"all-reduce": 6 * 80, "all-gather": 2 * 64}
