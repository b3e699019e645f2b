"""Wrong gradients on purpose: a check is worth something if it fails when the code is wrong.

engine            a mutant in the place of its function while something runs
operators         the small mistakes that one makes in a backward, as changes of its syntax tree
published_bugs    wrong gradients that were published, planted in our functions while they run
weak_checks       published checks that cannot fail, each with a bug that it lets through
report            all of them against the rows of the catalogue
"""
