"""The data of a job is the same when the job is started again."""

from tests.train.commands import values_of
from train.data.pretraining import dataset
from train.data.tokenizers import save_tokenizer


def test_a_resumed_run_trims_the_vocabulary_in_the_same_way(repository, tmp_path):
    """The work directory has the trimmed tokenizer, whose ids are not those of the teacher's embedding table."""
    few = {"data.builtin_documents": 20, "data.eval_fraction": 0.0, "data.eval_source": "builtin"}
    values = {
        **values_of(f"{repository}/configs/distilbert_tiny.py:smoke"),
        **few,
        "data.cache_dir": str(tmp_path / "cache"),
    }
    values |= {"teacher": "random", "tokenizer": "train:wordpiece:400", "trim_vocabulary": True}
    kept = tmp_path / "tokenizer"
    first = dataset.prepare(values, kept, lambda line: None)
    save_tokenizer(first.tokenizer, kept)
    again = dataset.prepare(values, kept, lambda line: None)
    assert first.kept_ids is not None
    assert first.kept_ids != tuple(range(len(first.kept_ids)))
    assert again.kept_ids == first.kept_ids
    assert again.tokenizer.fingerprint == first.tokenizer.fingerprint


def test_fingerprints_are_known_without_tokenizing(repository, tmp_path):
    """They equal those of the opened data, and depend on the contents of the text, not on its path."""
    text = "\n\n".join(f"word {number} and word {number + 1}.\nothers follow {number}." for number in range(60))
    for name, content in (("a", text), ("b", text), ("c", text.replace("others", "some"))):
        (tmp_path / f"{name}.txt").write_text(content, encoding="utf-8")
    values = values_of(f"{repository}/configs/albert_tiny.py:smoke")
    values |= {"data.eval_fraction": 0.2, "data.prepare_workers": 1, "tokenizer": "train:wordpiece:100"}
    values |= {"data.source": f"text:{tmp_path}/a.txt", "data.cache_dir": str(tmp_path / "cache")}
    kept = tmp_path / "tokenizer"
    assert dataset.fingerprints(values, kept) == {}  # there is no tokenizer yet
    data = dataset.open_data(values, kept, lambda line: None)
    save_tokenizer(data.tokenizer, kept)
    begun = {"data": data.fingerprint, "tokenizer": data.tokenizer.fingerprint}
    stores = sorted((tmp_path / "cache" / "tokens").iterdir())
    tables = [
        ({}, begun),
        ({"data.source": f"text:{tmp_path}/b.txt"}, begun),
        ({"data.source": f"text:{tmp_path}/[b].txt"}, begun),
        ({"data.source": f"text:{tmp_path}/none.txt"}, {}),
        ({"trim_vocabulary": True}, {}),
    ]
    for changes, expected in tables:
        assert dataset.fingerprints({**values, **changes}, kept) == expected, changes
    for changes in ({"data.source": f"text:{tmp_path}/c.txt"}, {"data.eval_fraction": 0.3}):
        found = dataset.fingerprints({**values, **changes}, kept)
        assert found["tokenizer"] == begun["tokenizer"]
        assert found["data"] != begun["data"]
    assert sorted((tmp_path / "cache" / "tokens").iterdir()) == stores
