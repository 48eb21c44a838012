"""Servers, roles and neighbours as users have them: promises kept on our own servers must hold there."""
