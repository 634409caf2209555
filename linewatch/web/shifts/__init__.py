"""The pages and addresses of shift reports."""
