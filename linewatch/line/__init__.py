"""The station while it runs: stages from capture to record, and what it says about itself."""
