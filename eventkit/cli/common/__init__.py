"""What the commands share: output, options of time, start and end of a process."""
