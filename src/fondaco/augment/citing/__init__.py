"""Marks in an answer that point to its sources, `^1^` and `^1,3^`: each is checked, and put where it is missing."""
