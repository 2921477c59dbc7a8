"""The parts of an encoder, and how they are executed."""
