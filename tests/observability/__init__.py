"""What a process tells about its work: spans and logs."""
