"""The page and the address that find parts like an uploaded one."""
