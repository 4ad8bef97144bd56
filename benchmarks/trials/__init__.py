"""Promises put to the test: each section draws calibration sets from worlds of known risk."""
