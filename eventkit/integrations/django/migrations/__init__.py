"""A migration of Django for each revision of eventkit's own migrations."""
