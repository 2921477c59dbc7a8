"""Windows over long contexts, answers, and ALBERT's head for SQuAD 2."""
