"""Personal data at rest: encrypted with a key for each subject."""
