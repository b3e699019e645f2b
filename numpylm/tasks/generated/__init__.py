"""Data that need no download: languages from a seeded grammar, and labels from Python itself."""
