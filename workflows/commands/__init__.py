"""The commands of `mien`: one function each, its arguments in its signature, its help in its docstring.

They answer for the command line alone: parse, call one workflow, print, and give the exit code. Heavy packages are
imported inside the functions, so that `mien --help` answers at once.
"""
