"""Documents: where a corpus comes from and which part of it is held out.

A document is a list of sentences. `data.source` names the corpus: `builtin`, or `text:GLOB` for files with a sentence
or a paragraph a line and a blank line between documents.
"""

import glob
import hashlib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from train.errors import UserError

Split = Literal["train", "heldout"]
Document = list[str]


@dataclass(frozen=True)
class Corpus:
    """Documents that can be read more than once, always in the same order.

    Attributes:
        name: what a person calls it, for messages.
        inputs: everything that the documents depend on, as JSON values, except the contents of `files`.
        files: the files read, if any; their contents belong to the key of whatever is made from the corpus.
        read: starts a new pass over the documents.
    """

    name: str
    inputs: dict[str, object]
    files: tuple[Path, ...]
    read: Callable[[], Iterator[Document]] = field(repr=False, compare=False)

    def documents(self) -> Iterator[Document]:
        """Yields every document.

        Raises:
            UserError: if there is none, or a file cannot be read.
        """
        documents = self.read()
        first = next(documents, None)
        if first is None:
            raise UserError(
                f"{self.name} holds no document. A text file holds a sentence or paragraph a line and a blank line "
                "between documents; a share (data.eval_fraction) is drawn by the hash of each document's text, so it "
                "needs enough documents. Check the files, change the share, or give data.eval_source."
            )
        return itertools.chain([first], documents)


@dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """Which documents are read: the leaves of `data` that decide it.

    Attributes:
        source: the corpus, `builtin` or `text:GLOB`.
        eval_source: the held-out corpus, written the same way.
        eval_fraction: share of the documents of `source` to hold out where there is no `eval_source`.
        builtin_documents: number of generated training documents.
        builtin_eval_documents: number of generated held-out documents.
        builtin_seed: seed of the generator.
        split_paragraphs: whether lines of a text file are cut into sentences. Segment pairs are made of whole
            sentences: of paragraphs as long as a row there would be hardly any pair in order.
    """

    source: str
    eval_source: str | None = None
    eval_fraction: float = 0.0
    builtin_documents: int = 20_000
    builtin_eval_documents: int = 1_000
    builtin_seed: int = 0
    split_paragraphs: bool = True


def open_corpus(options: CorpusOptions, split: Split) -> Corpus:
    """Opens one split of a corpus.

    The held-out split is all of `eval_source` where given; else, of `builtin`, the generator's own held-out split; else
    those documents whose hash falls below `eval_fraction`, whatever file they stand in. The training split is the rest.

    Args:
        options: what to read.
        split: "train" or "heldout".

    Returns:
        The corpus; nothing but the list of files has been read.

    Raises:
        UserError: for an unknown source, a pattern without files, or no way to hold anything out.
    """
    fraction = options.eval_fraction
    if not 0.0 <= fraction < 1.0:
        raise UserError(f"data.eval_fraction={fraction} is not a share: give 0 or more and less than 1.")
    if options.eval_source:
        _refuse_common_files(options.source, options.eval_source)
        source, share = (options.source if split == "train" else options.eval_source), _WHOLE
    elif split == "heldout":
        source, share = options.source, (0.0, fraction)
    else:
        source, share = options.source, (fraction, 1.0)
    scheme, colon, argument = source.partition(":")
    known = _SCHEMES.get(scheme)
    if known is None or bool(argument) != known.takes_argument or bool(colon) != known.takes_argument:
        usages = "; ".join(scheme.usage for scheme in _SCHEMES.values())
        raise UserError(f"data source {source!r} is not known. Supported: {usages}.")
    return known.open(argument, options, split, share)


def split_sentences(line: str) -> list[str]:
    """Cuts a line into sentences; joined with spaces they give the line back, up to white space.

    A sentence ends at `.`, `!`, `?` or `…`, closing quotes and brackets included, where white space and an upper-case
    letter, digit or opening quote follow; not after an initial or a title such as "Mr.". Chinese and Japanese full
    stops need no white space.
    """
    line = " ".join(line.split())
    cuts = [0]
    for match in _SENTENCE_END.finditer(line):
        head = line[cuts[-1] : match.start()]
        if not (match[0] == ". " and _is_abbreviation(head.rpartition(" ")[2], line[match.end()])):
            cuts.append(match.end())
    pieces = (line[start:end].strip() for start, end in itertools.pairwise([*cuts, len(line)]))
    return [piece for piece in pieces if piece]


_WHOLE = (0.0, 1.0)

_SENTENCE_END = re.compile(r"""[.!?…]["'”’)\]]{0,2}\s(?=["'“‘(\[]*[^\W_a-z])|[。！？][」』”’]?""")
_ABBREVIATION = re.compile(
    "Mrs?|Ms|Dr|St|Mt|Messrs|Mme|Mlle|Prof|Rev|Hon|Capt|Col|Gen|Lt|Lieut|Sgt|Maj|Gov|vs|[A-HJ-Z]"  # "I" is a word
)


def _is_abbreviation(word: str, following: str) -> bool:
    word = word.lstrip("\"'“‘([")
    return bool(_ABBREVIATION.fullmatch(word)) or (word == "No" and following.isdigit())


def _open_builtin(argument: str, options: CorpusOptions, split: Split, share: tuple[float, float]) -> Corpus:
    from train.data import builtin  # the grammar is needed for no other source

    count = options.builtin_documents if split == "train" else options.builtin_eval_documents
    if count < 1:
        raise UserError(f"The built-in corpus needs at least one document for its {split} split, got {count}.")

    def read() -> Iterator[Document]:
        for document in builtin.generate_corpus(options.builtin_seed, split, count):
            yield list(document.sentences)

    # The generator's code decides its text: it is an input like any file.
    code = tuple(sorted(Path(str(builtin.__file__)).parent.glob("*.py")))
    inputs = {"source": "builtin", "split": split, "documents": count, "seed": options.builtin_seed}
    return Corpus(f"data source 'builtin' ({split} split)", inputs, code, read)


def _open_text(pattern: str, options: CorpusOptions, split: Split, share: tuple[float, float]) -> Corpus:
    low, high = share
    if not low < high:
        raise UserError(
            f"Nothing to evaluate on: data.source='text:{pattern}' has no held-out part of its own. Give "
            "data.eval_source, or a share of the documents to hold out, such as data.eval_fraction=0.01."
        )
    files = _matching_files(pattern)

    def read() -> Iterator[Document]:
        for path in files:
            for document in _read_text(path, options.split_paragraphs):
                if share == _WHOLE or low <= _hash_share(document) < high:
                    yield document

    inputs = {"source": "text", "split_paragraphs": options.split_paragraphs, "share": list(share)}
    part = "" if share == _WHOLE else f" ({split} share of data.eval_fraction={options.eval_fraction})"
    return Corpus(f"data source 'text:{pattern}'{part}", inputs, files, read)


@dataclass(frozen=True)
class _Scheme:
    open: Callable[[str, CorpusOptions, Split, tuple[float, float]], Corpus]
    takes_argument: bool
    usage: str


_SCHEMES = {
    "builtin": _Scheme(_open_builtin, False, "'builtin' (generated text)"),
    "text": _Scheme(
        _open_text,
        True,
        "'text:GLOB', such as 'text:corpus/*.txt' (a sentence or paragraph a line, a blank line between documents)",
    ),
}


def _matching_files(pattern: str) -> tuple[Path, ...]:
    names = sorted(glob.glob(str(Path(pattern).expanduser()), recursive=True))
    files = tuple(path for path in map(Path, names) if path.is_file())
    if not files:
        raise UserError(
            f"No file matches 'text:{pattern}' (looked from {Path.cwd()}). Give a path or a pattern such as "
            "'text:corpus/**/*.txt', in quotes so that the shell leaves it alone."
        )
    return files


def _read_text(path: Path, split_paragraphs: bool) -> Iterator[Document]:
    document: Document = []
    for line in _lines(path):
        if line:
            document.extend(split_sentences(line) if split_paragraphs else [line])
        elif document:
            yield document
            document = []
    if document:
        yield document


def _lines(path: Path) -> Iterator[str]:
    number = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}, line {number} is not UTF-8 ({error.reason} at byte {error.start} of the line). Convert the file, "
            f"for instance: iconv -f latin1 -t utf-8 {path} > {path.with_suffix('.utf8.txt')}"
        ) from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. Check the file and its permissions.") from error


def _hash_share(document: Iterable[str]) -> float:
    """Returns a number in [0, 1) that depends on the document's text alone, so that equal texts stay together."""
    digest = hashlib.blake2b(" ".join(document).encode(), digest_size=8, person=b"held-out").digest()
    return int.from_bytes(digest, "big") / 2**64


def _refuse_common_files(source: str, eval_source: str) -> None:
    if not (source.startswith("text:") and eval_source.startswith("text:")):
        return
    training = {path.resolve() for path in _matching_files(source.removeprefix("text:"))}
    common = sorted(training & {path.resolve() for path in _matching_files(eval_source.removeprefix("text:"))})
    if common:
        raise UserError(
            f"{len(common)} file(s) are in both data.source={source!r} and data.eval_source={eval_source!r}, "
            f"{common[0]} for one. Held-out text must not be trained on: make the patterns disjoint."
        )
