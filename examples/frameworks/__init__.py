"""eventkit in web frameworks (docs/frameworks.md): one small service for each."""
