"""Writes data sets in the layout of TensorFlow Datasets with ArrayRecord, without TensorFlow."""

import itertools


def write_set(data_dir, examples, features=None, *, name="toy", config="en", version="1.0.0", split="train", shards=2):
    """Writes `examples` as one split of data_dir/name/config/version; returns that directory."""
    return write_splits(data_dir, {split: examples}, features, name=name, config=config, version=version, shards=shards)


def write_splits(data_dir, splits, features=None, *, name="toy", config="en", version="1.0.0", shards=2):
    """Writes the examples of each split as data_dir/name/config/version; returns that directory."""
    import tensorflow_datasets as tfds

    features = features or tfds.features.FeaturesDict({"title": tfds.features.Text(), "text": tfds.features.Text()})
    directory = data_dir / name / config / version
    directory.mkdir(parents=True)
    template = tfds.core.ShardedFileTemplate(
        data_dir=directory, dataset_name=name, split=next(iter(splits)), filetype_suffix="array_record"
    )
    infos = [
        _write_split(template.replace(split=split), examples, features, shards) for split, examples in splits.items()
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=str(directory), features=features, split_infos=infos, filename_template=template, check_data=False
    )
    return directory


def _write_split(template, examples, features, shards):
    import tensorflow_datasets as tfds
    from array_record.python.array_record_module import ArrayRecordWriter

    bounds = [len(examples) * shard // shards for shard in range(shards + 1)]
    for shard in range(shards):
        path = template.sharded_filepath(shard_index=shard, num_shards=shards)
        writer = ArrayRecordWriter(str(path), "group_size:1")
        for example in examples[bounds[shard] : bounds[shard + 1]]:
            writer.write(features.serialize_example(example))
        writer.close()
    lengths = [end - start for start, end in itertools.pairwise(bounds)]
    return tfds.core.SplitInfo(name=template.split, shard_lengths=lengths, num_bytes=0, filename_template=template)
