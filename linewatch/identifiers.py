"""Allowed names of products, stations and versions; they become folders, files, topics and labels."""

import re

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
VERSION = re.compile(r"[0-9a-f]{8}")
