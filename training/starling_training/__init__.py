"""Trains an adapter on a repository and reports how much it helps."""
