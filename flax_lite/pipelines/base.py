"""The part that all pipelines share: check inputs, tokenize, run batches of fixed shapes, return results in order."""

import abc
import dataclasses
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import jax
import numpy as np

from flax_lite.layers.unstacked import for_inference
from flax_lite.pipelines.options import check_count, check_max_length, check_names, rows_per_batch
from flax_lite.pipelines.programs import Outputs, Programs, Row
from flax_lite.rows.buckets import bucket_lengths, row_counts, rows_for_few
from flax_lite.tokenization import Tokenizer

logger = logging.getLogger("flax_lite")

OptionsT = TypeVar("OptionsT")

# Inputs that are tokenized and sorted by length at once; a stream holds no more in memory.
CHUNK_SIZE = 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """One input, preprocessed.

    Attributes:
        given: the input.
        rows: the rows that the model reads for it.
        notes: data for each row that postprocessing needs.
    """

    given: Any
    rows: Sequence[Row]
    notes: Sequence[Any] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Call(Generic[OptionsT]):
    """The arguments of a call, checked.

    Attributes:
        options: options of the task.
        rows_per_batch: maximum number of rows in a batch of each bucket.
        advance: called for each row that is computed.
    """

    options: OptionsT
    rows_per_batch: Mapping[int, int]
    advance: Callable[[], object] = lambda: None


class InputError(ValueError):
    """An input that the task does not take.

    Attributes:
        number: index of the input, from 0.
        problem: what is wrong with it.
    """

    def __init__(self, number: int, problem: str) -> None:
        super().__init__(f"input {number} {problem}")
        self.number, self.problem = number, problem


class Pipeline(abc.ABC, Generic[OptionsT]):
    """A model and its tokenizer as a function of strings; created by `flax_lite.pipeline`.

    Rows are padded to a few lengths (`buckets`), and batches to a few numbers of rows: 1 for a single text, 4, 16, and
    that of `batch_size` or `tokens_per_batch`. Each shape is compiled once, when the first batch of that shape comes,
    or by `warm_up`. Several threads may call one pipeline.

    A result does not depend on the other inputs of a call, up to rounding: their number chooses the shape of the batch,
    and the programs of two shapes differ by some units in the last place, which can swap results whose scores are that
    close.

    A task implements `_preprocess`, `_forward` and `_postprocess`, as a pipeline of Hugging Face does.

    Attributes:
        model: the model, in the form that is fastest for inference on this device (`flax_lite.layers.unstacked`).
        tokenizer: its tokenizer.
        max_length: maximum number of tokens of a row, special tokens included. Longer texts are truncated, with one
            warning.
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
        """Creates a pipeline; nothing is compiled yet.

        Args:
            model: a model of the class that the task needs.
            tokenizer: the tokenizer of that model.
            batch_size: maximum number of rows in a batch.
            tokens_per_batch: maximum number of tokens in a batch, instead of `batch_size`; a batch of short rows then
                has more rows. Default: 512 on a CPU, or one row of the longest bucket if that is more; 16384 on other
                devices.
            max_length: maximum number of tokens of a row; default: the model's maximum.
            options: default options of the task for all calls.

        Raises:
            ValueError: if a value is invalid, or model, tokenizer and options do not fit each other.
            TypeError: if the task has no such option.
        """
        self.model, self.tokenizer = for_inference(model), tokenizer
        self.max_length = check_max_length(max_length, model.config.max_position_embeddings)
        if tokenizer.vocab_size > model.config.vocab_size:
            raise ValueError(
                f"the tokenizer has {tokenizer.vocab_size} pieces, the model {model.config.vocab_size}: "
                "they do not belong together; give the tokenizer that the model was trained with"
            )
        self._warned: set[str] = set()
        self.check_names(options)
        self._defaults: OptionsT = self._check_options(self.options_type(**options))
        self._rows_per_batch = rows_per_batch(bucket_lengths(self.max_length), batch_size, tokens_per_batch)
        self._programs = Programs(self._forward, self.model, tokenizer.pad_id)

    def __call__(self, inputs: Any, *, batch_size: int | None = None, **options: Any) -> Any:
        """Returns the result of one input, a list for a list of inputs, or an iterator for any other iterable.

        Args:
            inputs: one input of the task (a string or a dictionary), or several.
            batch_size: maximum number of rows in a batch of this call; default: that of the pipeline. A new one
                compiles programs for its shapes.
            options: options of the task for this call.

        Returns:
            The result, see the class of the task; several results are in the order of the inputs.

        Raises:
            InputError: if the task does not take an input, or its results are not finite; a ValueError.
            ValueError: if the value of an option is invalid.
            TypeError: if the task has no such option for a call.
        """
        call = self._call(options, batch_size)
        if isinstance(inputs, str | Mapping):
            return next(self._run([inputs], call))
        if isinstance(inputs, list | tuple):
            return self._collect(list(self._chunks(iter(inputs), CHUNK_SIZE, call)))
        if not isinstance(inputs, Iterable):
            raise ValueError(f"{self.task} takes {self._takes}, or several of them, got {type(inputs).__name__}")
        return self._chunks(iter(inputs), CHUNK_SIZE, call)

    def stream(
        self, inputs: Iterable[Any], *, chunk_size: int = CHUNK_SIZE, batch_size: int | None = None, **options: Any
    ) -> Iterator[Any]:
        """Yields the results one by one, in the order of the inputs.

        Args:
            inputs: any number of inputs.
            chunk_size: number of inputs in memory at once; with 1, each result is yielded before the next input is
                read.
            batch_size: as for a call.
            options: options of the task, as for a call.

        Raises:
            ValueError, TypeError: as a call.
        """
        check_count("chunk_size", chunk_size)
        return self._chunks(iter(inputs), chunk_size, self._call(options, batch_size))

    def warm_up(self) -> None:
        """Compiles the programs of all shapes, so that no later call has to, except one with another `batch_size`."""
        for length, size in self._rows_per_batch.items():
            for count in row_counts(size):
                self._programs.compile(count, length)

    @property
    def buckets(self) -> tuple[int, ...]:
        """The lengths that rows are padded to, ascending."""
        return tuple(sorted(self._rows_per_batch))

    @property
    def compiled(self) -> tuple[tuple[int, int], ...]:
        """The shapes (B, T) of batches that are compiled, ascending."""
        return self._programs.compiled

    @classmethod
    def check_names(cls, options: Iterable[str], is_call: bool = True) -> None:
        """Raises TypeError if an option is not one of the task, for a call or for `flax_lite.pipeline`."""
        names = [field.name for field in dataclasses.fields(cls.options_type)]
        options = [name for name in options if is_call or name not in cls._pipeline_options]
        check_names(options, cls.task, names, cls._pipeline_options)

    # Defined by each task.

    _takes: ClassVar[str] = "a string"
    # Whether the outputs have an axis of tokens; those of padding are ignored.
    _is_by_token: ClassVar[bool] = False
    # Options of the task that are arguments of `flax_lite.pipeline` only, not of calls.
    _pipeline_options: ClassVar[Sequence[str]] = ()

    @abc.abstractmethod
    def _preprocess(self, inputs: Sequence[Any], options: OptionsT, first: int) -> list[Request]:
        """Returns the rows of some inputs; `first` is the number of the first of them, for messages."""

    @abc.abstractmethod
    def _forward(self, model: Any, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Computes the outputs of a batch on the device; compiled.

        Args:
            model: the model, a pytree.
            batch: input_ids, attention_mask, token_type_ids [B, T] and positions [B].

        Returns:
            Arrays with a leading axis of B.
        """

    def _reduce_row(self, request: Request, number: int, outputs: Outputs, options: OptionsT) -> Any:
        """Returns what to keep of the outputs of row `number` until all rows of the request are computed."""
        return outputs

    @abc.abstractmethod
    def _postprocess(self, request: Request, outputs: Sequence[Any], options: OptionsT) -> Any:
        """Returns the result of an input from the results of `_reduce_row`, one for each of its rows."""

    def _check_options(self, options: OptionsT) -> OptionsT:
        """Checks the options against the model; returns them, normalized."""
        return options

    def _collect(self, results: list[Any]) -> Any:
        """Returns the results of a list of inputs."""
        return results

    # Shared by the tasks.

    def _warn_once(self, message: str, key: str | None = None) -> None:
        """Logs a warning, unless one with this key (by default the message) was logged before."""
        key = message if key is None else key
        if key not in self._warned:
            self._warned.add(key)
            logger.warning("%s: %s", self.task, message)

    def _warn_truncated(self, tokens: int, kept: int, name: str = "text", limit: str = "") -> None:
        """Logs a warning if a text is truncated, the first time in this pipeline."""
        if tokens > kept:
            limit = limit or f"max_length={self.max_length}"
            message = f"a {name} of {tokens} tokens is truncated to the {kept} that fit into {limit}"
            self._warn_once(f"{message}; further ones are not reported", "truncated")

    def _call(self, options: Mapping[str, Any], batch_size: int | None) -> Call[OptionsT]:
        self.check_names(options)
        rows = self._rows_per_batch if batch_size is None else rows_per_batch(self.buckets, batch_size)
        defaults: Any = self._defaults
        return Call(self._check_options(dataclasses.replace(defaults, **options)) if options else defaults, rows)

    def _text_requests(self, inputs: Sequence[Any], first: int) -> list[Request]:
        """Returns a request of one row for each text, truncated to `max_length`."""
        texts = [check_text(given, first + number, self.task) for number, given in enumerate(inputs)]
        room = self.max_length - self.tokenizer.template.single_size
        requests = []
        for text, ids in zip(texts, self.tokenizer.encode(texts), strict=True):
            self._warn_truncated(len(ids), room)
            requests.append(Request(text, [single_row(self.tokenizer, self.tokenizer.truncate(ids, room))]))
        return requests

    def _check_types(self, requests: Sequence[Request], first: int) -> None:
        """Raises InputError for a row with token type 1 if the model's embedding table has only type 0.

        A model without token types ignores them.
        """
        if self.model.config.type_vocab_size != 1:
            return
        for number, request in enumerate(requests, start=first):
            if any(row.second < len(row.tokens) for row in request.rows):
                raise InputError(
                    number,
                    "has tokens of type 1, and the model knows only those below type_vocab_size=1: "
                    f"{self.task} of two texts needs a model that was trained on pairs",
                )

    def _not_finite(self, given: Any, number: int) -> InputError:
        """Returns the error for outputs that are NaN or infinite, which would otherwise look like any other result."""
        dtype = str(self.model.execution.compute_dtype)
        cause = (
            "intermediate values overflow: give float32 or bfloat16 (execution=Execution(dtype=...), --dtype)"
            if dtype == "float16"
            else "the model's weights give no finite ones for this text"
        )
        return InputError(
            number, f"has results in {dtype} that are not finite (NaN or infinite): {given!r:.100}; {cause}"
        )

    def _chunks(self, inputs: Iterator[Any], size: int, call: Call[OptionsT]) -> Iterator[Any]:
        first, source_error = 0, None
        while source_error is None:
            chunk, source_error = _take(inputs, size)
            try:
                yield from self._run(chunk, call, first, size)
            except InputError as error:  # raised before any result of the chunk; return those of the inputs before it
                yield from self._run(chunk[: error.number - first], call, first, size)
                raise
            if len(chunk) < size and source_error is None:
                return
            first += len(chunk)
        raise source_error

    def _run(self, inputs: Sequence[Any], call: Call[OptionsT], first: int = 0, chunk_size: int = 1) -> Iterator[Any]:
        """Yields the results of one chunk of the inputs; `first` is the number of its first input."""
        options = call.options
        for number, given in enumerate(inputs, first):
            _check_characters(given, number)
        requests = self._preprocess(inputs, options, first)
        self._check_types(requests, first)
        owners = [(owner, index) for owner, request in enumerate(requests) for index in range(len(request.rows))]
        kept: list[list[Any]] = [[None] * len(request.rows) for request in requests]
        not_finite: set[int] = set()
        rows = [row for request in requests for row in request.rows]
        # The last chunk of many has batches of the same shapes as the chunks before it, however short it is.
        total = len(rows) if first == 0 else chunk_size
        for number, outputs in self._programs(
            rows, rows_for_few([len(row.tokens) for row in rows], call.rows_per_batch, total)
        ):
            call.advance()
            owner, index = owners[number]
            real = slice(len(requests[owner].rows[index].tokens)) if self._is_by_token else ...
            if all(np.isfinite(array[real]).all() for array in outputs.values()):
                kept[owner][index] = self._reduce_row(requests[owner], index, outputs, options)
            else:
                not_finite.add(owner)
        if not_finite:
            raise self._not_finite(requests[min(not_finite)].given, first + min(not_finite))
        for request, outputs in zip(requests, kept, strict=True):
            yield self._postprocess(request, outputs, options)


def _take(inputs: Iterator[Any], size: int) -> tuple[list[Any], InputError | None]:
    """Returns up to `size` inputs, and the error of the source after the last of them, if any."""
    chunk: list[Any] = []
    try:
        chunk.extend(itertools.islice(inputs, size))
    except InputError as error:
        return chunk, error
    return chunk, None


def _check_characters(given: Any, number: int) -> None:
    """Raises InputError for half a surrogate pair, which JSON can express and no tokenizer takes."""
    for text in given.values() if isinstance(given, Mapping) else (given,):
        try:
            if isinstance(text, str):
                text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                number,
                f"holds half a surrogate pair, {text[error.start]!r} at character {error.start}, which is not a "
                "character: was the text cut there?",
            ) from None


def check_text(given: Any, number: int, task: str) -> str:
    """Returns the input if it is a string.

    Raises:
        InputError: if it is not.
    """
    if not isinstance(given, str):
        raise InputError(number, f"is of type {type(given).__name__}; {task} takes strings")
    return given


def single_row(tokenizer: Tokenizer, ids: Sequence[int], **fields: Any) -> Row:
    """Returns the row of one text: [CLS] ids [SEP], or as the tokenizer's template says."""
    tokens = np.array(tokenizer.template.single(ids), np.int32)
    return Row(tokens, len(tokens), **fields)
