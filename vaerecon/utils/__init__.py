"""General helpers for all subpackages: windows of long arrays, threads, plug-ins, checks of
numbers, atomic writing of files, and the exit status and error messages of commands.
"""
