"""What products and stations may be called: their names become folders, files, topics and labels."""

import re

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
