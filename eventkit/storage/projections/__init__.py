"""The database's side of projections: who is registered, how far each is, which tables it writes."""
