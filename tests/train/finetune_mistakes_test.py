"""Mistakes in the request of a fine-tuning: each is one message with its cure, before anything is trained."""

import pytest

MISTAKES = {
    "data.columns.text=txt": "has no column 'txt', nearest is text",
    "data.source=nowhere": "expected builtin, files:PATH or tfds:NAME",
    "data.source=tfds:mine": "classify can only be read from files:PATH",
    "tokenizer=none": "tokenizer is missing",
    "data.problem=regression": "'good' is not a finite number",
    "data.sequence_length=600": "longer than the model's 512 positions",
    "class_weights=balanced data.max_train_examples=1": "No training example has the label",
    "teacher=nowhere": "teacher=nowhere has no loss: give losses.soft_cross_entropy=0.5",
    "epochs=2": "epochs and total_steps exclude each other",
    "teacher=nowhere losses.soft_cross_entropy=1": "nowhere",
    "losses.hidden_mse=1": "losses.hidden_mse needs a teacher",
    "init_from=nowhere": "nowhere",
    "early_stopping_evaluations=1 keep_best=false": "early_stopping_evaluations needs keep_best=true",
    "early_stopping_evaluations=0": "is 0, expected at least 1",
    "best_metric=f1": "best_metric=f1: this task has loss, accuracy",
    "best_metric=acuracy": "this task has loss, accuracy, nearest is accuracy",
    "class_weights=(('bda',2.0),)": "'bda' is not a label, nearest is bad. The labels are bad, good",
    "class_weights=(('bad',0),)": "the weight of 'bad' is 0, expected a number above 0",
    "class_weights=('bad',2)": "class_weights has 'bad', expected (('LABEL', weight), ...), equal or balanced",
    "class_weights=(('bad',2),('bad',1))": "'bad' is given twice",
    "class_weights=heavy": "expected equal | balanced | a tuple",
    "data.eval_source=mine.csv": "data.eval_source=mine.csv: expected files:FILE",
    "data.test_source=files:mine.csv": "data.test_source=files:mine.csv: there is no file",
    "num_train_epochs=3": "unknown option --config.num_train_epochs, which is config.epochs here",
    "max_steps=3": "unknown option --config.max_steps, which is config.total_steps here",
    "distill.temperature=0": "is 0.0, expected more than 0",
}


@pytest.mark.parametrize(("overrides", "message"), MISTAKES.items())
def test_finetune_explains_a_mistake(tmp_path, classify, capsys, overrides, message):
    assert classify.main(tmp_path / "work", *overrides.split()) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "work" / "model").exists()


UPLOADS = {
    "push_to_hub=a/b/c": "is not the id of a repository; expected NAME or OWNER/NAME",
    "push_to_hub=me/mine": "push_to_hub=me/mine: uploading needs a token",
    "push_to_hub=me/mine seeds=2": "2 seeds make as many models",
}


@pytest.mark.parametrize(("overrides", "message"), UPLOADS.items())
def test_finetune_refuses_an_impossible_upload_before_the_run(
    tmp_path, classify, monkeypatch, capsys, overrides, message
):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert classify.main(tmp_path / "work", *overrides.split()) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "work").exists()
