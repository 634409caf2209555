"""Trained models on disk: bundles, recipes, engines, self-tests and their life cycle.

The only importers of OpenVINO beside `training`.
"""
