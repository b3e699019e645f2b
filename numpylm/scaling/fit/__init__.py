"""A law fitted to a table of runs: how, how surely, and what follows from it."""
