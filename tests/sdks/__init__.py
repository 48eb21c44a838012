"""CloudEvents' official SDKs of other languages, which read our messages and write some for us."""
