"""PostgreSQL itself: connections and their settings, statements on any driver, text for statements."""
