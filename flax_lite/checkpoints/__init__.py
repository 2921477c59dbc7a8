"""Reading and writing checkpoints: weight tables, one strict engine, and a reader and a writer for each file format."""
