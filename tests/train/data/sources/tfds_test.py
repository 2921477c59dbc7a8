"""Data sets of TensorFlow Datasets: reading without TensorFlow, slices, columns, and error messages."""

import re
import subprocess
import sys

import numpy as np
import pytest

from tests.train.data.sources.tfds_files import write_set
from train import prepare
from train.data.sources import CorpusOptions, open_corpus
from train.errors import UserError
from train.options import cli
from train.options.tables import PRETRAIN_OPTIONS

tfds = pytest.importorskip("tensorflow_datasets")


def articles(count):
    return [{"title": f"Title {number}", "text": f"Number {number}. Zwölf.\n\nEnd."} for number in range(count)]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A data set of 150 articles in three files."""
    root = tmp_path_factory.mktemp("tfds")
    write_set(root, articles(150), shards=3)
    return root


def read(source, data_dir, **options):
    return list(open_corpus(CorpusOptions(source=source, tfds_dir=str(data_dir), **options), "train").documents())


def complaint(source, data_dir, **options):
    with pytest.raises(UserError) as caught:
        read(source, data_dir, **options)
    return str(caught.value)


EXPECTED = [[f"Number {number}.", "Zwölf.", "End."] for number in range(150)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("tfds:toy/en", EXPECTED),
        ("tfds:toy/en:train", EXPECTED),
        ("tfds:toy/en:1.0.0", EXPECTED),
        ("tfds:toy/en:1.*.*:train[:40%]", EXPECTED[:60]),
        ("tfds:toy/en:train[45:105]", EXPECTED[45:105]),
        ("tfds:toy/en:train[:2]+train[-1:]", EXPECTED[:2] + EXPECTED[-1:]),
    ],
)
def test_tfds_reads_a_split_or_part_of_it(data_dir, source, expected):
    assert read(source, data_dir) == expected


def test_tfds_size_is_that_of_the_part(data_dir):
    whole, half = (
        open_corpus(CorpusOptions(source=f"tfds:toy/en:{split}", tfds_dir=str(data_dir)), "train").size
        for split in ("train", "train[:50%]")
    )
    assert whole == sum(path.stat().st_size for path in data_dir.rglob("*array_record*"))
    assert half == pytest.approx(whole / 2, rel=0.1)


# A finder that raises for TensorFlow, as if it were not installed.
_WITHOUT_TENSORFLOW = """
import importlib.util, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "tensorflow_text"):
            sys.modules.setdefault("refused", sys)
            raise ModuleNotFoundError(name, name=name)
original = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "tensorflow" else original(name, package)
sys.meta_path.insert(0, Refuse())
from train import prepare
from train.options import cli
from train.options.tables import PRETRAIN_OPTIONS
status = cli.main("prepare", PRETRAIN_OPTIONS, prepare.run, sys.argv[1:])
assert "refused" not in sys.modules and "tensorflow" not in sys.modules
sys.exit(status)
"""


def test_tfds_articles_are_tokenized_without_tensorflow(shared_data, repository, tmp_path, monkeypatch, capsys):
    """Articles of Wikipedia in a data set named as in tfds have the same tokens as in a text file."""
    monkeypatch.chdir(repository)
    text = (shared_data / "pretrain" / "wiki" / "squad_dev_articles.txt").read_text()
    texts = [article for article in text.split("\n\n") if article.strip()][:16]
    (tmp_path / "articles.txt").write_text("\n\n".join(texts))
    examples = [{"title": f"Article {number}", "text": text} for number, text in enumerate(texts)]
    write_set(tmp_path / "sets", examples, name="wikipedia", config="20230601.en", shards=3)

    def arguments(source):
        values = {
            "source": source,
            "tfds_dir": tmp_path / "sets",
            "cache_dir": tmp_path / "cache",
            "eval_fraction": 0.3,
        }
        options = [f"--config.data.{name}={value}" for name, value in values.items()]
        vocabulary = shared_data / "tokenizers" / "albert" / "spiece.model"
        return ["--config", "configs/albert_base.py", f"--config.tokenizer={vocabulary}", *options]

    def counts(printed):
        return re.findall(r"^(?:training|held-out) data: (.*tokens);", printed, re.MULTILINE)

    command = [sys.executable, "-c", _WITHOUT_TENSORFLOW, *arguments("tfds:wikipedia/20230601.en")]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert cli.main("prepare", PRETRAIN_OPTIONS, prepare.run, arguments(f"text:{tmp_path}/articles.txt")) == 0
    assert len(counts(done.stdout)) == 2
    assert counts(done.stdout) == counts(capsys.readouterr().out)


@pytest.mark.compat
def test_tfds_reads_files_of_a_real_builder(tmp_path):
    """Files written by download_and_prepare, not by the helper of these tests."""
    script = """
import sys
import tensorflow_datasets as tfds
class Tiny(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("2.1.0")
    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({"text": tfds.features.Text()}))
    def _split_generators(self, dl_manager):
        return {"test": self._generate_examples()}
    def _generate_examples(self):
        yield from ((number, {"text": f"Number {number}."}) for number in range(20))
Tiny(data_dir=sys.argv[1], file_format="array_record").download_and_prepare()
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, check=True)
    assert sorted(read("tfds:tiny:test", tmp_path)) == sorted([f"Number {number}."] for number in range(20))


def test_tfds_takes_another_column_and_lists(tmp_path):
    features = tfds.features.FeaturesDict(
        {"book_text": tfds.features.Text(), "parts": tfds.features.Sequence(tfds.features.Text())}
    )
    examples = [{"book_text": "A book.", "parts": ["One. Two.", "Three."]}, {"book_text": " ", "parts": []}]
    write_set(tmp_path, examples, features, shards=1)
    assert read("tfds:toy/en", tmp_path, text_column="book_text") == [["A book."]]
    assert read("tfds:toy/en", tmp_path, text_column="parts") == [["One.", "Two.", "Three."]]
    message = complaint("tfds:toy/en", tmp_path)
    for part in ("tfds:toy/en", "no column 'text'", "book_text, parts", "--config.data.text_column="):
        assert part in message


def test_tfds_drops_the_marks_of_wiki40b(tmp_path):
    text = "\n_START_ARTICLE_\nTitle\n_START_SECTION_\nHead\n_START_PARAGRAPH_\nOne._NEWLINE_Two. Three."
    write_set(tmp_path, [{"title": "", "text": text}], name="wiki40b", shards=1)
    assert read("tfds:wiki40b/en", tmp_path) == [["One.", "Two.", "Three."]]


def test_tfds_finds_its_own_default_directory(data_dir, monkeypatch):
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(data_dir))
    assert len(list(open_corpus(CorpusOptions(source="tfds:toy/en"), "train").documents())) == 150


def test_tfds_inputs_depend_on_files_and_records(data_dir):
    def corpus(source):
        return open_corpus(CorpusOptions(source=source, tfds_dir=str(data_dir)), "train")

    assert [path.name for path in corpus("tfds:toy/en:train[45:105]").files] == [
        f"toy-train.array_record-0000{shard}-of-00003" for shard in range(3)
    ]
    assert corpus("tfds:toy/en:train[:50]").files == corpus("tfds:toy/en:train[:50]").files[:1]
    assert corpus("tfds:toy/en:train[:50]").inputs != corpus("tfds:toy/en:train[:40]").inputs
    assert corpus("tfds:toy/en:train[:100%]").inputs == corpus("tfds:toy/en").inputs


def test_tfds_raises_for_training_text_in_the_held_out_split(data_dir):
    def held_out(source, eval_source):
        options = CorpusOptions(source=source, eval_source=eval_source, tfds_dir=str(data_dir))
        return list(open_corpus(options, "heldout").documents())

    assert held_out("tfds:toy/en:train[:90%]", "tfds:toy/en:train[90%:]") == EXPECTED[135:]
    with pytest.raises(UserError, match="read by both"):
        held_out("tfds:toy/en", "tfds:toy/en:train[90%:]")


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("tfds:toy/de", ["tfds:toy/de is not prepared in {dir} (prepared there: toy/en/1.0.0)", "tfds build toy/de"]),
        ("tfds:toy", ["prepared there: toy/en/1.0.0"]),
        ("tfds:lm1b", ["tfds build lm1b --file_format=array_record --data_dir={dir}", "data.tfds_dir"]),
        ("tfds:toy/en:2.0.0", ["tfds:toy/en:2.0.0 is not prepared", "toy/en/1.0.0"]),
        ("tfds:toy/en:validation", ["no split 'validation'", "It has: train"]),
        ("tfds:toy/en:train[:x]", ["no split 'train[:x]'"]),
        ("tfds:a b", ["'tfds:a b'", "tfds:NAME[/CONFIG]"]),
    ],
)
def test_tfds_errors_name_the_cause(data_dir, source, parts):
    message = complaint(source, data_dir)
    for part in parts:
        assert part.format(dir=data_dir) in message


def test_tfds_error_names_the_command_to_convert_another_format(tmp_path):
    directory = write_set(tmp_path, articles(2), shards=1)
    info = directory / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    message = complaint("tfds:toy/en", tmp_path)
    assert f"tfds convert_format --dataset_dir={directory} --out_file_format=array_record" in message


def test_tfds_error_names_a_missing_directory(tmp_path):
    assert f"{tmp_path}/none, a directory that does not exist" in complaint("tfds:toy/en", tmp_path / "none")


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"no record" * 999)])
def test_tfds_error_names_the_damaged_file(tmp_path, damage):
    directory = write_set(tmp_path, articles(192), shards=3)
    damage(directory / "toy-train.array_record-00001-of-00003")
    message = complaint("tfds:toy/en", tmp_path)
    assert "examples 64 to 127 cannot be read" in message
    assert str(directory / "toy-train.array_record-00001-of-00003") in message
    assert not any(f"array_record-0000{shard}" in message for shard in (0, 2))


def test_tfds_error_names_the_example_without_text(tmp_path):
    features = tfds.features.FeaturesDict({"text": np.int64})
    write_set(tmp_path, [{"text": 3}], features, shards=1)
    assert "tfds:toy/en, example 0: the text column holds a value of type int" in complaint("tfds:toy/en", tmp_path)


def test_tfds_names_the_package_that_is_missing(data_dir, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    message = complaint("tfds:toy/en", data_dir)
    assert "tensorflow-datasets" in message
    assert "pip install -e '.[tfds]'" in message
