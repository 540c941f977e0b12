"""Walks the line over many candidates, keeps every trial, stops at the budget."""
