"""Files for other programs: verdicts and the audit as rows, images as a ZIP, written beside the line."""
