import linewatch  # noqa: F401 - it sets what OpenCV reads when it is loaded, so it comes before any test's cv2
