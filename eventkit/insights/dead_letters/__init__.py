"""Dead letters in groups, and page by page."""
