"""Programs that show how eventkit is used."""
