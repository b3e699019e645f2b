"""One token at a time: what was read is kept, what does not change is computed once."""
