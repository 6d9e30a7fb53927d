"""Advice on the user's source: a finding becomes an edit of one call or one line, shown as a diff, applied only when asked.

An edit is a plain value (`edits`), proposed from what the recording holds (`proposals`) and carried out on the syntax tree
of the file (`script` and one file for each kind of edit). Only the latter imports libcst, and nothing a framework.
"""
