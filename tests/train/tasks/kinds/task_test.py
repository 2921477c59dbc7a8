"""A fine-tuned model is loaded if its embedding tables are large enough for the rows of the task."""

import pytest

from flax_lite.layers.execution import Execution
from flax_lite.models.heads import SequenceClassification
from flax_lite.tokenization import load_tokenizer
from tests.flax_lite import tiny
from train.errors import UserError
from train.tasks.examples import TaskData, TextExample
from train.tasks.kinds.classification import Classification
from train.tasks.kinds.task import load_trained_model

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad"]


@pytest.mark.parametrize(
    ("texts", "sizes", "message"),
    [
        (("good",), {}, None),
        (("good", "bad"), {}, None),
        (("good",), {"vocab_size": 6}, "teacher=.* has 6 word embeddings, too few for a tokenizer of 7 pieces"),
        (("good",), {"max_position_embeddings": 15}, "data.sequence_length=16 is longer than the 15 positions of teac"),
        (("good", "bad"), {"type_vocab_size": 1}, "teacher=.* has an embedding for 1 token type only"),
    ],
)
def test_a_teacher_or_checkpoint_with_too_small_tables_raises(texts, sizes, message, tmp_path):
    """The model may have no tokenizer, as many checkpoints of Hugging Face's Trainer."""
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    config = tiny.bert(**{"vocab_size": 7, "num_hidden_layers": 1, "labels": ("a", "b"), **sizes})
    tiny.make(SequenceClassification, config).save_pretrained(tmp_path / "model")
    examples = [TextExample(id="0", texts=texts, label=0)]
    data = TaskData(kind="classification", train=examples, evaluation={}, labels=("a", "b"))
    task = Classification(data, load_tokenizer(tmp_path / "vocab.txt"), 16)
    task.rows(examples)
    arguments = {"option": "teacher", "cure": "none"}
    if message is None:
        assert load_trained_model(str(tmp_path / "model"), task, Execution(), **arguments).config.vocab_size == 7
        return
    with pytest.raises(UserError, match=message):
        load_trained_model(str(tmp_path / "model"), task, Execution(), **arguments)
