"""The commands of `pdec`: options, output, pictures and progress."""
