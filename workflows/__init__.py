"""The order of things: flows over a take, the command line, the report.

In goes what a user asked for, out come takes, results and files; only here is it known which step follows which.
A further command is one more function in the table of `cli.py`.
"""
