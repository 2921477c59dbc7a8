"""What a job prepares is the same when it is started again."""

from train.data.pretraining import dataset
from train.data.tokenizers import keep_tokenizer
from train.options import schema
from train.options.config_files import load_config


def test_a_vocabulary_is_trimmed_alike_when_a_run_goes_on(repository, tmp_path):
    """The work directory keeps what is left of it; ids of that are not the teacher's, whose rows are looked up."""
    loaded = load_config(f"{repository}/configs/distilbert_tiny.py:smoke")
    few = {"data.builtin_documents": 20, "data.eval_fraction": 0.0, "data.eval_source": "builtin"}
    values = {**schema.flatten(loaded.values), **few, "data.cache_dir": str(tmp_path / "cache")}
    values |= {"teacher": "random", "tokenizer": "train:wordpiece:400", "trim_vocabulary": True}
    kept = tmp_path / "tokenizer"
    first = dataset.prepare(values, kept, lambda line: None)
    keep_tokenizer(first.tokenizer, kept)
    again = dataset.prepare(values, kept, lambda line: None)
    assert first.kept_ids is not None
    assert first.kept_ids != tuple(range(len(first.kept_ids)))
    assert again.kept_ids == first.kept_ids
    assert again.tokenizer.fingerprint == first.tokenizer.fingerprint
