"""Annotators: what writes the conversations of the instruction data."""
