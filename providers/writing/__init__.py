"""Writes measurements of a picture into any JSON Schema, in words: what the `builtin` provider answers with."""
