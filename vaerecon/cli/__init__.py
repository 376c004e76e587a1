"""The command line, ``vaerecon``. Nothing here imports torch until the input has been checked."""
