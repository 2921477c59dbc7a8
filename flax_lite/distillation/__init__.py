"""Students and what they learn from a teacher."""
