"""Who may do what over HTTP: rights, sign-in, sessions, and the pages that manage users and tokens."""
