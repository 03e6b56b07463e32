"""The settings, by what they are about; config.py puts them together."""
