"""The book: chapters, the notebooks that they become when they are run, and the HTML site."""
