"""What all pipelines do: check inputs, tokenize, run in fixed shapes, give results in the order of the inputs."""

import abc
import dataclasses
import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import jax
import numpy as np

from flax_lite.layers.unstacked import for_inference
from flax_lite.pipelines.options import check_count, check_names
from flax_lite.pipelines.programs import Outputs, Programs, Row
from flax_lite.rows.buckets import bucket_lengths, rows_by_budget
from flax_lite.tokenization import Tokenizer

logger = logging.getLogger("flax_lite")

# Inputs that are tokenized and sorted by length together: what a stream holds at a time.
CHUNK_SIZE = 1024
# Tokens of a batch: accelerators need many at once, a CPU is busy with few.
_CPU_TOKENS, _ACCELERATOR_TOKENS = 512, 16384


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """One input on its way through the model.

    Attributes:
        given: the input as it came.
        rows: what the model reads for it.
        notes: what the pipeline needs to know of each row when it reads the outputs.
    """

    given: Any
    rows: Sequence[Row]
    notes: Sequence[Any] = ()


class InputError(ValueError):
    """An input that the task does not take.

    Attributes:
        number: which, from 0.
        problem: what is wrong with it.
    """

    def __init__(self, number: int, problem: str) -> None:
        super().__init__(f"input {number} {problem}")
        self.number, self.problem = number, problem


OptionsT = TypeVar("OptionsT")


class Pipeline(abc.ABC, Generic[OptionsT]):
    """A model and its tokenizer as a function of strings. Made by `flax_lite.pipeline`.

    Rows are padded to a few lengths, each of which is compiled once: when it first comes, or all by `warm_up`. A
    result does not depend on what else is in the batch. Several threads may call one pipeline.

    Attributes:
        model: what computes, in the form that answers soonest here (`flax_lite.layers.unstacked`).
        tokenizer: what tokenizes.
        max_length: tokens of the longest row, specials included. Longer texts lose their end, which is said once.
    """

    task: ClassVar[str]
    options_type: ClassVar[type[Any]]

    def __init__(
        self,
        model: Any,
        tokenizer: Tokenizer,
        *,
        batch_size: int | None = None,
        tokens_per_batch: int | None = None,
        max_length: int | None = None,
        **options: Any,
    ) -> None:
        """Compiles nothing yet.

        Args:
            model: of the class the task needs.
            tokenizer: of that model.
            batch_size: rows of every batch; 1 answers a single text soonest.
            tokens_per_batch: or tokens of every batch, of which short rows fill more: by default 512 on a CPU, or one
                row of the longest, and 16384 elsewhere.
            max_length: of a row, in tokens; default: as many as the model takes.
            options: of the task, for all calls that do not say otherwise.

        Raises:
            ValueError: if these do not fit each other.
        """
        self.model, self.tokenizer = for_inference(model), tokenizer
        self.max_length = _max_length(max_length, model.config.max_position_embeddings)
        if tokenizer.vocab_size > model.config.vocab_size:
            raise ValueError(
                f"the tokenizer has {tokenizer.vocab_size} pieces, the model {model.config.vocab_size}: "
                "they do not belong together"
            )
        self._said: set[str] = set()
        self._defaults = self._checked(self.options_type(**self._named(options)))
        rows = _rows(bucket_lengths(self.max_length), batch_size, tokens_per_batch)
        self._programs = Programs(self._compute, self.model, rows, tokenizer.pad_id)
        self._has_warned = False

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Results of one input, of a list of them as a list, of any other iterable as an iterator.

        Args:
            inputs: what the task takes: a string, a dictionary, or many of them.
            options: of the task, for this call.

        Raises:
            InputError: for an input that the task does not take, or whose results are not finite; a ValueError.
            ValueError: for such an option.
            TypeError: for an option that no call of the task has.
        """
        chosen = self._chosen(options)
        if self._is_one(inputs):
            return next(self._run([inputs], chosen))
        if isinstance(inputs, list | tuple):
            return self._collected(list(self._chunks(iter(inputs), CHUNK_SIZE, chosen)))
        if not isinstance(inputs, Iterable):
            raise ValueError(f"{self.task} takes {self._takes}, or several of them, got {type(inputs).__name__}")
        return self._chunks(iter(inputs), CHUNK_SIZE, chosen)

    def stream(self, inputs: Iterable[Any], *, chunk_size: int = CHUNK_SIZE, **options: Any) -> Iterator[Any]:
        """Results one by one in the order of the inputs, of which `chunk_size` are in memory at a time.

        Args:
            inputs: any number.
            chunk_size: 1 gives each result before the next input is read.
            options: of the task.

        Raises:
            ValueError: as a call.
        """
        check_count("chunk_size", chunk_size)
        return self._chunks(iter(inputs), chunk_size, self._chosen(options))

    def warm_up(self) -> None:
        """Compiles every bucket, so that no later call waits for it."""
        for length in self._programs.buckets:
            self._programs.compile(length)

    @property
    def buckets(self) -> tuple[int, ...]:
        """The lengths that rows are padded to."""
        return self._programs.buckets

    @property
    def compiled(self) -> tuple[int, ...]:
        """Those that have been compiled."""
        return self._programs.compiled

    # What a task defines.

    _takes: ClassVar[str] = "a string"
    # Whether outputs are of each token of a row; those of its padding mean nothing, whatever they are.
    _is_by_token: ClassVar[bool] = False
    # Options of the task that belong to `flax_lite.pipeline`, and to no call.
    _of_pipeline: ClassVar[Sequence[str]] = ()

    @abc.abstractmethod
    def _compute(self, model: Any, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """What the device computes of a batch."""

    @abc.abstractmethod
    def _encode(self, inputs: Sequence[Any], options: OptionsT, first: int) -> list[Request]:
        """Rows of some inputs; `first` is the number of the first of them, for messages."""

    @abc.abstractmethod
    def _decode(self, request: Request, outputs: Sequence[Any], options: OptionsT) -> Any:
        """The result of an input, from what `_read` gave of its rows."""

    def _read(self, request: Request, number: int, outputs: Outputs, options: OptionsT) -> Any:
        """What to keep of the outputs of a request's row until its other rows are there too."""
        return outputs

    def _checked(self, options: OptionsT) -> OptionsT:
        """The options, if they fit this model."""
        return options

    def _is_one(self, inputs: Any) -> bool:
        """Whether it is one input rather than several."""
        return isinstance(inputs, str | Mapping)

    def _collected(self, results: list[Any]) -> Any:
        """Results of a list of inputs."""
        return results

    def _cut(self, tokens: int, kept: int, what: str = "text", limit: str = "") -> None:
        """Says, once, that a text has more tokens than are read of it."""
        if tokens > kept and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "%s: a %s of %d tokens is cut to the %d that fit into %s; further ones are not reported",
                self.task,
                what,
                tokens,
                kept,
                limit or f"max_length={self.max_length}",
            )

    def _check_types(self, requests: Sequence[Request], first: int) -> None:
        """Raises InputError for a row whose token types the model's table lacks; a model without a table reads none."""
        size = self.model.config.type_vocab_size
        for number, request in enumerate(requests, start=first):
            most = max((row.most_type for row in request.rows), default=0)
            if 0 < size <= most:
                raise InputError(
                    number,
                    f"has tokens of type {most}, and the model knows those below type_vocab_size={size} only: "
                    f"{self.task} of two texts needs a model that was trained on pairs",
                )

    def _not_finite(self, given: Any, number: int) -> InputError:
        """A label, a place or a vector made of such numbers would look like any other."""
        dtype = str(self.model.execution.compute_dtype)
        cause = (
            "numbers on the way leave its range: give float32 or bfloat16 (execution=Execution(dtype=...), --dtype)"
            if dtype == "float16"
            else "the model's weights give none for this text"
        )
        return InputError(
            number, f"has results in {dtype} that are not finite (NaN or infinite): {given!r:.100}; {cause}"
        )

    def _chosen(self, options: Mapping[str, Any]) -> OptionsT:
        defaults: Any = self._defaults
        return self._checked(dataclasses.replace(defaults, **self._named(options))) if options else defaults

    def _named(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """The options of a call, if they are."""
        names = [field.name for field in dataclasses.fields(self.options_type)]
        check_names(options, self.task, names, self._of_pipeline)
        return options

    def _say_once(self, problem: str) -> None:
        """Says what an option asks for and cannot have, the first time that it does."""
        if problem not in self._said:
            self._said.add(problem)
            logger.warning("%s: %s", self.task, problem)

    def _chunks(self, inputs: Iterator[Any], size: int, options: OptionsT) -> Iterator[Any]:
        first, wrong = 0, None
        while wrong is None:
            chunk, wrong = _taken(inputs, size)
            try:
                yield from self._run(chunk, options, first)
            except InputError as error:  # before any result: what stands before it is answered all the same
                yield from self._run(chunk[: error.number - first], options, first)
                raise
            if len(chunk) < size and wrong is None:
                return
            first += len(chunk)
        raise wrong

    def _run(self, inputs: Sequence[Any], options: OptionsT, first: int = 0) -> Iterator[Any]:
        for number, given in enumerate(inputs, first):
            _check_characters(given, number)
        requests = self._encode(inputs, options, first)
        self._check_types(requests, first)
        owners = [(owner, place) for owner, request in enumerate(requests) for place in range(len(request.rows))]
        kept: list[list[Any]] = [[None] * len(request.rows) for request in requests]
        lost: set[int] = set()
        for number, outputs in self._programs([row for request in requests for row in request.rows]):
            owner, place = owners[number]
            real = slice(len(requests[owner].rows[place].tokens)) if self._is_by_token else ...
            if all(np.isfinite(array[real]).all() for array in outputs.values()):
                kept[owner][place] = self._read(requests[owner], place, outputs, options)
            else:
                lost.add(owner)
        if lost:
            raise self._not_finite(requests[min(lost)].given, first + min(lost))
        for request, outputs in zip(requests, kept, strict=True):
            yield self._decode(request, outputs, options)


def _taken(inputs: Iterator[Any], size: int) -> tuple[list[Any], InputError | None]:
    """The next inputs, and the mistake that they end at, if they do."""
    chunk: list[Any] = []
    try:
        chunk.extend(itertools.islice(inputs, size))
    except InputError as error:
        return chunk, error
    return chunk, None


def _check_characters(given: Any, number: int) -> None:
    """Refuses a half of a surrogate pair, which JSON can spell and no tokenizer takes, before a batch holds it."""
    for text in given.values() if isinstance(given, Mapping) else (given,):
        try:
            if isinstance(text, str):
                text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                number,
                f"holds half a surrogate pair, {text[error.start]!r} at character {error.start}, which is no "
                "character: was the text cut there?",
            ) from None


def text_of(given: Any, number: int, task: str) -> str:
    """The input, if it is a string.

    Raises:
        InputError: if it is not.
    """
    if not isinstance(given, str):
        raise InputError(number, f"is of type {type(given).__name__}; {task} takes strings")
    return given


def single_row(tokenizer: Tokenizer, ids: Sequence[int], **fields: Any) -> Row:
    """[CLS] ids [SEP], or as the tokenizer has it."""
    tokens = np.array(tokenizer.template.single(ids), np.int32)
    return Row(tokens, len(tokens), **fields)


def _max_length(given: int | None, limit: int) -> int:
    if given is None:
        return limit
    check_count("max_length", given)
    if not 3 <= given <= limit:
        raise ValueError(f"max_length={given}; expected 3 to {limit}, which the model's positions end at")
    return given


def _rows(buckets: tuple[int, ...], batch_size: int | None, tokens_per_batch: int | None) -> dict[int, int]:
    if batch_size is not None and tokens_per_batch is not None:
        raise ValueError(f"batch_size={batch_size} and tokens_per_batch={tokens_per_batch}: give one of the two")
    if batch_size is None:
        usual = _CPU_TOKENS if jax.default_backend() == "cpu" else _ACCELERATOR_TOKENS
        return rows_by_budget(buckets, max(usual, buckets[-1]) if tokens_per_batch is None else tokens_per_batch)
    check_count("batch_size", batch_size)
    return dict.fromkeys(buckets, batch_size)
