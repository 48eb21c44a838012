"""Dead letters: written, looked for, and acted on."""
