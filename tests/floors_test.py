"""Which package may import which: each only those below it. Imports within functions and for types count."""

import ast
import graphlib
import re

import pytest

# From the ground up; packages and modules of one floor do not import each other.
FLOORS = {
    "flax_lite": (
        *({name} for name in ("files", "architecture", "layers", "checkpoints", "models", "tokenization", "rows")),
        *({name} for name in ("families", "training", "distillation", "question_answering", "pipelines", "exporting")),
        *({name} for name in ("convert", "inspect", "predict", "export")),
    ),
    "train": (
        *({name} for name in ("errors", "machine", "options", "run", "data")),
        {"tasks", "plan"},
        {"jobs"},
        {"pretrain", "distill", "finetune", "evaluate", "prepare", "show"},
        {"ablate"},
    ),
}


def imports(repository, package):
    """The modules of a package by name, and of each the modules it imports, of this package or of another."""
    files = {
        ".".join(file.relative_to(repository).with_suffix("").parts).removesuffix(".__init__"): file
        for file in (repository / package).rglob("*.py")
    }
    found = {}
    for module, file in files.items():
        found[module] = set()
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found[module] |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file} imports relatively"
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                found[module] |= {name if name in files else node.module for name in names}
    return found


@pytest.mark.parametrize("package", FLOORS)
def test_imports_lead_down(repository, package):
    floor = {f"{package}.{name}": number for number, names in enumerate(FLOORS[package]) for name in names}
    edges = imports(repository, package)
    parts = {module: ".".join(module.split(".")[:2]) for module in edges if module != package}
    assert set(parts.values()) == floor.keys(), "every package and module has a floor, and every floor is there"
    wrong = [
        f"{module} imports {target}"
        for module, part in parts.items()
        for target in edges[module] & parts.keys()
        if parts[target] != part and floor[parts[target]] >= floor[part]
    ]
    assert not wrong
    within = {module: edges[module] & parts.keys() for module in parts}
    tuple(graphlib.TopologicalSorter(within).static_order())  # raises CycleError


def test_the_library_imports_no_job(repository):
    used = set().union(*imports(repository, "flax_lite").values())
    assert not [name for name in used if name.split(".")[0] in ("train", "benchmarks", "configs", "tpu", "tests")]


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_pages_name_files_that_are_there(repository, page):
    named = re.findall(
        r"`((?:flax_lite|train|tests|benchmarks|configs|tpu)/[\w/.]+\.(?:py|md|sh))`", (repository / page).read_text()
    )
    assert len(named) > 20
    assert not [name for name in named if not (repository / name).exists()]
