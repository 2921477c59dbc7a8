"""The jobs and all they share: command line, work directory, loop. Imports flax_lite, never the reverse."""
