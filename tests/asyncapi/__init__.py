"""AsyncAPI documents."""
