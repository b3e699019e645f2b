"""Downstream tasks: their examples, trivial baselines and scores."""
