"""A trained model in a user's hands."""
