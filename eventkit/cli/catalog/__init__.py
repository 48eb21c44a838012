"""`eventkit catalog`: export a catalog, and compare it with the last release's export; a module a subcommand."""
