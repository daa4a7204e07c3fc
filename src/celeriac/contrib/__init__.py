"""Extras under Celery's names. Nothing in the house imports them."""
