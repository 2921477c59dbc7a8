"""Builds each job from its options."""
