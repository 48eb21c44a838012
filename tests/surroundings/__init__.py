"""Servers, roles and neighbours as users have them: what holds on our own servers must hold there."""
