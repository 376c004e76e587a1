"""The ground that the rooms stand on, nothing of it about sound: windows of long arrays, threads,
files that are written whole or not at all, and how a command ends.
"""
