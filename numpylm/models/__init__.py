"""Transformers built from the layers."""
