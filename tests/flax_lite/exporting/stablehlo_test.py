"""Programs of jax.export: outputs equal the model's without flax_lite installed, for any batch size."""

import functools
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax import export
from safetensors.numpy import load_file, save_file

from flax_lite.exporting import stablehlo
from flax_lite.exporting.tasks import Sizes
from flax_lite.layers.execution import Execution
from flax_lite.models.tasks import EXPORTS
from tests.flax_lite import tiny
from tests.flax_lite.exporting import cases

# The packages that JAX needs to run, and the directories of shared libraries beside them.
PACKAGES = ("jax", "jaxlib", "flatbuffers", "ml_dtypes", "numpy", "opt_einsum", "safetensors", "scipy")
EXTRAS = ("numpy.libs", "scipy.libs")

# Runs the exports in the given directories on the batches there; only packages in the first argument can be imported.
RUN = """
import sys
sys.path.insert(0, sys.argv[1])
for name in ("flax_lite", "flax", "jaxtyping", "pytest"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(name + " can be imported")

import json
from pathlib import Path
import jax, numpy as np
from jax import export
from safetensors.numpy import load_file, save_file

for directory in map(Path, sys.argv[2:]):
    program = export.deserialize(bytearray((directory / "model.jax_export").read_bytes()))
    weights = load_file(directory / "weights.safetensors")
    for batch in sorted(directory.glob("batch_*")):
        outputs = jax.jit(program.call)(weights, load_file(batch))
        save_file({name: np.asarray(value) for name, value in outputs.items()}, directory / f"result_{batch.name}")
print("ran")
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A directory with only PACKAGES."""
    directory = tmp_path_factory.mktemp("site")
    for name in PACKAGES:
        package = Path(importlib.util.find_spec(name).origin).parent
        (directory / name).symlink_to(package)
        for extra in EXTRAS:
            if (package.parent / extra).is_dir() and not (directory / extra).exists():
                (directory / extra).symlink_to(package.parent / extra)
    return directory


def run_isolated(site, directories, cwd):
    """Runs RUN in an interpreter without site-packages, environment paths or this checkout."""
    command = [sys.executable, "-I", "-S", "-c", RUN, site, *directories]
    # With the XLA flags of tests/conftest.py, so that sums are rounded in the same way.
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "ran"


def check_isolated(models, site, directory):
    """Runs each model with a padded batch, and the first model with a smaller one too."""
    batches = []
    for number, (name, model) in enumerate(models.items()):
        (directory / name).mkdir()
        stablehlo.write_stablehlo(model, directory / name)
        inputs = cases.batch(model.config)
        expected = cases.expected(model, inputs)
        both = [(inputs, expected), cases.sliced(model, inputs, expected)]
        for index, (given, wanted) in enumerate(both if number == 0 else both[:1]):
            given = {key: np.ascontiguousarray(array) for key, array in given.items()}
            save_file(given, directory / name / f"batch_{index}")
            batches.append((directory / name / f"result_batch_{index}", wanted))
    run_isolated(site, [directory / name for name in models], directory)
    for file, wanted in batches:
        cases.assert_close(load_file(file), wanted, 1e-6, file.parent.name)


@pytest.mark.compat
def test_programs_equal_their_models_without_flax_lite(site, tmp_path):
    """Every task and family, with the three layouts of layer parameters."""
    selected = {"albert": "fill-mask", "bert": "text-classification", "distilbert": "question-answering"}
    models = {family: cases.model(family, task) for family, task in selected.items()}
    models["groups"] = tiny.make("TokenClassification", tiny.albert(num_hidden_groups=2))
    models["no pooler"] = cases.without_pooler()
    check_isolated(models, site, tmp_path)


@pytest.mark.slow  # compiles every family with every task twice; the test above has each family and each task once
def test_all_programs_equal_their_models_without_flax_lite(site, tmp_path):
    models = {f"{family} {task}": cases.model(family, task) for family in tiny.FAMILIES for task in EXPORTS}
    check_isolated(models | {name: cases.variant(name) for name in cases.VARIANTS}, site, tmp_path)


@functools.cache
def exported(config):
    """Returns the program of a masked LM."""
    return stablehlo.export_program(tiny.make("MaskedLM", config))


def instructions(program):
    return [line for line in program.splitlines() if not line.startswith("#loc")]


@pytest.mark.parametrize("make", [tiny.albert, tiny.bert, tiny.STACKS["indexed"]], ids=["albert", "bert", "groups"])
def test_program_has_the_same_size_at_any_depth(make):
    """The layers are one loop: the programs of 48 and 3 layers differ only in numbers."""
    programs = [exported(make(num_hidden_layers=depth)) for depth in (3, 48)]
    short, long = (program.mlir_module() for program in programs)
    assert short.count("stablehlo.while") == long.count("stablehlo.while") == 1
    assert len(instructions(short)) == len(instructions(long)) > 100
    sizes = [len(program.serialize()) for program in programs]
    assert max(sizes) <= 1.02 * min(sizes)


def test_weights_are_not_in_the_program():
    """The program of a model of eight times the width has the same size."""
    wide = tiny.albert(hidden_size=96)
    sizes = [len(exported(config).serialize()) for config in (tiny.albert(), wide)]
    assert max(sizes) <= 1.02 * min(sizes)
    assert cases.num_bytes(tiny.make("MaskedLM", wide)) > 2 * max(sizes)


def test_program_names_no_directory(repository):
    serialized = bytes(exported(tiny.bert()).serialize())
    assert b"attention.py" in serialized
    assert str(repository).encode() not in serialized
    assert b"site-packages" not in serialized


def test_program_has_three_platforms_and_refuses_long_rows():
    program = exported(tiny.albert())
    assert program.platforms == ("cpu", "cuda", "tpu")
    assert [str(size) for size in program.out_avals[0].shape] == ["b", "t", "41"]
    weights = stablehlo.named_weights(tiny.make("MaskedLM", tiny.albert()))
    with pytest.raises(ValueError, match=r"t <= 16"):
        program.call(weights, cases.batch(tiny.albert(), (2, 17)))


@pytest.mark.parametrize(
    ("sizes", "shape"), [(Sizes(2, 16), (2, 16)), (Sizes(batch=2), (2, "t")), (Sizes(length=16), ("b", 16))]
)
def test_sizes_can_be_fixed(sizes, shape):
    model = cases.model("albert", "fill-mask")
    program = stablehlo.export_program(model, sizes)
    found = program.out_avals[0].shape
    assert tuple(size if isinstance(size, int) else str(size) for size in found) == (*shape, 41)
    weights, fitting = stablehlo.named_weights(model), cases.batch(model.config)
    cases.assert_close(jax.jit(program.call)(weights, fitting), cases.expected(model, fitting), 1e-6)
    for other in ((3, 16), (2, 15)):
        if other[0] != (sizes.batch or other[0]) or other[1] != (sizes.length or other[1]):
            with pytest.raises(ValueError, match="Shape mismatch"):
                program.call(weights, cases.batch(model.config, other))


def test_description_matches_the_files(tmp_path):
    """Names, order, shapes and dtypes of the program's arguments and of the weights file."""
    model = cases.model("albert", "question-answering")
    stablehlo.write_stablehlo(model, tmp_path, Sizes(batch=4))
    about = json.loads((tmp_path / "export.json").read_text())
    program = export.deserialize(bytearray((tmp_path / about["program"]).read_bytes()))
    weights = load_file(tmp_path / about["weights_file"])
    assert {each["name"]: each["shape"] for each in about["weights"]} == {
        name: list(array.shape) for name, array in weights.items()
    }
    assert cases.num_bytes(model) == sum(array.nbytes for array in weights.values())
    described = [*about["weights"], *about["inputs"]]
    assert [(each["shape"], each["dtype"]) for each in described] == [
        ([size if isinstance(size, int) else str(size) for size in aval.shape], str(aval.dtype))
        for aval in program.in_avals
    ]
    assert [each["name"] for each in about["inputs"]] == ["attention_mask", "input_ids", "token_type_ids"]
    assert [(each["name"], each["shape"]) for each in about["outputs"]] == [
        ("end_logits", [4, "t"]),
        ("start_logits", [4, "t"]),
    ]
    assert about["symbols"] == {"t": {"axis": "length", "least": 1, "most": 16}}
    assert about["task"] == "question-answering"


# float16 takes the same path, and is also compiled twice.
@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_other_dtypes_keep_their_bits(dtype, tmp_path):
    """The program of a model in another dtype returns exactly the model's outputs."""
    config = tiny.bert(num_hidden_layers=1)
    narrow = tiny.make("SequenceClassification", config, execution=Execution(dtype=dtype))
    narrow = jax.tree.map(lambda array: array.astype(dtype), narrow)
    stablehlo.write_stablehlo(narrow, tmp_path)
    program = export.deserialize(bytearray((tmp_path / "model.jax_export").read_bytes()))
    weights = load_file(tmp_path / "weights.safetensors")
    assert {str(array.dtype) for array in weights.values()} == {dtype}
    inputs = cases.batch(config)
    np.testing.assert_array_equal(jax.jit(program.call)(weights, inputs)["logits"], tiny.call(narrow, **inputs).logits)


def test_models_that_cannot_be_exported_are_errors():
    with pytest.raises(ValueError, match="PreTraining cannot be exported; Encoder, MaskedLM"):
        stablehlo.export_program(tiny.make("PreTraining", tiny.bert()))
    fused = tiny.make("Encoder", tiny.bert(), execution=Execution(attention="cudnn"))
    with pytest.raises(ValueError, match="attention='xla' to export"):
        stablehlo.export_program(fused)
    with pytest.raises(ValueError, match="length=17; expected 1 to max_position_embeddings=16"):
        stablehlo.export_program(cases.model("bert", "fill-mask"), Sizes(length=17))


def test_missing_package_is_named(tmp_path, monkeypatch):
    """JAX does not declare flatbuffers as a dependency."""
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(ValueError, match="needs the package flatbuffers: pip install flatbuffers"):
        stablehlo.write_stablehlo(cases.model("bert", "fill-mask"), tmp_path)
    assert list(tmp_path.iterdir()) == []
