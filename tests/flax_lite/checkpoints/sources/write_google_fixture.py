"""Writes google_fixture/ with TensorFlow's Saver.

    python -m tests.flax_lite.checkpoints.sources.write_google_fixture

Run once in a separate environment with `pip install tensorflow-cpu` (the files are from 2.21.0). No test needs it.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tests.flax_lite.checkpoints.sources.google_files import CHECKPOINTS, FIXTURE, ODDITIES, Shapes, values

v1 = tf.compat.v1


def save(prefix: Path, shapes: Shapes, scope: str = "", slots: tuple[str, ...] = (), sharded: bool = False) -> None:
    """Saves variables like a TensorFlow 1 program: in graph mode, with a Saver."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    with tf.Graph().as_default():
        for index, (name, shape) in enumerate(shapes.items()):
            with tf.device(f"/cpu:{index % 2 if sharded else 0}"):
                v1.get_variable(scope + name, initializer=values(name, shape))
            for slot in slots:
                v1.get_variable(f"{scope}{name}/{slot}", initializer=np.zeros(shape, np.float32))
        if slots:
            v1.train.get_or_create_global_step()
        with v1.Session(config=v1.ConfigProto(device_count={"CPU": 2})) as session:
            session.run(v1.global_variables_initializer())
            saver = v1.train.Saver(sharded=sharded, save_relative_paths=True)
            # The directory of a training run has a file `checkpoint`; archives of released models have none.
            saver.save(session, str(prefix), write_meta_graph=False, write_state=prefix.name == "model.ckpt-7")


def save_config(directory: Path, name: str, config: Mapping[str, Any]) -> None:
    (directory / name).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def save_models() -> None:
    for path, (config, shapes) in CHECKPOINTS.items():
        prefix, family = FIXTURE / path, path.partition("_")[0].partition("/")[0]
        hub = prefix.name == "variables"
        slots = ("adam_m", "adam_v") if path.startswith(("albert/", "bert_classifier/")) else ()
        save(prefix, shapes, scope="module/" if hub else "", slots=slots, sharded=hub)
        save_config(prefix.parent.parent if hub else prefix.parent, f"{family}_config.json", config)


def save_oddities() -> None:
    tensors = [
        tf.constant(["ab", "c"]) if dtype == "string" else tf.cast(8 * values(name, shape), dtype)
        for name, (dtype, shape) in ODDITIES.items()
    ]
    directory = FIXTURE / "oddities"
    directory.mkdir(parents=True)
    tf.raw_ops.SaveV2(
        prefix=str(directory / "odd"), tensor_names=[*ODDITIES], shape_and_slices=[""] * len(tensors), tensors=tensors
    )
    with tf.Graph().as_default():
        v1.get_variable("sliced", (4, 3), tf.float32, v1.zeros_initializer(), partitioner=v1.fixed_size_partitioner(2))
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            v1.train.Saver().save(session, str(directory / "sliced"), write_meta_graph=False, write_state=False)
    tf.train.Checkpoint(weight=tf.Variable(values("weight", (2, 3)))).write(str(directory / "objects"))


if __name__ == "__main__":
    shutil.rmtree(FIXTURE, ignore_errors=True)
    save_models()
    save_oddities()
