"""What a run learns: its data, its batches, its loss, its scores, and what is trivial."""
