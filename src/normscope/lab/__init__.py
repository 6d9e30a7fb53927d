"""The lab: what is said about batch normalization, each statement as an experiment that anybody can run again.

One file a claim in `claims/`: what is said and where, the design, the rule of the verdict as it stood before the data, the plot, what of
normscope rests on it, and what the literature measured. Results go to one SQLite file; the page is built from it alone.
"""
