"""Model versions on disk: read, verify, compile, test, activate, import and export them."""
