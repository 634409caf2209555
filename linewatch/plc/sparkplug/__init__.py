"""Sparkplug B 3.0: the station as an edge node; the only importer of protobuf."""
