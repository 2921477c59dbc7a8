"""Reading and writing checkpoints: one strict engine, and a reader and a writer for each format and source."""
