"""Promint: loyalty programs and their promo codes, exact at any speed."""

__version__ = "0.1.0"
