"""Quicker ways to what the reference says in its clearest form; each says what it gains."""
