"""The files that runs write in the user's own folder: kept before they are overwritten, put back and moved away after.

`guard` works in the process of a script and fills a journal; `journal` is what it holds; `tidying` undoes a run by it, at once or after
a crash of everything; `scan` finds what was written unseen.
"""
