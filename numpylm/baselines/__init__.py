"""The floors that a neural model must beat."""
