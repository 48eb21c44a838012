"""A module for each screen: it asks for the answers, and a template shows them."""
