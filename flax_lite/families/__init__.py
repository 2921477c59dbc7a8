"""ALBERT, BERT and DistilBERT: each family's configuration, presets and weight table."""
