"""From a configuration and a corpus to a trained model in a run folder."""
