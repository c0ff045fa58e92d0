"""What a call needs to run, whatever it computes: argument checks, paths, memory, progress, random streams, threads."""
