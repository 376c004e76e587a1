"""What all subpackages use, nothing of it about sound: windows of long arrays, threads,
files that are written whole or not at all, and how a command ends.
"""
