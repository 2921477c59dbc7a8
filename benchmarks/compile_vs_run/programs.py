"""The function of a case: a forward pass, or the step of the pretraining or the distillation job."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from benchmarks.compile_vs_run.cases import Case, Sizes, model_config
from flax_lite.architecture.config import EncoderConfig
from flax_lite.distillation.objective import distillation_objective, fit_recipe
from flax_lite.distillation.recipe import DistillationRecipe
from flax_lite.layers.execution import Execution
from flax_lite.models.encoder import Encoder
from flax_lite.models.heads import MaskedLM, PreTraining
from flax_lite.models.params import get_params, with_params
from flax_lite.training.objective import Batch, Objective, masked_lm_objective, pretraining_objective
from flax_lite.training.optim import make_optimizer
from flax_lite.training.steps import init_state, make_train_step

# As in configs/albert_base.py, bert_base.py, distilbert_mlm.py and distilbert_base.py.
_OPTIMIZERS = {"albert": "lamb", "bert": "adamw", "distilbert": "adamw"}
_SENTENCE_TASKS = {"albert": "sop", "bert": "nsp"}
_RECIPE = DistillationRecipe(losses={"soft_cross_entropy": 5.0, "mlm": 2.0, "cosine": 1.0})


@dataclasses.dataclass(frozen=True)
class Program:
    """A function to compile, and its inputs.

    Attributes:
        function: (carried, batch, *constants) -> (next carried, metrics) if it trains, otherwise -> outputs.
        make: (key) -> (carried, constants): a train state and a teacher's parameters, or a model's parameters.
        trains: whether the carried state is donated and goes into the next step.
    """

    function: Callable[..., Any]
    make: Callable[[jax.Array], tuple[Any, tuple[Any, ...]]]
    trains: bool


def make_program(case: Case, sizes: Sizes, dtype: str) -> Program:
    """Returns the program of a case that computes in a dtype ("float32" or "bfloat16")."""
    execution = Execution(dtype=dtype, unroll=case.unroll, remat=case.remat)  # type: ignore[arg-type]
    return {"forward": _forward, "pretraining": _pretraining, "distillation": _distillation}[case.kind](
        case, sizes, execution
    )


def _forward(case: Case, sizes: Sizes, execution: Execution) -> Program:
    """Returns the encoder without a head or dropout, pooled output included."""
    create = functools.partial(Encoder, model_config(case.family, case.num_layers, sizes), execution=execution)
    structure = _structure(create)

    def forward(params: Any, batch: Batch) -> dict[str, jax.Array]:
        inputs = (batch[name] for name in ("input_ids", "attention_mask", "token_type_ids"))
        output = with_params(structure, params)(*inputs)
        pooled = {} if output.pooler_output is None else {"pooler_output": output.pooler_output}
        return {"last_hidden_state": output.last_hidden_state, **pooled}

    return Program(forward, lambda key: (get_params(create(rngs=nnx.Rngs(key))), ()), trains=False)


def _pretraining(case: Case, sizes: Sizes, execution: Execution) -> Program:
    return pretraining_program(model_config(case.family, case.num_layers, sizes), execution)


def pretraining_program(config: EncoderConfig, execution: Execution) -> Program:
    """Returns the pretraining step of the model's paper: masked words, sentence order or next sentence, optimizer."""
    model_class = PreTraining if config.has_pooler else MaskedLM
    task = _SENTENCE_TASKS.get(config.model_type)
    objective = masked_lm_objective() if task is None else pretraining_objective(task)
    create = functools.partial(model_class, config, execution=execution)
    step, make_state = _training(create, objective, _OPTIMIZERS[config.model_type])
    return Program(step, lambda key: (make_state(key), ()), trains=True)


def _distillation(case: Case, sizes: Sizes, execution: Execution) -> Program:
    """Returns a step with DistilBERT's three losses; the teacher, a BERT twice as deep, runs inside the step."""
    teacher_config = model_config("bert", case.num_layers, sizes)
    student_config = model_config(case.family, max(1, case.num_layers // 2), sizes)
    create_teacher = functools.partial(MaskedLM, teacher_config, execution=dataclasses.replace(execution, remat="none"))
    recipe = fit_recipe(_RECIPE, student_config, teacher_config)
    objective = distillation_objective(recipe, _structure(create_teacher))
    create = functools.partial(MaskedLM, student_config, execution=execution)
    step, make_state = _training(create, objective, "adamw")

    def make(key: jax.Array) -> tuple[Any, tuple[Any, ...]]:
        student_key, teacher_key = jax.random.split(key)
        teacher = get_params(create_teacher(rngs=nnx.Rngs(teacher_key)))
        return make_state(student_key), (jax.tree.map(lambda param: param.astype(execution.compute_dtype), teacher),)

    return Program(step, make, trains=True)


def _training(
    create: Callable[..., nnx.Module], objective: Objective, optimizer_name: str
) -> tuple[Callable[..., Any], Callable[[jax.Array], Any]]:
    optimizer = make_optimizer(optimizer_name, learning_rate=1e-4, total_steps=1000)
    step = make_train_step(_structure(create), objective, optimizer, seed=0)
    return step, lambda key: init_state(create(rngs=nnx.Rngs(key)), optimizer)


def _structure(create: Callable[..., nnx.Module]) -> nnx.GraphDef:
    return nnx.graphdef(nnx.eval_shape(lambda: create(rngs=nnx.Rngs(0))))
