"""From a camera, a file or a trigger to numbered exposures."""
