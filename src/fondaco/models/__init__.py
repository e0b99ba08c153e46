"""Models: the catalogue as data, the names that lead to them, and the three `/models` answers."""
