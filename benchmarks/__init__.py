"""Measurements, each by one command. They import the real models and steps and hold none of their own."""
