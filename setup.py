"""The build's entry; everything declarative stands in setup.cfg."""

from setuptools import setup

setup()
